//! Durable Streams you can trust: resumable, exactly-once streams over plain HTTP.

#[cfg(feature = "client")]
mod client;
mod error;
mod options;
pub mod proto;

#[cfg(feature = "client")]
pub use self::client::{
    Appended, BoxBody, BoxFuture, Client, ClientBuilder, Closed, Created, Delivery, DurableStream, Extras, HttpRequest,
    HttpResponse, OnSent, Producer, Provider, Reader, RequestBody, StreamInfo, Transport, TransportError,
};
pub use self::error::{BatchFailure, Error, ErrorKind, ErrorResponse, Result};
pub use self::options::{
    AppendOptions, Checkpoint, CreateOptions, Fork, LiveMode, ProducerOptions, ReadOptions, SseResilience,
};
pub use self::proto::offset::{Offset, ReadFrom};
pub use self::proto::producer::{Flushed, Receipt};
pub use self::proto::read::Batch;
pub use self::proto::retry::{Backoff, RetryPolicy};
