//! Requests to the access policy: what a request needs, what it carries, and the answer when it is refused.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use everstream::proto::names;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::json;

use super::body::Body;
use super::error::HttpError;
use super::forwarded::Forwarded;
use super::path::Target;
use super::{Peer, cache, describe, fault, list};
use crate::access::{
    AccessConfig, Caller, Certificate, Credentials, Operation, Policy, QUERY_SIGNATURE, Refusal, Resource, Signature,
};
use crate::clock::Clock;

/// Where metrics are.
pub(super) const METRICS_PATH: &str = "/metrics";

/// Lets requests in, or not.
#[derive(Debug)]
pub(crate) enum Gate {
    Open,
    Checked(Box<Policy>),
}

/// What a request is about, as far as access goes.
#[derive(Debug, PartialEq, Eq)]
enum Need<'a> {
    /// Nothing that anyone could not know, or something that has credentials of its own.
    Nothing,
    Stream(Operation, &'a str),
    /// What a listing would say, of one stream.
    Description(String),
    Listing(String),
    Claim(Cow<'a, str>),
    Server,
}

impl Gate {
    /// The gate of a server that listens at `address`. Reads the file of JWT keys, if there is one.
    ///
    /// # Errors
    /// Says what is wrong with the configuration.
    pub(crate) fn new(config: &AccessConfig, address: IpAddr) -> Result<Self, String> {
        if !config.is_on(address)? {
            return Ok(Self::Open);
        }
        config.load().map(|policy| Self::Checked(Box::new(policy))).map_err(|error| error.to_string())
    }

    /// Takes other keys of JWT into use.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn replace_jwks(&self, jwks: &str) -> Result<(), String> {
        match self {
            Self::Open => Ok(()),
            Self::Checked(policy) => policy.replace_jwks(jwks).map_err(|error| error.to_string()),
        }
    }

    /// Lets a request in, and says who asks.
    pub(super) fn admit(
        &self,
        parts: &Parts,
        target: &Target<'_>,
        peer: &Peer,
        clock: &dyn Clock,
    ) -> Result<Caller, Refusal> {
        let Self::Checked(policy) = self else {
            return Ok(Caller::unchecked());
        };
        let need = need(parts, target);
        let resource = match &need {
            Need::Nothing => return Ok(Caller::unchecked()),
            Need::Stream(operation, name) => (*operation, Resource::Stream(name)),
            Need::Description(name) => (Operation::Admin, Resource::Stream(name)),
            Need::Listing(prefix) => (Operation::Admin, Resource::Listing { prefix }),
            Need::Claim(id) => (Operation::Read, Resource::Subscription(id)),
            Need::Server => (Operation::Admin, Resource::Server),
        };
        let signature = match (&need, parts.uri.query()) {
            (Need::Stream(Operation::Read, name), Some(query)) => {
                parameter(query, QUERY_SIGNATURE).map(|value| (value, *name))
            }
            _ => None,
        };
        let identity = peer.identity.as_ref();
        let is_proxied = parts.extensions.get::<Forwarded>().is_some();
        let credentials = Credentials {
            bearer: bearer(parts)?,
            user: match policy.user_header().filter(|_| is_proxied) {
                Some(header) => only(parts, header)?,
                None => None,
            },
            certificate: identity.map(|it| Certificate { subject: &it.subject, names: &it.names }),
            signed_url: signature.as_ref().map(|(value, stream)| Signature { value, stream }),
        };
        let caller = policy.identify(credentials, clock.now() / 1000)?;
        caller.may(resource.0, resource.1)?;
        Ok(caller)
    }
}

