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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_box_of_an_answer_that_was_given_serves_the_next_one_and_holds_nothing_of_the_first() {
        let request = Arc::new(());
        let answer = |request: Arc<()>| async move {
            tokio::task::yield_now().await;
            drop(request);
            Ok(Response::new(Body::Empty))
        };
        let kept = || SPARE.with_borrow(Vec::len);
        for _ in 0..3 {
            let mut answering = boxed(answer(Arc::clone(&request)));
            assert_eq!(kept(), 0);
            assert!((&mut answering).now_or_never().is_none());
            assert!((&mut answering).now_or_never().unwrap().is_ok());
            assert_eq!(Arc::strong_count(&request), 1);
            keep(answering);
            assert_eq!(kept(), 1);
        }
        let waiting: Vec<_> = (0..2 * KEPT).map(|_| boxed(answer(Arc::clone(&request)))).collect();
        waiting.into_iter().for_each(keep);
        assert_eq!(kept(), KEPT);
    }
}
