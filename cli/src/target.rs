//! Which server, which stream: the rules for URLs and ids, and the client that talks to them.

use std::time::Duration;

use everstream::{Backoff, Client, DurableStream, ListedStream, RetryPolicy, Subscriptions};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::args::Global;
use crate::output::{Failure, complain};

const DEFAULT_URL: &str = "http://127.0.0.1:4437";
const LONGEST_ID: usize = 256;

/// The server that a command talks to.
#[derive(Debug)]
pub(crate) struct Target {
    client: Client,
    base: String,
    /// How long one try of a request may take; two of them are the whole budget of a command.
    pub(crate) try_timeout: Duration,
}

impl Target {
    /// Checks the options, and warns of an odd `--auth`.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let base = match (&global.url, variable("STREAM_URL")) {
            (Some(url), _) => base_url(url, &global.stream_root),
            (None, Some(url)) => base_url(&url, &global.stream_root)
                .map_err(|error| format!("Invalid STREAM_URL environment variable: {error}")),
            (None, None) => base_url(DEFAULT_URL, &global.stream_root),
        }
        .map_err(|error| Failure::new(format!("Error: {error}")))?;

        let refused = |error: everstream::Error| Failure::new(format!("Error: {}", error.message()));
        // A try begins in the first half of the budget and ends within the other.
        let try_timeout = global.timeout / 2;
        let mut builder = Client::builder()
            .retry(RetryPolicy {
                backoff: Backoff { max: Duration::from_secs(2), multiplier: 1.5, ..Backoff::default() },
                max_retries: None,
                max_elapsed: Some(try_timeout),
                ..RetryPolicy::default()
            })
            .connect_timeout(try_timeout.min(Duration::from_secs(10)))
            .request_timeout(try_timeout);
        if let Some(auth) = global.auth.clone().or_else(|| variable("STREAM_AUTH")) {
            check_auth(&auth)?;
            builder = builder.header("authorization", auth).map_err(refused)?;
        }
        for header in &global.headers {
            let (name, value) =
                header.split_once(':').ok_or_else(|| Failure::new("Error: --header takes 'Name: value'"))?;
            builder = builder.header(name.trim(), value.trim()).map_err(refused)?;
        }
        Ok(Self { client: builder.build().map_err(refused)?, base, try_timeout })
    }

    /// A handle to a stream by its id.
    pub(crate) fn stream(&self, id: &str) -> Result<DurableStream, Failure> {
        check_id(id).map_err(|error| Failure::new(format!("Error: {error}")))?;
        self.client
            .stream(&format!("{}/{id}", self.base))
            .map_err(|error| Failure::new(format!("Error: {}", error.message())))
    }

    /// A handle to a stream by whatever name a server gives.
    pub(crate) fn any_stream(&self, name: &str) -> Result<DurableStream, Failure> {
        // Segments keep their slashes; everything else that could mean something in a URL is encoded.
        const RESERVED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?');
        let url = format!("{}/{}", self.base, utf8_percent_encode(name, RESERVED));
        self.client.stream(&url).map_err(|error| Failure::new(format!("Error: {}", error.message())))
    }

    /// The streams of the server whose ids begin with `prefix`.
    pub(crate) async fn list(&self, prefix: &str) -> everstream::Result<Vec<ListedStream>> {
        self.client.list(&self.base, prefix).await
    }

    /// The subscriptions of the server.
    pub(crate) fn subscriptions(&self) -> Result<Subscriptions, Failure> {
        let made = self.client.subscriptions(&self.base);
        made.map_err(|error| Failure::new(format!("Error: {}", error.message())))
    }

    /// The URL path of a stream on the server, stream root included.
    pub(crate) fn path_of(&self, id: &str) -> Result<String, Failure> {
        check_id(id).map_err(|error| Failure::new(format!("Error: {error}")))?;
        Ok(format!("{}/{id}", path(&self.base)))
    }
}

