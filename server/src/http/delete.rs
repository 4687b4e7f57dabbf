//! `DELETE`: remove a stream (PROTOCOL.md section 9).

use std::sync::Arc;

use http::{Response, StatusCode};

use super::App;
use super::body::Body;
use super::error::HttpError;

pub(super) async fn handle(app: &Arc<App>, name: &str) -> Result<Response<Body>, HttpError> {
    app.engine().delete(name).await?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
