//! Durable Streams you can trust: resumable, exactly-once streams over plain HTTP.
//!
//! A stream is a URL. `PUT` creates it, `POST` appends, `GET` reads from an offset and goes on live. This crate is the
//! client: what a [`Producer`] says is stored is stored once, in order, through any fault that ends; a [`Reader`]
//! hands every message over once, in order, and can be resumed anywhere. Where that cannot be promised, a typed
//! [`Error`] says so.
//!
//! ```no_run
//! use everstream::{Client, CreateOptions, ProducerOptions, ReadOptions};
//!
//! # async fn example() -> everstream::Result<()> {
//! let stream = Client::new()?.stream("http://127.0.0.1:4437/v1/stream/orders")?;
//! stream.create(&CreateOptions::json()).await?;
//!
//! let producer = stream.producer("shop-1", ProducerOptions::default()).await?;
//! producer.append(r#"{"order":1}"#).await?;
//! let receipt = producer.append_json(&"a JSON string").await?.await?;
//! println!("stored up to {:?}", receipt.offset);
//! producer.close(None).await?;
//!
//! let mut reader = stream.read(ReadOptions::default());
//! while let Some(batch) = reader.next().await {
//!     for message in batch?.messages() {
//!         println!("{}", String::from_utf8_lossy(&message));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The protocol itself is in [`proto`], as state machines without IO. Without features that is all of the crate. The
//! feature `client`, which is on by default, drives it with tokio and reqwest; `driver` alone leaves clock, timers, tasks
//! and requests to a host, such as a browser.

#![warn(missing_docs)]

mod checkpoint;
#[cfg(feature = "driver")]
mod client;
mod error;
pub mod headers;
mod options;
pub mod proto;

pub use self::checkpoint::Checkpoint;
#[cfg(feature = "driver")]
pub use self::client::{
    Appended, BoxBody, BoxFuture, BoxPieces, Carried, Carrier, Client, ClientBuilder, Closed, Created, Delivery,
    DurableStream, Extras, Host, HttpRequest, HttpResponse, ListedStream, OnSent, Producer, Provider, Queued, Reader,
    RequestBody, StreamInfo, Transport, TransportError, set_host,
};
#[cfg(feature = "client")]
pub use self::client::{CheckpointFile, Lease, Spawner, Subscriptions, WebhookVerifier, Worker, spawning_by};
pub use self::error::{BatchFailure, Error, ErrorKind, ErrorResponse, Result};
pub use self::options::{AppendOptions, CreateOptions, Fork, LiveMode, ProducerOptions, ReadOptions, SseResilience};
pub use self::proto::offset::{Offset, ReadFrom};
pub use self::proto::producer::{Flushed, Receipt};
pub use self::proto::read::{Batch, HostBody, ParsedArray, Piece, Span};
pub use self::proto::retry::{Backoff, RetryPolicy};
pub use self::proto::subscription::{
    LinkType, LinkedStream, Subscription, SubscriptionKind, SubscriptionOptions, SubscriptionStatus, Wake,
};
