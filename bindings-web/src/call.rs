//! Calls that take time: a future of the core becomes a promise.

use futures_util::future::LocalBoxFuture;
use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::future_to_promise;

use crate::abort::{Abort, or_aborted};
use crate::error;

/// Runs a future and gives the promise of what `convert` makes of its outcome.
pub(crate) fn call<T: 'static>(
    abort: Option<&Abort>,
    future: impl Future<Output = everstream::Result<T>> + 'static,
    convert: impl FnOnce(T) -> JsValue + 'static,
) -> Promise {
    settled(abort, Box::pin(async move { future.await.map(convert) }))
}

/// The part of [`call`] that is the same for all.
fn settled(abort: Option<&Abort>, future: LocalBoxFuture<'static, everstream::Result<JsValue>>) -> Promise {
    let outcome = or_aborted(abort, future);
    promise(Box::pin(async move { outcome.await.map_err(|failed| error::value(&failed)) }))
}

/// In a box, so that what is around a future exists once and not once for each call: a page downloads it.
pub(crate) fn promise(future: LocalBoxFuture<'static, Result<JsValue, JsValue>>) -> Promise {
    future_to_promise(future)
}
