//! The driver of subscriptions: one call for each route, and what goes on between calls.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::address::WebhookPolicy;
use super::deliver::Deliverer;
use super::error::Refusal;
use super::keys::Keys;
use super::news::News;
use super::record::{Record, What};
use super::spec::{Ack, Kind, Spec, parse_claim, parse_rotation, parse_streams, path_of};
use super::subscription::{Moment, Step, Subscription};
use super::token::{self, Bearer};
use super::view;
use super::writer::{Core, Ticket, Written};
use crate::clock::Millis;
use crate::engine::{Engine, EngineError, Observer};
use crate::storage::{StorageError, StorageErrorKind};

/// Webhooks under way at a time.
const DELIVERIES: usize = 256;
/// Subscriptions on a page.
const PAGE: usize = 1000;
/// How often clocks are looked at while something is due: they may jump.
const TICK: Duration = Duration::from_millis(250);

/// All subscriptions of a server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Subscriptions {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) keys: Keys,
    /// `None` when webhooks are switched off.
    pub(super) deliverer: Option<Deliverer>,
    pub(super) deliveries: tokio::sync::Semaphore,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) core: Mutex<Core>,
    pub(super) journal: tokio::sync::Mutex<Written>,
    pub(super) news: Arc<News>,
    /// The stream root as clients reach it, where it is configured.
    pub(super) public_url: Option<String>,
}

