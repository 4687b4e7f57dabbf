//! The connections to the server, one for each client connection.
//!
//! A pair of connections rather than a pool: when the client goes away, dropping its side drops the other, and the
//! server notices at once.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http::header::{CONNECTION, EXPECT, HeaderMap, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderName, Request, Response, Uri, Version};
use hyper::client::conn::http1::{self, SendRequest};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::body::Body;
use crate::socket::{ResetSwitch, Socket};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An open connection to the server. Dropping it closes the connection, whatever is under way on it.
pub(crate) struct Upstream {
    addr: SocketAddr,
    sender: SendRequest<Body>,
    switch: Arc<ResetSwitch>,
    driver: AbortHandle,
}

impl Upstream {
    async fn connect(addr: SocketAddr) -> Result<Self, BoxError> {
        let switch = Arc::new(ResetSwitch::default());
        let socket = Socket::new(TcpStream::connect(addr).await?, Arc::clone(&switch))?;
        let (sender, connection) = http1::handshake(socket).await?;
        // How the connection ends reaches whoever waits for an answer or reads its body.
        let driver = tokio::spawn(async move { drop(connection.await) }).abort_handle();
        Ok(Self { addr, sender, switch, driver })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Where the connection to the server rests between two requests of one client connection.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Upstream>>>);

impl Slot {
    /// Sends a request to the server at `addr`. The answer's body gives the connection back at its end.
    pub(crate) async fn send(&self, addr: SocketAddr, mut request: Request<Body>) -> Result<Response<Body>, BoxError> {
        if let Some(mut upstream) = self.rested(addr).await {
            match upstream.sender.try_send_request(request).await {
                Ok(answer) => return Ok(self.lease(upstream, answer)),
                // The server closed the connection while it rested. Nothing of the request has left.
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(failed.into_error().into()),
                },
            }
        }
        let mut upstream = Upstream::connect(addr).await?;
        let answer = upstream.sender.send_request(request).await?;
        Ok(self.lease(upstream, answer))
    }

    /// Sends a request whose body breaks off, with a reset, where `body` says so.
    pub(crate) async fn send_broken(
        &self,
        addr: SocketAddr,
        parts: Parts,
        body: impl FnOnce(Arc<ResetSwitch>) -> Body,
    ) -> Result<(), BoxError> {
        let mut upstream = Upstream::connect(addr).await?;
        let body = body(Arc::clone(&upstream.switch));
        upstream.sender.send_request(Request::from_parts(parts, body)).await?;
        Ok(())
    }

    async fn rested(&self, addr: SocketAddr) -> Option<Upstream> {
        let mut upstream = self.lock().take().filter(|upstream| upstream.addr == addr)?;
        upstream.sender.ready().await.is_ok().then_some(upstream)
    }

    fn lease(&self, upstream: Upstream, answer: Response<hyper::body::Incoming>) -> Response<Body> {
        let lease = Lease { upstream, slot: self.clone() };
        answer.map(|incoming| Body::leased(incoming, lease))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Upstream>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// The connection that a body comes from.
pub(crate) struct Lease {
    upstream: Upstream,
    slot: Slot,
}

impl Lease {
    /// The body has been read to its end: the connection is free for the next request.
    pub(crate) fn give_back(self) {
        *self.slot.lock() = Some(self.upstream);
    }
}

/// Makes a client's request one of our own: without what concerns only the client's connection.
pub(crate) fn prepare_request(parts: &mut Parts) {
    parts.version = Version::HTTP_11;
    parts.uri = parts.uri.path_and_query().map_or_else(Uri::default, |path| Uri::from(path.clone()));
    strip_hop_by_hop(&mut parts.headers);
    // The client's connection has answered this expectation itself.
    parts.headers.remove(EXPECT);
}

/// Removes the headers that concern one connection and not the message (RFC 9110 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
}
