//! The task of a producer: sends what the machine gives, and tells it what came of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::settling::Settling;
use super::state::Running;
use crate::client::exchange::{Failure, Target, collect};
use crate::client::runtime::{AbortHandle, JoinSet, sleep_until};
use crate::client::transport::RequestBody;
use crate::error::{Error, ErrorKind};
use crate::proto::Instant;
use crate::proto::names;
use crate::proto::producer::{BatchId, Transmit};
use crate::proto::request::{Operation, Request};
use crate::proto::response::{Disconnect, ResponseHead};

/// Carries batches until the producer is abandoned and everything is settled.
pub(super) struct Task {
    shared: Arc<Shared>,
    exchanges: JoinSet<Exchanged>,
    tries: Settling<(BatchId, u32), AbortHandle>,
    /// With what the hook has mended so far; batches on their way when it did are not asked about again.
    target: Arc<Target>,
    mends: u32,
    /// Whether the last handle was seen to be gone.
    abandoned: bool,
}

/// What came of one try of a batch, and how often the hook had mended something before it.
struct Exchanged {
    batch: BatchId,
    attempt: u32,
    mends: u32,
    outcome: Outcome,
}

enum Outcome {
    Answered(ResponseHead),
    Lost(Disconnect),
    /// The caller's own function failed: no batch can be sent (C-REQ-7).
    Fatal(Error),
}

impl Task {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let target = Arc::new(shared.target.clone());
        Self { shared, exchanges: JoinSet::new(), tries: Settling::new(), target, mends: 0, abandoned: false }
    }

    pub(super) async fn run(mut self) {
        loop {
            let Some(timeout) = self.step() else { return };
            let timer = async {
                match timeout {
                    Some(at) => sleep_until(self.shared.core.at(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = self.exchanges.join_next() => {
                    // An aborted exchange is one that the machine has given up.
                    if let Ok(exchanged) = done {
                        self.handle(exchanged).await;
                    }
                }
                () = self.shared.wake.notified() => {}
                () = timer => {
                    let now = self.shared.core.now();
                    if let Ok(running) = self.shared.lock().running() {
                        running.machine.handle_timeout(now);
                    }
                }
            }
        }
    }

    /// Does all that can be done now; `None` when the task is over.
    fn step(&mut self) -> Option<Option<Instant>> {
        let now = self.shared.core.now();
        let mut state = self.shared.lock();
        let running = state.running().ok()?;
        let abandoned = self.shared.abandoned.load(Ordering::Acquire);
        if abandoned && !std::mem::replace(&mut self.abandoned, true) {
            // Nobody waits: send what is left without lingering.
            running.machine.flush();
        }
        let (mut transmits, mut freed) = (Vec::new(), false);
        loop {
            while let Some(transmit) = running.machine.poll_transmit(now) {
                transmits.push(transmit);
            }
            freed |= running.dispatch();
            if !running.advance(now) {
                break;
            }
            if abandoned {
                running.machine.hurry();
            }
            freed = true;
        }
        self.tries.retain(|(batch, attempt), exchange| {
            let alive = running.machine.is_in_flight(*batch, *attempt);
            if !alive {
                exchange.abort();
            }
            alive
        });
        let failed = std::mem::take(&mut running.failed);
        let timeouts = std::mem::take(&mut running.timeouts);
        let timeout = running.machine.poll_timeout();
        let over = abandoned && running.is_idle();
        drop(state);
        if freed {
            self.shared.space.notify_waiters();
        }
        for _ in 0..timeouts {
            self.shared.core.try_failed();
        }
        self.shared.tell(failed);
        for transmit in transmits {
            self.send(transmit);
        }
        (!over).then_some(timeout)
    }

    fn send(&mut self, transmit: Transmit) {
        let Transmit { batch, attempt, request } = transmit;
        let (shared, target, mends) = (self.shared.clone(), self.target.clone(), self.mends);
        let exchange = async move {
            let on_sent = {
                let shared = shared.clone();
                Box::new(move || {
                    if let Ok(running) = shared.lock().running() {
                        running.machine.handle_body_sent(batch);
                    }
                    shared.wake.notify_one();
                })
            };
            let body = RequestBody::Bytes { data: request.body.clone(), on_sent: Some(on_sent) };
            let outcome = match shared.core.send(&target, &request, body).await {
                // The connection is free for the next batch only when the body was read; an answer that breaks off
                // in its body is an answer all the same.
                Ok(answer) => {
                    let _ = collect(answer.body, 64 << 10).await;
                    Outcome::Answered(answer.head)
                }
                Err(Failure::Lost(cause)) => Outcome::Lost(cause),
                Err(Failure::Fatal(error)) => Outcome::Fatal(error),
            };
            Exchanged { batch, attempt, mends, outcome }
        };
        self.tries.push((batch, attempt), self.exchanges.spawn(exchange));
    }

    async fn handle(&mut self, exchanged: Exchanged) {
        let Exchanged { batch, attempt, mends, outcome } = exchanged;
        self.tries.take(&(batch, attempt));
        let outcome = match outcome {
            Outcome::Answered(head) if matches!(head.status.as_u16(), 401 | 403) => self.ask_hook(head, mends).await,
            other => other,
        };
        let now = self.shared.core.now();
        let mut state = self.shared.lock();
        let Ok(Running { machine, .. }) = state.running() else { return };
        match outcome {
            Outcome::Answered(head) => machine.handle_response(batch, attempt, &head, now),
            Outcome::Lost(cause) => machine.handle_disconnect(batch, attempt, cause, now),
            Outcome::Fatal(error) => machine.handle_fatal(batch, attempt, error),
        }
    }

    /// Refused credentials may be renewed by the caller; the batch then goes out again, since it was not stored.
    async fn ask_hook(&mut self, head: ResponseHead, mends: u32) -> Outcome {
        let request = Request::close();
        let error = head.to_error(&request).with_context(Operation::Produce, self.shared.target.url.shown());
        if head.headers.contains_key(names::PRODUCER_EPOCH) {
            return Outcome::Answered(head);
        }
        if mends == self.mends {
            let Some(extras) = self.shared.core.mend(&error).await else { return Outcome::Answered(head) };
            Arc::make_mut(&mut self.target).add(&extras);
            self.mends += 1;
        }
        Outcome::Lost(Disconnect { not_sent: true, error })
    }
}

impl Drop for Task {
    /// At its end everything is settled; unless the runtime is shut down, or a panic went through it.
    fn drop(&mut self) {
        self.shared.fail(Error::new(ErrorKind::Cancelled, "the runtime that carried the producer was shut down"));
    }
}
