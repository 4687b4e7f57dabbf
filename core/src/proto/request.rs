//! Requests as plain values: method, protocol query, protocol headers, body (PROTOCOL.md section 19).
//!
//! A driver adds the caller's own headers and parameters - evaluated anew for each try (C-REQ-6) - and sends it.

use std::fmt;

use bytes::Bytes;
use http::Method;

use super::content_type::DEFAULT_CONTENT_TYPE;
use super::names;
use super::offset::ReadFrom;
use crate::error::{Error, Result};
use crate::headers::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use crate::options::{AppendOptions, CreateOptions};

/// Headers that only the protocol sets.
const CONTROLLED_HEADERS: [HeaderName; 5] =
    [CONTENT_TYPE, names::STREAM_CLOSED, names::PRODUCER_ID, names::PRODUCER_EPOCH, names::PRODUCER_SEQ];

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// POST with a body.
    Append,
    /// POST with `Stream-Closed: true`.
    Close,
    /// Anything about subscriptions.
    Control,
    /// PUT.
    Create,
    /// DELETE.
    Delete,
    /// HEAD.
    Head,
    /// GET of a list of streams.
    List,
    /// POST of a producer's batch.
    Produce,
    /// GET.
    Read,
}

impl Operation {
    /// The name in errors and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Close => "close",
            Self::Control => "control",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Head => "head",
            Self::List => "list",
            Self::Produce => "produce",
            Self::Read => "read",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a second try of a request can do harm to (T-RETRY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Nothing: the server tells repeats apart, or they change nothing.
    Safe,
    /// A plain append: a repeat may store the data twice, so it needs an answer that rules that out.
    Unsafe,
}

/// One request, without what the caller adds to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it is for.
    pub operation: Operation,
    /// HTTP method.
    pub method: Method,
    /// Protocol parameters, not yet encoded; [`StreamUrl::with_query`](super::url::StreamUrl::with_query) adds them.
    pub query: Vec<(&'static str, String)>,
    /// Protocol headers; they win over the caller's (C-REQ-5).
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// Whether it may be sent again when nobody knows what became of it.
    pub repeat: Repeat,
}

impl Request {
    fn new(operation: Operation, method: Method) -> Self {
        Self {
            operation,
            method,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeat: Repeat::Safe,
        }
    }

    fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Result<Self> {
        let value = HeaderValue::from_str(value.as_ref()).map_err(|_| {
            Error::invalid_argument(format!("{} has characters that no header can hold", name.as_str()))
        })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    fn closing(mut self, closed: bool) -> Self {
        if closed {
            self.headers.insert(names::STREAM_CLOSED, HeaderValue::from_static(names::TRUE));
        }
        self
    }

    /// PUT (C-WRITE-1).
    ///
    /// # Errors
    /// Options that exclude each other, or that no header can hold.
    pub fn create(options: &CreateOptions) -> Result<Self> {
        options.validate()?;
        let mut request = Self::new(Operation::Create, Method::PUT).closing(options.closed);
        if let Some(content_type) = &options.content_type {
            request = request.header(CONTENT_TYPE, content_type)?;
        }
        if let Some(ttl) = options.ttl {
            request = request.header(names::STREAM_TTL, ttl.as_secs().to_string())?;
        }
        if let Some(deadline) = &options.expires_at {
            request = request.header(names::STREAM_EXPIRES_AT, deadline)?;
        }
        if let Some(fork) = &options.fork {
            request = request.header(names::STREAM_FORKED_FROM, &fork.source)?;
            if let Some(offset) = &fork.offset {
                request = request.header(names::STREAM_FORK_OFFSET, offset.as_str())?;
            }
            if fork.sub_offset > 0 {
                request = request.header(names::STREAM_FORK_SUB_OFFSET, fork.sub_offset.to_string())?;
            }
        }
        request.body = options.body.clone().unwrap_or_default();
        Ok(request)
    }

    /// POST of a body that is framed already, without a producer. With `closed` it closes the stream in the same step.
    ///
    /// # Errors
    /// A header value that no header can hold.
    pub fn append(body: Bytes, content_type: Option<&str>, options: &AppendOptions, closed: bool) -> Result<Self> {
        let operation = if closed { Operation::Close } else { Operation::Append };
        let content_type = options.content_type.as_deref().or(content_type).unwrap_or(DEFAULT_CONTENT_TYPE);
        let mut request = Self::new(operation, Method::POST).closing(closed).header(CONTENT_TYPE, content_type)?;
        request.repeat = Repeat::Unsafe;
        if let Some(seq) = &options.seq {
            // A repeat of a stored append then answers 409 instead of storing it again.
            request = request.header(names::STREAM_SEQ, seq)?;
            request.repeat = Repeat::Safe;
        }
        request.body = body;
        Ok(request)
    }

    /// POST that only closes the stream; it can be repeated (C-WRITE-6).
    pub fn close() -> Self {
        Self::new(Operation::Close, Method::POST).closing(true)
    }

    /// POST of a producer's batch; its identity makes every repeat safe.
    ///
    /// # Errors
    /// An id or content type that no header can hold.
    pub fn produce(identity: (&str, u64, u64), content_type: &str, body: Bytes, closed: bool) -> Result<Self> {
        let (id, epoch, seq) = identity;
        let mut request = Self::new(Operation::Produce, Method::POST)
            .closing(closed)
            .header(names::PRODUCER_ID, id)?
            .header(names::PRODUCER_EPOCH, epoch.to_string())?
            .header(names::PRODUCER_SEQ, seq.to_string())?;
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, content_type)?;
        }
        request.body = body;
        Ok(request)
    }

