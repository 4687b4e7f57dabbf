//! `PUT`: create a stream, or confirm one that matches (PROTOCOL.md section 6).

use std::sync::Arc;

use bytes::Bytes;
use everstream::proto::names;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};

use super::body::{self, Body};
use super::error::HttpError;
use super::{App, extract, insert, origin, stream_response, truth};
use crate::access::{Caller, Operation, Resource};
use crate::metrics;

pub(super) async fn handle<B>(
    app: &Arc<App>,
    name: &str,
    parts: &Parts,
    body: B,
    caller: &Caller,
) -> Result<Response<Body>, HttpError>
where
    B: http_body::Body<Data = Bytes>,
{
    let request = extract::create_request(&parts.headers, &app.config().server.stream_root);
    let body = body::collect(body, app.intake()).await;
    let mut request = request?;
    request.body = body?;
    if let Some(fork) = &request.fork {
        // Whoever reads the fork reads what it took from its source.
        caller.may(Operation::Read, Resource::Stream(&fork.source))?;
    }
    if !request.body.is_empty() {
        extract::check_coding(&parts.headers)?;
    }
    let body_bytes = request.body.len() as u64;
    let created = app.engine().create(name, request).await?;
    let tail = created.stream.tail();
    let mut response = stream_response(&created.stream, tail.position, 0);
    let headers = response.headers_mut();
    insert(headers, &header::CONTENT_TYPE, created.stream.meta().content_type.as_bytes());
    if tail.closed {
        headers.insert(names::STREAM_CLOSED, truth());
    }
    if created.is_new {
        metrics::count(&app.metrics().appended_bytes, body_bytes);
        if let Some(location) = location(app, parts) {
            headers.insert(header::LOCATION, location);
        }
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

/// The absolute URL that the client used (S-CREATE-9). Without a host there is only the path.
fn location(app: &App, parts: &Parts) -> Option<HeaderValue> {
    let path = parts.uri.path();
    let location = origin(app, parts).map_or_else(|| path.to_owned(), |origin| format!("{origin}{path}"));
    HeaderValue::from_str(&location).ok()
}
