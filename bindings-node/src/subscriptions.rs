//! The control API of subscriptions, and the check of webhooks.

use std::sync::Arc;
use std::time::Duration;

use everstream::{
    LinkType, LinkedStream, Subscription, SubscriptionKind, SubscriptionOptions, SubscriptionStatus,
    Subscriptions as CoreSubscriptions, Wake, WebhookVerifier as CoreVerifier,
};
use napi::Env;
use napi::bindgen_prelude::{Null, Object};
use napi_derive::napi;

use crate::abort::Abort;
use crate::call::call;
use crate::client::Client;
use crate::data::Data;
use crate::error;
use crate::options::set_duration;
use crate::runtime::runtime;
use crate::stream::HandleOptions;
use crate::value::Raw;
use crate::worker::{Lease, Worker};

/// The subscriptions of a server.
#[napi]
pub struct Subscriptions {
    core: CoreSubscriptions,
}

/// What a new subscription is to be.
#[napi(object)]
pub struct NewSubscriptionOptions {
    pub pattern: Option<String>,
    pub streams: Option<Vec<String>>,
    pub wake_stream: Option<String>,
    pub webhook: Option<String>,
    pub lease: Option<f64>,
    pub description: Option<String>,
}

#[napi]
impl Subscriptions {
    #[napi(constructor, catch_unwind)]
    pub fn new(env: Env, client: &Client, root: String, options: HandleOptions<'_>) -> napi::Result<Self> {
        let core = options.client(env, client)?.subscriptions(&root);
        Ok(Self { core: core.map_err(|refused| error::throw(env, &refused))? })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<SubscriptionInfo>")]
    pub fn create(
        &self,
        env: Env,
        id: String,
        options: NewSubscriptionOptions,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let core = self.core.clone();
        let options = options.build(env)?;
        call(env, abort, async move { core.create(&id, &options).await }, |env, (it, created)| {
            let mut told = told(env, it)?;
            told.set("created", created)?;
            Raw::of(env, told)
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<SubscriptionInfo>")]
    pub fn get(&self, env: Env, id: String, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        call(env, abort, async move { core.get(&id).await }, |env, it| Raw::of(env, told(env, it)?))
    }

    #[napi(catch_unwind, ts_return_type = "Promise<SubscriptionInfo[]>")]
    pub fn list(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        call(env, abort, async move { core.list().await }, |env, all| {
            let all = all.into_iter().map(|it| told(env, it)).collect::<napi::Result<Vec<_>>>()?;
            Raw::of(env, all)
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn delete(&self, env: Env, id: String, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        call(env, abort, async move { core.delete(&id).await }, |env, ()| error::nothing(env))
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn add_streams(&self, env: Env, id: String, paths: Vec<String>, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        call(env, abort, async move { core.add_streams(&id, &paths).await }, |env, ()| error::nothing(env))
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn remove_stream(&self, env: Env, id: String, path: String, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        call(env, abort, async move { core.remove_stream(&id, &path).await }, |env, ()| error::nothing(env))
    }

    /// The name of the new key.
    #[napi(catch_unwind, ts_return_type = "Promise<string>")]
    pub fn rotate_key(&self, env: Env, overlap: Option<f64>, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        let overlap = optional_duration(env, "overlap", overlap)?;
        call(env, abort, async move { core.rotate_key(overlap).await }, Raw::of)
    }

    /// `null` when there is no work, or another worker has it.
    #[napi(catch_unwind, ts_return_type = "Promise<Lease | null>")]
    pub fn claim(&self, env: Env, id: String, name: String, abort: Option<&Abort>) -> napi::Result<Raw> {
        let (core, owner) = (self.core.clone(), self.core.clone());
        call(env, abort, async move { core.claim(&id, &name).await }, move |env, lease| match lease {
            Some(lease) => Raw::of(env, Lease::new(lease, owner)),
            None => Raw::of(env, Null),
        })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<Worker>")]
    pub fn worker(&self, env: Env, id: String, name: String, abort: Option<&Abort>) -> napi::Result<Raw> {
        let (core, owner) = (self.core.clone(), self.core.clone());
        call(env, abort, async move { core.worker(&id, &name).await }, move |env, worker| {
            Raw::of(env, Worker::new(worker, owner))
        })
    }

    /// The lease of a webhook whose body was verified.
    #[napi(catch_unwind)]
    pub fn work_of(&self, env: Env, body: String, lease: f64) -> napi::Result<Lease> {
        let mut time = Duration::ZERO;
        set_duration(env, "lease", Some(lease), &mut time)?;
        let _context = runtime()?.enter();
        let work = Wake::from_json(body.as_bytes()).and_then(|wake| self.core.work_of(&wake, time));
        Ok(Lease::new(work.map_err(|refused| error::throw(env, &refused))?, self.core.clone()))
    }
}

impl NewSubscriptionOptions {
    fn build(self, env: Env) -> napi::Result<SubscriptionOptions> {
        let kind = SubscriptionKind::of(self.wake_stream, self.webhook);
        Ok(SubscriptionOptions {
            kind: kind.map_err(|refused| error::throw(env, &refused))?,
            pattern: self.pattern,
            streams: self.streams.unwrap_or_default(),
            lease: optional_duration(env, "lease", self.lease)?,
            description: self.description,
        })
    }
}

fn optional_duration(env: Env, name: &str, given: Option<f64>) -> napi::Result<Option<Duration>> {
    let mut time = Duration::ZERO;
    set_duration(env, name, given, &mut time)?;
    Ok(given.map(|_| time))
}

/// Checks webhooks of a server.
#[napi]
pub struct WebhookVerifier {
    core: Arc<CoreVerifier>,
}

#[napi]
impl WebhookVerifier {
    #[napi(constructor, catch_unwind)]
    pub fn new(
        env: Env,
        subscriptions: &Subscriptions,
        subscription: Option<String>,
        tolerance: Option<f64>,
    ) -> napi::Result<Self> {
        let made = subscriptions.core.webhook_verifier();
        let mut core = made.map_err(|refused| error::throw(env, &refused))?;
        if let Some(id) = subscription {
            core = core.subscription(id);
        }
        if let Some(tolerance) = optional_duration(env, "tolerance", tolerance)? {
            core = core.tolerance(tolerance);
        }
        Ok(Self { core: Arc::new(core) })
    }

    #[napi(catch_unwind, ts_return_type = "Promise<WakeInfo>")]
    pub fn verify(
        &self,
        env: Env,
        signature: String,
        #[napi(ts_arg_type = "string | Uint8Array")] body: Data,
        abort: Option<&Abort>,
    ) -> napi::Result<Raw> {
        let core = self.core.clone();
        let verified = async move { Ok((core.verify(&signature, &body.0).await?, body.0)) };
        call(env, abort, verified, |env, (wake, body)| {
            let mut it = Object::new(&env)?;
            it.set("subscriptionId", wake.subscription_id)?;
            it.set("wakeId", wake.wake_id)?;
            it.set("generation", wake.generation as f64)?;
            it.set("streams", links(env, &wake.streams)?)?;
            it.set("callbackUrl", wake.callback_url)?;
            it.set("callbackToken", wake.callback_token)?;
            it.set("body", String::from_utf8_lossy(&body).as_ref())?;
            Raw::of(env, it)
        })
    }
}

/// Streams of a subscription, for JavaScript.
pub(crate) fn links(env: Env, streams: &[LinkedStream]) -> napi::Result<Vec<Object<'static>>> {
    let link = |stream: &LinkedStream| {
        let mut it = Object::new(&env)?;
        it.set("path", stream.path.as_str())?;
        it.set("linkType", if stream.link_type == LinkType::Explicit { "explicit" } else { "glob" })?;
        it.set("ackedOffset", stream.acked_offset.to_string())?;
        it.set("tailOffset", stream.tail_offset.as_ref().map(ToString::to_string))?;
        it.set("hasPending", stream.has_pending)?;
        Ok(it)
    };
    streams.iter().map(link).collect()
}

fn told<'env>(env: Env, subscription: Subscription) -> napi::Result<Object<'env>> {
    let (kind, wake_stream, url) = match subscription.kind {
        SubscriptionKind::PullWake { wake_stream } => ("pull-wake", Some(wake_stream), None),
        SubscriptionKind::Webhook { url } => ("webhook", None, Some(url)),
    };
    let mut it = Object::new(&env)?;
    it.set("id", subscription.id)?;
    it.set("type", kind)?;
    it.set("wakeStream", wake_stream)?;
    it.set("webhook", url)?;
    it.set("pattern", subscription.pattern)?;
    it.set("streams", links(env, &subscription.streams)?)?;
    it.set("lease", subscription.lease.as_secs_f64() * 1000.0)?;
    it.set("status", if subscription.status == SubscriptionStatus::Failed { "failed" } else { "active" })?;
    it.set("createdAt", subscription.created_at)?;
    it.set("description", subscription.description)?;
    Ok(it)
}
