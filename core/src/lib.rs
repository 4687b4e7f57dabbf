//! Durable Streams you can trust: resumable, exactly-once streams over plain HTTP.

pub mod proto;
