//! The reader: drives a [`ReadSession`] and hands over its batches.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use super::exchange::{Answer, Core, ERROR_BODY_BYTES, Failure, Target, collect, disconnect, with_body};
use super::extras::Extras;
use super::runtime::{Clock, Sleep, sleep_until, yield_now};
use super::transport::{BoxFuture, BoxPieces, RequestBody, TransportError};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::options::ReadOptions;
use crate::proto::offset::{Offset, ReadFrom};
use crate::proto::read::{Batch, Piece, ReadEvent, ReadSession};
use crate::proto::request::{Operation, Request};
use crate::proto::response::{KeptHead, ResponseHead};

/// A live request has time to wait for a free connection: one that is made for nothing is held for seconds.
const LIVE_TURNS: u32 = 8;

/// Reads a stream in order, batch by batch; also a [`Stream`] of them.
///
/// The position that it reports is the one after the last batch *handed over* (C-READ-1), so a checkpoint stored
/// after a batch was processed resumes exactly there. It ends at the end of a closed stream, in every live mode, or
/// at the tail when it is not to go on live. Dropping it aborts the request.
pub struct Reader {
    core: Arc<Core>,
    target: Target,
    session: ReadSession,
    exchange: Exchange,
    /// In a box, as is `ready`: both are rare, and programs follow many streams.
    prefetched: Option<Box<Prefetched>>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Of the last answer.
    head: Option<Arc<KeptHead>>,
    /// What the last refusal said.
    refusal: Bytes,
    /// What came in while the reader was only to be opened.
    ready: Option<Box<Batch>>,
    delivered: Checkpoint,
    up_to_date: bool,
    closed: bool,
    not_modified: bool,
    ended: bool,
}

type Sending = BoxFuture<std::result::Result<Answer, Failure>>;

/// A request that was sent before its time, while the body of the answer before still comes in.
struct Prefetched {
    request: Request,
    sending: Sending,
    /// Whether `sending` only keeps the answer.
    is_answered: bool,
}

/// What is under way.
enum Exchange {
    Idle,
    Sending(Sending),
    Receiving(BoxPieces),
    /// The body of a refusal, for diagnosis.
    Refused(BoxFuture<(ResponseHead, Bytes)>),
    /// The caller is asked whether a failure can be mended.
    Asking(BoxFuture<Option<Extras>>, Error),
}

/// What an exchange brought.
enum Progress {
    Answered(std::result::Result<Answer, Failure>),
    Received(Option<std::result::Result<Piece, TransportError>>),
    Refused(ResponseHead, Bytes),
    Decided(Option<Extras>, Error),
}

impl Reader {
    pub(super) fn new(core: Arc<Core>, target: Target, options: ReadOptions) -> Self {
        let delivered = options.from.clone();
        let session = ReadSession::new(options, core.retry.clone(), core.seed());
        Self {
            core,
            target,
            session,
            exchange: Exchange::Idle,
            prefetched: None,
            timer: None,
            head: None,
            refusal: Bytes::new(),
            ready: None,
            delivered,
            up_to_date: false,
            closed: false,
            not_modified: false,
            ended: false,
        }
    }

    /// Ready once the first answer has begun: the stream is there, and [`content_type`](Self::content_type) and
    /// [`response`](Self::response) tell of it. [`next`](Self::next) does the same by itself.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// # Cancel safety
    /// As [`next`](Self::next).
    pub async fn open(&mut self) -> Result<()> {
        std::future::poll_fn(|context| self.poll_open(context)).await
    }

    /// Aborts the request under way; the next call asks again from where the reader is. Nothing is lost.
    pub fn pause(&mut self) {
        // What the caller is asked about a failure stays: it has nothing to do with the network.
        if !matches!(self.exchange, Exchange::Asking(..)) {
            self.session.interrupt();
            self.drop_exchanges();
        }
    }

    /// The next batch; `None` at the end. An error ends the reader, unless [`resume`](Self::resume) is called.
    ///
    /// # Errors
    /// `NotFound`, `Gone`, `InvalidOffset`, `StreamRecreated`, `Parse`, `Protocol`, and as all requests. A read that
    /// has been live once is tried again without end on failures that may pass.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: the exchange goes on with the next call.
    pub async fn next(&mut self) -> Option<Result<Batch>> {
        std::future::poll_fn(|context| self.poll_batch(context)).await
    }

