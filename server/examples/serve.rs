//! Serves in memory until interrupted: `serve [port] [long-poll milliseconds]`.
//!
//! With `FAULTS=1` the fault endpoint is on. Prints the URL, and nothing else, on standard output.

use std::time::Duration;

use everstream_server::Server;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let port: u16 = args.next().map_or(Ok(0), |port| port.parse())?;
    let long_poll: u64 = args.next().map_or(Ok(500), |millis| millis.parse())?;
    let server = Server::builder()
        .bind(([127, 0, 0, 1], port))
        .long_poll_timeout(Duration::from_millis(long_poll))
        .fault_injection(std::env::var_os("FAULTS").is_some())
        .start()
        .await?;
    println!("{}", server.url());
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
