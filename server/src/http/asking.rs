//! A request from its head to its answer, whatever it is about: counted, logged, traced, and spoiled if a test wants that.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, header};
use tracing::{Instrument as _, Span};

use super::body::Body;
use super::fault::{self, Faults};
use super::observe::Observation;
use super::progress::{Progress, Routed, Waiting};
use super::{App, Cut, Peer, Turn, spare, trace};

/// What the requests of a connection need to be answered: who asks, and who waits behind.
pub(crate) struct Asking {
    pub(crate) app: Arc<App>,
    pub(crate) peer: Arc<Peer>,
    pub(crate) turn: Turn,
}

impl Asking {
    /// Answers one request, as [`begin_bare`](Self::begin_bare), with the headers that every answer has.
    ///
    /// # Errors
    /// Only an injected fault: the connection is to be cut.
    pub(crate) async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Result<Response<Body>, Cut>
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send,
    {
        let app = Arc::clone(&self.app);
        let origin = request.headers().get(header::ORIGIN).cloned();
        let mut response = match self.begin_bare(request).await? {
            Progress::Answered(response) => response,
            Progress::Waiting(mut waiting) => poll_fn(|cx| waiting.poll(&app, cx)).await.into_response(),
        };
        app.common.apply(origin.as_ref(), response.headers_mut());
        Ok(response)
    }

    /// Answers one request, or comes so far that its append only has to become durable. From the moment when the turn is
    /// passed on, what this request does comes before what the next one does.
    ///
    /// # Errors
    /// Only an injected fault: the connection is to be cut.
    pub(crate) fn begin_bare<B>(
        self: Arc<Self>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Progress, Cut>> + use<B>
    where
        B: http_body::Body<Data = Bytes> + Unpin + Send,
    {
        let (mut parts, mut body) = request.into_parts();
        let proxies = self.app.proxies.as_ref();
        if let Some(forwarded) = proxies.and_then(|proxies| proxies.look(self.peer.addr, &parts.headers)) {
            parts.extensions.insert(forwarded);
        }
        // A block, not a function: what an async function is given, it has twice. The request would be in it to the end too.
        async move {
            let app = &self.app;
            let target = app.target(&parts);
            let observation = Observation::begin(app, &parts, &target);
            let spans = spans(app, &observation, &parts);
            let mut response = match (&app.faults, &spans) {
                (None, None) if !app.config.log.requests => match app.route(&parts, target, &mut body, &self).await {
                    Routed::Answered(response) => response,
                    Routed::Begun(begun, _) => {
                        spare::keep(parts.headers);
                        return Ok(Progress::Waiting(Waiting::new(begun, observation)));
                    }
                },
                (faults, spans) => {
                    let (span, traced) = spans.as_deref().cloned().unwrap_or((Span::none(), Span::none()));
                    let answered = self.answer_with_faults(faults.as_ref(), &mut parts, &mut body);
                    Box::pin(answered.instrument(span).instrument(traced)).await?
                }
            };
            if let Some(spans) = &spans {
                trace::end(&spans.1, &response);
            }
            observation.end(app, &parts, &self.peer, &mut response);
            if parts.method == Method::HEAD {
                *response.body_mut() = Body::Empty;
            }
            spare::keep(parts.headers);
            Ok(Progress::Answered(response))
        }
    }

    async fn answer_with_faults<B>(
        &self,
        faults: Option<&Faults>,
        parts: &mut Parts,
        body: B,
    ) -> Result<Response<Body>, Cut>
    where
        B: http_body::Body<Data = Bytes> + Send,
    {
        let app = &self.app;
        let is_spared = parts.method == Method::OPTIONS || parts.uri.path() == fault::PATH;
        let fault = faults.filter(|_| !is_spared).and_then(|faults| faults.take(parts.uri.path(), &parts.method));
        let Some(fault) = fault else {
            return Ok(app.route(parts, app.target(parts), body, self).await.answer(app).await);
        };
        if let Some(delay) = fault.delay() {
            tokio::time::sleep(delay).await;
        }
        if fault.drops_connection() {
            return Err(Cut);
        }
        if let Some(answer) = fault.answer() {
            return Ok(answer);
        }
        fault.prepare(&mut parts.headers);
        let response = app.route(parts, app.target(parts), body, self).await.answer(app).await;
        Ok(if parts.method == Method::GET { fault.spoil(response) } else { response })
    }
}

/// The spans of a request for logs and for collectors of traces, if anybody wants one.
fn spans(app: &App, observation: &Observation, parts: &Parts) -> Option<Box<(Span, Span)>> {
    let (span, traced) = (observation.span(app, parts), trace::begin(app, parts, observation.operation()));
    (!span.is_disabled() || !traced.is_disabled()).then(|| Box::new((span, traced)))
}
