//! A connection in the event loop of JavaScript.

use std::cell::RefCell;
use std::ffi::c_int;
use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Here;
use super::uv::{READABLE, WRITABLE, Watch, Watcher};

/// A connected socket. It is polled and dropped in the thread of JavaScript.
pub(super) struct Socket {
    waiting: Rc<Waiting>,
    socket: TcpStream,
}

// SAFETY: it moves between tasks of one thread only. `Here` polls them there, and drops them there too, at the latest when the
// environment ends; nothing else holds a socket.
unsafe impl Send for Socket {}

/// Who waits for the socket.
struct Waiting {
    here: Here,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// There until the socket is dropped.
    watch: Option<Watch<Waiting>>,
    /// What the loop tells.
    told: c_int,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl State {
    /// Has the loop tell this, and nothing else.
    fn watch_for(&mut self, events: c_int) -> io::Result<()> {
        if let Some(watch) = self.watch.as_ref().filter(|_| self.told != events) {
            watch.watch_for(events)?;
            self.told = events;
        }
        Ok(())
    }
}

impl Socket {
    /// # Errors
    /// Outside of a task of `here`; and what the system or libuv have against it.
    pub(super) fn new(here: &Here, socket: TcpStream) -> io::Result<Self> {
        if !here.is_current() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        socket.set_nonblocking(true)?;
        let waiting = Rc::new(Waiting { here: here.clone(), state: RefCell::default() });
        // SAFETY: tasks are polled in the loop's thread, and the environment waits until its sockets are closed.
        let watch = unsafe { Watch::new(here.event_loop(), socket.as_raw_fd(), waiting.clone())? };
        waiting.state.borrow_mut().watch = Some(watch);
        here.opened();
        Ok(Self { waiting, socket })
    }

    /// Does what can be done at once, or waits until it can.
    fn poll<T>(
        &self,
        cx: &Context<'_>,
        event: c_int,
        mut io: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            match io(&self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
        let mut state = self.waiting.state.borrow_mut();
        let waker = if event == READABLE { &mut state.reader } else { &mut state.writer };
        *waker = Some(cx.waker().clone());
        let told = state.told;
        state.watch_for(told | event)?;
        Poll::Pending
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Before the socket is closed.
        drop(self.waiting.state.borrow_mut().watch.take());
    }
}

impl Watcher for Waiting {
    fn happened(&self, events: c_int) {
        self.here.turn(|| {
            let (reader, writer) = {
                let mut state = self.state.borrow_mut();
                let reader = state.reader.take_if(|_| events & READABLE != 0);
                (reader, state.writer.take_if(|_| events & WRITABLE != 0))
            };
            [reader, writer].into_iter().flatten().for_each(Waker::wake);
        });
        // The loop would tell it again and again to nobody.
        let mut state = self.state.borrow_mut();
        let reads = if state.reader.is_some() { READABLE } else { 0 };
        let writes = if state.writer.is_some() { WRITABLE } else { 0 };
        // If it fails, whoever waits next hears of it.
        let _ = state.watch_for(reads | writes);
    }

    fn closed(&self) {
        self.here.closed();
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, READABLE, |socket| {
            // SAFETY: what is not initialised is only written to.
            let room = unsafe { buf.unfilled_mut() };
            let read = rustix::io::read(socket, room)?.0.len();
            // SAFETY: so many bytes were read.
            unsafe { buf.assume_init(read) };
            buf.advance(read);
            Ok(())
        })
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, WRITABLE, |mut socket| socket.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, WRITABLE, |mut socket| socket.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket.shutdown(Shutdown::Write))
    }
}
