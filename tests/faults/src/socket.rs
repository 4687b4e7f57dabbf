//! A TCP stream under hyper that can be told to end in a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior};

/// Says how a [`Socket`] ends, from outside of the hyper connection that owns it.
#[derive(Default)]
pub(crate) struct ResetSwitch {
    when_dropped: AtomicBool,
    when_flushed: AtomicBool,
}

impl ResetSwitch {
    /// The peer sees a reset, not a proper end, as soon as the socket is dropped.
    pub(crate) fn reset_when_dropped(&self) {
        self.when_dropped.store(true, Relaxed);
    }

    /// The connection breaks as soon as the peer has all that was written to it. Its task must be polled once more.
    pub(crate) fn reset_when_flushed(&self) {
        self.reset_when_dropped();
        self.when_flushed.store(true, Relaxed);
    }
}

/// A TCP stream without Nagle's delay that obeys a [`ResetSwitch`].
pub(crate) struct Socket {
    io: TokioIo<TcpStream>,
    switch: Arc<ResetSwitch>,
    drain: Option<Drain>,
}

/// The wait for the peer to take what was written. A reset throws away what it has not taken yet.
struct Drain {
    check: Interval,
    checks_left: u32,
}

impl Drain {
    /// A peer that takes nothing gets its reset after a second all the same.
    const CHECKS: u32 = 1_000;
    const PERIOD: Duration = Duration::from_millis(1);

    fn new() -> Self {
        let mut check = tokio::time::interval(Self::PERIOD);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { check, checks_left: Self::CHECKS }
    }

    fn poll(&mut self, stream: &TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        while self.checks_left > 0 && untaken(stream) > 0 {
            ready!(self.check.poll_tick(cx));
            self.checks_left -= 1;
        }
        Poll::Ready(())
    }
}

/// How many bytes the kernel holds that the peer has not acknowledged.
#[cfg(target_os = "linux")]
fn untaken(stream: &TcpStream) -> usize {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` is borrowed, and TIOCOUTQ writes one int to the address.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &mut bytes) };
    // It fails for a connection that is gone, which takes nothing more.
    if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Not known here: cuts far into a large body may come early.
#[cfg(not(target_os = "linux"))]
fn untaken(_stream: &TcpStream) -> usize {
    0
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, switch: Arc<ResetSwitch>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { io: TokioIo::new(stream), switch, drain: None })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.switch.when_dropped.load(Relaxed) {
            // Closing a socket that lingers for no time sends RST and forgets what was not sent yet. If the option
            // cannot be set the peer is gone already.
            let _ = self.io.inner().set_zero_linger();
        }
    }
}

impl Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    /// hyper calls this only when its own buffer is empty, so here all that a body has given is with the kernel.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.switch.when_flushed.load(Relaxed) {
            let Self { io, drain, .. } = &mut *self;
            ready!(drain.get_or_insert_with(Drain::new).poll(io.inner(), cx));
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
