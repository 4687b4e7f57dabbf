//! A transport that is a `fetch` of JavaScript's: the same machines run, only the bytes come another way.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use everstream::{BoxFuture, Carried, Carrier, HttpRequest, HttpResponse, Transport, TransportError};
use napi::Env;
use napi_derive::napi;

use crate::call::call_unheld;
use crate::data::Data;
use crate::error::{self, Thrown};
use crate::value::{self, Kept, Raw};

/// Sends requests through a function of TypeScript's, which calls `fetch`.
pub(crate) struct FetchTransport(Arc<Kept>);

impl FetchTransport {
    pub(crate) fn new(carry: Kept) -> Self {
        Self(Arc::new(carry))
    }
}

/// One request, as TypeScript sees it.
#[napi]
pub struct Exchange(Carrier);

#[napi]
impl Exchange {
    /// The head of the answer: status, and names and values of headers in turn.
    #[napi(catch_unwind)]
    pub fn head(&self, status: u16, headers: Vec<String>) {
        self.0.head(status, &headers);
    }

    /// A piece of the body; the promise is settled when there is space for the next one, `false` if none is wanted.
    #[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
    pub fn data(&self, env: Env, #[napi(ts_arg_type = "string | Uint8Array")] piece: Data) -> napi::Result<Raw> {
        let sent = self.0.data(piece.0);
        call_unheld(env, async move { Ok(sent.await) }, Raw::of)
    }

    /// The body is complete.
    #[napi(catch_unwind)]
    pub fn end(&self) {
        self.0.end();
    }

    /// `fetch` failed, or the body broke off. `permanent`: no second try helps.
    #[napi(catch_unwind)]
    pub fn fail(&self, #[napi(ts_arg_type = "unknown")] error: Raw, permanent: bool) {
        let source: Box<dyn Error + Send + Sync> = match Thrown::new(error) {
            Some(thrown) => Box::new(thrown),
            None => Box::from("fetch failed"),
        };
        self.0.fail(TransportError { not_sent: false, permanent, source });
    }

    /// The next piece of the request's body; `null` at its end.
    #[napi(catch_unwind, ts_return_type = "Promise<Uint8Array | null>")]
    pub fn upload(&self, env: Env) -> napi::Result<Raw> {
        call_unheld(env, self.0.upload(), |env, piece| match piece {
            Some(piece) => value::bytes(env, piece),
            None => Raw::of(env, napi::bindgen_prelude::Null),
        })
    }
}

impl Transport for FetchTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let carry = self.0.clone();
        let source = Box::from("the JavaScript environment has ended");
        // Whether it was sent before that is not known.
        let lost = TransportError { not_sent: false, permanent: true, source };
        let (carried, carrier, answer) = Carrier::begin(request, lost);
        Box::pin(async move {
            let events = carry.events().clone();
            events.push(move |env| {
                let mut carried = carried;
                let on_sent = carried.on_sent.take();
                if !carrier.is_given_up() {
                    // What TypeScript's side throws is told through the exchange.
                    let _ = start(env, &carry, carried, &carrier);
                }
                if let Some(on_sent) = on_sent {
                    on_sent();
                }
            });
            answer.await
        })
    }
}

/// Has TypeScript send it.
fn start(env: Env, carry: &Kept, carried: Carried, carrier: &Carrier) -> napi::Result<()> {
    let Carried { method, url, headers, data, is_streamed, .. } = carried;
    let mut flat = Vec::with_capacity(headers.len() * 2);
    for (name, value) in &headers {
        flat.push(name.as_str().to_owned());
        flat.push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let body = if data.is_empty() { error::nothing(env)? } else { value::bytes(env, data)? };
    let args = [
        Raw::of(env, Exchange(carrier.clone()))?,
        Raw::of(env, method.as_str())?,
        Raw::of(env, &*url)?,
        Raw::of(env, flat)?,
        body,
        Raw::of(env, is_streamed)?,
    ];
    let abort = Kept::new(carry.get(env)?.call(&args).map_err(error::thrown_as)?)?;
    carrier.on_abort(move || {
        let events = abort.events().clone();
        events.push(move |env| {
            let _ = abort.get(env).map(|abort| abort.call(&[]).is_ok());
        });
    });
    Ok(())
}

impl fmt::Debug for FetchTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchTransport").finish_non_exhaustive()
    }
}
