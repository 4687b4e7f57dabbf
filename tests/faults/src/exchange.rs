//! One request on its way through the proxy, and the fault it meets there.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use tokio::time::sleep;

use crate::body::{Body, Ending};
use crate::fault::{CutAt, Fault};
use crate::proxy::Shared;
use crate::record::SeenRequest;
use crate::socket::ResetSwitch;
use crate::upstream::{Slot, prepare_request, strip_hop_by_hop};

/// What a part of an SSE body is a part of.
const SSE_SPAN: u64 = 4096;

/// One client connection.
pub(crate) struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) switch: Arc<ResetSwitch>,
    pub(crate) upstream: Slot,
}

/// The client gets no answer but a reset of its connection.
#[derive(Debug)]
pub(crate) struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is reset on purpose")
    }
}

impl std::error::Error for Reset {}

impl Client {
    /// Answers a request of this client as the plan wants it.
    pub(crate) async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
        let (mut parts, body) = request.into_parts();
        let mut body = Body::streamed(body);
        let (ordinal, fault) = self.shared.decide(&parts);
        let mut place = None;
        if self.shared.is_recording() {
            let bytes = body.read().await.map_err(|_| Reset)?;
            place = self.shared.keep(SeenRequest::new(&parts, bytes.clone(), fault.as_ref().map(Fault::kind)));
            body = Body::whole(bytes);
        }
        prepare_request(&mut parts);
        let lane = format!("{} {}", parts.method, parts.uri.path());
        let exchange = Exchange { client: self, parts, lane, ordinal };
        let answer = exchange.run(body, fault).await;
        if let (Some(place), Ok(answer)) = (place, &answer) {
            self.shared.answered(place, answer.status().as_u16());
        }
        if answer.is_err() {
            // hyper drops the connection when its service fails.
            self.switch.reset_when_dropped();
        }
        answer
    }
}

struct Exchange<'a> {
    client: &'a Client,
    parts: Parts,
    lane: String,
    ordinal: u64,
}

impl Exchange<'_> {
    async fn run(&self, body: Body, fault: Option<Fault>) -> Result<Response<Body>, Reset> {
        let Some(fault) = fault else {
            return self.forward(body).await;
        };
        match fault {
            Fault::Answer(answer) => {
                // A client that is still writing would see a reset instead of the answer.
                body.read().await.map_err(|_| Reset)?;
                Ok(answer.into_response(self.switch()))
            }
            Fault::CutBody { at } => {
                let answer = self.forward(body).await?;
                self.cut(answer, at, Ending::Reset(self.switch())).await
            }
            Fault::CutSse { after_bytes, clean } => {
                let answer = self.forward(body).await?;
                let ending = if clean { Ending::Clean } else { Ending::Reset(self.switch()) };
                self.cut(answer, CutAt::Byte(after_bytes), ending).await
            }
            Fault::Delay(delay) => {
                sleep(delay).await;
                self.forward(body).await
            }
            Fault::DelayAfter(delay) => {
                let answer = self.forward(body).await;
                sleep(delay).await;
                answer
            }
            Fault::Duplicate => {
                let bytes = body.read().await.map_err(|_| Reset)?;
                drop(self.forward(Body::whole(bytes.clone())).await?);
                self.forward(Body::whole(bytes)).await
            }
            Fault::Reorder { bound } => {
                self.client.shared.holds.wait(&self.lane, self.ordinal, bound).await;
                self.forward(body).await
            }
            Fault::ResetAfter => {
                self.forward(body).await?;
                Err(Reset)
            }
            Fault::ResetBefore => Err(Reset),
            Fault::Stall { at, pause } => {
                let answer = self.forward(body).await?;
                if answer.body().is_end_stream() {
                    sleep(pause).await;
                }
                self.cut(answer, at, Ending::Stall(pause, self.switch())).await
            }
            Fault::Status { code, retry_after, after } => {
                if after {
                    self.forward(body).await?;
                } else {
                    // A client that is still writing would see a reset instead of the status.
                    body.read().await.map_err(|_| Reset)?;
                }
                Ok(status_answer(code, retry_after))
            }
            Fault::TruncateRequest => self.truncate(body).await,
        }
    }

    /// Has the server handle the request. A server that fails looks to the client as if there were no proxy.
    async fn forward(&self, body: Body) -> Result<Response<Body>, Reset> {
        let shared = &self.client.shared;
        let request = Request::from_parts(self.parts.clone(), body);
        let Ok(mut answer) = self.client.upstream.send(shared.upstream(), request).await else {
            shared.count_upstream_failure();
            return Err(Reset);
        };
        shared.holds.answered(&self.lane, self.ordinal);
        strip_hop_by_hop(answer.headers_mut());
        Ok(answer)
    }

    async fn cut(&self, answer: Response<Body>, at: CutAt, ending: Ending) -> Result<Response<Body>, Reset> {
        let (head, mut body) = answer.into_parts();
        if body.is_end_stream() {
            return Err(Reset);
        }
        let is_sse =
            head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let mut length = body.size_hint().exact();
        if length.is_none() && !is_sse && matches!(at, CutAt::Part(_)) {
            let bytes = body.read().await.map_err(|_| Reset)?;
            length = Some(bytes.len() as u64);
            body = Body::whole(bytes);
        }
        let wanted = match at {
            CutAt::Byte(byte) => byte,
            CutAt::Part(part) => (length.unwrap_or(SSE_SPAN) as f64 * part) as u64,
        };
        // The client takes a body whose length it knows for complete as soon as it has that much.
        let most = if head.headers.contains_key(CONTENT_LENGTH) { length.map(|n| n.saturating_sub(1)) } else { None };
        Ok(Response::from_parts(head, body.cut(most.map_or(wanted, |most| wanted.min(most)), ending)))
    }

    /// Sends half of the body to the server, and resets both connections.
    async fn truncate(&self, body: Body) -> Result<Response<Body>, Reset> {
        let bytes = body.read().await.map_err(|_| Reset)?;
        if !bytes.is_empty() {
            let half = bytes.len() as u64 / 2;
            let broken = |upstream| Body::whole(bytes).cut(half, Ending::Reset(upstream));
            let addr = self.client.shared.upstream();
            // Breaking off is what it is for: only an answer that the server gives early could be anything else.
            let _ = self.client.upstream.send_broken(addr, self.parts.clone(), broken).await;
        }
        Err(Reset)
    }

    fn switch(&self) -> Arc<ResetSwitch> {
        Arc::clone(&self.client.switch)
    }
}

fn status_answer(code: StatusCode, retry_after: Option<u32>) -> Response<Body> {
    let mut answer = Response::new(Body::whole(Bytes::from_static(b"Injected fault")));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if let Some(seconds) = retry_after {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}
