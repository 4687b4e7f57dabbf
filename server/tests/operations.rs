//! What operators look at: probes, metrics, request ids, the admin address.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use everstream_server::RunningServer;
use everstream_server::config::Config;
use everstream_server::engine::Removal;
use everstream_server::metrics::StorageMetrics;
use everstream_server::storage::{
    Listed, Loaded, MemoryStorage, NewStream, Reply, Storage, StorageError, StorageErrorKind, StreamId,
};
use support::{Client, Connection, TEXT, eventually, patient, quick, request};

async fn scrape(server: &RunningServer) -> String {
    let answer = request(server, "GET", "/metrics", &[], b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    answer.text().to_owned()
}

/// The value of a line, 0 if there is none.
fn value(scraped: &str, series: &str) -> f64 {
    let line = scraped.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_status() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("a", &[TEXT], "12345").await;
    for _ in 0..3 {
        client.post("a", &[TEXT], "678").await;
    }
    client.get("a").await;
    client.head("a").await;
    client.get("absent").await;
    client.get("a?offset=now&live=long-poll").await;
    let scraped = scrape(&server).await;
    for (series, expected) in [
        (r#"everstream_requests_total{operation="create",status="2xx"}"#, 1.0),
        (r#"everstream_requests_total{operation="append",status="2xx"}"#, 3.0),
        (r#"everstream_requests_total{operation="read",status="2xx"}"#, 1.0),
        (r#"everstream_requests_total{operation="read",status="4xx"}"#, 1.0),
        (r#"everstream_requests_total{operation="head",status="2xx"}"#, 1.0),
        (r#"everstream_requests_total{operation="long-poll",status="2xx"}"#, 1.0),
        (r#"everstream_request_duration_seconds_count{operation="append"}"#, 3.0),
        (r#"everstream_request_duration_seconds_bucket{operation="append",le="+Inf"}"#, 3.0),
        ("everstream_appended_bytes_total", 14.0),
        ("everstream_streams", 1.0),
        ("everstream_live_readers{mode=\"long-poll\"}", 0.0),
    ] {
        assert!((value(&scraped, series) - expected).abs() < f64::EPSILON, "{series} of\n{scraped}");
    }
    assert!(value(&scraped, "everstream_served_bytes_total") >= 14.0, "{scraped}");
    client.delete("a").await;
    assert!(scrape(&server).await.contains("everstream_streams 0\n"));
}

#[tokio::test]
async fn repeats_of_producers_and_refusals_are_counted() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("a", &[TEXT], "").await;
    let batch = [TEXT, ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "0")];
    for status in [200, 204, 204] {
        assert_eq!(client.post("a", &batch, "x").await.status, status);
    }
    let scraped = scrape(&server).await;
    assert!(scraped.contains("everstream_duplicate_appends_total 2\n"), "{scraped}");
    assert!(scraped.contains("everstream_appended_bytes_total 1\n"), "{scraped}");
}

#[tokio::test]
async fn live_readers_are_counted_while_they_are_there() {
    let server = patient().start().await.unwrap();
    let client = Client(&server);
    client.put("a", &[TEXT], "").await;
    let (sse, _) = client.sse("a?offset=-1&live=sse").await;
    let mut polling = Connection::open(&server).await;
    polling.start("GET", "/v1/stream/a?offset=now&live=long-poll", &[], b"").await;
    let readers = async |sse: &str, polls: &str| {
        let scraped = scrape(&server).await;
        let series = |mode: &str, count: &str| format!("everstream_live_readers{{mode=\"{mode}\"}} {count}\n");
        scraped.contains(&series("sse", sse)) && scraped.contains(&series("long-poll", polls))
    };
    eventually("both are counted", async || readers("1", "1").await).await;
    drop((sse, polling));
    eventually("both are gone", async || readers("0", "0").await).await;
}

#[tokio::test]
async fn the_table_of_the_documentation_is_what_there_is() {
    let server = Arc::new(Switchable::default());
    let server = quick().storage(server).start().await.unwrap();
    Client(&server).put("a", &[TEXT], "x").await;
    let scraped = scrape(&server).await;
    let kinds = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some(format!("`{name}` | {kind}"))
    };
    let there: BTreeSet<String> = scraped.lines().filter_map(kinds).collect();
    let page = include_str!("../../docs/server.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (name, kind) = (cells.next()?, cells.next()?);
        let is_metric = name.starts_with("`everstream_") || name.starts_with("`process_");
        is_metric.then(|| format!("{name} | {kind}"))
    };
    let documented: BTreeSet<String> = page.lines().filter_map(row).collect();
    assert_eq!(there, documented, "on the left what the server tells, on the right docs/server.md");
}

/// A storage that can be told to take no writes.
#[derive(Default)]
struct Switchable {
    memory: MemoryStorage,
    is_full: AtomicBool,
    metrics: Arc<StorageMetrics>,
}

impl Storage for Switchable {
    fn load(&self, name: &str) -> Reply<Option<Loaded>> {
        self.memory.load(name)
    }

    fn create(&self, stream: NewStream) -> Reply<Loaded> {
        self.memory.create(stream)
    }

    fn delete(&self, name: &str, id: StreamId, removal: Removal) -> Reply<()> {
        self.memory.delete(name, id, removal)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Reply<Vec<Listed>> {
        self.memory.list(prefix, after, limit)
    }

    fn check_writable(&self) -> Result<(), StorageError> {
        match self.is_full.load(Ordering::Relaxed) {
            true => Err(StorageError { kind: StorageErrorKind::Full, message: "no room".to_owned() }),
            false => Ok(()),
        }
    }

    fn metrics(&self) -> Option<Arc<StorageMetrics>> {
        Some(Arc::clone(&self.metrics))
    }
}

#[tokio::test]
async fn a_server_whose_storage_takes_no_writes_is_alive_and_not_ready() {
    let storage = Arc::new(Switchable::default());
    let server = quick().storage(Arc::clone(&storage) as Arc<_>).start().await.unwrap();
    let probe = async |path: &str| request(&server, "GET", path, &[], b"").await;
    assert_eq!(probe("/readyz").await.status, 200);
    storage.is_full.store(true, Ordering::Relaxed);
    let answer = probe("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("no room"), "{}", answer.text());
    assert_eq!(probe("/healthz").await.status, 200);
    assert_eq!(request(&server, "POST", "/readyz", &[TEXT], b"").await.status, 405);
}

#[tokio::test]
async fn an_admin_address_has_probes_and_metrics_and_nothing_else() {
    let mut config = Config::default();
    config.server.port = 0;
    config.admin.address = "127.0.0.1:0".to_owned();
    let server = everstream_server::Server::builder().config(config).start().await.unwrap();
    let admin = server.admin_addr().unwrap();
    let ask = async |path: &str| Connection::to(admin).await.request("GET", path, &[], b"").await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(ask(path).await.status, 200, "{path}");
    }
    assert_eq!(ask("/v1/stream/a").await.status, 404);
    assert_eq!(request(&server, "GET", "/metrics", &[], b"").await.status, 404);
    assert_eq!(request(&server, "GET", "/healthz", &[], b"").await.status, 200);
}

#[tokio::test]
async fn the_id_of_a_request_comes_back_if_it_is_harmless() {
    let server = quick().start().await.unwrap();
    let with = async |id: &str| Client(&server).get_with("absent", &[("x-request-id", id)]).await;
    assert_eq!(with("abc-123").await.header("x-request-id"), Some("abc-123"));
    assert_eq!(with("two words").await.header("x-request-id"), None);
    // An append is answered on a way of its own, whether it is taken or not.
    let append = async |name: &str, stream_type: &str| {
        let headers = [("content-type", stream_type), ("x-request-id", "abc-123")];
        let answer = Client(&server).post(name, &headers, "x").await;
        (answer.status, answer.header("x-request-id").map(str::to_owned))
    };
    Client(&server).put("taken", &[("content-type", "text/plain")], "").await;
    let id = Some("abc-123".to_owned());
    assert_eq!(append("taken", "text/plain").await, (204, id.clone()));
    assert_eq!(append("taken", "text/html").await, (409, id.clone()));
    assert_eq!(append("absent", "text/plain").await, (404, id));
}

#[tokio::test]
async fn every_answer_has_an_id_when_requests_are_logged() {
    let mut config = Config::default();
    config.server.port = 0;
    config.log.requests = true;
    let server = everstream_server::Server::builder().config(config).start().await.unwrap();
    let one = Client(&server).get("absent").await;
    let two = Client(&server).get("absent").await;
    let id = |answer: &support::Answer| answer.header("x-request-id").unwrap().to_owned();
    assert_eq!(id(&one).len(), 16);
    assert_ne!(id(&one), id(&two));
}
