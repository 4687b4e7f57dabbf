//! The appends of one handle, in the order of the calls (C-WRITE-4).
//!
//! A call takes its place in the queue at once. The first poll of any of them starts a task, which sends what waits,
//! one POST at a time: what came while one was under way is joined into the next. The task ends with the queue.

mod identity;
mod post;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::{Notify, oneshot};

use self::identity::Identity;
pub(super) use self::post::Write;
use self::post::{Draft, Entry, Post, Reply};
use super::exchange::{Core, Target};
use super::runtime;
use super::stream::Appended;
use super::transport::BoxFuture;
use crate::error::{Error, ErrorKind, Result};
use crate::headers::CONTENT_TYPE;
use crate::proto::content_type::DEFAULT_CONTENT_TYPE;
use crate::proto::request::{Operation, Request};

/// How the appends of a handle go out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Whether they wait for each other and share POSTs.
    pub(super) batching: bool,
    /// Whether they have an identity, so that each is stored once however often it is sent.
    pub(super) idempotent: bool,
}

/// What is appended through one handle and its clones.
#[derive(Debug)]
pub(super) struct Appends {
    core: Arc<Core>,
    target: Target,
    content_type: Arc<OnceLock<String>>,
    batching: bool,
    identity: Option<Identity>,
    state: Mutex<State>,
    /// A caller gave up.
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Entry>,
    /// Whether a [`Driver`] is at work. It takes every entry that is there before it ends.
    driven: bool,
}

/// What the driver does next.
enum Next {
    /// Nothing waits: it ends.
    End,
    /// The first message waits for the stream's content type.
    Ask,
    Send(Draft, Vec<Reply>),
}

impl Appends {
    pub(super) fn new(core: Arc<Core>, target: Target, content_type: Arc<OnceLock<String>>, manner: Manner) -> Self {
        let Manner { batching, idempotent } = manner;
        let identity = idempotent.then(Identity::default);
        Self { core, target, content_type, batching, identity, state: Mutex::default(), left: Notify::new() }
    }

    /// Takes a write into the queue, in the order of the calls. What can be checked is checked here.
    pub(super) fn submit(self: &Arc<Self>, write: Result<Write>) -> BoxFuture<Result<Appended>> {
        let write = write.and_then(|mut write| {
            if self.identity.is_some() && write.has_seq() {
                return Err(Error::invalid_argument("seq: an idempotent handle numbers its appends itself"));
            }
            if let Some(content_type) = self.content_type.get() {
                write.settle_type(content_type)?;
            }
            Ok(write)
        });
        let write = match write {
            Ok(write) => write,
            Err(error) => return Box::pin(std::future::ready(Err(self.context(error)))),
        };
        let (reply, answer) = oneshot::channel();
        let entry = Entry { write, reply };
        // Seqs of an identity have to arrive in order.
        if !self.batching && self.identity.is_none() {
            let appends = self.clone();
            return Box::pin(async move { appends.send_alone(entry.write).await });
        }
        self.lock().waiting.push_back(entry);
        let ticket = Ticket { answer, appends: self.clone() };
        Box::pin(ticket.wait())
    }

    async fn send_alone(&self, mut write: Write) -> Result<Appended> {
        if !write.is_settled() {
            let content_type = self.ask_type().await?;
            write.settle_type(&content_type).map_err(|error| self.context(error))?;
        }
        self.send(Draft::new(write)).await
    }

    async fn send(&self, draft: Draft) -> Result<Appended> {
        let post = draft.finish();
        if let Some(identity) = self.identity.as_ref().filter(|_| post.body.is_some()) {
            return self.send_once(post, identity).await;
        }
        let request = post.plain().map_err(|error| self.context(error))?;
        let (head, _) = self.core.call(&self.target, request).await?;
        Ok(Appended { offset: head.next_offset(), duplicate: false })
    }

    /// Sends a POST under the handle's identity. Every try of it is the same, so the server stores one.
    async fn send_once(&self, post: Post, identity: &Identity) -> Result<Appended> {
        loop {
            let numbered = identity.take().map_err(|error| self.context(error))?;
            let request = post.numbered(&numbered).map_err(|error| self.context(error))?;
            match self.core.call(&self.target, request).await {
                Ok((head, _)) => {
                    let receipt = identity.stored(numbered, &head, post.closes).map_err(|error| self.context(error))?;
                    return Ok(Appended { offset: receipt.offset, duplicate: receipt.duplicate });
                }
                Err(error) if Identity::is_forgotten(&numbered, &error) => tracing::debug!(%error, "a new identity"),
                Err(error) => return Err(error),
            }
        }
    }

    /// The stream's content type, as HEAD says (C-REQ-8).
    async fn ask_type(&self) -> Result<String> {
        if let Some(content_type) = self.content_type.get() {
            return Ok(content_type.clone());
        }
        let (head, _) = self.core.call(&self.target, Request::head()).await?;
        Ok(match head.text(CONTENT_TYPE) {
            Some(content_type) => self.content_type.get_or_init(|| content_type.to_owned()).clone(),
            None => DEFAULT_CONTENT_TYPE.to_owned(),
        })
    }

