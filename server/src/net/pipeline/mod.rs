//! HTTP/1.1 as most clients speak it: plain requests, many of them at once if the client does not wait for answers. hyper
//! serves everything else, and takes one request of a connection after another.
//!
//! ```text
//! bytes ──> request::take ──> Asking ──> Output ──> bytes
//!              │                 (several, answered in order)
//!              └── anything unusual: the connection is hyper's from there on
//! ```
//! # Order
//! Answers go out in the order of the requests (RFC 9112 section 9.3.2). An append lets the next append begin as soon as
//! it has its place in its stream ([`Turn`]); so the commits of a connection become durable together, in the order in
//! which they were sent. Every other request begins when all before it are answered, and nothing begins before it is.
//!
//! # Bodies
//! A body that does not come with its head is read into a buffer of its size ([`Arriving`]), and begins when it is whole.
//! One that is large, slow or too much for now is hyper's, which knows what to answer.
//!
//! # Live reads
//! An answer without a known length goes out in chunks, each made when the one before it is on its way. While it waits for
//! the next one and nothing else is to be written, others may write whole chunks to the socket (`engine::relay`). Whoever ends the
//! connection while a live read waits does not want its answer: the read ends with the connection.
//!
//! # Safety
//! Where a request ends decides what the next one is. So only requests are taken that can be read in one way
//! (`request`), and at the first other one hyper gets the connection, with all bytes from there on, and keeps it.

mod answering;
mod arriving;
mod request;
mod response;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::io::ReadBuf;

use self::answering::Answering;
use self::arriving::Arriving;
use self::request::{Next, Partial};
pub(crate) use self::response::chunk_of;
use self::response::{Framing, Output};
use super::activity::{Activity, Busy};
use super::socket::Socket;
use crate::engine::Sink;
use crate::http::{Answered, App, Asking, Body, Cut, Fields, Part, Peer, Progress, Turn, Waiting, spare};
use crate::metrics;

/// So many bytes are read at once.
const READ: usize = 16 << 10;
/// So many bytes of a connection may wait for their turn, be in requests under way, or in answers that are not taken. One
/// request always fits.
const HELD: usize = 80 << 10;
/// So many requests of a connection may be under way.
const DEPTH: usize = 64;

/// A connection, from its first byte to its last plain request.
pub(super) struct Pipeline<S> {
    socket: S,
    asking: Arc<Asking>,
    activity: Arc<Activity>,
    input: Bytes,
    next: Coming,
    /// The next request, as long as its body is not all there. `input` is empty then.
    arriving: Option<Box<Arriving>>,
    under_way: VecDeque<Exchange>,
    /// An answer that has begun and goes on. Nothing else is under way then.
    live: Option<Live>,
    /// Bytes of the requests under way.
    held: usize,
    output: Output,
    /// The peer sends nothing more.
    is_ended: bool,
    /// No request is taken any more.
    is_closing: bool,
}

/// How a pipeline ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The connection is over.
    Closed,
    /// What comes next is for hyper.
    HandOver,
}

/// What has come of the next request, which cannot begin yet.
enum Coming {
    Nothing,
    /// All of it, and how many bytes that was.
    Whole(Box<(Request<Bytes>, usize)>),
    Partial(Box<Partial>),
    /// It is for hyper.
    Other,
}

/// A request under way.
struct Exchange {
    answer: Answer,
    busy: Busy,
    is_head: bool,
    is_live: bool,
    size: usize,
}

/// The body of an answer that goes out as it comes.
struct Live {
    body: Pin<Box<dyn Stream<Item = Part> + Send>>,
    _busy: Busy,
}

enum Answer {
    Later(Answering),
    /// Nothing is left of the request but its append.
    Append(Waiting),
    There(Result<Answered, Cut>),
}

impl Answer {
    fn poll(&mut self, app: &App, cx: &mut Context<'_>) {
        if let Self::Later(future) = self
            && let Poll::Ready(progress) = future.poll(cx)
        {
            let next = match progress {
                Ok(Progress::Answered(response)) => Self::There(Ok(Answered::Response(response))),
                Ok(Progress::Waiting(waiting)) => Self::Append(waiting),
                Err(cut) => Self::There(Err(cut)),
            };
            if let Self::Later(ended) = std::mem::replace(self, next) {
                answering::keep(ended);
            }
        }
        if let Self::Append(waiting) = self
            && let Poll::Ready(answered) = waiting.poll(app, cx)
        {
            *self = Self::There(Ok(answered));
        }
    }

    fn is_there(&self) -> bool {
        matches!(self, Self::There(_))
    }
}

