//! The admin address: probes and metrics, apart from the streams.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::http::{App, answer_admin};

/// Probes and scrapers are few.
const MOST_CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until the last connection of the server is gone: how it stops is worth a look as well.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, end: CancellationToken) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                if let Ok(slot) = Arc::clone(&slots).try_acquire_owned() {
                    let (app, end) = (Arc::clone(&app), end.clone());
                    tokio::spawn(async move {
                        let _ = end.run_until_cancelled(connection(socket, app)).await;
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the admin address");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, app: Arc<App>) {
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let response = answer_admin(&app, request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let connection = pin!(http.serve_connection(TokioIo::new(socket), service));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of the admin address ended");
    }
}
