//! One connection, from the first byte to the last.

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
use crate::http::Peer;

impl Net {
    /// Serves a connection until it ends.
    pub(super) async fn serve(&self, socket: TcpStream, addr: SocketAddr) {
        // Small answers must not wait for the client's delayed acknowledgement.
        let _ = socket.set_nodelay(true);
        self.speak(socket, Peer { addr }).await;
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, socket: S, peer: Peer) {
        let limits = &self.app.config().limits;
        let activity = Arc::new(Activity::default());
        let socket = TokioIo::new(Guarded::new(socket, Arc::clone(&activity), limits));
        let (app, peer) = (&self.app, Arc::new(peer));
        let requests = Arc::clone(&activity);
        let service = service_fn(move |request| {
            let (app, peer, busy) = (Arc::clone(app), Arc::clone(&peer), requests.begin());
            async move { app.answer(request, peer).await.map(|response| response.map(|body| Tracked::new(body, busy))) }
        });
        let mut connection = pin!(self.http.serve_connection(socket, service));
        let result = tokio::select! {
            biased;
            result = connection.as_mut() => result,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            () = idle(&activity, limits.idle_timeout) => {
                connection.as_mut().graceful_shutdown();
                // A peer that has begun something and does not go on gets no more time than for a head.
                match tokio::time::timeout(limits.header_timeout, connection).await {
                    Ok(result) => result,
                    Err(_) => Ok(()),
                }
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "connection ended");
        }
    }
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
