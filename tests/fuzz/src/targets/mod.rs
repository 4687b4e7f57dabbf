//! The targets, one for each file. `run` panics when what its file's head says does not hold.

pub mod addresses;
pub mod answers;
pub mod control;
pub mod json;
pub mod producer;
pub mod producer_hostile;
pub mod reader;
pub mod reader_hostile;
pub mod recovery;
pub mod requests;
pub mod sse;
