//! Calls that take time: a future of the core becomes a promise.

use std::panic::AssertUnwindSafe;
use std::ptr;

use everstream::{Error, ErrorKind};
use futures_util::FutureExt;
use napi::{Env, sys};

use crate::abort::{Abort, or_aborted};
use crate::error;
use crate::events::Events;
use crate::here::Here;
use crate::runtime::runtime;
use crate::value::{Raw, check};

/// A promise that is not settled yet.
pub(crate) struct Promise {
    events: Events,
    deferred: sys::napi_deferred,
    held: bool,
}

// SAFETY: the deferred is used only in the thread of its environment: `settle_here` has its `Env`, `settle` goes through
// its queue.
unsafe impl Send for Promise {}

impl Promise {
    /// A promise, and its value. `hold`: the process stays alive until it is settled.
    pub(crate) fn new(env: Env, hold: bool) -> napi::Result<(Self, Raw)> {
        let events = Events::of(env)?;
        let (mut deferred, mut promise) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: this is the environment's thread.
        check(unsafe { sys::napi_create_promise(env.raw(), &raw mut deferred, &raw mut promise) })?;
        if hold {
            events.hold();
        }
        // SAFETY: just made.
        let value = unsafe { Raw::new(env.raw(), promise) };
        Ok((Self { events, deferred, held: hold }, value))
    }

    /// Settles it from any thread.
    pub(crate) fn settle(self, make: impl FnOnce(Env) -> Result<Raw, Raw> + Send + 'static) {
        let events = self.events.clone();
        events.push(move |env| self.settle_here(env, make));
    }

    /// Settles it in the thread of JavaScript.
    pub(crate) fn settle_here(self, env: Env, make: impl FnOnce(Env) -> Result<Raw, Raw>) {
        if self.held {
            self.events.release();
        }
        // SAFETY: the deferred is used once: `self` is consumed.
        unsafe {
            match make(env) {
                Ok(value) => sys::napi_resolve_deferred(env.raw(), self.deferred, value.value()),
                Err(error) => sys::napi_reject_deferred(env.raw(), self.deferred, error.value()),
            };
        }
    }

    /// Lets the process end before it is settled, or not.
    pub(crate) fn set_held(&mut self, hold: bool) {
        if hold != self.held {
            self.held = hold;
            if hold { self.events.hold() } else { self.events.release() }
        }
    }
}

/// Runs a future and gives the promise of what `convert` makes of its outcome.
pub(crate) fn call<T: Send + 'static>(
    env: Env,
    abort: Option<&Abort>,
    future: impl Future<Output = everstream::Result<T>> + Send + 'static,
    convert: impl FnOnce(Env, T) -> napi::Result<Raw> + Send + 'static,
) -> napi::Result<Raw> {
    run(env, None, true, abort, future, convert)
}

/// [`call`] that the thread of JavaScript carries itself, if there is a `here`.
pub(crate) fn call_here<T: Send + 'static>(
    env: Env,
    here: Option<&Here>,
    abort: Option<&Abort>,
    future: impl Future<Output = everstream::Result<T>> + Send + 'static,
    convert: impl FnOnce(Env, T) -> napi::Result<Raw> + Send + 'static,
) -> napi::Result<Raw> {
    run(env, here, true, abort, future, convert)
}

/// [`call`] that the process does not wait for: something else that it waits for needs it.
pub(crate) fn call_unheld<T: Send + 'static>(
    env: Env,
    future: impl Future<Output = everstream::Result<T>> + Send + 'static,
    convert: impl FnOnce(Env, T) -> napi::Result<Raw> + Send + 'static,
) -> napi::Result<Raw> {
    run(env, None, false, None, future, convert)
}

fn run<T: Send + 'static>(
    env: Env,
    here: Option<&Here>,
    hold: bool,
    abort: Option<&Abort>,
    future: impl Future<Output = everstream::Result<T>> + Send + 'static,
    convert: impl FnOnce(Env, T) -> napi::Result<Raw> + Send + 'static,
) -> napi::Result<Raw> {
    let (promise, value) = Promise::new(env, hold)?;
    let abort = abort.cloned();
    let carried = async move {
        let outcome = AssertUnwindSafe(or_aborted(abort, future)).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "everstream panicked")));
        promise.settle(move |env| match outcome {
            Ok(it) => convert(env, it).map_err(|failed| error::of_napi(env, failed)),
            Err(failed) => Err(error::value(env, &failed)),
        });
    };
    match here {
        Some(here) => here.begin(carried),
        None => drop(runtime()?.spawn(carried)),
    }
    Ok(value)
}
