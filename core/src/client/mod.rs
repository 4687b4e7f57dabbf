//! The driver: moves bytes for the machines of [`proto`](crate::proto), and decides nothing. With the feature `client` it
//! does so with tokio and reqwest, otherwise with what a host gives it ([`runtime`]).
//!
//! A [`Client`] holds connections and what all requests share; [`DurableStream`] is a handle to one stream;
//! [`Reader`] and [`Producer`] are its two long-lived users.

// The driver has the clock that the machines are told of.
#![allow(clippy::disallowed_methods)]

mod appends;
mod builder;
mod carried;
#[cfg(feature = "client")]
mod checkpoint_file;
#[cfg(feature = "client")]
mod connections;
mod exchange;
mod extras;
mod list;
mod producer;
mod read;
#[cfg(feature = "client")]
mod reqwest_transport;
#[cfg(feature = "client")]
mod roots;
mod runtime;
mod stream;
#[cfg(feature = "client")]
mod subscriptions;
mod transport;

pub use self::builder::ClientBuilder;
pub use self::carried::{Carried, Carrier};
#[cfg(feature = "client")]
pub use self::checkpoint_file::CheckpointFile;
use self::exchange::Core;
pub use self::extras::{Extras, Provider};
pub use self::list::ListedStream;
pub use self::producer::{Delivery, Producer, Queued};
pub use self::read::Reader;
pub use self::runtime::{Host, set_host};
#[cfg(feature = "client")]
pub use self::runtime::{Spawner, spawning_by};
pub use self::stream::{Appended, Closed, Created, DurableStream, StreamInfo};
#[cfg(feature = "client")]
pub use self::subscriptions::{Lease, Subscriptions, WebhookVerifier, Worker};
pub use self::transport::{
    BoxBody, BoxFuture, BoxPieces, HttpRequest, HttpResponse, OnSent, RequestBody, Transport, TransportError,
};

use std::sync::Arc;

use crate::error::Result;

/// Connections, and what the requests of many streams share. Cloning is cheap and shares them.
///
/// Needs a tokio runtime around its async calls.
#[derive(Clone, Debug)]
pub struct Client {
    core: Arc<Core>,
}

impl Client {
    /// A client with default settings.
    ///
    /// # Errors
    /// `Internal` when the system's TLS roots cannot be loaded.
    #[cfg(feature = "client")]
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Settings to start from.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A client over the same connections, to be built with other settings: headers, retries, request timeout, hook.
    /// Settings of connections mean nothing there.
    pub fn to_builder(&self) -> ClientBuilder {
        ClientBuilder::over(&self.core)
    }

    /// A handle to a stream. Makes no request.
    ///
    /// A URL that starts with `/` is joined to the client's base URL.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not an `http` or `https` URL.
    pub fn stream(&self, url: &str) -> Result<DurableStream> {
        DurableStream::new(self.core.clone(), url)
    }

    /// The streams below a stream root whose names begin with `prefix`, by name in bytewise order. `root` is such as
    /// `http://127.0.0.1:4437/v1/stream`. An extension of our server (S-HTTP-19).
    ///
    /// # Errors
    /// `NotFound` from servers that cannot list; `Parse`; and as all requests.
    pub async fn list(&self, root: &str, prefix: &str) -> Result<Vec<ListedStream>> {
        list::list(&self.core, root, prefix).await
    }

    /// The subscriptions of the server with this stream root, and what their workers need.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not an `http` or `https` URL.
    #[cfg(feature = "client")]
    pub fn subscriptions(&self, root: &str) -> Result<Subscriptions> {
        Subscriptions::new(self.core.clone(), root)
    }
}
