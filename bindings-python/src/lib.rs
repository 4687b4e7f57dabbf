//! The native half of the Python package `everstream`: extract, call the core, convert.
//!
//! No rule of the protocol is here. Every call exists once and serves both faces: `wait=True` blocks the thread with
//! the interpreter released, `wait=False` gives an asyncio future ([`call`]).

mod batch;
mod call;
mod callback;
mod checkpoint;
mod client;
mod commands;
mod data;
mod error;
mod event_loop;
mod json;
mod logging;
mod manner;
mod options;
mod producer;
mod reader;
mod runtime;
mod server;
mod stream;
mod subscriptions;
mod worker;

use pyo3::prelude::*;

// Nothing here relies on the interpreter's lock: what is shared is behind locks of its own.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::batch::Batch;
    #[pymodule_export]
    use crate::checkpoint::{checkpoint_file_load, checkpoint_file_store, checkpoint_from_json, checkpoint_to_json};
    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::commands::run_command;
    #[pymodule_export]
    use crate::event_loop::EventLoop;
    #[pymodule_export]
    use crate::json::{from_json, to_json};
    #[pymodule_export]
    use crate::logging::set_log_level;
    #[pymodule_export]
    use crate::producer::{Delivery, Producer};
    #[pymodule_export]
    use crate::reader::Reader;
    #[pymodule_export]
    use crate::runtime::{after_fork_in_child, before_exit};
    #[pymodule_export]
    use crate::server::Server;
    #[pymodule_export]
    use crate::stream::Stream;
    #[pymodule_export]
    use crate::subscriptions::{Subscriptions, WebhookVerifier};
    #[pymodule_export]
    use crate::worker::{Lease, Worker};

    /// Version of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