impl<S: Socket> Pipeline<S> {
    /// `sink` is the same socket, if there is nothing between it and the peer.
    pub(super) fn new(
        socket: S,
        sink: Option<Arc<dyn Sink>>,
        app: Arc<App>,
        peer: Arc<Peer>,
        activity: Arc<Activity>,
    ) -> Self {
        Self {
            socket,
            asking: Arc::new(Asking { app, peer, turn: Turn::new(sink) }),
            activity,
            input: Bytes::new(),
            next: Coming::Nothing,
            arriving: None,
            under_way: VecDeque::new(),
            live: None,
            held: 0,
            output: Output::default(),
            is_ended: false,
            is_closing: false,
        }
    }

    /// What is under way is the last, be it only on its way here.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
        if matches!(self.next, Coming::Whole(_) | Coming::Partial(_)) {
            // It has only been looked at.
            self.next = Coming::Nothing;
        }
    }

    /// What was read and not taken, and the socket.
    pub(super) fn into_rest(self) -> (Bytes, S) {
        (self.input, self.socket)
    }

    /// Goes on until the connection ends or is for hyper.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        loop {
            self.take_answers(cx)?;
            let is_flushed = self.output.poll_flush(&mut self.socket, cx)?.is_ready();
            if is_flushed && self.poll_live(cx).is_ready() {
                continue;
            }
            let is_idle = self.under_way.is_empty() && self.live.is_none() && is_flushed;
            if self.begin_next(is_flushed) {
                continue;
            }
            if is_idle && self.is_closing && self.arriving.is_none() {
                return Pin::new(&mut self.socket).poll_shutdown(cx).map_ok(|()| End::Closed);
            }
            if is_idle && self.arriving.as_ref().is_some_and(|arriving| self.is_ended || arriving.is_refused()) {
                return Poll::Ready(Ok(self.hand_over()));
            }
            if is_idle && matches!(self.next, Coming::Other) {
                return Poll::Ready(Ok(End::HandOver));
            }
            if self.is_ended && self.is_live() {
                return Poll::Ready(Ok(End::Closed));
            }
            if is_idle && self.is_ended {
                self.is_closing = true;
                continue;
            }
            if !self.may_read() {
                return Poll::Pending;
            }
            match self.poll_read(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending if is_idle && !self.is_closing && self.poll_late(cx).is_ready() => {
                    return Poll::Ready(Ok(self.hand_over()));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn may_read(&self) -> bool {
        if self.is_ended {
            return false;
        }
        if let Some(arriving) = &self.arriving {
            return !arriving.is_refused();
        }
        // What is sent behind a live read may have to wait for very long.
        let most = if self.is_live() { READ } else { HELD };
        !self.is_closing && self.input.len() < most
    }

    /// Ready when the body that is on its way has taken too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.arriving.as_mut().map_or(Poll::Pending, |arriving| arriving.poll_late(cx))
    }

    /// What has come of the request that is on its way is for hyper too.
    fn hand_over(&mut self) -> End {
        if let Some(arriving) = self.arriving.take() {
            self.input = arriving.into_bytes();
        }
        End::HandOver
    }

    /// Takes answers that are there, in order.
    fn take_answers(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.under_way.len() > 1
            && !self.asking.turn.is_passed()
            && let Some(last) = self.under_way.back_mut()
        {
            // The others have their places: whatever they wait for comes without their being polled.
            last.answer.poll(&self.asking.app, cx);
        }
        while let Some(first) = self.under_way.front_mut() {
            first.answer.poll(&self.asking.app, cx);
            if !first.answer.is_there() {
                break;
            }
            let Some(Exchange { answer: Answer::There(answered), busy, is_head, size, .. }) =
                self.under_way.pop_front()
            else {
                break;
            };
            self.held -= size;
            match answered {
                Ok(Answered::Confirmed(confirmation)) => {
                    self.put_head(confirmation.status(), &confirmation, Some(0), is_head);
                }
                Ok(Answered::Response(response)) => self.put(response, is_head, busy),
                Err(cut) => return Err(io::Error::other(cut)),
            }
        }
        Ok(())
    }

    fn put(&mut self, response: Response<Body>, is_head: bool, busy: Busy) {
        let (parts, body) = response.into_parts();
        let length = body.size_hint().exact();
        self.put_head(parts.status, &parts.headers, length, is_head);
        spare::keep(parts.headers);
        metrics::count(&self.asking.app.metrics().served_bytes, length.unwrap_or(0));
        match body {
            Body::Empty => {}
            Body::Full(block) => self.output.put_block(block),
            Body::Blocks(blocks, _) => blocks.into_iter().for_each(|block| self.output.put_block(block)),
            Body::Live(body) => self.live = Some(Live { body, _busy: busy }),
        }
    }

    /// `length` is that of the body, if it is known.
    fn put_head(&mut self, status: StatusCode, headers: &impl Fields, length: Option<u64>, is_head: bool) {
        let has_body = !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) && !is_head;
        let framing = match length {
            _ if !has_body => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunks,
        };
        let is_last = self.is_closing
            && self.under_way.is_empty()
            && self.arriving.is_none()
            && !matches!(self.next, Coming::Whole(_));
        let common = self.asking.app.common_headers().map_or(&[][..], |common| common);
        self.output.put_head(status, headers, common, framing, is_last);
    }

    /// Puts the next chunk of the answer that goes on, or its end.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(live) = &mut self.live else { return Poll::Pending };
        match ready!(live.body.as_mut().poll_next(cx)) {
            Some(Part::Whole(events)) => {
                metrics::count(&self.asking.app.metrics().served_bytes, events.len() as u64);
                self.output.put_chunk(events);
            }
            Some(Part::Rest(rest)) => self.output.put_block(rest),
            None => {
                self.output.put_end_of_chunks();
                self.live = None;
            }
        }
        Poll::Ready(())
    }

    /// Whether a live read waits, or its answer goes on.
    fn is_live(&self) -> bool {
        self.live.is_some() || self.under_way.back().is_some_and(|exchange| exchange.is_live)
    }

    /// Takes the next request off what came, if it is there.
    fn take_next(&mut self) -> Option<(Request<Bytes>, usize)> {
        match std::mem::replace(&mut self.next, Coming::Nothing) {
            Coming::Nothing => {}
            Coming::Whole(whole) => return Some(*whole),
            waiting => self.next = waiting,
        }
        let limits = &self.asking.app.config().limits;
        if !self.is_closing && self.arriving.is_none() && matches!(self.next, Coming::Nothing) && !self.input.is_empty()
        {
            match request::take(&mut self.input, limits.max_body_bytes) {
                Next::Whole(request, size) => return Some((request, size)),
                Next::Partial(partial) => self.next = Coming::Partial(Box::new(partial)),
                Next::Begun => {}
                Next::Other => self.next = Coming::Other,
            }
        }
        // Behind a live read it would have to wait for very long.
        if matches!(self.next, Coming::Partial(_))
            && !self.is_live()
            && let Coming::Partial(partial) = std::mem::replace(&mut self.next, Coming::Nothing)
        {
            let (room, busy) = (self.asking.app.room_for_body(), self.activity.begin());
            let arriving = Arriving::new(*partial, &mut self.input, room, limits.body_timeout, busy);
            self.arriving = Some(Box::new(arriving));
        }
        self.arriving.take_if(|arriving| arriving.is_whole()).map(|arriving| arriving.into_whole())
    }

    /// Begins the next request, if it is there and may begin. It is polled when answers are taken, which comes next.
    fn begin_next(&mut self, is_flushed: bool) -> bool {
        if matches!(&self.next, Coming::Whole(whole) if !self.may_begin(whole.0.method(), is_flushed)) {
            return false;
        }
        let Some((request, size)) = self.take_next() else { return false };
        let may_begin = self.may_begin(request.method(), is_flushed);
        if may_begin {
            self.begin(request, size);
        } else {
            self.next = Coming::Whole(Box::new((request, size)));
        }
        may_begin
    }

    fn may_begin(&self, method: &Method, is_flushed: bool) -> bool {
        let is_first = self.under_way.is_empty() && self.live.is_none() && is_flushed;
        let may_follow = || {
            method == Method::POST
                && self.live.is_none()
                && self.under_way.len() < DEPTH
                && self.held < HELD
                && self.output.len() < HELD
                && self.under_way.back().is_none_or(|last| last.answer.is_there() || self.asking.turn.is_passed())
        };
        is_first || may_follow()
    }

    fn begin(&mut self, request: Request<Bytes>, size: usize) {
        let busy = self.activity.begin();
        let is_head = request.method() == Method::HEAD;
        let is_live = request::may_be_live(request.uri().query());
        let asking = Arc::clone(&self.asking);
        asking.turn.take();
        let request = request.map(Body::from);
        let answering = if asking.app.common_headers().is_some() {
            answering::boxed(asking.begin_bare(request))
        } else {
            answering::boxed(async { Box::pin(asking.answer(request)).await.map(Progress::Answered) })
        };
        self.held += size;
        self.under_way.push_back(Exchange { answer: Answer::Later(answering), busy, is_head, is_live, size });
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(arriving) = &mut self.arriving {
            self.is_ended = !ready!(arriving.poll_read(&mut self.socket, cx))?;
            return Poll::Ready(Ok(()));
        }
        // A connection at rest holds no buffer.
        let mut room = [std::mem::MaybeUninit::uninit(); READ];
        let mut room = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
        match room.filled() {
            [] => self.is_ended = true,
            more if self.input.is_empty() => self.input = spare::received(more),
            more => {
                let mut joined = BytesMut::with_capacity(self.input.len() + more.len());
                joined.extend_from_slice(&self.input);
                joined.extend_from_slice(more);
                self.input = joined.freeze();
            }
        }
        Poll::Ready(Ok(()))
    }
}
