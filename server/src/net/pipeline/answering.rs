//! Futures of answers, whose memory is used again.
//!
//! Hundreds of requests may wait together until what they append is durable. An allocator keeps only a few pieces of each
//! size at hand, and joins and splits the others each time.

use std::cell::RefCell;

use http::Response;
use tokio_util::sync::ReusableBoxFuture;

use crate::http::{Body, Cut};

/// So many are kept in each thread, about 1 KiB each.
const KEPT: usize = 256;

pub(super) type Answered = Result<Response<Body>, Cut>;

/// An answer to come.
pub(super) type Answering = ReusableBoxFuture<'static, Answered>;

thread_local! {
    static SPARE: RefCell<Vec<Answering>> = const { RefCell::new(Vec::new()) };
}

/// Puts a future in a box.
pub(super) fn boxed(future: impl Future<Output = Answered> + Send + 'static) -> Answering {
    match SPARE.with_borrow_mut(Vec::pop) {
        Some(mut spare) => {
            spare.set(future);
            spare
        }
        None => ReusableBoxFuture::new(future),
    }
}

/// Keeps the box of a future that has ended, which holds nothing any more.
pub(super) fn keep(ended: Answering) {
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < KEPT {
            spare.push(ended);
        }
    });
}
