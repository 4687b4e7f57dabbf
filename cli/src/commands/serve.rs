//! `serve`: a server in this process, until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use everstream_server::Server;

use crate::args::{ServeArgs, StorageKind};
use crate::output::{Failure, say};
use crate::signals;

pub(crate) async fn run(args: &ServeArgs) -> Result<(), Failure> {
    match args.storage {
        StorageKind::Memory if args.data_dir.is_some() => {
            return Err(Failure::new("Error: --data-dir means nothing to --storage memory, which keeps no files"));
        }
        StorageKind::Memory => {}
    }
    let stopped = signals::interrupt().map_err(|error| Failure::new(format!("Error: no signals: {error}")))?;
    let server = Server::builder()
        .bind(SocketAddr::new(args.host, args.port))
        .long_poll_timeout(Duration::from_millis(args.long_poll_timeout_ms))
        .sse_lifetime(args.sse_lifetime)
        .max_body_bytes(args.max_body_bytes)
        .max_read_bytes(args.max_read_bytes)
        .mount_at_root(args.root)
        .compression(!args.no_compression)
        .cors_origin(&args.cors_origin)
        .fault_injection(args.fault_injection)
        .start()
        .await
        .map_err(|error| Failure::new(format!("Error: {error}")))?;
    say(&format!("Listening on {}", server.url()));
    stopped.await;
    tracing::info!("stopping; a second signal stops at once");
    server.shutdown().await;
    Ok(())
}
