//! Requests that wait to be overtaken.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

/// The requests that are being held back.
#[derive(Default)]
pub(crate) struct Holds(Mutex<Vec<Held>>);

struct Held {
    lane: String,
    ordinal: u64,
    release: oneshot::Sender<()>,
}

impl Holds {
    /// Waits until a later request of the same lane has been answered, at most for `bound`.
    pub(crate) async fn wait(&self, lane: &str, ordinal: u64, bound: Duration) {
        let (release, released) = oneshot::channel();
        self.lock().push(Held { lane: lane.to_owned(), ordinal, release });
        // Either outcome ends the hold; a request that waited in vain leaves its entry to the next `answered`.
        let _ = tokio::time::timeout(bound, released).await;
    }

    /// Lets go of every request of the lane that this one has overtaken.
    pub(crate) fn answered(&self, lane: &str, ordinal: u64) {
        let mut held = self.lock();
        for overtaken in
            held.extract_if(.., |held| held.release.is_closed() || (held.lane == lane && held.ordinal < ordinal))
        {
            // Nobody waits any more for one whose time was up.
            let _ = overtaken.release.send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Held>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}