/// What a request needs. The body of a refused one is never looked at, so the head alone decides.
fn need<'a>(parts: &'a Parts, target: &'a Target<'_>) -> Need<'a> {
    // Where streams are at `/`, these paths would be names of streams.
    if matches!(parts.uri.path(), METRICS_PATH | fault::PATH) {
        return Need::Server;
    }
    match target {
        Target::Stream(name) => match parts.method {
            Method::PUT => Need::Stream(Operation::Create, name),
            Method::POST => Need::Stream(Operation::Append, name),
            Method::DELETE => Need::Stream(Operation::Delete, name),
            Method::GET | Method::HEAD => Need::Stream(Operation::Read, name),
            // 405, whoever asks.
            _ => Need::Nothing,
        },
        Target::Control(rest) => control(rest, parts.uri.query()),
        Target::Invalid(_) | Target::Elsewhere => Need::Nothing,
    }
}

/// The routes of the control API (PROTOCOL.md T-ROUTE).
fn control<'a>(rest: &'a str, query: Option<&'a str>) -> Need<'a> {
    if rest == names::LIST_ROUTE {
        return Need::Listing(list::prefix(query));
    }
    if let Some(name) = describe::name(rest) {
        return Need::Description(name);
    }
    let Some(rest) = rest.strip_prefix("subscriptions/") else {
        // The public keys are for whoever receives a webhook (S-HOOK-3).
        return if rest == "jwks.json" { Need::Nothing } else { Need::Server };
    };
    match rest.split_once('/') {
        // They carry the token of a lease, which is checked where leases are (T-ACK).
        Some((_, "callback" | "ack" | "release")) => Need::Nothing,
        // Rules name it as it is, not as it is spelled in the path.
        Some((id, "claim")) => match percent_decode_str(id).decode_utf8() {
            Ok(id) => Need::Claim(id),
            Err(_) => Need::Server,
        },
        _ => Need::Server,
    }
}

/// What a proxy wrote in a header.
fn only<'a>(parts: &'a Parts, header: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = parts.headers.get_all(header).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        // One of them may be the client's.
        return Err(Refusal::Invalid("more than one name of a user"));
    }
    value.to_str().map(Some).map_err(|_| Refusal::Invalid("malformed name of a user"))
}

/// The bearer token of a request.
fn bearer(parts: &Parts) -> Result<Option<&str>, Refusal> {
    let mut values = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        // Which of them counts would be a guess.
        return Err(Refusal::Invalid("more than one Authorization header"));
    }
    let value = value.to_str().map_err(|_| Refusal::Invalid("malformed Authorization header"))?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Refusal::Invalid("only bearer tokens are understood")),
    }
}

/// The first value of a query parameter, decoded. What is not UTF-8 counts as absent.
fn parameter<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    percent_decode_str(value).decode_utf8().ok()
}

/// The form of an answer that is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Of the control API (PROTOCOL.md T-SUBERR).
    Control,
    /// RFC 9457, for everything that the protocol does not define.
    Problem,
    /// Of streams (S-HTTP-5).
    Text,
}

impl Form {
    pub(super) fn of(target: &Target<'_>) -> Self {
        match target {
            Target::Stream(_) | Target::Invalid(_) => Self::Text,
            Target::Control(_) => Self::Control,
            Target::Elsewhere => Self::Problem,
        }
    }
}

