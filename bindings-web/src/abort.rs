//! Giving up calls: TypeScript hands over an `AbortController` of its own for each.

use everstream::{Error, ErrorKind, Result};
use futures_util::future::LocalBoxFuture;
use js_sys::Object;
use tokio::sync::oneshot;
use wasm_bindgen::prelude::{Closure, JsValue, wasm_bindgen};

use crate::value;

#[wasm_bindgen]
extern "C" {
    /// An `AbortController`.
    pub type Abort;

    #[wasm_bindgen(method, getter)]
    fn signal(this: &Abort) -> Object;
}

/// What the future gives, unless it is given up before. Listens from this call on, and not from the first poll.
pub(crate) fn or_aborted(
    abort: Option<&Abort>,
    future: LocalBoxFuture<'static, Result<JsValue>>,
) -> impl Future<Output = Result<JsValue>> + use<> {
    let aborted = abort.map(|abort| {
        let (sender, receiver) = oneshot::channel::<()>();
        let tell = Closure::once_into_js(move || {
            // The call may be over.
            let _ = sender.send(());
        });
        value::set(&abort.signal(), "onabort", tell);
        receiver
    });
    // The controller lives as long as the call, and with it the listener.
    let kept = abort.map(|abort| JsValue::from(abort.signal()));
    async move {
        let _kept = kept;
        let Some(aborted) = aborted else { return future.await };
        tokio::select! {
            biased;
            Ok(()) = aborted => Err(Error::new(ErrorKind::Cancelled, "the call was aborted")),
            result = future => result,
        }
    }
}
