//! A socket that gives up on a peer that does not get on: one that begins a request and does not finish its head, and
//! one that does not take what it asked for.
//!
//! A timer exists only while the socket waits for such a peer, so that all others cost nothing.

use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::activity::Activity;
use super::socket::Socket;
use crate::config::Limits;

/// How an HTTP/2 connection begins (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A socket with time limits.
pub(super) struct Guarded<S> {
    socket: S,
    activity: Arc<Activity>,
    reading: Reading,
    head: Deadline,
    write: Deadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing was read yet.
    First,
    /// Between requests, or in one whose head is complete.
    Whatever,
    /// Bytes came since `begun` was so much, when no request was under way: the head of the next one.
    Head { begun: u32 },
    /// Frames come at any time. Whether the peer is there is found out by pings.
    Http2,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, activity: Arc<Activity>, limits: &Limits) -> Self {
        Self {
            socket,
            activity,
            reading: Reading::First,
            head: Deadline::new(limits.header_timeout, "the head of a request did not come in time"),
            write: Deadline::new(limits.write_timeout, "the peer does not read what it asked for"),
        }
    }

    fn note_read(&mut self, bytes: &[u8]) {
        let is_first = self.reading == Reading::First;
        let begun = self.activity.begun();
        self.reading = match self.reading {
            Reading::Http2 => return,
            _ if is_first
                && !bytes.is_empty()
                && bytes.starts_with(&HTTP2_PREFACE[..bytes.len().min(HTTP2_PREFACE.len())]) =>
            {
                Reading::Http2
            }
            Reading::Head { begun: since } if since == begun => return,
            _ if self.activity.is_busy() => Reading::Whatever,
            _ => Reading::Head { begun },
        };
        self.head.disarm();
    }

    /// Whether the head of a request has begun to come and is not complete.
    fn awaits_head(&mut self) -> bool {
        let Reading::Head { begun } = self.reading else { return false };
        let awaits = begun == self.activity.begun();
        if !awaits {
            // No need to look again before more is read.
            self.reading = Reading::Whatever;
        }
        awaits
    }

    fn written<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(result) => {
                self.write.disarm();
                Poll::Ready(result)
            }
            Poll::Pending => self.write.poll(cx).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Ready(result) => {
                this.note_read(&buf.filled()[before..]);
                Poll::Ready(result)
            }
            Poll::Pending if this.awaits_head() => this.head.poll(cx).map(Err),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write(cx, buf);
        this.written(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_write_vectored(cx, bufs);
        this.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.socket).poll_flush(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => this.write.poll(cx).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.socket).poll_shutdown(cx);
        this.written(cx, polled)
    }
}

impl<S: Socket> Socket for Guarded<S> {
    fn sends_files(&self) -> bool {
        self.socket.sends_files()
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        at: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let polled = self.socket.poll_send_file(cx, file, at, len);
        self.written(cx, polled)
    }
}

/// A time limit that runs from the first poll to [`Self::disarm`].
struct Deadline {
    after: Duration,
    error: &'static str,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(after: Duration, error: &'static str) -> Self {
        Self { after, error, sleep: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let after = self.after;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + after)));
        let error = self.error;
        sleep.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, error))
    }

    fn disarm(&mut self) {
        self.sleep = None;
    }
}