    /// Starts a driver, unless one is at work or there is nothing to do.
    fn drive(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            if state.driven || state.waiting.is_empty() {
                return;
            }
            state.driven = true;
        }
        // Without the lock: outside of a runtime this panics, and the driver tells those who wait.
        runtime::spawn(Driver { appends: self.clone(), over: false }.run());
    }

    /// The longest run of writes that may share one POST, from the front.
    fn next(&self, known: Option<&str>) -> Next {
        let mut state = self.lock();
        let mut draft: Option<Draft> = None;
        let mut replies = Vec::new();
        while let Some(entry) = state.waiting.front_mut() {
            if entry.reply.is_closed() {
                state.waiting.pop_front();
                continue;
            }
            if let Some(content_type) = known
                && let Err(error) = entry.write.settle_type(content_type)
            {
                if let Some(entry) = state.waiting.pop_front() {
                    // Whoever has gone does not want to know.
                    let _ = entry.reply.send(Err(self.context(error)));
                }
                continue;
            }
            match &draft {
                None if !entry.write.is_settled() => return Next::Ask,
                Some(draft) if !self.batching || !draft.takes(&entry.write) => break,
                _ => {}
            }
            let Some(Entry { write, reply }) = state.waiting.pop_front() else { break };
            replies.push(reply);
            match &mut draft {
                None => draft = Some(Draft::new(write)),
                Some(draft) => draft.join(write),
            }
        }
        match draft {
            Some(draft) => Next::Send(draft, replies),
            None => {
                state.driven = false;
                Next::End
            }
        }
    }

    /// Ready when nobody waits for what is under way. Every caller that leaves makes it look again.
    async fn left_when(&self, is_alone: impl Fn() -> bool) {
        while !is_alone() {
            self.left.notified().await;
        }
    }

    fn context(&self, error: Error) -> Error {
        error.with_context(Operation::Append, self.target.url.shown())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No change of the state can be left half done.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    /// Drops what its callers have given up. What is in the middle goes when its turn comes.
    fn forget(&mut self) {
        while self.waiting.back().is_some_and(|entry| entry.reply.is_closed()) {
            self.waiting.pop_back();
        }
        while self.waiting.front().is_some_and(|entry| entry.reply.is_closed()) {
            self.waiting.pop_front();
        }
    }
}

/// A caller that waits for its answer.
struct Ticket {
    answer: oneshot::Receiver<Result<Appended>>,
    appends: Arc<Appends>,
}

impl Ticket {
    async fn wait(mut self) -> Result<Appended> {
        self.appends.drive();
        (&mut self.answer).await.unwrap_or_else(|_| Err(self.appends.context(shut_down().with_outcome_unknown(true))))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.answer.close();
        self.appends.lock().forget();
        self.appends.left.notify_one();
    }
}

/// Sends what waits until nothing does.
struct Driver {
    appends: Arc<Appends>,
    over: bool,
}

impl Driver {
    async fn run(mut self) {
        // What HEAD said of a stream whose server names no content type.
        let mut assumed: Option<String> = None;
        loop {
            let known = self.appends.content_type.get().or(assumed.as_ref()).map(String::as_str);
            match self.appends.next(known) {
                Next::End => {
                    self.over = true;
                    return;
                }
                Next::Ask => assumed = self.ask().await,
                Next::Send(draft, replies) => self.send(draft, replies).await,
            }
        }
    }

    /// Asks for the content type, for all that wait for it.
    async fn ask(&self) -> Option<String> {
        let appends = &self.appends;
        let result = tokio::select! {
            biased;
            result = appends.ask_type() => result,
            () = appends.left_when(|| !appends.lock().waiting.iter().any(Entry::wants_type)) => return None,
        };
        let error = match result {
            Ok(content_type) => return Some(content_type),
            Err(error) => error,
        };
        let mut failed = Vec::new();
        {
            let mut state = appends.lock();
            for entry in std::mem::take(&mut state.waiting) {
                if entry.wants_type() {
                    failed.push(entry);
                } else {
                    state.waiting.push_back(entry);
                }
            }
        }
        for entry in failed {
            let _ = entry.reply.send(Err(error.clone()));
        }
        None
    }

    async fn send(&self, draft: Draft, replies: Vec<Reply>) {
        let result = tokio::select! {
            biased;
            result = self.appends.send(draft) => result,
            // Each of the callers may give up; the others do not notice (C10).
            () = self.appends.left_when(|| replies.iter().all(Reply::is_closed)) => return,
        };
        for reply in replies {
            let _ = reply.send(result.clone());
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A panic, or the runtime is shut down. Nobody else would take what still waits.
        let abandoned = {
            let mut state = self.appends.lock();
            state.driven = false;
            std::mem::take(&mut state.waiting)
        };
        for entry in abandoned {
            let _ = entry.reply.send(Err(self.appends.context(shut_down())));
        }
    }
}

fn shut_down() -> Error {
    Error::new(ErrorKind::Cancelled, "the task that carried the appends of this handle was shut down")
}
