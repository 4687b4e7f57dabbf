//! The transport: a `fetch` of JavaScript's carries what the machines send.

use std::fmt;

use everstream::{BoxFuture, Carried, Carrier, Error, ErrorKind, HttpRequest, HttpResponse, Transport, TransportError};
use js_sys::{Array, Function, Promise, Uint8Array};
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};
use wasm_bindgen_futures::spawn_local;

use crate::body::{self, PageBody};
use crate::call::{call, promise};
use crate::callback::{Kept, kept};
use crate::error::Thrown;
use crate::value;

/// Sends requests through a function of TypeScript's, which calls `fetch`.
pub(crate) struct FetchTransport(Kept);

impl FetchTransport {
    pub(crate) fn new(carry: Function) -> Self {
        Self(kept(carry))
    }
}

/// One request, as TypeScript sees it.
#[wasm_bindgen]
pub struct Exchange(Carrier);

#[wasm_bindgen]
impl Exchange {
    /// The head of the answer: status, and names and values of headers in turn.
    pub fn head(&self, status: u16, headers: Vec<String>) {
        self.0.head(status, &headers);
    }

    /// A piece of the body; the promise is settled when there is space for the next one, `false` if none is wanted.
    ///
    /// # Errors
    /// A `TypeError` for what is no data.
    pub fn data(&self, piece: &JsValue) -> Result<Promise, JsValue> {
        let sent = self.0.data(value::data(piece)?);
        Ok(promise(Box::pin(async move { Ok(JsValue::from(sent.await)) })))
    }

    /// There is more of a body that the page keeps; the promise is settled as that of `data`.
    pub fn kept(&self, body: PageBody) -> Promise {
        let sent = self.0.data(body::piece(body));
        promise(Box::pin(async move { Ok(JsValue::from(sent.await)) }))
    }

    /// The body is complete.
    pub fn end(&self) {
        self.0.end();
    }

    /// `fetch` failed, or the body broke off. `permanent`: no second try helps.
    pub fn fail(&self, error: JsValue, permanent: bool) {
        self.0.fail(failure(Box::new(Thrown::new(error)), permanent));
    }

    /// The next piece of the request's body; `null` at its end.
    pub fn upload(&self) -> Promise {
        call(None, self.0.upload(), |piece| value::nullable(piece.map(|piece| Uint8Array::from(&*piece))))
    }
}

impl Transport for FetchTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let carry = self.0.clone();
        let lost = failure(Box::new(Error::new(ErrorKind::Network, "the answer of fetch was lost")), false);
        let (carried, carrier, answer) = Carrier::begin(request, lost);
        Box::pin(async move {
            start(&carry, carried, carrier);
            answer.await
        })
    }
}

/// Has TypeScript send it.
fn start(carry: &Kept, carried: Carried, carrier: Carrier) {
    let Carried { method, url, headers, data, is_streamed, on_sent } = carried;
    let flat = Array::new();
    for (name, value) in &headers {
        flat.push(&name.as_str().into());
        flat.push(&value::header(value).into());
    }
    let body = if data.is_empty() { JsValue::UNDEFINED } else { Uint8Array::from(&*data).into() };
    let exchange = JsValue::from(Exchange(carrier.clone()));
    let args: Array =
        [exchange, method.as_str().into(), url.into(), flat.into(), body, is_streamed.into()].iter().collect();
    // What TypeScript's side throws is told through the exchange.
    if let Ok(abort) = carry.apply(&JsValue::UNDEFINED, &args)
        && let Ok(abort) = abort.dyn_into::<Function>()
    {
        let abort = kept(abort);
        // Not at once: whoever gives up may hold a lock, and listeners of the signal run at once.
        carrier.on_abort(move || spawn_local(async move { drop(abort.call0(&JsValue::UNDEFINED)) }));
    }
    if let Some(on_sent) = on_sent {
        on_sent();
    }
}

fn failure(source: Box<dyn std::error::Error + Send + Sync>, permanent: bool) -> TransportError {
    // A browser does not tell whether anything left.
    TransportError { not_sent: false, permanent, source }
}

impl fmt::Debug for FetchTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchTransport").finish_non_exhaustive()
    }
}
