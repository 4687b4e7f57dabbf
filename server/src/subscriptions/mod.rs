//! Subscriptions: workers that are woken when streams have something new (PROTOCOL.md sections 17 and 18).
//!
//! ```text
//! subscription, links   one subscription as a state machine: commands in, changes and effects out; `now` is an argument
//! registry, interest    all of them; which ones care for a stream
//! journal, record       changes and snapshots, kept in an internal stream of whatever storage the server has
//! service               the driver: a call for each route
//! writer, news, effects its parts: what is written before it counts; what happens to streams; what is done outside
//! deliver, address      webhooks over HTTP; which addresses they may reach
//! keys, token           signatures of webhooks; what a worker shows with its acks
//! spec, view            JSON in, JSON out
//! ```
//!
//! # What survives a crash
//! A change is durable before it is answered or has an effect outside. So a wake that a worker heard of is known after
//! a restart, and a wake that is known but perhaps unheard of is sent again, with the same id and generation: wakes
//! come at least once, and the generation fences whoever is late. What was appended while no change could be written is
//! found at the start, by comparing tails with cursors.

mod address;
mod deliver;
mod effects;
mod error;
mod interest;
mod journal;
mod keys;
mod links;
mod news;
mod record;
mod registry;
mod service;
mod spec;
mod subscription;
mod token;
mod view;
mod writer;

pub(crate) use self::address::WebhookPolicy;
pub(crate) use self::error::Refusal;
pub(crate) use self::service::Subscriptions;
