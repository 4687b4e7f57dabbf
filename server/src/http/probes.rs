//! What orchestrators and scrapers ask: `/healthz`, `/readyz`, `/metrics`. Also served alone, on the admin address.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use super::access::METRICS_PATH;
use super::body::Body;
use super::error::HttpError;
use super::{App, cache};
use crate::metrics;

/// The process answers.
pub(super) const HEALTH_PATH: &str = "/healthz";
/// It also takes new work.
pub(super) const READY_PATH: &str = "/readyz";

/// Answers on the admin address, where nothing else is served.
pub(crate) fn answer_admin(app: &App, method: &Method, path: &str) -> Response<Body> {
    let result = match path {
        HEALTH_PATH | READY_PATH => health(app, method, path),
        METRICS_PATH => metrics(app, method),
        _ => Err(HttpError::NoRoute),
    };
    let mut response = result.unwrap_or_else(|error| super::error::response(&error));
    if *method == Method::HEAD {
        *response.body_mut() = Body::Empty;
    }
    response
}

/// `/healthz` is 200 as long as the process answers. `/readyz` is 503 while it should get no new work: it is stopping, or
/// its storage takes no writes. (It does not listen before its storage is recovered.)
pub(super) fn health(app: &App, method: &Method, path: &str) -> Result<Response<Body>, HttpError> {
    check_method(method)?;
    if path == READY_PATH {
        if app.is_draining() {
            return Ok(text(StatusCode::SERVICE_UNAVAILABLE, "stopping"));
        }
        if let Err(error) = app.engine().check_writable() {
            return Ok(text(StatusCode::SERVICE_UNAVAILABLE, error.to_string()));
        }
    }
    Ok(text(StatusCode::OK, "ok"))
}

/// `/metrics`.
pub(super) fn metrics(app: &App, method: &Method) -> Result<Response<Body>, HttpError> {
    check_method(method)?;
    let engine = app.engine();
    let rendered = metrics::render(Arc::clone(app.metrics()), engine.stream_count(), engine.storage_metrics());
    let mut response = text(StatusCode::OK, rendered);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    Ok(response)
}

fn check_method(method: &Method) -> Result<(), HttpError> {
    if matches!(*method, Method::GET | Method::HEAD) { Ok(()) } else { Err(HttpError::MethodNotAllowed) }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Full(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, cache::NO_STORE);
    response
}