impl Subscriptions {
    /// Reads what the storage has, and looks at the streams. `webhooks` is `None` to switch webhooks off; `public_url` is
    /// the stream root in callbacks, or `None` for what the creator of a subscription used.
    ///
    /// # Errors
    /// A failure of the storage, or of the system's TLS.
    pub(crate) async fn open(
        engine: Engine,
        webhooks: Option<WebhookPolicy>,
        public_url: Option<String>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, EngineError> {
        let keys = Keys::open(&engine).await?;
        let news = Arc::new(News::default());
        engine.set_observer(Arc::clone(&news) as Arc<dyn Observer>);
        let shared = Arc::new(Shared {
            engine,
            keys,
            deliverer: webhooks.map(Deliverer::new),
            deliveries: tokio::sync::Semaphore::new(DELIVERIES),
            tasks,
            stop,
            core: Mutex::default(),
            journal: tokio::sync::Mutex::default(),
            news,
            public_url,
        });
        let mut written = shared.journal.lock().await;
        shared.read_anew(&mut written).await?;
        drop(written);
        Ok(Self { shared })
    }

    /// Carries out what was left undone, then lets leases end and retries begin, until the server stops.
    pub(crate) async fn run(self) {
        let shared = self.shared;
        loop {
            if let Err(error) = shared.catch_up().await {
                tracing::warn!(?error, "changes of subscriptions could not be stored; they will be tried again");
                shared.stop.run_until_cancelled(tokio::time::sleep(TICK)).await;
            }
            let wait = shared.until_due();
            tokio::select! {
                () = shared.news.arrived.notified() => {}
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
                () = shared.stop.cancelled() => return,
            }
        }
    }

    /// `PUT R/__ds/subscriptions/{id}`: the subscription, and whether it is new (S-SUB-1 to 4).
    ///
    /// # Errors
    /// T-SUBERR.
    pub(crate) async fn create(&self, id: &str, body: &[u8], base_url: &str) -> Result<(Value, bool), Refusal> {
        let shared = &self.shared;
        let spec = Spec::parse(body, shared.deliverer.as_ref().map(Deliverer::policy))?;
        let confirmed = {
            let core = shared.decided()?;
            shared.confirm(&core, id, &spec, base_url)?
        };
        if let Some((view, ticket)) = confirmed {
            shared.settled(ticket).await?;
            return Ok((view, false));
        }
        let links = shared.present(&spec).await?;
        let id: Arc<str> = id.into();
        let at = shared.moment()?;
        let (view, ticket, is_new) = {
            let mut core = shared.decided()?;
            // Another request for the same id may have been quicker.
            let is_new = core.registry.find(&id).is_err();
            if is_new {
                let subscription = Subscription::new(spec.clone(), base_url.to_owned(), links, at);
                shared.news.interest.write().add(&id, &subscription);
                shared.engine.switch_observer(true);
                let what = What::State(Box::new(subscription.clone()));
                core.registry.insert(Arc::clone(&id), subscription);
                core.enqueue(Record { id: Arc::clone(&id), what });
            }
            let (view, ticket) = shared.confirm(&core, &id, &spec, base_url)?.ok_or(Refusal::NotFound)?;
            (view, ticket, is_new)
        };
        shared.settled(ticket).await?;
        if is_new {
            // What was appended after the streams were looked at, and before anybody listened.
            shared.look_at_streams(Some(&id)).await?;
            shared.news.arrived.notify_one();
        }
        Ok((view, is_new))
    }

    /// `GET R/__ds/subscriptions/{id}`.
    ///
    /// # Errors
    /// T-SUBERR.
    pub(crate) async fn get(&self, id: &str, base_url: &str) -> Result<Value, Refusal> {
        self.shared
            .act(id, |subscription, _, _| Ok(view::subscription(id, subscription, base_url, &self.shared.keys.kid())))
            .await
    }

    /// `DELETE R/__ds/subscriptions/{id}` (S-SUB-10).
    ///
    /// # Errors
    /// A failure of the storage.
    pub(crate) async fn delete(&self, id: &str) -> Result<(), Refusal> {
        let shared = &self.shared;
        let ticket = {
            let mut core = shared.decided()?;
            if let Some(subscription) = core.registry.remove(id) {
                let id: Arc<str> = id.into();
                shared.news.interest.write().remove(&id, &subscription);
                core.enqueue(Record { id, what: What::Deleted(true) });
                shared.engine.switch_observer(!core.registry.is_empty());
            }
            core.ticket()
        };
        shared.settled(ticket).await
    }

    /// `POST R/__ds/subscriptions/{id}/streams` (S-SUB-11).
    ///
    /// # Errors
    /// T-SUBERR.
    pub(crate) async fn add_streams(&self, id: &str, body: &[u8]) -> Result<(), Refusal> {
        let shared = &self.shared;
        shared.decided()?.registry.find(id)?;
        let paths = parse_streams(body)?;
        let mut found = Vec::with_capacity(paths.len());
        for path in paths {
            let stream = shared.tail_of(&path).await?;
            found.push((path, stream.map(|(stream, _, tail)| (stream, tail))));
        }
        shared
            .act(id, |subscription, _, step| {
                found.iter().for_each(|(path, stream)| subscription.add_stream(path, *stream, step));
                Ok(())
            })
            .await?;
        // As after a create: nobody listened until now.
        for (path, _) in found {
            shared.look_at_stream(&path).await?;
        }
        shared.news.arrived.notify_one();
        Ok(())
    }

    /// `DELETE R/__ds/subscriptions/{id}/streams/{path}` (S-SUB-6, S-SUB-11).
    ///
    /// # Errors
    /// T-SUBERR.
    pub(crate) async fn remove_stream(&self, id: &str, path: &str) -> Result<(), Refusal> {
        let path = path_of(path);
        self.shared
            .act(id, |subscription, _, step| {
                subscription.remove_stream(&path?, step);
                Ok(())
            })
            .await
    }

    /// `POST R/__ds/subscriptions/{id}/claim` (S-PULL-2 to 4).
    ///
    /// # Errors
    /// T-SUBERR.
    pub(crate) async fn claim(&self, id: &str, body: &[u8]) -> Result<Value, Refusal> {
        let shared = &self.shared;
        shared
            .act(id, |subscription, at, step| {
                pull_wake(subscription)?;
                subscription.claim(parse_claim(body)?, at, step)?;
                let token = shared.token(id, subscription, at.now);
                let wake = subscription.wake().ok_or(Refusal::NoPendingWork)?;
                Ok(view::claim(subscription, wake, &token))
            })
            .await
    }

    /// `POST R/__ds/subscriptions/{id}/ack` and `.../callback` (S-PULL-5, T-ACK).
    ///
    /// # Errors
    /// T-SUBERR.
    pub(crate) async fn ack(
        &self,
        id: &str,
        is_callback: bool,
        bearer: Option<&str>,
        body: &[u8],
    ) -> Result<Value, Refusal> {
        let bearer = bearer.ok_or(Refusal::TokenInvalid)?;
        let answer = self.try_ack(id, is_callback, bearer, body).await;
        if !matches!(answer, Err(Refusal::InvalidOffset(_))) {
            return answer;
        }
        // A reader can be a moment quicker than the news of what it has read.
        for acked in Ack::parse(body)?.acks {
            if let Ok(path) = path_of(&acked.stream) {
                self.shared.look_at_stream(&path).await?;
            }
        }
        self.try_ack(id, is_callback, bearer, body).await
    }

    async fn try_ack(&self, id: &str, is_callback: bool, bearer: &str, body: &[u8]) -> Result<Value, Refusal> {
        let shared = &self.shared;
        shared
            .act(id, |subscription, at, step| {
                if is_callback {
                    webhook(subscription)?
                } else {
                    pull_wake(subscription)?
                };
                let claims = shared.verify(id, subscription, bearer, at.now)?;
                let ack = Ack::parse(body)?;
                let next_wake = subscription.ack(claims.generation, &ack, at, step)?;
                let mut answer = json!({"ok": true, "next_wake": next_wake});
                if !ack.done && claims.is_stale(at.now) {
                    answer["token"] = shared.token(id, subscription, at.now).into();
                }
                Ok(answer)
            })
            .await
    }

    /// `POST R/__ds/subscriptions/{id}/release` (S-PULL-6).
    ///
    /// # Errors
    /// T-SUBERR.
    pub(crate) async fn release(&self, id: &str, bearer: Option<&str>, body: &[u8]) -> Result<(), Refusal> {
        let bearer = bearer.ok_or(Refusal::TokenInvalid)?;
        let shared = &self.shared;
        shared
            .act(id, |subscription, at, step| {
                pull_wake(subscription)?;
                let claims = shared.verify(id, subscription, bearer, at.now)?;
                subscription.release(claims.generation, &Ack::parse(body)?, at, step)
            })
            .await
    }

    /// `GET R/__ds/jwks.json` (S-HOOK-3).
    pub(crate) fn jwks(&self) -> Value {
        self.shared.keys.jwks(self.shared.engine.clock().now())
    }

    /// `POST R/__ds/keys/rotate` (S-HOOK-4, an extension by S-HTTP-19): a new key signs webhooks, those before it stay
    /// listed for a while. The new key set, and the name of the key that signs.
    ///
    /// # Errors
    /// The body makes no sense, or a failure of the storage.
    pub(crate) async fn rotate_key(&self, body: &[u8]) -> Result<Value, Refusal> {
        let overlap = parse_rotation(body)?;
        self.shared.keys.rotate(&self.shared.engine, overlap).await?;
        let kid = self.shared.keys.kid();
        tracing::info!(kid, ?overlap, "a new key signs webhooks");
        let mut answer = self.jwks();
        answer["kid"] = kid.into();
        Ok(answer)
    }

    /// `GET R/__ds/subscriptions` (an extension, S-HTTP-19): a page of subscriptions without their streams, by id.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub(crate) fn list(&self, after: Option<&str>, base_url: &str) -> Result<Value, Refusal> {
        let core = self.shared.decided()?;
        let kid = self.shared.keys.kid();
        let mut ids: Vec<&Arc<str>> = core.registry.iter().map(|(id, _)| id).collect();
        ids.retain(|id| after.is_none_or(|after| id.as_ref() > after));
        ids.sort_unstable();
        let next = (ids.len() > PAGE).then(|| ids[PAGE - 1].to_string());
        let page = ids.iter().take(PAGE).filter_map(|id| Some((id, core.registry.find(id).ok()?)));
        let page: Vec<Value> = page.map(|(id, it)| view::summary(id, it, base_url, &kid)).collect();
        let mut answer = json!({ "subscriptions": page });
        if let Some(next) = next {
            answer["next"] = next.into();
        }
        Ok(answer)
    }
}

