//! After the demo: a server on the same streams, without the proxy and with usual times, and one stream that moves.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use everstream::{Client, CreateOptions};
use everstream_server::Server;
use everstream_server::storage::LogStorage;

use super::STREAM;
use super::data::Records;

/// Gets one record after the other.
const MOVING: &str = "demo/live";
/// Slow enough to be read.
const PAUSE: Duration = Duration::from_millis(150);

/// Serves until Ctrl-C.
pub(super) async fn keep(storage: Arc<LogStorage>, records: &Records) -> Result<()> {
    let server = Server::builder()
        .storage(storage)
        .bind(([127, 0, 0, 1], 0))
        .start()
        .await
        .context("the server does not start again")?;
    let moving = server.stream_url(MOVING);
    println!("\nThe server is still up, without the proxy. Look at it in a browser:");
    println!("  {}/ui/#/s/{}   this one moves", server.url(), MOVING.replace('/', "%2F"));
    println!("  {}/ui/#/s/{}   what was sent and read just now", server.url(), STREAM.replace('/', "%2F"));
    println!("or in a terminal:");
    println!("  STREAM_URL={} everstream tail {MOVING}", server.url());
    println!("  curl {}", server.stream_url(STREAM));
    println!("Ctrl-C stops it.");
    tokio::select! {
        moved = move_on(&moving, records) => moved?,
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot wait for Ctrl-C")?,
    }
    server.shutdown().await;
    Ok(())
}

async fn move_on(url: &str, records: &Records) -> Result<()> {
    let client = Client::builder().ignore_environment().build()?;
    let stream = client.stream(url)?;
    stream.create(&CreateOptions::json()).await.context("the stream that moves is not created")?;
    loop {
        for message in records.messages() {
            stream.append(message).await.context("the stream does not move")?;
            tokio::time::sleep(PAUSE).await;
        }
    }
}
