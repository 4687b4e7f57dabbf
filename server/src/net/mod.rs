//! Connections: how many, for how long, and at what pace. HTTP is hyper's, but for whole and plain requests
//! (`pipeline`); what requests do is the `http` module's.

mod activity;
pub(crate) mod admin;
mod connection;
mod guarded;
mod pipeline;
mod plain;
mod rewound;
mod socket;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::pipeline::chunk_of;
pub(crate) use self::tls::{ClientIdentity, Tls};
use crate::config::Limits;
use crate::http::App;
use crate::metrics;

/// What all connections of a server share.
pub(crate) struct Net {
    app: Arc<App>,
    http: auto::Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    slots: Arc<Semaphore>,
    /// Cancelled: no new connections, and those that are idle end.
    stop: CancellationToken,
    /// Cancelled: every connection is cut.
    abort: CancellationToken,
    tasks: TaskTracker,
}

/// Said to a connection too many, before anything that it has to say is read.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

impl Net {
    pub(crate) fn new(
        app: Arc<App>,
        tls: Option<Arc<Tls>>,
        stop: CancellationToken,
        abort: CancellationToken,
        tasks: TaskTracker,
    ) -> Arc<Self> {
        let limits = &app.config().limits;
        let slots = if limits.max_connections == 0 { Semaphore::MAX_PERMITS } else { limits.max_connections };
        let slots = Arc::new(Semaphore::new(slots.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self { http: protocol(limits), slots, tls, app, stop, abort, tasks })
    }

    /// Accepts connections until the server stops.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => self.take_in(socket, peer),
                Err(error) => {
                    // Out of file handles, most likely: connections that end will free some.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn take_in(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            metrics::count(&self.app.metrics().connections_refused, 1);
            tracing::warn!(%peer, "a connection was refused: limits.max_connections are open");
            // The buffer of a new socket has room for it; if not, the client sees the connection end.
            let _ = socket.try_write(FULL);
            return;
        };
        let (net, open) = (Arc::clone(self), self.app.metrics().connection());
        self.tasks.spawn(async move {
            net.serve(socket, peer).await;
            drop((slot, open));
        });
    }
}

fn protocol(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    // Heads and idle times are watched over in `guarded` and `connection`, for both versions and without a timer for
    // each request.
    http.http1().header_read_timeout(None).max_buf_size(limits.max_header_bytes.max(64 << 10));
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_http2_streams)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        // Room for one piece of a read without waiting for the client's window updates.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    http
}
