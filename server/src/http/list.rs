//! `GET {root}/__ds/streams`: which streams there are, in pages (an extension, S-HTTP-19).
//!
//! Query: `prefix` of the names; `after`, the `next` of the page before; `limit`, 1 to 1000, default 1000. Answer:
//! `{"streams":[{"path","contentType","createdAt","offset","bytes","closed",...}],"next":"..."}`, by name in bytewise
//! order; `next` is there when there may be more. Where a stream has them: `ttl` in seconds or `expiresAt`, and
//! `forkedFrom` with `forkOffset`. `bytes` is what is stored before `offset`, inherited data included.

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderValue, Response, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::body::Body;
use super::error::HttpError;
use super::{App, cache};
use crate::engine::{Lifetime, Position};
use crate::storage::StreamMeta;

/// Streams on one page.
const PAGE: usize = 1000;

pub(super) async fn handle(app: &Arc<App>, query: Option<&str>) -> Result<Response<Body>, HttpError> {
    let query = Query::parse(query.unwrap_or_default())?;
    let page = app.engine().list(&query.prefix, query.after.as_deref(), query.limit).await?;
    let next = page.last().filter(|_| page.len() == query.limit).map(|last| last.meta.name.to_string());
    let streams: Vec<Value> = page
        .iter()
        // Their paths answer 410.
        .filter(|listed| !listed.soft_deleted)
        .map(|listed| facts(&listed.meta, listed.tail, listed.closed).into())
        .collect();
    let mut body = json!({ "streams": streams });
    if let Some(next) = next {
        body["next"] = next.into();
    }
    Ok(answer(&body))
}

/// What is known of a stream, as a listing says it.
pub(super) fn facts(meta: &StreamMeta, tail: Position, closed: bool) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut put = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    put("path", (&*meta.name).into());
    put("contentType", (&*meta.content_type).into());
    put("createdAt", meta.created_at.into());
    put("offset", tail.to_string().into());
    put("bytes", tail.0.into());
    put("closed", closed.into());
    match &meta.lifetime {
        Lifetime::Unlimited => {}
        Lifetime::Ttl(seconds) => drop(put("ttl", (*seconds).into())),
        Lifetime::Until(deadline) => drop(put("expiresAt", (&*deadline.text).into())),
    }
    if let Some(fork) = &meta.fork {
        put("forkedFrom", (&*fork.source).into());
        put("forkOffset", fork.base.to_string().into());
    }
    facts
}

/// An answer that describes this moment.
pub(super) fn answer(body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::Full(body.to_string().into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    response
}

/// What the names of a listing begin with. Of a query that is refused, nothing: that is every name.
pub(super) fn prefix(query: Option<&str>) -> String {
    Query::parse(query.unwrap_or_default()).map(|query| query.prefix).unwrap_or_default()
}

/// The `next` of the page before, in any listing. Of a query that is refused, none: that is the first page.
pub(super) fn after(query: Option<&str>) -> Option<String> {
    Query::parse(query.unwrap_or_default()).ok()?.after
}

#[derive(Debug, PartialEq)]
struct Query {
    prefix: String,
    after: Option<String>,
    limit: usize,
}

impl Query {
    fn parse(query: &str) -> Result<Self, HttpError> {
        let mut parsed = Self { prefix: String::new(), after: None, limit: PAGE };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let value = percent_decode_str(value)
                .decode_utf8()
                .map(Cow::into_owned)
                .map_err(|_| HttpError::BadRequest("the query is not UTF-8"))?;
            match name {
                "prefix" => parsed.prefix = value,
                "after" => parsed.after = Some(value),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE).contains(limit));
                    parsed.limit = limit.ok_or(HttpError::BadRequest("limit must be 1 to 1000"))?;
                }
                _ => {}
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_decoded_and_its_limit_is_bounded() {
        let query = Query::parse("prefix=a%2Fb&after=x%20y&limit=7&other=1").ok();
        let expected = Query { prefix: "a/b".into(), after: Some("x y".into()), limit: 7 };
        assert_eq!(query, Some(expected));
        for bad in ["limit=0", "limit=1001", "limit=x", "prefix=%ff"] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
