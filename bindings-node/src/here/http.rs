//! Requests over plain `http:`, sent from the thread of JavaScript.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use everstream::{BoxFuture, ClientBuilder, HttpRequest, HttpResponse, RequestBody, Transport, TransportError};
use futures_util::StreamExt as _;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyDataStream, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioIo, TokioTimer};
use tower_service::Service;
use url::Url;

use super::Here;
use super::socket::Socket;
use crate::runtime::{lock, runtime};

const USER_AGENT: HeaderValue = HeaderValue::from_static(ClientBuilder::USER_AGENT);

/// Carries what is asked for in the thread of JavaScript; everything else goes where it went without it.
pub(super) struct HereTransport {
    here: Here,
    elsewhere: Arc<dyn Transport>,
    client: Client<Connector, Full<Bytes>>,
    /// The last address, and whether it is one for here. A writer asks for the same one again and again.
    last: Mutex<(String, Option<Uri>)>,
}

impl HereTransport {
    pub(super) fn new(here: &Here, elsewhere: Arc<dyn Transport>, connect_timeout: Duration) -> Self {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        let client = Client::builder(Executor(here.clone()))
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(ClientBuilder::IDLE_TIMEOUT)
            .build(Connector { here: here.clone(), http });
        Self { here: here.clone(), elsewhere, client, last: Mutex::default() }
    }

    /// The address, if it is one for here.
    fn parse(&self, url: &str) -> Option<Uri> {
        let mut last = lock(&self.last);
        if last.0 != url {
            *last = (url.to_owned(), plain(url));
        }
        last.1.clone()
    }
}

/// An address of plain HTTP that is written as the core's own connections would write it.
fn plain(text: &str) -> Option<Uri> {
    let url = Url::parse(text).ok()?;
    let is_plain = url.scheme() == "http" && url.username().is_empty() && url.password().is_none();
    if !is_plain || url.as_str() != text { None } else { text.parse().ok() }
}

impl Transport for HereTransport {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        let (RequestBody::Bytes { data, on_sent: None }, true) = (&request.body, self.here.is_current()) else {
            return self.elsewhere.send(request);
        };
        let Some(uri) = self.parse(&request.url) else { return self.elsewhere.send(request) };
        let mut plain = Request::new(Full::new(data.clone()));
        *plain.method_mut() = request.method;
        *plain.uri_mut() = uri;
        *plain.headers_mut() = request.headers;
        plain.headers_mut().entry(header::ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        plain.headers_mut().entry(header::USER_AGENT).or_insert(USER_AGENT);
        let answer = self.client.request(plain);
        Box::pin(async move {
            let failed = |not_sent, source| TransportError { not_sent, permanent: false, source };
            let (head, body) = answer.await.map_err(|error| failed(error.is_connect(), error.into()))?.into_parts();
            let body = BodyDataStream::new(body).map(move |piece| match piece {
                Ok(data) => Ok(data.into()),
                Err(error) => Err(failed(false, error.into())),
            });
            Ok(HttpResponse { status: head.status, headers: head.headers, body: Box::pin(body) })
        })
    }
}

/// Has connections carried here.
#[derive(Clone)]
struct Executor(Here);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        self.0.connect(Box::pin(task));
    }
}

/// Makes connections: their names are looked up, and their addresses tried, by the runtime.
#[derive(Clone)]
struct Connector {
    here: Here,
    http: HttpConnector,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (here, mut http) = (self.here.clone(), self.http.clone());
        Box::pin(async move {
            let connecting = async move {
                std::future::poll_fn(|cx| http.poll_ready(cx)).await?;
                let socket = http.call(uri).await?.into_inner().into_std()?;
                Ok::<_, Self::Error>(socket)
            };
            let socket = runtime()?.spawn(connecting).await??;
            Ok(TokioIo::new(Socket::new(&here, socket)?))
        })
    }
}
