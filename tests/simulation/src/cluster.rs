//! The server of a run: it dies, comes back with what was durable, and has a clock that jumps.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use everstream_disk::SimDisk;
use everstream_server::clock::{Clock, Millis};
use everstream_server::storage::{LogOptions, LogSteps, LogStorage, MemoryStorage, Storage};
use everstream_server::{Config, RunningServer, Server};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dice::Dice;
use crate::scenario::{Keeping, Scenario};
use crate::story::Story;

/// 2023-11-14, so that times read as times.
const EPOCH_MS: u64 = 1_700_000_000_000;

pub(crate) type ServerBody = UnsyncBoxBody<Bytes, BodyBroke>;

/// An answer's body broke off on the server's side.
#[derive(Debug)]
pub(crate) struct BodyBroke;

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Nobody listened.
    Down,
    /// The server died over it.
    Died,
}

pub(crate) struct Cluster {
    config: Config,
    storage: Backing,
    dice: Dice,
    clock: Arc<JumpingClock>,
    running: watch::Sender<Option<Running>>,
    /// When it was down, since the run began; the last time may go on.
    down: Mutex<Vec<(Duration, Duration)>>,
    story: Story,
}

/// What is left of a server when its process dies.
enum Backing {
    /// As if it were durable.
    Memory(Arc<MemoryStorage>),
    /// A disk, which keeps what was synced and some of the rest.
    Log(SimDisk),
}

#[derive(Clone)]
struct Running {
    server: Arc<RunningServer>,
    /// What makes its storage work, where that is on a disk.
    steps: Option<Arc<Mutex<LogSteps>>>,
    /// Cancelled when this process dies.
    death: CancellationToken,
}

impl Cluster {
    pub(crate) fn new(seed: u64, scenario: &Scenario, dice: Dice, story: Story) -> Self {
        let mut config = Config::default();
        config.server.port = 0;
        config.limits.max_read_bytes = scenario.max_read_bytes;
        config.server.long_poll_timeout = scenario.long_poll;
        config.server.sse_lifetime = scenario.sse_lifetime;
        Self {
            config,
            storage: match scenario.keeping {
                Keeping::Memory => Backing::Memory(Arc::new(MemoryStorage::new())),
                Keeping::Log => Backing::Log(SimDisk::new(seed)),
            },
            dice,
            clock: Arc::new(JumpingClock { began: Instant::now(), jumped: AtomicI64::new(0) }),
            running: watch::Sender::new(None),
            down: Mutex::default(),
            story,
        }
    }

    /// Starts a process over what the last one left.
    pub(crate) async fn start(&self) -> Result<(), String> {
        let death = CancellationToken::new();
        let mut work = None;
        let storage: Arc<dyn Storage> = match &self.storage {
            Backing::Memory(memory) => memory.clone(),
            Backing::Log(disk) => {
                // So small that a run meets the end of many segments.
                let options = LogOptions::default().segment_bytes(3000);
                let opened = LogStorage::stepped(Arc::new(disk.clone()), options);
                let (storage, steps) = opened.map_err(|error| format!("the log does not open: {error}"))?;
                let steps = work.insert(Arc::new(Mutex::new(steps))).clone();
                tokio::spawn(death.clone().run_until_cancelled_owned(commit(steps, self.dice.clone())));
                Arc::new(storage)
            }
        };
        // It listens as any server does, but all requests come by `answer`.
        let server = Server::builder().config(self.config.clone()).storage(storage).clock(self.clock.clone());
        let server = server.start().await.map_err(|error| format!("the server does not start: {error}"))?;
        self.story.tell(format_args!("server is up"));
        if let Some((_, until)) = self.lock_down().last_mut() {
            *until = self.clock.began.elapsed();
        }
        self.running.send_replace(Some(Running { server: Arc::new(server), steps: work, death }));
        Ok(())
    }

    /// The process dies at once, with everything under way; with its machine, half of the time.
    pub(crate) fn kill(&self) {
        if let Some(running) = self.running.send_replace(None) {
            let power = self.dice.chance(0.5);
            self.story.tell(format_args!("server dies{}", if power { ", the power goes" } else { "" }));
            self.lock_down().push((self.clock.began.elapsed(), Duration::MAX));
            running.death.cancel();
            if let (Backing::Log(disk), Some(steps), true) = (&self.storage, running.steps, power) {
                // What waited was being written, and gets as far as the power lasts; nobody hears of it.
                disk.fuse(self.dice.below(5));
                lock(&steps).commit();
                disk.restart();
            }
        }
    }

    /// From when to when it was down, once for each death.
    pub(crate) fn down(&self) -> Vec<(Duration, Duration)> {
        self.lock_down().clone()
    }

    fn lock_down(&self) -> MutexGuard<'_, Vec<(Duration, Duration)>> {
        lock(&self.down)
    }

    pub(crate) fn jump(&self, by_ms: i64) {
        self.story.tell(format_args!("server's clock jumps by {by_ms} ms"));
        self.clock.jumped.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Hands a request to the process that is up. It is worked on whether or not somebody waits for the answer; with
    /// `give_up` it is dropped when nobody does, as when a connection breaks.
    pub(crate) async fn answer(
        &self,
        request: Request<Bytes>,
        give_up: bool,
    ) -> Result<(Response<ServerBody>, CancellationToken), NoAnswer> {
        let Some(Running { server, death, .. }) = self.running.borrow().clone() else {
            return Err(NoAnswer::Down);
        };
        let (mut sender, answer) = oneshot::channel();
        let own = death.clone();
        tokio::spawn(async move {
            let work = async {
                let answer = server.answer(request.map(Full::new), server.addr()).await.ok()?;
                Some(answer.map(|body| body.map_err(|_| BodyBroke).boxed_unsync()))
            };
            let answer = tokio::select! {
                biased;
                () = own.cancelled() => None,
                () = sender.closed(), if give_up => None,
                answer = work => answer,
            };
            if let Some(answer) = answer {
                let _ = sender.send(answer);
            }
        });
        answer.await.map(|answer| (answer, death)).map_err(|_| NoAnswer::Died)
    }

    /// Ready when a process is up.
    pub(crate) async fn up(&self) {
        let mut running = self.running.subscribe();
        // The sender is in `self`, so it is there as long as this waits.
        let _ = running.wait_for(Option::is_some).await;
    }
}

/// The disk's work, which takes its time.
async fn commit(steps: Arc<Mutex<LogSteps>>, dice: Dice) {
    loop {
        tokio::time::sleep(dice.ms(1..15)).await;
        lock(&steps).commit();
        if dice.chance(0.02) {
            // It is tried again, and what was committed stays in the log meanwhile.
            let _ = lock(&steps).drain();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Virtual time, and what it was moved by.
#[derive(Debug)]
struct JumpingClock {
    began: Instant,
    jumped: AtomicI64,
}

impl Clock for JumpingClock {
    fn now(&self) -> Millis {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        (EPOCH_MS + elapsed).saturating_add_signed(self.jumped.load(Ordering::Relaxed))
    }
}
