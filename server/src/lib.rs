//! A Durable Streams server, embeddable and standalone.
//!
//! `http` parses and answers, [`engine`] decides, [`storage`] keeps. The rules of the protocol are pure
//! functions of the engine; see [`engine::StreamState`].
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = everstream_server::Server::builder().bind(([127, 0, 0, 1], 0)).start().await?;
//! println!("streams live at {}", server.stream_url("my/stream"));
//! server.shutdown().await;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```

pub mod access;
mod aside;
pub mod clock;
pub mod config;
pub mod engine;
pub mod glob;
mod http;
pub mod metrics;
mod net;
mod pool;
mod registry;
mod run_to_end;
mod server;
pub mod storage;
mod subscriptions;
mod watch;

/// The target of the spans of requests, which a layer for traces takes: of level `TRACE`, and there only if
/// [`config::OtlpConfig::endpoint`] is set.
#[cfg(feature = "otlp")]
pub const TRACE_TARGET: &str = "everstream_otlp";

pub use self::config::Config;
pub use self::server::{RunningServer, Server, ServerBuilder, StartError};
