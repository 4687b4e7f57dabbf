//! Answers on their way to the peer.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::{Buf as _, Bytes};
use http::{StatusCode, header};

use super::super::socket::Socket;
use crate::clock;
use crate::http::{Block, Fields};
use crate::pool::Pool;

/// Smaller blocks are copied behind the head, so that they go out together.
const COPY_BELOW: usize = 16 << 10;
/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 32 << 10;
/// So many are kept in each thread.
const SPARE: usize = 4;
/// Nearly all answers and events fit.
const USUAL: usize = 2 << 10;
/// So many blocks are written at once.
const SLICES: usize = 16;

thread_local! {
    /// Buffers for `text`. Nearly all answers are written at once, so that one buffer serves all connections of a thread and
    /// stays in the processor's cache.
    static TEXTS: Pool<Vec<u8>> = const { Pool::new(SPARE) };
}

/// What is to be written: heads and small bodies together, larger blocks as they are.
#[derive(Default)]
pub(super) struct Output {
    blocks: VecDeque<Block>,
    /// Comes after the blocks.
    text: Vec<u8>,
    /// How much of `text` is written.
    written: usize,
    /// There is something to flush.
    is_dirty: bool,
}

/// How a peer knows where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    Length(u64),
    /// Each part says its length, and the last one is empty.
    Chunks,
}

