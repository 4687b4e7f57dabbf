//! One connection, from the first byte to the last.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Net;
use super::activity::{Activity, Tracked};
use super::guarded::Guarded;
use crate::aside::Aside;
use crate::http::{Cut, Peer};
use crate::metrics;

impl Net {
    /// Serves a connection until it ends.
    pub(super) async fn serve(&self, socket: TcpStream, addr: SocketAddr) {
        // Small answers must not wait for the client's delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.speak(socket, Peer { addr, identity: None }).await;
        };
        let handshake = tokio::time::timeout(self.app.config().limits.header_timeout, tls.accept(socket));
        let Some(shaken) = self.abort.run_until_cancelled(handshake).await else { return };
        match shaken {
            Ok(Ok((socket, identity))) => self.speak(socket, Peer { addr, identity }).await,
            Ok(Err(error)) => tracing::debug!(%addr, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%addr, "a TLS handshake did not come to its end in time"),
        }
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, socket: S, peer: Peer) {
        let limits = &self.app.config().limits;
        let activity = Arc::new(Activity::default());
        let socket = TokioIo::new(Guarded::new(socket, Arc::clone(&activity), limits));
        let (app, peer) = (&self.app, Arc::new(peer));
        let requests = Arc::clone(&activity);
        let service = service_fn(move |request| {
            let (app, peer, busy) = (Arc::clone(app), Arc::clone(&peer), requests.begin());
            async move {
                let response = app.answer(request, peer).await?;
                Ok::<_, Cut>(response.map(|body| Tracked::new(body, busy, Arc::clone(app.metrics()))))
            }
        });
        let mut connection = pin!(self.http.serve_connection(socket, service));
        let mut aside = Aside::new();
        aside.add(async {
            self.abort.cancelled().await;
            Event::Cut
        });
        aside.add(async {
            self.stop.cancelled().await;
            Event::End
        });
        aside.add(async {
            idle(&activity, limits.idle_timeout).await;
            Event::Idle
        });
        let result = loop {
            let event = tokio::select! {
                biased;
                result = connection.as_mut() => break result,
                event = aside.next() => event,
            };
            match event {
                Event::Cut => return,
                Event::End => connection.as_mut().graceful_shutdown(),
                Event::Idle => {
                    connection.as_mut().graceful_shutdown();
                    // A peer that has begun something and does not go on gets no more time than for a head.
                    aside.add(async {
                        tokio::time::sleep(limits.header_timeout).await;
                        Event::Cut
                    });
                }
            }
        };
        if let Err(error) = result {
            if is_timeout(&*error) {
                metrics::count(&self.app.metrics().connections_timed_out, 1);
            }
            tracing::debug!(%error, "connection ended");
        }
    }
}

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