    /// GET. `live` is [`names::LIVE_LONG_POLL`], [`names::LIVE_SSE`] or `None`; the cursor goes only with it (C-REQ-4).
    pub fn read(from: &ReadFrom, live: Option<&'static str>, cursor: Option<&str>) -> Self {
        let mut request = Self::new(Operation::Read, Method::GET);
        request.query.push((names::QUERY_OFFSET, from.as_str().to_owned()));
        if let Some(live) = live {
            request.query.push((names::QUERY_LIVE, live.to_owned()));
            request.query.extend(cursor.map(|cursor| (names::QUERY_CURSOR, cursor.to_owned())));
        }
        request
    }

    /// Whether it is a read that waits for data.
    #[cfg(feature = "driver")]
    pub(crate) fn is_live_read(&self) -> bool {
        self.query.iter().any(|(name, _)| *name == names::QUERY_LIVE)
    }

    /// Makes the answer to a read conditional on a tag that the caller has.
    ///
    /// # Errors
    /// A tag that no header can hold.
    pub fn if_none_match(self, etag: &str) -> Result<Self> {
        self.header(IF_NONE_MATCH, etag)
    }

    /// Puts the protocol's headers over the caller's. Those that an operation controls are the protocol's even where
    /// this request has none: a caller's `Stream-Closed` must not close a stream (C-REQ-5).
    pub fn take_over(&self, headers: &mut HeaderMap) {
        for name in CONTROLLED_HEADERS {
            headers.remove(name);
        }
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// HEAD.
    pub fn head() -> Self {
        Self::new(Operation::Head, Method::HEAD)
    }

    /// GET of one page of the streams whose names begin with `prefix` and come after `after`.
    pub fn list(prefix: &str, after: Option<&str>) -> Self {
        let mut request = Self::new(Operation::List, Method::GET);
        request.query.push(("prefix", prefix.to_owned()));
        request.query.extend(after.map(|after| ("after", after.to_owned())));
        request
    }

    /// A request of the control API of subscriptions (PROTOCOL.md section 17), with a JSON body unless it is empty.
    /// `token` is what a lease shows (S-LEASE-3).
    ///
    /// # Errors
    /// A token that no header can hold.
    pub fn control(method: Method, body: Bytes, token: Option<&str>) -> Result<Self> {
        let mut request = Self::new(Operation::Control, method);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json")?;
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"))?;
        }
        request.body = body;
        Ok(request)
    }

    /// DELETE.
    pub fn delete() -> Self {
        Self::new(Operation::Delete, Method::DELETE)
    }
}

/// The body of an append of JSON values: an array of them, so that a value that is an array stays one message (C-WRITE-2).
pub fn wrap_json(values: &[Bytes]) -> Bytes {
    let mut body = Vec::with_capacity(values.iter().map(|value| value.len() + 1).sum::<usize>() + 1);
    for (index, value) in values.iter().enumerate() {
        body.push(if index == 0 { b'[' } else { b',' });
        body.extend_from_slice(value);
    }
    body.push(b']');
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Fork;
    use std::time::Duration;

    #[test]
    fn a_cursor_goes_out_only_on_live_reads() {
        let from = ReadFrom::Beginning;
        assert_eq!(Request::read(&from, None, Some("7")).query, [("offset", "-1".to_owned())]);
        assert_eq!(Request::read(&from, Some("sse"), Some("7")).query.len(), 3);
    }

    #[test]
    fn create_carries_what_was_given_and_nothing_else() {
        assert!(Request::create(&CreateOptions::default()).unwrap().headers.is_empty());
        let options = CreateOptions {
            ttl: Some(Duration::from_secs(60)),
            closed: true,
            fork: Some(Fork { source: "/v1/stream/a".into(), offset: None, sub_offset: 2 }),
            ..CreateOptions::json()
        };
        let request = Request::create(&options).unwrap();
        assert_eq!(request.headers.len(), 5);
        assert_eq!(request.headers[names::STREAM_FORK_SUB_OFFSET], "2");
        assert!(!request.headers.contains_key(names::STREAM_FORK_OFFSET));
    }

    #[test]
    fn ttl_and_expiry_exclude_each_other_before_anything_is_sent() {
        let options = CreateOptions {
            ttl: Some(Duration::from_secs(1)),
            expires_at: Some("x".into()),
            ..CreateOptions::default()
        };
        assert_eq!(Request::create(&options).unwrap_err().code(), "INVALID_ARGUMENT");
    }

    #[test]
    fn a_header_injection_is_an_invalid_argument() {
        let options = AppendOptions { seq: Some("a\r\nX: y".into()), ..AppendOptions::default() };
        assert_eq!(Request::append(Bytes::new(), None, &options, false).unwrap_err().code(), "INVALID_ARGUMENT");
    }
}