impl Output {
    /// `common` are more headers, as they are written.
    pub(super) fn put_head(
        &mut self,
        status: StatusCode,
        headers: &impl Fields,
        common: &[u8],
        framing: Framing,
        is_last: bool,
    ) {
        let out = self.text();
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
        out.extend_from_slice(b"\r\n");
        let mut has_date = false;
        headers.each(|name, value| {
            has_date |= *name == header::DATE;
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        });
        out.extend_from_slice(common);
        match framing {
            Framing::None => {}
            Framing::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                put_number(out, length, 10);
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunks => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        if is_last {
            out.extend_from_slice(b"connection: close\r\n");
        }
        if !has_date {
            out.extend_from_slice(b"date: ");
            put_date(out);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Where text goes; what is put there is to be written.
    fn text(&mut self) -> &mut Vec<u8> {
        if self.text.capacity() == 0 {
            self.text = TEXTS.with(Pool::take).unwrap_or_else(|| Vec::with_capacity(USUAL));
        }
        self.is_dirty = true;
        &mut self.text
    }

    pub(super) fn put_block(&mut self, block: impl Into<Block>) {
        let block = block.into();
        if block.data.len() < COPY_BELOW {
            self.text().extend_from_slice(&block.data);
        } else {
            self.push_text();
            self.blocks.push_back(block);
            self.is_dirty = true;
        }
    }

    /// Part of a body that goes out in chunks. An empty one would be its end, and is left out.
    pub(super) fn put_chunk(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            let out = self.text();
            put_number(out, chunk.len() as u64, 16);
            out.extend_from_slice(b"\r\n");
            self.put_block(chunk);
            self.text().extend_from_slice(b"\r\n");
        }
    }

    /// The end of a body that goes out in chunks.
    pub(super) fn put_end_of_chunks(&mut self) {
        self.text().extend_from_slice(b"0\r\n\r\n");
    }

    /// Bytes that are not written yet.
    pub(super) fn len(&self) -> usize {
        self.text.len() - self.written + self.blocks.iter().map(|block| block.data.len()).sum::<usize>()
    }

    fn push_text(&mut self) {
        let mut text = Bytes::from(std::mem::take(&mut self.text));
        text.advance(std::mem::take(&mut self.written));
        if !text.is_empty() {
            self.blocks.push_back(text.into());
        }
    }

    /// Writes and flushes everything.
    pub(super) fn poll_flush<S: Socket>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_dirty {
            return Poll::Ready(Ok(()));
        }
        while self.written < self.text.len() || !self.blocks.is_empty() {
            let written = if self.blocks.is_empty() {
                ready!(Pin::new(&mut *socket).poll_write(cx, &self.text[self.written..]))?
            } else {
                self.push_text();
                match ready!(self.poll_send_file(socket, cx))? {
                    Some(sent) => sent,
                    None => ready!(self.poll_write_blocks(socket, cx))?,
                }
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        ready!(Pin::new(socket).poll_flush(cx))?;
        (self.written, self.is_dirty) = (0, false);
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        text.shrink_to(KEPT);
        if text.capacity() > 0 {
            TEXTS.with(|texts| texts.keep(text));
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the first block from its file; `None` if it is to be written from memory.
    fn poll_send_file<S: Socket>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        let Some(Block { data, span: place @ Some(_) }) = self.blocks.front_mut() else {
            return Poll::Ready(Ok(None));
        };
        let span = place.as_mut().filter(|_| socket.sends_files());
        let sent = match span.and_then(|span| span.place_of(data, Instant::now())) {
            Some((file, at)) => ready!(socket.poll_send_file(cx, file, at, data.len()))?,
            None => 0,
        };
        if sent == 0 {
            *place = None;
        }
        Poll::Ready(Ok((sent > 0).then_some(sent)))
    }

    /// Writes the first blocks from memory, up to one that is to be sent from its file.
    fn poll_write_blocks<S: Socket>(&mut self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let blocks = self.blocks.iter().enumerate().take_while(|(at, block)| *at == 0 || block.span.is_none());
        let count = blocks.zip(&mut slices).map(|((_, block), slice)| *slice = IoSlice::new(&block.data)).count();
        Pin::new(socket).poll_write_vectored(cx, &slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(Block { data, span }) = self.blocks.front_mut() {
            let of_block = data.len().min(written);
            data.advance(of_block);
            if let Some(span) = span {
                span.advance(of_block);
            }
            written -= of_block;
            if !data.is_empty() {
                return;
            }
            self.blocks.pop_front();
        }
        self.written += written;
    }
}

/// Part of a body that goes out in chunks, as it is written.
pub(crate) fn chunk_of(part: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(part.len() + 12);
    put_number(&mut out, part.len() as u64, 16);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(part);
    out.extend_from_slice(b"\r\n");
    out.into()
}

/// A number in decimal or hexadecimal digits.
fn put_number(out: &mut Vec<u8>, mut number: u64, base: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(number % base) as usize];
        number /= base;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The present moment. The text is made once a second.
fn put_date(out: &mut Vec<u8>) {
    const LENGTH: usize = "Thu, 01 Jan 1970 00:00:00 GMT".len();
    thread_local! {
        static LAST: Cell<(u64, [u8; LENGTH])> = const { Cell::new((u64::MAX, [b' '; LENGTH])) };
    }
    let now = clock::coarse() / 1000;
    let (mut at, mut text) = LAST.get();
    if at != now {
        let made = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        if let Ok(made) = made.as_bytes().try_into() {
            (at, text) = (now, made);
            LAST.set((at, text));
        }
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::fd::BorrowedFd;

    use http::{HeaderMap, HeaderValue};
    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;
    use crate::storage::{Disk as _, FileSpan, Folder};

    /// Takes a few bytes at a time, in files up to a place where they give nothing more.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        of_files: usize,
        end_of_files: Option<u64>,
    }

    impl AsyncRead for Narrow {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(7);
            self.taken.extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Socket for Narrow {
        fn sends_files(&self) -> bool {
            self.end_of_files.is_some()
        }

        fn poll_send_file(
            &mut self,
            _: &mut Context<'_>,
            file: BorrowedFd<'_>,
            at: u64,
            len: usize,
        ) -> Poll<io::Result<usize>> {
            let left = usize::try_from(self.end_of_files.unwrap().saturating_sub(at)).unwrap();
            let mut some = vec![0; len.min(30_000).min(left)];
            let sent = rustix::io::pread(file, &mut some, at).unwrap();
            self.taken.extend_from_slice(&some[..sent]);
            self.of_files += sent;
            Poll::Ready(Ok(sent))
        }
    }

    /// Whatever a file does, the answer is what memory has: the file is only another way to send it.
    #[test]
    fn a_block_goes_out_once_and_in_order_from_its_file_and_from_memory() {
        const LEN: usize = 100_000;
        let bytes: Vec<u8> = (0..2 * LEN).map(|at| (at % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let file = Folder::open(folder.path()).unwrap().create("x").unwrap();
        file.write_at(3, &bytes).unwrap();
        let spans = FileSpan::pair(file, 3, LEN as u64);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        // Nothing, all, and some of the file's bytes are taken.
        for (end_of_files, of_files) in
            [(None, 0), (Some(u64::MAX), 0), (Some(u64::MAX), 2 * LEN), (Some(3 + 50_000), 50_000), (Some(0), 0)]
        {
            let mut socket = Narrow { end_of_files, ..Narrow::default() };
            let mut output = Output::default();
            output.put_block(Bytes::from_static(b"["));
            for (number, span) in spans.iter().enumerate() {
                let data = Bytes::copy_from_slice(&bytes[number * LEN..(number + 1) * LEN]);
                output.put_block(Block { data, span: Some(span.clone()) });
                output.put_block(Bytes::from_static(b"-"));
            }
            assert!(output.poll_flush(&mut socket, cx).is_ready());
            assert!(socket.taken == [b"[", &bytes[..LEN], b"-", &bytes[LEN..], b"-"].concat(), "{end_of_files:?}");
            assert_eq!(socket.of_files, of_files, "{end_of_files:?}");
            assert_eq!(output.len(), 0);
        }
    }

    #[test]
    fn heads_and_blocks_go_out_in_order_whatever_a_write_takes() {
        let (mut output, mut socket) = (Output::default(), Narrow::default());
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static("now"));
        headers.append("x", HeaderValue::from_static("1"));
        headers.append("x", HeaderValue::from_static("2"));
        let large = Bytes::from(vec![b'y'; COPY_BELOW]);
        output.put_head(StatusCode::OK, &headers, b"y: 3\r\n", Framing::Length(COPY_BELOW as u64), false);
        output.put_block(large.clone());
        output.put_head(StatusCode::NO_CONTENT, &headers, b"", Framing::None, true);
        let cx = &mut Context::from_waker(std::task::Waker::noop());
        assert!(output.poll_flush(&mut socket, cx).is_ready());
        output.put_head(StatusCode::OK, &headers, b"y: 3\r\n", Framing::Length(3), false);
        output.put_block(Bytes::from_static(b"abc"));
        assert!(output.poll_flush(&mut socket, cx).is_ready());
        let expected = [
            &b"HTTP/1.1 200 OK\r\ndate: now\r\nx: 1\r\nx: 2\r\ny: 3\r\ncontent-length: 16384\r\n\r\n"[..],
            &large[..],
            b"HTTP/1.1 204 No Content\r\ndate: now\r\nx: 1\r\nx: 2\r\nconnection: close\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ndate: now\r\nx: 1\r\nx: 2\r\ny: 3\r\ncontent-length: 3\r\n\r\nabc",
        ];
        assert_eq!(String::from_utf8_lossy(&socket.taken), String::from_utf8_lossy(&expected.concat()));
    }

    #[test]
    fn chunks_say_their_lengths_and_the_last_one_is_empty() {
        let (mut output, mut socket) = (Output::default(), Narrow::default());
        let mut headers = HeaderMap::new();
        headers.insert("date", HeaderValue::from_static("now"));
        let large = Bytes::from(vec![b'y'; COPY_BELOW]);
        output.put_head(StatusCode::OK, &headers, b"", Framing::Chunks, false);
        output.put_chunk(Bytes::from_static(b"eleven here"));
        output.put_chunk(Bytes::new());
        output.put_chunk(large.clone());
        output.put_end_of_chunks();
        assert!(output.poll_flush(&mut socket, &mut Context::from_waker(std::task::Waker::noop())).is_ready());
        let expected = [
            b"HTTP/1.1 200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\nb\r\neleven here\r\n4000\r\n",
            &large[..],
            b"\r\n0\r\n\r\n",
        ];
        assert_eq!(String::from_utf8_lossy(&socket.taken), String::from_utf8_lossy(&expected.concat()));
    }

    #[test]
    fn one_buffer_serves_all_connections_and_none_keeps_it() {
        let places: std::collections::HashSet<_> = (0..10)
            .map(|number: u64| {
                let (mut output, mut socket) = (Output::default(), Narrow::default());
                if number.is_multiple_of(2) {
                    output.put_head(StatusCode::OK, &HeaderMap::new(), b"", Framing::None, false);
                } else {
                    output.put_chunk(Bytes::from_static(b"event"));
                }
                let place = output.text.as_ptr();
                assert!(output.poll_flush(&mut socket, &mut Context::from_waker(std::task::Waker::noop())).is_ready());
                assert!(!socket.taken.is_empty() && output.text.capacity() == 0);
                place
            })
            .collect();
        assert_eq!(places.len(), 1);
    }

    #[test]
    fn a_date_is_one() {
        let mut out = Vec::new();
        put_date(&mut out);
        put_date(&mut out);
        let (first, second) = out.split_at(29);
        for date in [first, second] {
            httpdate::parse_http_date(std::str::from_utf8(date).unwrap()).unwrap();
        }
    }
}
