//! Messages as they are stored: one block of bytes and where each message ends in it.
//!
//! A JSON message is stored as its own text followed by one comma, so that a read wraps any run of
//! messages in `[` and `]` without parsing or copying them (S-JSON-3, S-JSON-5). Everything else is
//! stored as it came; one append is one message.

use bytes::Bytes;
use everstream::proto::content_type::StreamFormat;
use everstream::proto::json::{self, JsonError};

/// Whoever keeps messages below this size copies them, so that a small message does not keep a whole network buffer alive.
const COPY_BELOW: usize = 64 * 1024;

/// Zero or more messages, ready to store.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    data: Bytes,
    /// Ends of the messages within `data`; left empty when there is at most one message.
    ends: Vec<u32>,
    /// Whether `data` is a part of what was read from a connection.
    is_part: bool,
}

impl PartialEq for Messages {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data && self.ends == other.ends
    }
}

impl Eq for Messages {}

impl Messages {
    /// Frames a request body. An empty body, like an empty JSON array, gives no messages.
    ///
    /// # Errors
    /// The format is JSON and the body is not one JSON document (S-JSON-1).
    pub fn frame(format: StreamFormat, body: Bytes) -> Result<Self, JsonError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        match format {
            StreamFormat::Json => Self::frame_json(&body),
            StreamFormat::Binary | StreamFormat::Text => Ok(Self { data: body, ends: Vec::new(), is_part: true }),
        }
    }

    fn frame_json(body: &[u8]) -> Result<Self, JsonError> {
        let found = json::messages(body)?;
        let (Some(first), Some(last)) = (found.first(), found.last()) else {
            return Ok(Self::default());
        };
        // Compact arrays, which producers send, already have one byte between messages: the comma.
        if found.windows(2).all(|pair| pair[0].end + 1 == pair[1].start) {
            let mut data = Vec::with_capacity(last.end - first.start + 1);
            data.extend_from_slice(&body[first.start..last.end]);
            data.push(b',');
            let ends = if found.len() == 1 {
                Vec::new()
            } else {
                found.iter().map(|range| end_of(range.end + 1 - first.start)).collect()
            };
            return Ok(Self { data: data.into(), ends, is_part: false });
        }
        let mut data = Vec::with_capacity(body.len() + 1);
        let mut ends = Vec::with_capacity(found.len());
        for range in found {
            data.extend_from_slice(&body[range]);
            data.push(b',');
            ends.push(end_of(data.len()));
        }
        Ok(Self { data: data.into(), ends, is_part: false })
    }

    /// Messages as they were stored: `ends` is what [`inner_ends`](Self::inner_ends) gave. `None` if they do
    /// not fit the bytes.
    pub(crate) fn from_parts(data: Bytes, ends: Vec<u32>) -> Option<Self> {
        let ordered = ends.windows(2).all(|pair| pair[0] < pair[1]) && ends.first() != Some(&0);
        let complete = ends.last().is_none_or(|last| *last as usize == data.len());
        let bounded = data.len() <= crate::config::LARGEST_BODY + 1;
        (ordered && complete && bounded).then_some(Self { data, ends, is_part: false })
    }

    /// Where each message ends, or nothing when there is at most one.
    pub(crate) fn inner_ends(&self) -> &[u32] {
        &self.ends
    }

    /// The stored bytes of all messages.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// [`data`](Self::data) for whoever keeps it for longer than the commit takes. The copy is made in the thread that will free
    /// it: memory that one thread takes and another gives back makes them wait for each other.
    pub fn kept(&self) -> Bytes {
        if self.is_part && self.data.len() < COPY_BELOW {
            Bytes::copy_from_slice(&self.data)
        } else {
            self.data.clone()
        }
    }

    /// Where each message ends, counted from the start of [`data`](Self::data).
    pub fn ends(&self) -> impl Iterator<Item = u32> + '_ {
        let single = (self.ends.is_empty() && !self.data.is_empty()).then(|| end_of(self.data.len()));
        self.ends.iter().copied().chain(single)
    }

    /// Stored bytes.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// Bodies are at most [`crate::config::LARGEST_BODY`] bytes, far below `u32::MAX`; a caller that brings
/// more gets a wrong boundary refused by the storage rather than a panic.
fn end_of(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn frame(body: &str) -> (String, Vec<u32>) {
        let messages = Messages::frame(StreamFormat::Json, Bytes::copy_from_slice(body.as_bytes())).unwrap();
        (String::from_utf8(messages.data().to_vec()).unwrap(), messages.ends().collect())
    }

    #[test]
    fn json_text_is_kept_and_only_framing_is_replaced() {
        assert_eq!(frame("[1,{\"b\" : 2.50},3]"), ("1,{\"b\" : 2.50},3,".into(), vec![2, 15, 17]));
        assert_eq!(frame(" [ 1 , [2, 3] ] "), ("1,[2, 3],".into(), vec![2, 9]));
        assert_eq!(frame("{\"a\":1}"), ("{\"a\":1},".into(), vec![8]));
        assert_eq!(frame("[]"), (String::new(), vec![]));
    }

    #[test]
    fn a_small_message_that_is_kept_does_not_keep_the_buffer_that_it_came_in() {
        let lengths = [1, COPY_BELOW - 1, COPY_BELOW];
        let keeps = lengths.map(|len| {
            let buffer = Bytes::from(vec![b'x'; 2 * COPY_BELOW]);
            let messages = Messages::frame(StreamFormat::Binary, buffer.slice(..len)).unwrap();
            let kept = messages.kept();
            drop(messages);
            assert_eq!(kept, buffer[..len]);
            !buffer.is_unique()
        });
        assert_eq!(keeps, [false, false, true]);
    }

    #[test]
    fn other_formats_are_one_message_as_they_came() {
        let messages = Messages::frame(StreamFormat::Text, Bytes::from_static(b"[1,2]")).unwrap();
        assert_eq!(messages.data(), "[1,2]");
        assert_eq!(messages.ends().collect::<Vec<_>>(), [5]);
    }
}
