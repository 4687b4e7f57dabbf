//! `/ui`: the web page, which is in the binary. It is a client like any other: what it may do is decided by the access
//! rules, on the streams. The files themselves need no credentials.

use std::sync::LazyLock;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use ring::digest::{SHA256, digest};
use serde_json::json;

use super::access::Gate;
use super::body::Body;
use super::error::HttpError;
use super::{App, cache, compress};
use crate::config::UiMode;

const PATH: &str = "/ui";
/// What the page has to know before it can ask for streams.
const CONFIG: &str = "config.json";

/// Nothing but the page's own files, and nothing inline; text can never become script or markup.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/ui/", $name)).as_slice())),*]
    };
}

/// A test holds the list to what is in the folder.
static FILES: &[(&str, &[u8])] = &files![
    "api.js",
    "chart.js",
    "composer.js",
    "dialogs.js",
    "dom.js",
    "facts.js",
    "format.js",
    "hex-view.js",
    "icon.svg",
    "index.html",
    "json-view.js",
    "main.js",
    "offsets.js",
    "presence.js",
    "producer.js",
    "reader.js",
    "search.js",
    "sidebar.js",
    "snippets.js",
    "sse.js",
    "stream-page.js",
    "streams.js",
    "style.css",
    "text-view.js",
    "virtual.js",
];

/// A file of the page.
struct File {
    name: &'static str,
    content: &'static [u8],
    /// Its tag, weak in answers: the same for every coding.
    tag: String,
}

static TAGGED: LazyLock<Vec<File>> =
    LazyLock::new(|| FILES.iter().map(|&(name, content)| File { name, content, tag: tag(content) }).collect());

/// Whether a path is one of the page's. Never when there is no page.
pub(super) fn is_at(app: &App, path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        && app.config().ui_mode() != UiMode::Off
}

pub(super) async fn handle(app: &App, parts: &Parts) -> Result<Response<Body>, HttpError> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(HttpError::MethodNotAllowed);
    }
    let mut response = match parts.uri.path()[PATH.len()..].strip_prefix('/') {
        // Relative, so that it holds behind a proxy that serves all this below a path of its own.
        None => moved("ui/"),
        Some(CONFIG) => config(app),
        Some(name) => {
            let name = if name.is_empty() { "index.html" } else { name };
            let file = TAGGED.iter().find(|file| file.name == name).ok_or(HttpError::NoRoute)?;
            serve(app, file, &parts.headers).await?
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    Ok(response)
}

async fn serve(app: &App, file: &File, asked: &HeaderMap) -> Result<Response<Body>, HttpError> {
    let mut response = Response::new(Body::Empty);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type(file.name));
    // Hex digits are always legal.
    let weak = HeaderValue::from_str(&format!("W/{}", file.tag));
    headers.insert(header::ETAG, weak.unwrap_or(const { HeaderValue::from_static("\"\"") }));
    // Another version of the server has other files under the same names.
    headers.insert(header::CACHE_CONTROL, cache::NO_CACHE);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if cache::names_tag(asked, &file.tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let content = Bytes::from_static(file.content);
    let compressible = app.config().server.compression && content.len() >= compress::SMALLEST;
    *response.body_mut() = match compressible.then(|| compress::negotiate(asked)).flatten() {
        None => Body::Full(content),
        Some(coding) => {
            response.headers_mut().insert(header::CONTENT_ENCODING, coding.to_header());
            match compress::encode(vec![content], coding).await {
                Ok(encoded) => Body::Full(encoded),
                // Writing to memory does not fail; without the coding it is as good.
                Err(_) => {
                    response.headers_mut().remove(header::CONTENT_ENCODING);
                    Body::Full(Bytes::from_static(file.content))
                }
            }
        }
    };
    Ok(response)
}

fn config(app: &App) -> Response<Body> {
    super::list::answer(&json!({
        "readOnly": app.config().ui_mode() == UiMode::ReadOnly,
        "access": matches!(app.gate(), Gate::Checked(_)),
        "streamRoot": app.config().server.stream_root,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

fn moved(to: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(to));
    response.headers_mut().insert(header::CACHE_CONTROL, cache::NO_STORE);
    response
}

fn tag(content: &[u8]) -> String {
    let hash = digest(&SHA256, content);
    let hex: String = hash.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

fn media_type(name: &str) -> HeaderValue {
    HeaderValue::from_static(match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("css") => "text/css; charset=utf-8",
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_binary_and_has_a_type() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ui");
        let names = std::fs::read_dir(folder).expect("the folder is there").map(|entry| {
            let name = entry.expect("it can be read").file_name();
            name.into_string().expect("names are plain")
        });
        let listed: BTreeSet<String> = FILES.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names.collect::<BTreeSet<_>>(), listed);
        for name in listed {
            assert_ne!(media_type(&name), "application/octet-stream", "{name}");
        }
    }
}
