//! Workers of pull-wake subscriptions, and their leases.

use std::collections::HashMap;
use std::sync::Arc;

use everstream::proto::subscription::request;
use everstream::{Error, ErrorKind, Lease as CoreLease, Offset, Subscriptions, Worker as CoreWorker};
use napi::Env;
use napi::bindgen_prelude::{Null, Object};
use napi_derive::napi;
use tokio::sync::{Mutex, watch};

use crate::abort::Abort;
use crate::call::{call, call_unheld};
use crate::error;
use crate::reader::Reader;
use crate::runtime::runtime;
use crate::subscriptions::links;
use crate::value::Raw;

/// Waits for work.
#[napi]
pub struct Worker {
    core: Arc<Mutex<CoreWorker>>,
    owner: Subscriptions,
    is_closed: watch::Sender<bool>,
}

impl Worker {
    pub(crate) fn new(core: CoreWorker, owner: Subscriptions) -> Self {
        Self { core: Arc::new(Mutex::new(core)), owner, is_closed: watch::Sender::new(false) }
    }
}

#[napi]
impl Worker {
    /// The next lease; `null` once it is closed.
    #[napi(catch_unwind, ts_return_type = "Promise<Lease | null>")]
    pub fn next(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let (core, owner) = (self.core.clone(), self.owner.clone());
        let mut closed = self.is_closed.subscribe();
        let next = async move {
            tokio::select! {
                biased;
                // A worker that JavaScript has dropped is as good as closed.
                _ = closed.wait_for(|closed| *closed) => Ok(None),
                lease = async { core.lock().await.next().await } => lease.map(Some),
            }
        };
        call(env, abort, next, move |env, lease| match lease {
            Some(lease) => Raw::of(env, Lease::new(lease, owner)),
            None => Raw::of(env, Null),
        })
    }

    /// Ends the waits for work, and takes no more. Can be repeated.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.is_closed.send_replace(true);
    }
}

/// The right to work on what a subscription has pending.
#[napi]
pub struct Lease {
    core: Arc<CoreLease>,
    owner: Subscriptions,
}

impl Lease {
    pub(crate) fn new(core: CoreLease, owner: Subscriptions) -> Self {
        Self { core: Arc::new(core), owner }
    }
}

#[napi]
impl Lease {
    #[napi(catch_unwind, ts_return_type = "LeaseInfo")]
    pub fn info(&self, env: Env) -> napi::Result<Raw> {
        let mut it = Object::new(&env)?;
        it.set("subscriptionId", self.core.subscription_id())?;
        it.set("wakeId", self.core.wake_id())?;
        it.set("generation", self.core.generation() as f64)?;
        it.set("streams", links(env, self.core.streams())?)?;
        Raw::of(env, it)
    }

    /// The URL of a stream of this server.
    #[napi(catch_unwind)]
    pub fn stream_url(&self, env: Env, path: String) -> napi::Result<String> {
        let stream = self.owner.stream(&path).map_err(|refused| error::throw(env, &refused))?;
        Ok(stream.url().to_owned())
    }

    /// A reader of one of its streams, from the cursor to the tail.
    #[napi(catch_unwind, ts_return_type = "Promise<Reader>")]
    pub fn read(&self, env: Env, path: String, read_ahead: bool, abort: Option<&Abort>) -> napi::Result<Raw> {
        let Some(stream) = self.core.streams().iter().find(|it| it.path == path) else {
            return Err(error::invalid_argument(env, format!("{path:?} is none of the streams of this lease")));
        };
        let reader = self.core.read(stream).map_err(|refused| error::throw(env, &refused))?;
        Reader::open(env, reader, false, read_ahead, abort)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn ack(&self, env: Env, offsets: HashMap<String, String>, abort: Option<&Abort>) -> napi::Result<Raw> {
        let (core, acks) = (self.core.clone(), acks(env, offsets)?);
        call(env, abort, async move { core.ack(&acks).await }, |env, ()| error::nothing(env))
    }

    /// Whether there is more to do.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn finish(&self, env: Env, offsets: HashMap<String, String>, abort: Option<&Abort>) -> napi::Result<Raw> {
        let (core, acks) = (self.core.clone(), acks(env, offsets)?);
        call(env, abort, async move { core.finish(&acks).await }, Raw::of)
    }

    #[napi(catch_unwind, ts_return_type = "Promise<void>")]
    pub fn release(&self, env: Env, abort: Option<&Abort>) -> napi::Result<Raw> {
        let core = self.core.clone();
        call(env, abort, async move { core.release().await }, |env, ()| error::nothing(env))
    }

    /// Gives the work back in the background: nobody is to wait.
    #[napi(catch_unwind)]
    pub fn abandon(&self) -> napi::Result<()> {
        let core = self.core.clone();
        // What fails ends by itself, when the lease does.
        runtime()?.spawn(async move { core.release().await });
        Ok(())
    }

    /// Done when the lease is over: with an error if it was lost, with `null` if it was finished or released. Keeps no
    /// process alive.
    #[napi(catch_unwind, ts_return_type = "Promise<Error | null>")]
    pub fn ended(&self, env: Env) -> napi::Result<Raw> {
        let core = self.core.clone();
        call_unheld(env, async move { Ok(core.ended().await) }, |env, is_lost| match is_lost {
            true => Ok(error::value(env, &Error::new(ErrorKind::LeaseLost, "the lease is over: stop working on it"))),
            false => Raw::of(env, Null),
        })
    }

    #[napi(getter, catch_unwind)]
    pub fn is_lost(&self) -> bool {
        self.core.is_lost()
    }

    #[napi(getter, catch_unwind)]
    pub fn is_over(&self) -> bool {
        self.core.is_over()
    }
}

fn acks(env: Env, offsets: HashMap<String, String>) -> napi::Result<Vec<(String, Offset)>> {
    request::acks(offsets).map_err(|refused| error::throw(env, &refused))
}
