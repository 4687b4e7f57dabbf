//! Export and import: what goes in comes out, a file or a run that broke off is continued, and nothing is added to what
//! is something else.

mod support;

use everstream::{Client, CreateOptions, LiveMode, ReadOptions};
use support::{Cli, Setup};

const BINARY: &[u8] = &[0, 159, 146, 150, 255, 10, 13];

/// Streams of every kind.
async fn fill(cli: &Cli, url: &str) {
    let client = Client::new().expect("a client");
    let stream = |name: &str| client.stream(&format!("{url}/v1/stream/{name}")).expect("a URL");
    let json = stream("json");
    json.create(&CreateOptions::json()).await.expect("it is new");
    for text in ["{\"a\" : 1e3}", "12345678901234567890123", "[1,\n 2]", "\"\u{e9}\""] {
        json.append_json_text(text.to_owned(), &Default::default()).await.expect("it is stored");
    }
    json.close().await.expect("it closes");
    let odd = stream("odd%20name%2F%C3%A9");
    odd.create(&CreateOptions::content_type("text/plain; charset=utf-8")).await.expect("it is new");
    odd.append("h\u{e9}\r\nllo").await.expect("it is stored");
    let binary = stream("binary");
    binary.create(&CreateOptions::default()).await.expect("it is new");
    binary.append(BINARY).await.expect("it is stored");
    cli.run(&["create", "empty", "--json", "--ttl", "1h"]).await.ok();
    cli.run(&["create", "until", "--expires-at", "2100-01-01T00:00:00Z", "--closed"]).await.ok();
}

async fn content(url: &str, name: &str) -> (Vec<u8>, bool) {
    let stream = Client::new().expect("a client").stream(&format!("{url}/v1/stream/{name}")).expect("a URL");
    let mut reader = stream.read(ReadOptions { live: LiveMode::CatchUp, ..ReadOptions::default() });
    let bytes = reader.collect_bytes().await.expect("it can be read");
    (bytes.to_vec(), reader.is_closed())
}

const NAMES: [&str; 5] = ["json", "odd%20name%2F%C3%A9", "binary", "empty", "until"];

async fn same(one: &str, other: &str) {
    for name in NAMES {
        assert_eq!(content(one, name).await, content(other, name).await, "{name}");
    }
}

#[tokio::test]
async fn streams_of_every_kind_come_out_as_they_went_in_and_a_second_import_changes_nothing() {
    let (from, to) = (Setup::new().await, Setup::new().await);
    let (source, target) = (from.server.url(), to.server.url());
    fill(&from.cli, &source).await;
    let exported = from.cli.run(&["export"]).await.ok();
    assert!(exported.lines().last().is_some_and(|line| line == r#"{"done":{"streams":5}}"#), "{exported}");
    for _ in 0..2 {
        to.cli.pipe(&["import"], &exported).await.ok();
        same(&source, &target).await;
    }
    let head = |cli: &Cli, name: &'static str| cli.command(&["head", name, "--json"]).output();
    for name in ["empty", "until", "json"] {
        let field = |output: std::io::Result<std::process::Output>, field: &str| {
            let object: serde_json::Value = serde_json::from_slice(&output.expect("it runs").stdout).expect("JSON");
            object[field].clone()
        };
        for what in ["contentType", "ttlSeconds", "expiresAt", "closed"] {
            let (one, other) = (head(&from.cli, name).await, head(&to.cli, name).await);
            assert_eq!(field(one, what), field(other, what), "{name} {what}");
        }
    }
}

#[tokio::test]
async fn a_file_that_broke_off_anywhere_is_continued() {
    let from = Setup::new().await;
    fill(&from.cli, &from.server.url()).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("streams.ndjson");
    let path = file.to_str().expect("UTF-8");
    from.cli.run(&["export", "-o", path]).await.ok();
    let whole = std::fs::read_to_string(&file).expect("it is there");
    from.cli.run(&["export", "-o", path]).await.fails();
    let first_line = whole.find('\n').expect("a line") + 1;
    // Some places in and between lines; all of them would take a minute.
    for cut in (first_line..=whole.len()).step_by(97).chain([whole.len() - 1, whole.len()]) {
        std::fs::write(&file, &whole.as_bytes()[..cut]).expect("it is written");
        from.cli.run(&["export", "-o", path, "--resume"]).await.ok();
        assert_eq!(std::fs::read_to_string(&file).expect("it is there"), whole, "cut at {cut}");
    }
    std::fs::write(&file, "{\"form").expect("it is written");
    from.cli.run(&["export", "-o", path, "--resume"]).await.fails();
}

#[tokio::test]
async fn an_import_that_broke_off_is_run_again() {
    let (from, to) = (Setup::new().await, Setup::new().await);
    let (source, target) = (from.server.url(), to.server.url());
    fill(&from.cli, &source).await;
    let exported = from.cli.run(&["export"]).await.ok();
    let json_only: usize = exported.match_indices('\n').nth(2).expect("lines").0 + 1;
    let broken = to.cli.pipe(&["import"], &exported.as_bytes()[..exported.len() - 30]).await.fails();
    assert!(broken.contains("breaks off"), "{broken}");
    to.cli.pipe(&["import"], &exported.as_bytes()[..json_only]).await.fails();
    to.cli.pipe(&["import"], &exported).await.ok();
    same(&source, &target).await;
}

#[tokio::test]
async fn nothing_is_added_to_a_stream_that_holds_something_else() {
    let (from, to) = (Setup::new().await, Setup::new().await);
    fill(&from.cli, &from.server.url()).await;
    let exported = from.cli.run(&["export"]).await.ok();
    to.cli.run(&["create", "json", "--json"]).await.ok();
    to.cli.run(&["write", "json", "--json", "{\"other\":1}"]).await.ok();
    to.cli.run(&["create", "empty", "--content-type", "text/plain"]).await.ok();
    let conflict = to.cli.pipe(&["import"], &exported).await.fails();
    assert!(conflict.contains("was not imported"), "{conflict}");
    to.cli.pipe(&["import", "--on-conflict", "skip"], &exported).await.ok();
    assert_eq!(content(&to.server.url(), "json").await.0, b"[{\"other\":1}]");
    assert_eq!(content(&to.server.url(), "binary").await.0, BINARY);
}

#[tokio::test]
async fn a_damaged_file_is_noticed_by_its_counts_and_hash() {
    let (from, to) = (Setup::new().await, Setup::new().await);
    fill(&from.cli, &from.server.url()).await;
    let exported = from.cli.run(&["export"]).await.ok();
    let changed = exported.replace("12345678901234567890123", "12345678901234567890124");
    assert_ne!(exported, changed);
    let error = to.cli.pipe(&["import"], &changed).await.fails();
    assert!(error.contains("damaged"), "{error}");
    let open = content(&to.server.url(), "json").await;
    assert!(!open.1, "a stream that is not right is not closed");
    for bad in ["", "hello\n", "{\"format\":9}\n", "{\"format\":1}\n{\"done\":{\"streams\":1}}\n"] {
        to.cli.pipe(&["import"], bad).await.fails();
    }
}
