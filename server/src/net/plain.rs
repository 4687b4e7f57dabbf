//! A socket with nothing between it and the peer, which may be written to in two places: by its connection, and by whoever
//! carries events to it while the connection waits (`engine::relay` says who may when).

use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::socket::Socket;
use crate::engine::Sink;

/// The connection's side of the socket.
pub(super) struct Plain {
    read: OwnedReadHalf,
    write: Arc<Write>,
}

struct Write(OwnedWriteHalf);

impl Plain {
    pub(super) fn new(socket: TcpStream) -> Self {
        let (read, write) = socket.into_split();
        Self { read, write: Arc::new(Write(write)) }
    }

    /// The other side. The socket is open as long as one of them is held.
    pub(super) fn sink(&self) -> Arc<dyn Sink> {
        Arc::clone(&self.write) as Arc<dyn Sink>
    }

    fn poll_with(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let socket = self.write.0.as_ref();
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match write(socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Socket for Plain {
    #[cfg(target_os = "linux")]
    fn sends_files(&self) -> bool {
        true
    }

    #[cfg(target_os = "linux")]
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        mut at: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        use rustix::io::Errno;
        if !is_without_sigpipe() {
            return Poll::Ready(Ok(0));
        }
        self.poll_with(cx, |socket| {
            socket.try_io(Interest::WRITABLE, || {
                loop {
                    match rustix::fs::sendfile(socket, file, Some(&mut at), len) {
                        // Tokio's word for it.
                        Err(Errno::AGAIN) => return Err(io::ErrorKind::WouldBlock.into()),
                        Err(Errno::INTR) => {}
                        // If it is the socket that fails, so will the next write.
                        sent => return Ok(sent.unwrap_or(0)),
                    }
                }
            })
        })
    }
}

/// Writes what the socket takes now. The C library makes each of its writes a point where a thread may be cancelled, which takes
/// longer than much of what an answer needs otherwise.
#[cfg(target_os = "linux")]
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::net::{SendFlags, send};
    socket.try_io(Interest::WRITABLE, || Ok(send(socket, bytes, SendFlags::NOSIGNAL)?))
}

#[cfg(not(target_os = "linux"))]
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    socket.try_write(bytes)
}

/// Keeps SIGPIPE from this thread, once for each thread. Every other write asks the kernel not to send it, but `sendfile` cannot: a
/// peer that has gone would end a process in which the signal has its default, such as a Python program that wants it so.
#[cfg(target_os = "linux")]
fn is_without_sigpipe() -> bool {
    use nix::sys::signal::{SigSet, Signal};
    thread_local! {
        static IS_BLOCKED: bool = SigSet::from(Signal::SIGPIPE).thread_block().is_ok();
    }
    IS_BLOCKED.with(|is_blocked| *is_blocked)
}

impl Sink for Write {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        send(self.0.as_ref(), bytes)
    }
}

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |socket| send(socket, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(cx, |socket| socket.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever ends a connection drops it next, and with the last side of the socket ends what is sent.
        Poll::Ready(Ok(()))
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    use rustix::fd::AsFd as _;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (Plain, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (peer, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), async {
            listener.accept().await.unwrap()
        });
        (Plain::new(accepted.0), peer.unwrap())
    }

    #[tokio::test]
    async fn a_file_is_sent_as_fast_as_the_peer_takes_it_and_no_further_than_it_goes() {
        const LEN: usize = 20 << 20;
        let bytes: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &bytes).unwrap();
        let (mut socket, mut peer) = pair().await;
        let sends = async {
            let (mut at, mut waits) = (5, 0);
            loop {
                let sent = poll_fn(|cx| {
                    let polled = socket.poll_send_file(cx, file.as_fd(), at, LEN);
                    waits += u32::from(polled.is_pending());
                    polled
                });
                match sent.await.unwrap() {
                    0 => break,
                    sent => at += sent as u64,
                }
            }
            drop(socket);
            (at, waits)
        };
        let mut received = Vec::new();
        let ((at, waits), read) = tokio::join!(sends, peer.read_to_end(&mut received));
        assert_eq!((at, read.unwrap()), (LEN as u64, LEN - 5));
        assert!(received == bytes[5..]);
        assert!(waits > 0, "no socket takes so much at once");
    }

    #[tokio::test]
    async fn a_peer_that_has_gone_does_not_end_the_process() {
        use nix::sys::signal::{SigHandler, Signal, signal};
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        let (mut socket, peer) = pair().await;
        drop(peer);
        // SAFETY: neither handler runs any code.
        let before = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.unwrap();
        // The first bytes are answered with a reset; what is sent after that would be the end.
        while poll_fn(|cx| socket.poll_send_file(cx, file.as_fd(), 0, 10 << 20)).await.unwrap() > 0 {}
        let written = poll_fn(|cx| Pin::new(&mut socket).poll_write(cx, b"x")).await;
        // SAFETY: as above.
        unsafe { signal(Signal::SIGPIPE, before) }.unwrap();
        assert!(written.is_err(), "the connection is over, and its task hears of it");
    }

    #[tokio::test]
    async fn what_cannot_be_sent_from_a_file_is_not_the_end_of_the_connection() {
        let (mut socket, mut peer) = pair().await;
        let folder = tempfile::tempdir().unwrap();
        let no_file = std::fs::File::open(folder.path()).unwrap();
        let sent = poll_fn(|cx| socket.poll_send_file(cx, no_file.as_fd(), 0, 10)).await.unwrap();
        assert_eq!(sent, 0);
        poll_fn(|cx| Pin::new(&mut socket).poll_write(cx, b"x")).await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'x');
    }
}
