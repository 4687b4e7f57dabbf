//! A Durable Streams server, embeddable and standalone.
