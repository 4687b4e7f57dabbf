//! Seeded plans under real traffic.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use everstream_faults::{FaultCounts, FaultKind, FaultPlan, FaultProxy};

use crate::origin::Origin;
use crate::wire::{End, request_with};

const MAX_CONSECUTIVE: u32 = 2;

fn plan(seed: u64) -> FaultPlan {
    let brief = Duration::from_millis(2);
    FaultPlan::seeded(seed, 0.6).max_delay(brief).max_stall(brief).max_consecutive(MAX_CONSECUTIVE)
}

/// Appends, again and again until it is answered. Returns how many tries that took.
async fn append(addr: SocketAddr, stream: &str, seq: u32) -> u32 {
    let seq = seq.to_string();
    let headers = [("producer-id", stream), ("producer-epoch", "0"), ("producer-seq", &seq)];
    for tries in 1.. {
        let body = format!("{stream}-{seq}");
        let got = request_with(addr, "POST", stream, &headers, body.as_bytes()).await;
        if got.status() == Some(200) && got.end == End::Closed {
            assert_eq!(got.raw_body(), body.as_bytes());
            return tries;
        }
    }
    unreachable!("it tries until it is answered")
}

#[tokio::test]
async fn whoever_retries_gets_everything_through() {
    let origin = Origin::start().await;
    let proxy = FaultProxy::start(origin.addr, plan(11)).await.expect("start");
    let mut clients = tokio::task::JoinSet::new();
    for stream in ["/a", "/b", "/c", "/d"] {
        let addr = proxy.addr();
        clients.spawn(async move {
            let mut most = 0;
            for seq in 0..50 {
                most = most.max(append(addr, stream, seq).await);
            }
            most
        });
    }
    let most_tries = clients.join_all().await.into_iter().max().expect("four clients");
    assert_eq!(most_tries, MAX_CONSECUTIVE + 1);
    let arrived: HashSet<_> = origin.seen().requests.into_iter().map(|request| request.body).collect();
    assert_eq!(arrived.len(), 200);
    let counts = proxy.counts();
    assert_eq!(counts.upstream_failures, 0);
    // All but the three that need a GET, and answers, which are only written.
    assert_eq!(counts.kinds_met(), FaultKind::ALL.len() - 4);
}

#[tokio::test]
async fn a_seed_does_the_same_to_the_same_client() {
    async fn run(seed: u64) -> (FaultCounts, Vec<u32>) {
        let origin = Origin::start().await;
        let proxy = FaultProxy::start(origin.addr, plan(seed)).await.expect("start");
        let mut tries = Vec::new();
        for seq in 0..60 {
            tries.push(append(proxy.addr(), "/s", seq).await);
        }
        (proxy.counts(), tries)
    }
    let first = run(3).await;
    assert_eq!(first, run(3).await);
    assert_ne!(first, run(4).await);
}