/// An environment variable that says something.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The URL below which streams live: without trailing slashes, with the stream root if it had no path.
fn base_url(url: &str, root: &str) -> Result<String, String> {
    let url = url.trim();
    if url.is_empty() {
        return Err("URL cannot be empty".to_owned());
    }
    let hint = "Expected format: http://host:port or https://host:port";
    let Some((scheme, _)) = url.split_once("://") else {
        return Err(format!("Invalid URL format\n  {hint}"));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(format!("Invalid URL protocol: \"{scheme}:\"\n  Only http:// and https:// are supported"));
    }
    if url.contains(['?', '#']) {
        return Err("URL must not have a query or fragment".to_owned());
    }
    let url = url.trim_end_matches('/');
    everstream::proto::url::StreamUrl::parse(url).map_err(|_| format!("URL must include a hostname\n  {hint}"))?;
    if !path(url).is_empty() {
        return Ok(url.to_owned());
    }
    match root.trim_matches('/') {
        "" => Ok(url.to_owned()),
        root => Ok(format!("{url}/{root}")),
    }
}

/// The path of a URL that is known to be one, without trailing slash.
fn path(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let rest = &url[after_scheme..];
    rest.find('/').map_or("", |at| &rest[at..])
}

/// The official rule for ids, and one more: segments that URLs drop would make it another stream's.
fn check_id(id: &str) -> Result<(), String> {
    if id.trim().is_empty() {
        return Err("Stream ID cannot be empty".to_owned());
    }
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:/".contains(&byte)) {
        return Err(format!(
            "Invalid stream ID: {id:?}\n  Stream IDs can only contain letters, numbers, underscores, hyphens, dots, \
             colons and slashes"
        ));
    }
    if id.len() > LONGEST_ID {
        return Err(format!("Stream ID too long ({} chars)\n  Maximum length is {LONGEST_ID} characters", id.len()));
    }
    if id.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(format!("Invalid stream ID: {id:?}\n  A segment cannot be . or .."));
    }
    Ok(())
}

/// Refuses an empty `--auth`; warns of one that looks like a bare token, without showing it.
fn check_auth(auth: &str) -> Result<(), Failure> {
    if auth.trim().is_empty() {
        return Err(Failure::new("Error: Authorization value cannot be empty"));
    }
    if is_bare_token(auth) {
        complain(
            "Warning: Authorization value doesn't match common formats.\n  \
             Expected: \"Bearer <token>\", \"Basic <credentials>\", or \"ApiKey <key>\"",
        );
    }
    Ok(())
}

fn is_bare_token(auth: &str) -> bool {
    !auth.trim().contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_gets_the_stream_root() {
        for (url, base) in [
            ("http://h:4437", "http://h:4437/v1/stream"),
            ("http://h:4437/", "http://h:4437/v1/stream"),
            ("http://h:4437/v1/stream", "http://h:4437/v1/stream"),
            ("https://h/v1/stream//", "https://h/v1/stream"),
            (" HTTPS://h/group ", "HTTPS://h/group"),
            ("http://me:pw@h", "http://me:pw@h/v1/stream"),
            ("http://[::1]:4437", "http://[::1]:4437/v1/stream"),
        ] {
            assert_eq!(base_url(url, "/v1/stream").as_deref(), Ok(base), "{url}");
        }
        assert_eq!(base_url("http://h/", "/").as_deref(), Ok("http://h"));
        assert_eq!(base_url("http://h", "streams/").as_deref(), Ok("http://h/streams"));
    }

    #[test]
    fn what_is_no_http_url_is_refused_without_showing_it() {
        for bad in ["", " ", "h:4437", "ftp://h", "http://", "http:///x", "http://h/?a=b", "http://h#x", "/v1"] {
            assert!(base_url(bad, "/v1/stream").is_err(), "{bad}");
        }
        let error = base_url("http://:secret@", "/v1/stream").unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn paths_keep_what_the_base_has() {
        assert_eq!(path("http://h:1/v1/stream"), "/v1/stream");
        assert_eq!(path("http://h"), "");
    }

    #[test]
    fn ids_follow_the_official_rule() {
        for good in ["a", "A-b_c.d:e", "a/b/c", "...", &"x".repeat(256)] {
            assert_eq!(check_id(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "a b", "a?b", "a%20", "ä", "a/../b", ".", &"x".repeat(257)] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_a_value_without_scheme_and_space_is_a_bare_token() {
        assert!(is_bare_token("abc"));
        assert!(is_bare_token("bearer"));
        assert!(!is_bare_token("Bearer abc"));
        assert!(!is_bare_token("Custom abc"));
    }
}
