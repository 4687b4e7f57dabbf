//! `everstream-faults`: a proxy with faults before any Durable Streams server.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use everstream_faults::{FaultKind, FaultPlan, FaultProxy};

/// Passes requests on to a server, and breaks some of them as a bad network would.
#[derive(Parser)]
#[command(name = "everstream-faults", version)]
struct Args {
    /// The server, as HOST:PORT.
    #[arg(long)]
    upstream: String,
    /// The address to listen on. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Decides which requests are harmed and how.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The part of all requests that is harmed, from 0 to 1.
    #[arg(long, default_value_t = 0.1)]
    rate: f64,
    /// Draws from these kinds of faults only, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<FaultKind>,
    /// The longest delay, in milliseconds.
    #[arg(long, default_value_t = 50)]
    max_delay_ms: u64,
    /// The longest stall, in milliseconds.
    #[arg(long, default_value_t = 200)]
    max_stall_ms: u64,
    /// How often in a row the same request may break.
    #[arg(long, default_value_t = 3)]
    max_consecutive: u32,
}

impl Args {
    fn plan(&self) -> FaultPlan {
        let plan = FaultPlan::seeded(self.seed, self.rate)
            .max_delay(Duration::from_millis(self.max_delay_ms))
            .max_stall(Duration::from_millis(self.max_stall_ms))
            .max_consecutive(self.max_consecutive);
        if self.only.is_empty() { plan } else { plan.only(self.only.iter().copied()) }
    }
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let upstream = tokio::net::lookup_host(&args.upstream).await?.next().ok_or(io::ErrorKind::NotFound)?;
    let proxy = FaultProxy::start_on(args.listen, upstream, args.plan()).await?;
    println!("{} -> {upstream}, seed {}, rate {}; Ctrl-C stops it", proxy.url(), args.seed, args.rate);
    tokio::signal::ctrl_c().await?;
    println!("{}", proxy.counts());
    proxy.shutdown().await;
    Ok(())
}