/// The answer to a refused request.
pub(super) fn refused(refusal: Refusal, form: Form) -> Response<Body> {
    let (status, text) = match refusal {
        Refusal::Unauthenticated => (StatusCode::UNAUTHORIZED, "credentials are needed"),
        Refusal::Invalid(why) => (StatusCode::UNAUTHORIZED, why),
        Refusal::Forbidden => (StatusCode::FORBIDDEN, "not allowed"),
    };
    let code = if status == StatusCode::FORBIDDEN { "FORBIDDEN" } else { "UNAUTHORIZED" };
    let (content_type, body) = match form {
        Form::Text => ("text/plain; charset=utf-8", text.to_owned()),
        Form::Control => ("application/json", json!({"error": {"code": code, "message": text}}).to_string()),
        Form::Problem => {
            let title = status.canonical_reason();
            let body = json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": text});
            ("application/problem+json", body.to_string())
        }
    };
    let mut response = Response::new(Body::Full(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    let challenge = match refusal {
        Refusal::Unauthenticated => Some(r#"Bearer realm="everstream""#),
        Refusal::Invalid(_) => Some(r#"Bearer realm="everstream", error="invalid_token""#),
        Refusal::Forbidden => None,
    };
    if let Some(challenge) = challenge {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// Keeps an answer to someone known out of shared caches (S-HTTP-18).
pub(super) fn keep_private(caller: &Caller, response: &mut Response<Body>) {
    if !caller.is_private() {
        return;
    }
    if let Some(value) = response.headers_mut().get_mut(header::CACHE_CONTROL)
        && *value == cache::SHARED
    {
        *value = cache::PRIVATE;
    }
}

impl From<Refusal> for HttpError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Request;

    use super::super::path;
    use super::*;

    fn parts(method: &str, uri: &str) -> Parts {
        Request::builder().method(method).uri(uri).body(()).unwrap().into_parts().0
    }

    #[test]
    fn each_route_needs_what_it_does() {
        let read = |name: &'static str| Need::Stream(Operation::Read, name);
        for (method, uri, needed) in [
            ("GET", "/v1/stream/a%2Fb?offset=-1", read("a/b")),
            ("HEAD", "/v1/stream/a/", read("a")),
            ("PUT", "/v1/stream/a", Need::Stream(Operation::Create, "a")),
            ("POST", "/v1/stream/a", Need::Stream(Operation::Append, "a")),
            ("DELETE", "/v1/stream/a", Need::Stream(Operation::Delete, "a")),
            ("PATCH", "/v1/stream/a", Need::Nothing),
            ("GET", "/v1/stream/__ds/streams?limit=1&prefix=t%2F", Need::Listing("t/".into())),
            ("GET", "/v1/stream/__ds/streams?prefix=t%2F&prefix=", Need::Listing("".into())),
            ("GET", "/v1/stream/__ds/streams", Need::Listing("".into())),
            ("GET", "/v1/stream/__ds/streams/t%2Fa/b", Need::Description("t/a/b".into())),
            ("GET", "/v1/stream/__ds/streams/a/../b", Need::Server),
            ("GET", "/v1/stream/__ds/jwks.json", Need::Nothing),
            ("GET", "/v1/stream/__ds/subscriptions", Need::Server),
            ("POST", "/v1/stream/__ds/keys/rotate", Need::Server),
            ("PUT", "/v1/stream/__ds/subscriptions/s", Need::Server),
            ("POST", "/v1/stream/__ds/subscriptions/s/streams", Need::Server),
            ("POST", "/v1/stream/__ds/subscriptions/s/claim", Need::Claim("s".into())),
            ("POST", "/v1/stream/__ds/subscriptions/%73%2Ft/claim", Need::Claim("s/t".into())),
            ("POST", "/v1/stream/%5F_ds/subscriptions/s/ack", Need::Nothing),
            ("POST", "/v1/stream/__ds/unheard-of", Need::Server),
            ("GET", "/metrics", Need::Server),
            ("POST", "/_test/inject-error", Need::Server),
            ("GET", "/healthz", Need::Nothing),
            ("GET", "/v1/stream/../metrics", Need::Nothing),
        ] {
            let parts = parts(method, uri);
            let target = path::target("/v1/stream", parts.uri.path());
            assert_eq!(need(&parts, &target), needed, "{method} {uri}");
        }
    }

    #[test]
    fn there_is_one_bearer_token_or_none() {
        let with = |values: &[&str]| {
            let mut parts = parts("GET", "/");
            for value in values {
                parts.headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            bearer(&parts).map(|token| token.map(str::to_owned))
        };
        assert_eq!(with(&[]), Ok(None));
        assert_eq!(with(&["Bearer abc"]), Ok(Some("abc".into())));
        assert_eq!(with(&["bEARER  abc"]), Ok(Some("abc".into())));
        for bad in [&["abc"][..], &["Basic abc"], &["Bearer a", "Bearer a"], &["Bearer"]] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }
}
