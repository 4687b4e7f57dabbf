//! One connection, from the first byte to the last.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::activity::{Activity, Tracked};
use super::guarded::Guarded;
use super::pipeline::{End, Pipeline};
use super::plain::Plain;
use super::rewound::Rewound;
use super::socket::Socket;
use super::{Net, Tls};
use crate::aside::Aside;
use crate::engine::Sink;
use crate::http::{Asking, Cut, Peer, Turn};
use crate::metrics;

impl Net {
    /// Serves a connection until it ends.
    pub(super) async fn serve(&self, socket: TcpStream, addr: SocketAddr) {
        // Small answers must not wait for the client's delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        if addr.ip().to_canonical().is_loopback() {
            unpace(&socket);
        }
        match &self.tls {
            None => {
                let socket = Plain::new(socket);
                let sink = socket.sink();
                self.speak(socket, Some(sink), Peer { addr, identity: None }).await;
            }
            // Boxed, like everything below that few connections need: each would hold room for it.
            Some(tls) => Box::pin(self.serve_tls(tls, socket, addr)).await,
        }
    }

    async fn serve_tls(&self, tls: &Tls, socket: TcpStream, addr: SocketAddr) {
        let handshake = tokio::time::timeout(self.app.config().limits.header_timeout, tls.accept(socket));
        let Some(shaken) = self.abort.run_until_cancelled(handshake).await else { return };
        match shaken {
            Ok(Ok((socket, identity))) => self.speak(socket, None, Peer { addr, identity }).await,
            Ok(Err(error)) => tracing::debug!(%addr, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%addr, "a TLS handshake did not come to its end in time"),
        }
    }

    async fn speak<S: Socket + Send + 'static>(&self, socket: S, sink: Option<Arc<dyn Sink>>, peer: Peer) {
        let limits = &self.app.config().limits;
        let (peer, activity) = (Arc::new(peer), Arc::new(Activity::default()));
        let socket = Guarded::new(socket, Arc::clone(&activity), limits);
        let mut beside = Beside::new();
        beside.add(async {
            self.abort.cancelled().await;
            Event::Cut
        });
        beside.add(async {
            self.stop.cancelled().await;
            Event::End
        });
        beside.add(async {
            idle(&activity, limits.idle_timeout).await;
            Event::Idle
        });
        // Faults are for tests of clients, and spoil what only hyper can send.
        let result = if self.app.faults().is_some() {
            Box::pin(self.by_hyper(socket, &peer, &activity, &mut beside)).await
        } else {
            match self.by_pipeline(socket, sink, &peer, &activity, &mut beside).await {
                Ok(Some((before, socket))) => {
                    Box::pin(self.by_hyper(Rewound::new(before, socket), &peer, &activity, &mut beside)).await
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            }
        };
        if let Err(error) = result {
            if is_timeout(&*error) {
                metrics::count(&self.app.metrics().connections_timed_out, 1);
            }
            tracing::debug!(%error, "connection ended");
        }
    }

    /// Serves whole, plain requests. What is left of the connection when another one comes is for hyper.
    async fn by_pipeline<'a, S: Socket + Send + 'static>(
        &'a self,
        socket: S,
        sink: Option<Arc<dyn Sink>>,
        peer: &Arc<Peer>,
        activity: &Arc<Activity>,
        beside: &mut Beside<'a>,
    ) -> io::Result<Option<(Bytes, S)>> {
        let mut pipeline = Pipeline::new(socket, sink, Arc::clone(&self.app), Arc::clone(peer), Arc::clone(activity));
        let end = loop {
            let event = tokio::select! {
                biased;
                end = poll_fn(|cx| pipeline.poll(cx)) => break end?,
                event = beside.next() => event,
            };
            match event {
                Event::Cut => return Ok(None),
                Event::End => pipeline.close(),
                Event::Idle => {
                    pipeline.close();
                    beside.add(self.cut_soon());
                }
            }
        };
        Ok((end == End::HandOver).then(|| pipeline.into_rest()))
    }

    async fn by_hyper<'a, S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &'a self,
        socket: S,
        peer: &Arc<Peer>,
        activity: &Arc<Activity>,
        beside: &mut Beside<'a>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let app = &self.app;
        let service = service_fn(|request| {
            let (app, peer, busy) = (Arc::clone(app), Arc::clone(peer), activity.begin());
            async move {
                let asking = Arc::new(Asking { app: Arc::clone(&app), peer, turn: Turn::default() });
                let response = asking.answer(request).await?;
                Ok::<_, Cut>(response.map(|body| Tracked::new(body, busy, Arc::clone(app.metrics()))))
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(socket), service));
        loop {
            let event = tokio::select! {
                biased;
                result = connection.as_mut() => return result,
                event = beside.next() => event,
            };
            match event {
                Event::Cut => return Ok(()),
                Event::End => connection.as_mut().graceful_shutdown(),
                Event::Idle => {
                    connection.as_mut().graceful_shutdown();
                    beside.add(self.cut_soon());
                }
            }
        }
    }

    /// A peer that has begun something and does not go on gets no more time than for a head.
    async fn cut_soon(&self) -> Event {
        tokio::time::sleep(self.app.config().limits.header_timeout).await;
        Event::Cut
    }
}

/// Nothing between two programs of one machine is congested. Where the system paces what it sends (BBR), that costs more than the
/// sending itself; Reno does not, and every Linux has it and lets programs choose it.
fn unpace(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_congestion(socket, "reno");
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

type Beside<'a> = Aside<'a, Event>;

/// Whether a connection ended because the peer did not get on (`guarded`).
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        next = error.source();
    }
    false
}

/// What happens to a connection beside its requests.
enum Event {
    /// Nothing was asked for a long time.
    Idle,
    /// The server stops: what is under way is the last.
    End,
    /// It is over.
    Cut,
}

/// Resolves when no request was under way for at least `timeout`, and at most twice as long.
async fn idle(activity: &Activity, timeout: Duration) {
    let mut begun = activity.begun();
    loop {
        tokio::time::sleep(timeout).await;
        let now = activity.begun();
        if now == begun && !activity.is_busy() {
            return;
        }
        begun = now;
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Peer};

    use rustix::net::sockopt::tcp_congestion;

    use super::*;

    #[tokio::test]
    async fn connections_of_one_machine_are_not_paced() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _peer = Peer::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        // What paces, where the system has it; else whatever it has.
        let _ = rustix::net::sockopt::set_tcp_congestion(&socket, "bbr");
        let socket = TcpStream::from_std(socket).unwrap();
        unpace(&socket);
        assert_eq!(tcp_congestion(&socket).unwrap(), "reno");
    }
}
