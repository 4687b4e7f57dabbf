//! The native half of the npm package `everstream`: extract, call the core, convert.
//!
//! No rule of the protocol is here. What takes time runs in a tokio runtime of the process, or, if it is short, in
//! the thread of JavaScript itself ([`here`]); what comes of it reaches JavaScript through one queue per environment
//! ([`events`]), so that many results cost one wake-up.

#![cfg_attr(test, allow(dead_code, reason = "nothing is exported to Node from a test binary"))]
#![allow(unreachable_pub, reason = "napi exports what is `pub`, whether Rust can reach it or not")]

mod abort;
mod call;
mod callback;
mod checkpoint;
mod client;
mod commands;
mod data;
mod error;
mod events;
mod fetch;
#[cfg(target_os = "linux")]
mod here;
#[cfg(not(target_os = "linux"))]
#[path = "here_absent.rs"]
mod here;
mod options;
mod producer;
mod reader;
mod runtime;
mod server;
mod stream;
mod subscriptions;
mod value;
mod worker;

use napi::Env;
use napi_derive::napi;

/// Tells how errors of JavaScript are made. To be called once, before anything else.
#[napi(catch_unwind)]
pub fn set_error_factory(
    env: Env,
    #[napi(ts_arg_type = "(code: string, message: string, facts: ErrorFacts) => Error")] factory: value::Raw,
) -> napi::Result<()> {
    events::Events::of(env)?.set_error_factory(factory)
}

/// Version of the package.
#[napi]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
