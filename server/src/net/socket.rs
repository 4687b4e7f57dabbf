//! What connections speak over.

use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

/// A socket. One with nothing between it and the peer may take bytes from files.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Whether it takes bytes from files.
    fn sends_files(&self) -> bool {
        false
    }

    /// As [`AsyncWrite::poll_write`], of `len` bytes at `at` of a file. Nothing was sent if it is 0: the file does not give them.
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        at: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, file, at, len);
        Poll::Ready(Ok(0))
    }
}

/// Everything is encrypted on its way.
impl<S: AsyncRead + AsyncWrite + Unpin> Socket for tokio_rustls::server::TlsStream<S> {}

/// Both ends are in memory.
#[cfg(test)]
impl Socket for tokio::io::DuplexStream {}
