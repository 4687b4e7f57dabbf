//! Giving up calls from JavaScript: the native end of an `AbortSignal`.

use everstream::{Error, ErrorKind};
use napi_derive::napi;
use tokio::sync::watch;

/// Ends the calls that it was given to.
#[napi]
#[derive(Clone)]
pub struct Abort(watch::Sender<bool>);

#[napi]
impl Abort {
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "made by JavaScript alone")]
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Ends them. The promises reject with `CANCELLED`.
    #[napi]
    pub fn abort(&self) {
        self.0.send_replace(true);
    }
}

/// What the future gives, unless it is given up before.
pub(crate) async fn or_aborted<T>(
    abort: Option<Abort>,
    future: impl Future<Output = everstream::Result<T>>,
) -> everstream::Result<T> {
    let Some(Abort(sender)) = abort else { return future.await };
    let mut receiver = sender.subscribe();
    tokio::select! {
        biased;
        // The sender is held here, so that this waits until somebody aborts.
        _ = receiver.wait_for(|aborted| *aborted) => Err(Error::new(ErrorKind::Cancelled, "the call was aborted")),
        result = future => result,
    }
}
