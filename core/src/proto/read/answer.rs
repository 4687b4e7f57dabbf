//! What the head of an answer says: whether it is good, what of, and of which stream.

use super::body::{PlainBody, SseBody};
use super::{Asked, Kind, ReadEvent, ReadSession, State};
use crate::error::{Error, ErrorKind};
use crate::headers::{CONTENT_LENGTH, ETAG};
use crate::options::LiveMode;
use crate::proto::Instant;
use crate::proto::content_type::StreamFormat;
use crate::proto::control::Control;
use crate::proto::names;
use crate::proto::offset::ReadFrom;
use crate::proto::request::Request;
use crate::proto::response::ResponseHead;

impl ReadSession {
    pub(super) fn handle_refusal(&mut self, kind: Kind, head: &ResponseHead, now: Instant) {
        let error = head.to_error(&Request::read(&self.checkpoint.from, None, None));
        if head.status == http::StatusCode::NOT_MODIFIED && self.options.if_none_match.is_some() {
            self.state = State::Ended;
            self.events.extend([ReadEvent::NotModified, ReadEvent::End]);
        } else if head.is_transient() {
            self.retry_later(error, now);
        } else if kind == Kind::Sse && matches!(head.status.as_u16(), 400 | 405 | 406 | 415 | 501) {
            self.fall_back(error);
        } else {
            self.fail(error);
        }
    }

    /// Whether an answer of events is one of the protocol, and not the content of a stream of that type. Where nobody
    /// asked for events it can only be the former if the stream is known to be JSON: mocks of servers answer so.
    pub(super) fn may_be_events(&self, kind: Kind) -> bool {
        kind == Kind::Sse || (self.options.json && self.options.live == LiveMode::Sse)
    }

    pub(super) fn handle_event_stream(&mut self, head: &ResponseHead, since: Instant) {
        let base64 =
            head.text(names::STREAM_SSE_DATA_ENCODING).is_some_and(|it| it.eq_ignore_ascii_case(names::BASE64));
        let body = SseBody::new(self.is_json(), base64);
        // The deadline is that of the request: something that buffers may send the head at once and then nothing.
        let deadline = since.saturating_add(self.options.sse_first_byte_timeout);
        self.state = State::Events { body, since, deadline, heard: false, delivered: false };
    }

    pub(super) fn handle_plain_head(&mut self, kind: Kind, head: &ResponseHead, since: Instant, now: Instant) {
        let control = match Control::from_headers(&head.headers) {
            Ok(Some(control)) => control,
            Ok(None) => {
                let error = Error::new(ErrorKind::Protocol, "the answer has no Stream-Next-Offset");
                // Not even an answer of the server, but of something that does not know SSE (C-LIVE-4).
                return if kind == Kind::Sse { self.fall_back(error) } else { self.fail(error) };
            }
            Err(error) => return self.fail(Error::new(ErrorKind::Protocol, format!("Stream-Next-Offset: {error}"))),
        };
        if let Err(error) = self.check_offset(&control) {
            return self.fail(error);
        }
        let live = kind != Kind::CatchUp;
        let stall_timeout = if live { self.options.stall_timeout } else { self.options.request_timeout };
        let asked = Asked { live, since, stall_timeout };
        let etag = head.text(ETAG).map(str::to_owned);
        let expected = head.number(CONTENT_LENGTH).and_then(|len| usize::try_from(len).ok()).unwrap_or_default();
        let mut buffer = std::mem::take(&mut self.buffer);
        // What a host keeps takes no memory here.
        if !(self.options.parsed_by_host && self.is_json()) {
            buffer.reserve(expected.min(self.options.max_batch_bytes));
        }
        let body = if self.is_json() {
            PlainBody::json(self.checkpoint.skip, buffer, self.options.parsed_by_host)
        } else {
            PlainBody::bytes(self.checkpoint.skip, buffer)
        };
        self.state = State::Body { body, control, etag, asked, deadline: now.saturating_add(stall_timeout) };
        if head.status == http::StatusCode::NO_CONTENT {
            self.handle_end(now);
        }
    }

    pub(super) fn learn_content_type(&mut self, content_type: &str) {
        if self.content_type.is_none() {
            let format = StreamFormat::of(content_type);
            self.content_type = Some(content_type.to_owned());
            self.format = Some(format);
            self.tail.decide(if self.options.json { StreamFormat::Json } else { format });
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.options.json || self.format == Some(StreamFormat::Json)
    }

    /// Notices a stream that was deleted and recreated: by our servers' own header, and by the stream id that
    /// other servers put into their ETags - trusted only when the tag is built around the offsets of this very
    /// exchange (S-ETAG-1), since a tag is opaque otherwise.
    pub(super) fn check_incarnation(&mut self, head: &ResponseHead) -> Result<(), Error> {
        if let Some(incarnation) = head.text(names::STREAM_INCARNATION) {
            let known = self.checkpoint.incarnation.get_or_insert_with(|| incarnation.to_owned());
            if known != incarnation {
                return Err(recreated("it is another incarnation now"));
            }
            return Ok(());
        }
        let (Some(etag), Some(next)) = (head.text(ETAG), head.text(names::STREAM_NEXT_OFFSET)) else {
            return Ok(());
        };
        let tag = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
        let tag = tag.strip_suffix(":c").unwrap_or(tag);
        let Some(id) = tag
            .strip_suffix(next)
            .and_then(|rest| rest.strip_suffix(':'))
            .and_then(|rest| rest.strip_suffix(self.checkpoint.from.as_str()))
            .and_then(|rest| rest.strip_suffix(':'))
        else {
            return Ok(());
        };
        let known = self.etag_id.get_or_insert_with(|| id.to_owned());
        if known == id { Ok(()) } else { Err(recreated("its ETags name another stream now")) }
    }

    /// An offset never goes back (S-OFF-2).
    pub(super) fn check_offset(&self, control: &Control) -> Result<(), Error> {
        match &self.checkpoint.from {
            ReadFrom::At(at) if control.next_offset.is_surely_before(at) => {
                Err(recreated(&format!("its offset {} is before {at}, where this reader is", control.next_offset)))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn recreated(why: &str) -> Error {
    let message = format!("the stream was deleted and recreated, or lost data: {why}; read again from the beginning");
    Error::new(ErrorKind::StreamRecreated, message)
}
