//! A seeded fault-injecting HTTP/1.1 proxy for tests.
//!
//! It stands between a client and a server and breaks what a network breaks: connections are reset before or after
//! the server has done its work, answers come late, twice, cut short or not at all. What it breaks is decided by a
//! [`FaultPlan`]: drawn from a seed, or written down rule by rule. Everything else passes through unbuffered.
//!
//! ```
//! use everstream_faults::{Fault, FaultKind, FaultPlan, FaultProxy, Method, Rule};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # let upstream = "127.0.0.1:4437".parse().expect("an address");
//! // One request in ten meets a fault; the same seed meets the same faults.
//! let proxy = FaultProxy::start(upstream, FaultPlan::seeded(7, 0.1).without([FaultKind::Duplicate])).await?;
//! println!("send requests to {}", proxy.url());
//!
//! // From here on, only the second append is harmed: the server keeps it, the client never learns.
//! proxy.set_plan(FaultPlan::scripted([Rule::new(Fault::ResetAfter).method(Method::POST).nth(2)]));
//! println!("{}", proxy.counts());
//! proxy.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod answer;
mod body;
mod counts;
mod decide;
mod exchange;
mod fault;
mod hold;
mod plan;
mod proxy;
mod record;
mod rng;
mod rule;
mod socket;
mod upstream;

pub use answer::{Answer, AnswerEnd};
pub use bytes::Bytes;
pub use counts::FaultCounts;
pub use decide::Decider;
pub use fault::{CutAt, Fault, FaultKind, UnknownFaultKind};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
pub use plan::FaultPlan;
pub use proxy::FaultProxy;
pub use record::SeenRequest;
pub use rule::Rule;