impl Shared {
    /// The lock, unless the journal cannot be read.
    fn decided(&self) -> Result<MutexGuard<'_, Core>, Refusal> {
        let core = self.core.lock();
        match &core.broken {
            Some(error) => Err(error.clone().into()),
            None => Ok(core),
        }
    }

    /// Has a subscription do something, and waits until what it decided - and what it decided on - is durable.
    pub(super) async fn act<T>(
        self: &Arc<Self>,
        id: &str,
        act: impl FnOnce(&mut Subscription, Moment, &mut Step) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let at = self.moment()?;
        let (outcome, ticket) = {
            let mut core = self.decided()?;
            self.take_news(&mut core);
            let outcome = self.update(&mut core, id, |subscription, step| act(subscription, at, step))?;
            (outcome, core.ticket())
        };
        self.settled(ticket).await?;
        outcome
    }

    pub(super) fn update<T>(
        &self,
        core: &mut Core,
        id: &str,
        act: impl FnOnce(&mut Subscription, &mut Step) -> T,
    ) -> Result<T, Refusal> {
        let mut step = Step::default();
        let due = core.registry.poll_timeout();
        let outcome = core.registry.update(id, &mut step, act)?;
        if core.registry.poll_timeout() != due {
            // Whoever waits for a moment waits for another one.
            self.news.arrived.notify_one();
        }
        core.take(&Arc::from(id), step, &self.news.interest);
        Ok(outcome)
    }

    /// Takes in what has happened, and writes it down.
    async fn catch_up(self: &Arc<Self>) -> Result<(), Refusal> {
        let ticket = {
            let mut core = self.core.lock();
            self.take_news(&mut core);
            let at = self.moment()?;
            while let Some(id) = core.registry.next_due(at.now) {
                let at = self.moment()?;
                self.update(&mut core, &id, |subscription, step| subscription.handle_timeout(at, step))?;
            }
            core.ticket()
        };
        self.settled(ticket).await
    }

    fn until_due(&self) -> Option<Duration> {
        let core = self.core.lock();
        if core.broken.is_some() {
            return Some(TICK);
        }
        let due = core.registry.poll_timeout()?;
        Some(Duration::from_millis(due.saturating_sub(self.engine.clock().now())).min(TICK))
    }

    /// The subscription, if there is one of this id and configuration (S-SUB-3).
    fn confirm(&self, core: &Core, id: &str, spec: &Spec, base_url: &str) -> Result<Option<(Value, Ticket)>, Refusal> {
        match core.registry.find(id) {
            Err(_) => Ok(None),
            Ok(found) if found.spec() == spec => {
                let view = view::subscription(id, found, base_url, &self.keys.kid());
                Ok(Some((view, core.ticket())))
            }
            Ok(_) => Err(Refusal::AlreadyExists),
        }
    }

    pub(super) fn token(&self, id: &str, subscription: &Subscription, now: Millis) -> String {
        let bearer = Bearer { id, nonce: subscription.nonce() };
        token::issue(self.keys.tokens(), bearer, subscription.generation(), now)
    }

    fn verify(
        &self,
        id: &str,
        subscription: &Subscription,
        bearer: &str,
        now: Millis,
    ) -> Result<token::Claims, Refusal> {
        token::verify(self.keys.tokens(), Bearer { id, nonce: subscription.nonce() }, bearer, now)
    }

    pub(super) fn moment(&self) -> Result<Moment, Refusal> {
        let random = getrandom::u64().map_err(|error| {
            let message = format!("no randomness for a subscription: {error}");
            EngineError::Storage(StorageError { kind: StorageErrorKind::Conflict, message })
        })?;
        Ok(Moment { now: self.engine.clock().now(), random })
    }
}

/// T-ACK 3.
fn pull_wake(subscription: &Subscription) -> Result<(), Refusal> {
    match subscription.spec().kind {
        Kind::PullWake { .. } => Ok(()),
        Kind::Webhook { .. } => Err(Refusal::invalid("the subscription is a webhook, not pull-wake")),
    }
}

fn webhook(subscription: &Subscription) -> Result<(), Refusal> {
    match subscription.spec().kind {
        Kind::Webhook { .. } => Ok(()),
        Kind::PullWake { .. } => Err(Refusal::invalid("the subscription is pull-wake, not a webhook")),
    }
}