    /// All data up to the tail or the end, as one piece; a JSON stream gives one array.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn collect_bytes(&mut self) -> Result<Bytes> {
        let mut whole = Vec::new();
        let mut json = false;
        while let Some(batch) = self.next().await {
            let batch = batch?;
            json |= batch.is_json();
            if batch.is_json() {
                for message in batch.messages() {
                    whole.push(if whole.is_empty() { b'[' } else { b',' });
                    whole.extend_from_slice(&message);
                }
            } else {
                whole.extend_from_slice(&batch.bytes());
            }
            if batch.is_up_to_date() {
                break;
            }
        }
        if json {
            whole.extend_from_slice(if whole.is_empty() { b"[]" } else { b"]" });
        }
        Ok(whole.into())
    }

    /// After an error: makes the reader try again from where it is.
    pub fn resume(&mut self) {
        if !self.closed {
            self.session.resume();
            self.ended = false;
        }
    }

    /// Where to go on after the last batch handed over; store it, and give it to a later reader.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.delivered
    }

    /// The offset after the last batch handed over, once one is known.
    pub fn offset(&self) -> Option<&Offset> {
        match &self.delivered.from {
            ReadFrom::At(offset) => Some(offset),
            ReadFrom::Beginning | ReadFrom::Now => None,
        }
    }

    /// Whether the last batch reached the tail of its time.
    pub fn is_up_to_date(&self) -> bool {
        self.up_to_date
    }

    /// Whether the end of the stream was handed over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the read ended because [`ReadOptions::if_none_match`] is still current.
    pub fn is_not_modified(&self) -> bool {
        self.not_modified
    }

    /// HTTP status of the last answer (C-READ-11).
    pub fn status(&self) -> Option<u16> {
        self.session.status()
    }

    /// Status and headers of the last answer; of an event stream, of its opening. Another answer is another `Arc`.
    pub fn response(&self) -> Option<&Arc<KeptHead>> {
        self.head.as_ref()
    }

    /// The stream's content type, once an answer named it.
    pub fn content_type(&self) -> Option<&str> {
        self.session.stream_content_type()
    }

    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while self.ready.is_none() && !self.ended && !self.session.is_receiving() {
            match self.poll_session(context) {
                Poll::Ready(Some(Ok(batch))) => self.ready = Some(Box::new(batch)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => break,
                Poll::Pending if self.session.is_receiving() => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Batch>>> {
        let next = match self.ready.take() {
            Some(batch) => Some(Ok(*batch)),
            None => ready!(self.poll_session(context)),
        };
        if let Some(Ok(batch)) = &next {
            self.delivered = batch.checkpoint().clone();
            self.up_to_date = batch.is_up_to_date();
            self.closed = batch.is_closed();
        }
        Poll::Ready(next)
    }

    /// What the session has next.
    fn poll_session(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Batch>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            while let Some(event) = self.session.poll_event() {
                if let ReadEvent::Retrying { error, .. } | ReadEvent::Failed(error) = &event
                    && *error.kind() == ErrorKind::Timeout
                {
                    self.core.try_failed();
                }
                match event {
                    ReadEvent::Batch(batch) => return Poll::Ready(Some(Ok(batch))),
                    ReadEvent::Retrying { error, retries, delay } => {
                        tracing::debug!(url = %self.target.url.shown(), %error, retries, ?delay, "read goes on after a failure");
                    }
                    ReadEvent::NotModified => self.not_modified = true,
                    ReadEvent::End => {
                        self.ended = true;
                        self.drop_exchanges();
                        return Poll::Ready(None);
                    }
                    ReadEvent::Failed(error) => {
                        let error = with_body(error, &std::mem::take(&mut self.refusal));
                        let error = error.with_context(Operation::Read, self.target.url.shown());
                        if !self.core.has_error_hook() {
                            return Poll::Ready(Some(Err(self.fail(error))));
                        }
                        let (core, asked) = (self.core.clone(), error.clone());
                        let asking = Box::pin(async move { core.mend(&asked).await });
                        self.exchange = Exchange::Asking(asking, error);
                    }
                }
            }
            if let Some(request) = self.session.poll_request(self.core.now()) {
                self.exchange = Exchange::Sending(match self.prefetched.take() {
                    Some(prefetched) if prefetched.request == request => prefetched.sending,
                    _ => self.send(request, false),
                });
            } else if !self.session.wants_exchange() && !matches!(self.exchange, Exchange::Asking(..)) {
                self.drop_exchanges();
            }
            self.poll_prefetch(context);
            match self.poll_exchange(context) {
                Poll::Ready(progress) => match self.handle(progress) {
                    Ok(()) => {}
                    Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
                },
                Poll::Pending => ready!(self.poll_timer(context)),
            }
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.ended = true;
        self.drop_exchanges();
        error
    }

    fn drop_exchanges(&mut self) {
        self.exchange = Exchange::Idle;
        self.prefetched = None;
    }

    /// `early`: while the body of the answer before still comes in, by another connection.
    fn send(&self, request: Request, early: bool) -> Sending {
        tracing::trace!(url = %self.target.url.shown(), query = ?request.query, early, "read");
        let (core, target, goes_on) = (self.core.clone(), self.target.clone(), self.head.is_some() && !early);
        let turns = match (goes_on, request.is_live_read()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => LIVE_TURNS,
        };
        Box::pin(async move {
            // The connection of the answer before goes back to the others in tasks of its own, maybe in another thread; a
            // request that came before it would begin another connection.
            for _ in 0..turns {
                yield_now().await;
            }
            core.send(&target, &request, RequestBody::Bytes { data: Bytes::new(), on_sent: None }).await
        })
    }

    /// Sends the request that will follow as soon as the session knows it, and has it go on.
    fn poll_prefetch(&mut self, context: &mut Context<'_>) {
        if self.prefetched.is_none()
            && let Some(request) = self.session.prefetch()
        {
            let sending = self.send(request.clone(), true);
            self.prefetched = Some(Box::new(Prefetched { request, sending, is_answered: false }));
        }
        if let Some(prefetched) = self.prefetched.as_mut().filter(|it| !it.is_answered)
            && let Poll::Ready(answer) = prefetched.sending.as_mut().poll(context)
        {
            prefetched.sending = Box::pin(std::future::ready(answer));
            prefetched.is_answered = true;
        }
    }

    fn poll_exchange(&mut self, context: &mut Context<'_>) -> Poll<Progress> {
        match &mut self.exchange {
            Exchange::Idle => Poll::Pending,
            Exchange::Sending(sending) => sending.as_mut().poll(context).map(Progress::Answered),
            Exchange::Receiving(body) => body.as_mut().poll_next(context).map(Progress::Received),
            Exchange::Refused(refusal) => {
                refusal.as_mut().poll(context).map(|(head, body)| Progress::Refused(head, body))
            }
            Exchange::Asking(asking, error) => {
                let error = error.clone();
                asking.as_mut().poll(context).map(|mended| Progress::Decided(mended, error))
            }
        }
    }

    fn handle(&mut self, progress: Progress) -> Result<()> {
        let now = self.core.now();
        match progress {
            Progress::Answered(Ok(answer))
                if answer.head.status.is_client_error() || answer.head.status.is_server_error() =>
            {
                let Answer { head, body } = answer;
                // The status says it all: a body that breaks off is as good as none (C-ERR-3).
                let refusal = async move { (head, collect(body, ERROR_BODY_BYTES).await.unwrap_or_default()) };
                self.exchange = Exchange::Refused(Box::pin(refusal));
            }
            Progress::Refused(head, body) => {
                self.exchange = Exchange::Idle;
                self.session.handle_response(&head, now);
                self.head = Some(Arc::new(KeptHead::of(head)));
                self.refusal = body;
            }
            Progress::Answered(Ok(answer)) => {
                self.exchange = Exchange::Receiving(answer.body);
                self.session.handle_response(&answer.head, now);
                self.head = Some(Arc::new(KeptHead::of(answer.head)));
            }
            Progress::Answered(Err(Failure::Lost(cause))) => {
                self.exchange = Exchange::Idle;
                self.session.handle_disconnect(cause, now);
            }
            Progress::Answered(Err(Failure::Fatal(error))) => {
                return Err(error.with_context(Operation::Read, self.target.url.shown()));
            }
            Progress::Received(Some(Ok(piece))) => self.session.handle_piece(piece, now),
            Progress::Received(Some(Err(error))) => {
                self.exchange = Exchange::Idle;
                self.session.handle_disconnect(disconnect(error), now);
            }
            Progress::Received(None) => {
                self.exchange = Exchange::Idle;
                self.session.handle_end(now);
            }
            Progress::Decided(Some(extras), _) => {
                self.target.add(&extras);
                self.exchange = Exchange::Idle;
                self.session.resume();
            }
            Progress::Decided(None, error) => return Err(error),
        }
        Ok(())
    }

    /// Ready when the session's moment has come and was handled. The timer is only moved when it must ring
    /// earlier; one that rings too early is set anew, which is cheaper than moving it with every piece of data.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.session.poll_timeout() else {
            return Poll::Pending;
        };
        let at = self.core.at(at);
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if at < timer.deadline() {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(context));
            if Clock::now() >= at {
                self.timer = None;
                self.session.handle_timeout(self.core.now());
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

impl Stream for Reader {
    type Item = Result<Batch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_batch(context)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("url", &self.target.url.shown())
            .field("delivered", &self.delivered)
            .field("up_to_date", &self.up_to_date)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
