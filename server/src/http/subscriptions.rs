//! The control API below `{root}/__ds` (PROTOCOL.md section 17): parses, makes one call, answers.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use everstream::proto::names;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::body::{self, Body};
use super::error::HttpError;
use super::{App, base_url, cache, list};
use crate::subscriptions::Refusal;

/// Makes a new key for webhooks.
const ROTATION: &str = "keys/rotate";
const JWK_SET: HeaderValue = HeaderValue::from_static("application/jwk-set+json");
const FIVE_MINUTES: HeaderValue = HeaderValue::from_static("public, max-age=300");

/// Answers a request for what follows `__ds/` in the path, not yet percent-decoded (T-ROUTE).
pub(super) async fn handle<B>(app: &Arc<App>, rest: &str, parts: &Parts, body: B) -> Result<Response<Body>, HttpError>
where
    B: http_body::Body<Data = Bytes>,
{
    let body = body::collect(body, app.intake()).await?;
    Ok(answer(app, rest, parts, &body).await.unwrap_or_else(|refusal| refused(&refusal)))
}

async fn answer(app: &Arc<App>, rest: &str, parts: &Parts, body: &[u8]) -> Result<Response<Body>, Refusal> {
    let subscriptions = app.subscriptions();
    let method = parts.method.as_str();
    if rest == names::JWKS_ROUTE {
        return match method {
            "GET" | "HEAD" => Ok(jwks(&subscriptions.jwks())),
            _ => Err(Refusal::NotFound),
        };
    }
    let base = base_url(app, parts);
    match (rest, method) {
        (names::SUBSCRIPTIONS_ROUTE, "GET" | "HEAD") => {
            let after = list::after(parts.uri.query());
            return Ok(json_response(StatusCode::OK, &subscriptions.list(after.as_deref(), &base)?));
        }
        (ROTATION, "POST") => return Ok(json_response(StatusCode::OK, &subscriptions.rotate_key(body).await?)),
        _ => {}
    }
    let (id, what) = route(rest).ok_or(Refusal::NotFound)?;
    let id = &*decode(id)?;
    match (method, what) {
        ("PUT", None) => {
            let (view, is_new) = subscriptions.create(id, body, &base).await?;
            Ok(json_response(if is_new { StatusCode::CREATED } else { StatusCode::OK }, &view))
        }
        ("GET" | "HEAD", None) => Ok(json_response(StatusCode::OK, &subscriptions.get(id, &base).await?)),
        ("DELETE", None) => {
            subscriptions.delete(id).await?;
            Ok(no_content())
        }
        ("POST", Some("streams")) => {
            subscriptions.add_streams(id, body).await?;
            Ok(no_content())
        }
        ("DELETE", Some(what)) => {
            let path = what.strip_prefix("streams/").ok_or(Refusal::NotFound)?;
            subscriptions.remove_stream(id, &decode(path)?).await?;
            Ok(no_content())
        }
        ("POST", Some("claim")) => Ok(json_response(StatusCode::OK, &subscriptions.claim(id, body).await?)),
        ("POST", Some(what @ ("ack" | "callback"))) => {
            let bearer = bearer(&parts.headers);
            let done = subscriptions.ack(id, what == "callback", bearer, body).await?;
            Ok(json_response(StatusCode::OK, &done))
        }
        ("POST", Some("release")) => {
            subscriptions.release(id, bearer(&parts.headers), body).await?;
            Ok(no_content())
        }
        _ => Err(Refusal::NotFound),
    }
}

/// Takes `subscriptions/{id}` or `subscriptions/{id}/{what}` apart.
fn route(rest: &str) -> Option<(&str, Option<&str>)> {
    let rest = rest.strip_prefix("subscriptions/")?;
    let (id, what) = match rest.split_once('/') {
        Some((id, what)) => (id, Some(what)),
        None => (rest, None),
    };
    (!id.is_empty()).then_some((id, what))
}

fn decode(text: &str) -> Result<Cow<'_, str>, Refusal> {
    let decoded = percent_decode_str(text).decode_utf8().ok();
    // What cannot be named cannot be there.
    decoded.filter(|text| text.len() <= 1024 && !text.chars().any(char::is_control)).ok_or(Refusal::NotFound)
}

/// The token, if there is one (T-ACK 1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// T-SUBERR.
fn refused(refusal: &Refusal) -> Response<Body> {
    let (status, code, message) = match refusal {
        Refusal::Invalid(why) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST", Cow::from(why)),
        Refusal::UrlRejected(why) => (StatusCode::BAD_REQUEST, "WEBHOOK_URL_REJECTED", Cow::from(why)),
        Refusal::TokenInvalid => {
            (StatusCode::UNAUTHORIZED, "TOKEN_INVALID", "the token is missing, or not of this subscription".into())
        }
        Refusal::TokenExpired => (StatusCode::UNAUTHORIZED, "TOKEN_EXPIRED", "the token has expired".into()),
        Refusal::NotFound => (StatusCode::NOT_FOUND, "SUBSCRIPTION_NOT_FOUND", "unknown subscription or route".into()),
        Refusal::AlreadyExists => (
            StatusCode::CONFLICT,
            "SUBSCRIPTION_ALREADY_EXISTS",
            "a subscription of this id has another configuration; delete it first".into(),
        ),
        Refusal::Fenced => (StatusCode::CONFLICT, "FENCED", "the wake is over, or another worker has it".into()),
        Refusal::AlreadyClaimed { .. } => (StatusCode::CONFLICT, "ALREADY_CLAIMED", "a worker holds the lease".into()),
        Refusal::NoPendingWork => (StatusCode::CONFLICT, "NO_PENDING_WORK", "no stream has anything new".into()),
        Refusal::InvalidOffset(why) => (StatusCode::CONFLICT, "INVALID_OFFSET", Cow::from(why)),
        Refusal::Storage(error) => {
            tracing::error!(%error, "a subscription could not be stored");
            let message = "the storage failed; what was asked may or may not have happened, so ask again".into();
            (StatusCode::SERVICE_UNAVAILABLE, "STORAGE_FAILED", message)
        }
    };
    let mut error = json!({"code": code, "message": message});
    if let Refusal::AlreadyClaimed { holder, generation } = refusal {
        error["current_holder"] = holder.as_str().into();
        error["generation"] = (*generation).into();
    }
    let mut response = json_response(status, &json!({ "error": error }));
    match status {
        StatusCode::UNAUTHORIZED => {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    response
}

/// S-HOOK-3.
fn jwks(keys: &Value) -> Response<Body> {
    let mut response = json_response(StatusCode::OK, keys);
    response.headers_mut().insert(header::CONTENT_TYPE, JWK_SET);
    response.headers_mut().insert(header::CACHE_CONTROL, FIVE_MINUTES);
    response
}

fn json_response(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Full(value.to_string().into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    response
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::CACHE_CONTROL, cache::NO_STORE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s_sub_1_an_id_is_one_segment() {
        assert_eq!(route("subscriptions/a%2Fb"), Some(("a%2Fb", None)));
        assert_eq!(route("subscriptions/a/streams/b/c"), Some(("a", Some("streams/b/c"))));
        for none in ["", "subscriptions", "subscriptions/", "subscriptions//claim", "other/a"] {
            assert_eq!(route(none), None, "{none}");
        }
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            assert_eq!(bearer(&headers), token, "{value}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }
}
