//! A seeded fault-injecting HTTP proxy for tests.
