//! Control data: position, cursor, up-to-date and closure, one struct for HTTP headers and SSE control
//! events (PROTOCOL.md sections 10 to 12 and T-CONTROL).

use super::names;
use super::object::{Fields, Value, quoted};
use super::offset::{InvalidOffset, Offset};
use crate::headers::{HeaderMap, HeaderValue};

/// What a read answer or an SSE control event says beside the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The offset just after the data that this control covers.
    pub next_offset: Offset,
    /// Echoed on the next live request (C-REQ-4).
    pub cursor: Option<String>,
    /// Everything available was sent.
    pub up_to_date: bool,
    /// The stream is closed and all its data was sent: the end (C-EOF-1).
    pub closed: bool,
}

impl Control {
    /// Reads the headers of a GET answer. `None` when `Stream-Next-Offset` is missing (C-READ-8).
    ///
    /// # Errors
    /// The offset is not one.
    pub fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, InvalidOffset> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let Some(offset) = text(names::STREAM_NEXT_OFFSET) else {
            return Ok(None);
        };
        Ok(Some(Self {
            next_offset: Offset::new(offset)?,
            cursor: text(names::STREAM_CURSOR).map(str::to_owned),
            up_to_date: is_up_to_date(headers),
            closed: is_closed(headers),
        }))
    }

    /// Reads the payload of an SSE control event (C-SSE-6). Closure implies up to date (C-EOF-2).
    ///
    /// # Errors
    /// Not a JSON object with a string `streamNextOffset`; says what is wrong.
    pub fn from_event(data: &str) -> Result<Self, String> {
        let fields = Fields::read(data).map_err(|error| format!("control event is not a JSON object: {error}"))?;
        let offset = fields
            .text("streamNextOffset")
            .ok_or_else(|| "control event has no string `streamNextOffset`".to_owned())?;
        let flag = |name| fields.get(name) == Some(&Value::Flag(true));
        let closed = flag("streamClosed");
        Ok(Self {
            next_offset: Offset::new(offset).map_err(|error| format!("control event: {error}"))?,
            cursor: fields.text("streamCursor").map(str::to_owned),
            up_to_date: closed || flag("upToDate"),
            closed,
        })
    }

    /// Writes the payload of an SSE control event, on one line, in the order of T-CONTROL.
    ///
    /// A closed stream has no cursor (S-SSE-16).
    pub fn to_event(&self) -> String {
        let mut json = format!("{{\"streamNextOffset\":{}", quoted(self.next_offset.as_str()));
        if let Some(cursor) = self.cursor.as_ref().filter(|_| !self.closed) {
            json.push_str(&format!(",\"streamCursor\":{}", quoted(cursor)));
        }
        if self.closed {
            json.push_str(",\"streamClosed\":true");
        }
        if self.up_to_date || self.closed {
            json.push_str(",\"upToDate\":true");
        }
        json.push('}');
        json
    }
}

/// Whether a message says that the stream is closed: `true` in any letter case, nothing else (S-HTTP-2, C-READ-5).
pub fn is_closed(headers: &HeaderMap) -> bool {
    headers
        .get(&names::STREAM_CLOSED)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(names::TRUE.as_bytes()))
}

/// Whether a message says that its data reaches to the tail; closure implies it (C-EOF-2).
pub fn is_up_to_date(headers: &HeaderMap) -> bool {
    is_closed(headers) || headers.contains_key(names::STREAM_UP_TO_DATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_event_survives_the_round_trip() {
        let control = Control {
            next_offset: Offset::new("0_1").unwrap(),
            cursor: Some("12".into()),
            up_to_date: true,
            closed: false,
        };
        assert_eq!(control.to_event(), r#"{"streamNextOffset":"0_1","streamCursor":"12","upToDate":true}"#);
        assert_eq!(Control::from_event(&control.to_event()), Ok(control));
    }

    #[test]
    fn closure_implies_up_to_date_and_drops_the_cursor() {
        let control =
            Control::from_event(r#"{"streamNextOffset":"x","streamClosed":true,"streamCursor":"1"}"#).unwrap();
        assert!(control.up_to_date);
        assert_eq!(control.to_event(), r#"{"streamNextOffset":"x","streamClosed":true,"upToDate":true}"#);
    }

    #[test]
    fn a_broken_control_event_is_an_error_and_not_an_empty_one() {
        for bad in ["", "{", "[]", "{}", r#"{"streamNextOffset":3}"#, r#"{"streamNextOffset":"-1"}"#] {
            assert!(Control::from_event(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn closure_counts_in_any_case_and_up_to_date_by_presence() {
        let mut headers = HeaderMap::new();
        headers.insert(names::STREAM_NEXT_OFFSET, "5".parse().unwrap());
        headers.insert(names::STREAM_CLOSED, "yes".parse().unwrap());
        assert!(!Control::from_headers(&headers).unwrap().unwrap().closed);
        headers.insert(names::STREAM_UP_TO_DATE, "".parse().unwrap());
        assert!(Control::from_headers(&headers).unwrap().unwrap().up_to_date);
        headers.insert(names::STREAM_CLOSED, "TRUE".parse().unwrap());
        assert!(Control::from_headers(&headers).unwrap().unwrap().closed);
    }
}
