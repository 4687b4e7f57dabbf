//! A request whose body is on its way: it is read where it stays.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::Request;
use tokio::io::AsyncRead;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;

use super::super::activity::Busy;
use super::request::Partial;
use crate::http::Room;

/// A body that has not come by then is hyper's: how long it may take at all, and what is answered then, is decided there.
const PATIENCE: Duration = Duration::from_secs(1);

/// The next request of a connection.
pub(super) struct Arriving {
    request: Request<Bytes>,
    head: Bytes,
    body: BytesMut,
    missing: usize,
    room: Room,
    has_room: bool,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// From its head on the connection is not idle.
    _busy: Busy,
}

impl Arriving {
    /// Takes what is there of the body off `input`. A body may take `timeout` to get on.
    pub(super) fn new(partial: Partial, input: &mut Bytes, room: Room, timeout: Duration, busy: Busy) -> Self {
        let Partial { request, head, body_len } = partial;
        let mut arriving = Self {
            request,
            head,
            // Not more than `LARGEST_BODY`, and it takes no memory before it is written to.
            body: BytesMut::with_capacity(body_len),
            missing: body_len,
            room,
            has_room: true,
            patience: PATIENCE.min(timeout),
            timer: None,
            _busy: busy,
        };
        let there = input.len().min(body_len);
        arriving.body.put_slice(&input[..there]);
        arriving.note(there);
        input.advance(there);
        if input.is_empty() {
            // Not to keep alive what it was a part of.
            *input = Bytes::new();
        }
        arriving
    }

    fn note(&mut self, more: usize) {
        self.missing -= more;
        self.has_room &= self.room.take(more);
    }

    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// Whether it has to be told that too many bytes are under way.
    pub(super) fn is_refused(&self) -> bool {
        !self.has_room
    }

    /// The request, and its size.
    pub(super) fn into_whole(self) -> (Request<Bytes>, usize) {
        let size = self.head.len() + self.body.len();
        let mut request = self.request;
        *request.body_mut() = self.body.freeze();
        (request, size)
    }

    /// All that has come of it, as it came.
    pub(super) fn into_bytes(self) -> Bytes {
        [&self.head[..], &self.body].concat().into()
    }

    /// Reads more of the body, and nothing beyond it; `false` at the end of the connection.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        let more = ready!(poll_read_buf(Pin::new(socket), cx, &mut (&mut self.body).limit(self.missing)))?;
        self.note(more);
        Poll::Ready(Ok(more > 0))
    }

    /// Ready when it has taken too long to wait for it here. Call it when there is nothing to be read.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience))).as_mut().poll(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::super::super::activity::Activity;
    use super::super::request::{Next, take};
    use super::*;

    const HEAD: &str = "POST /a HTTP/1.1\r\ncontent-length: 10\r\n\r\n";

    fn arriving(sent: &str, activity: &Arc<Activity>) -> Arriving {
        let mut input = Bytes::from(format!("{HEAD}{sent}"));
        let Next::Partial(partial) = take(&mut input, 10) else { panic!("the body is not all there") };
        let arriving = Arriving::new(partial, &mut input, Room::default(), Duration::MAX, activity.begin());
        assert_eq!(input, "");
        arriving
    }

    #[test]
    fn a_body_is_read_to_its_end_and_not_beyond_and_keeps_the_connection_busy() {
        let activity = Arc::new(Activity::default());
        let mut arriving = arriving("0123", &activity);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        let mut socket = &b"45"[..];
        assert!(matches!(arriving.poll_read(&mut socket, cx), Poll::Ready(Ok(true))));
        assert!(!arriving.is_whole() && activity.is_busy());
        socket = b"6789POST";
        assert!(matches!(arriving.poll_read(&mut socket, cx), Poll::Ready(Ok(true))));
        assert_eq!((arriving.is_whole(), socket), (true, &b"POST"[..]));
        let (request, size) = arriving.into_whole();
        assert_eq!((&request.body()[..], size), (&b"0123456789"[..], HEAD.len() + 10));
        assert!(!activity.is_busy());
    }

    #[test]
    fn what_has_come_is_handed_over_as_it_came() {
        let mut arriving = arriving("012", &Arc::default());
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(matches!(arriving.poll_read(&mut &b"34"[..], cx), Poll::Ready(Ok(true))));
        assert!(matches!(arriving.poll_read(&mut &b""[..], cx), Poll::Ready(Ok(false))));
        assert_eq!(arriving.into_bytes(), format!("{HEAD}01234"));
    }
}
