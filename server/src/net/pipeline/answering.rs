//! Futures of answers, whose memory is used again.
//!
//! Most come to their end when they are polled first, appends among them (`Progress::Waiting`): one piece of memory serves all
//! connections of a thread then, and stays in the processor's cache. Hundreds of live reads may wait together. An allocator
//! keeps only a few pieces of each size at hand, and joins and splits the others each time.

use tokio_util::sync::ReusableBoxFuture;

use crate::http::{Cut, Progress};
use crate::pool::Pool;

/// So many are kept in each thread, less than 1 KiB each.
const KEPT: usize = 256;

type Begun = Result<Progress, Cut>;

/// An answer to come.
pub(super) type Answering = ReusableBoxFuture<'static, Begun>;

thread_local! {
    static SPARE: Pool<Answering> = const { Pool::new(KEPT) };
}

/// Puts a future in a box.
pub(super) fn boxed(future: impl Future<Output = Begun> + Send + 'static) -> Answering {
    match SPARE.with(Pool::take) {
        Some(mut spare) => {
            spare.set(future);
            spare
        }
        None => ReusableBoxFuture::new(future),
    }
}

/// Keeps the box of a future that has ended, which holds nothing any more.
pub(super) fn keep(ended: Answering) {
    SPARE.with(|spare| spare.keep(ended));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use http::Response;

    use super::*;
    use crate::http::Body;

    #[test]
    fn the_box_of_an_answer_that_was_given_serves_the_next_one_and_holds_nothing_of_the_first() {
        let request = Arc::new(());
        let answer = |request: Arc<()>| async move {
            tokio::task::yield_now().await;
            drop(request);
            Ok(Progress::Answered(Response::new(Body::Empty)))
        };
        let kept = || SPARE.with(Pool::len);
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
