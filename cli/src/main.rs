//! Command line for Durable Streams: serve, create, write, read and more.
fn main() {}
