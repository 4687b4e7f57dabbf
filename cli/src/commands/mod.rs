//! One module for each command.

pub(crate) mod bench;
pub(crate) mod close;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod export;
pub(crate) mod fork;
pub(crate) mod fsck;
pub(crate) mod head;
pub(crate) mod import;
mod input;
pub(crate) mod ls;
pub(crate) mod manual;
pub(crate) mod read;
pub(crate) mod serve;
pub(crate) mod sign;
pub(crate) mod subscription;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod write;
mod writer;

mod content;
