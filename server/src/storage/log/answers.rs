//! Answers to the commits of a group, given within the runtime of those who wait.
//!
//! A thread that is none of the runtime's and answers one task after another wakes a sleeping thread of the runtime with
//! the first; that one serves it, finds nothing more, and sleeps again before the second is answered. So the committer hands
//! over all answers of a group at once, and one thread is woken once for all of them.

use tokio::runtime::{Handle, RuntimeFlavor};

use super::queue::Answer;
use crate::engine::Messages;

/// Commits that are durable and not answered yet. Dropped, wherever that is, it answers them.
///
/// It takes along what was committed: that lies beside what the runtime's threads are reading into, and memory that one thread
/// gives back while another takes some of it makes them wait for each other.
pub(super) struct Answers(Vec<(Answer<()>, Messages)>);

impl Answers {
    pub(super) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    pub(super) fn push(&mut self, answer: Answer<()>, committed: Messages) {
        self.0.push((answer, committed));
    }

    /// Answers them: as a task of the runtime, or here if there is none. A runtime that has ended drops the task.
    pub(super) fn send(self, runtime: Option<&Handle>) {
        if let (Some(runtime), 2..) = (runtime, self.0.len()) {
            runtime.spawn(async move { drop(self) });
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        for (answer, _) in self.0.drain(..) {
            // Whoever asked may have gone: a reply that nobody waits for takes nothing back.
            let _ = answer.send(Ok(()));
        }
    }
}

/// The runtime that this is called in, if it has threads of its own: another one may stand still.
pub(super) fn runtime() -> Option<Handle> {
    Handle::try_current().ok().filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn all_are_answered_whoever_is_gone_and_wherever_the_runtime_is() {
        let ended = tokio::task::spawn_blocking(|| {
            let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
            other.block_on(async { runtime() }).unwrap()
        });
        for runtime in [None, runtime(), Some(ended.await.unwrap())] {
            for waiting in [1, 2, 300] {
                let (mut answers, mut heard) = (Answers::with_capacity(waiting), Vec::new());
                for number in 0..waiting {
                    let (answer, hears) = oneshot::channel();
                    answers.push(answer, Messages::default());
                    // Every third one does not wait for it.
                    heard.extend((number % 3 != 2).then_some(hears));
                }
                answers.send(runtime.as_ref());
                for hears in heard {
                    assert_eq!(hears.await.unwrap(), Ok(()));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_runtime_without_threads_of_its_own_is_not_relied_on() {
        assert!(runtime().is_none());
    }
}
