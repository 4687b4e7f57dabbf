//! `write`: streaming input, exactly once, and the account of what was not stored.

mod support;

use std::time::Duration;

use everstream_faults::{FaultPlan, FaultProxy};
use support::{Cli, Setup};
use tokio::io::AsyncWriteExt;

fn numbers(count: u32) -> String {
    (0..count).map(|number| format!("{{\"n\":{number}}}\n")).collect()
}

#[tokio::test]
async fn ten_thousand_lines_are_ten_thousand_messages_in_order() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "j", "--json"]).await.ok();
    let wrote = cli.pipe(&["write", "j", "--lines"], numbers(10_000)).await.ok();
    assert_eq!(wrote, "Wrote 10000 messages (96.6 KB) to stream \"j\"\n");
    let read = cli.run(&["read", "j", "--no-follow", "--json-lines"]).await.ok();
    assert_eq!(read, numbers(10_000));
}

#[tokio::test]
async fn faults_of_the_network_neither_lose_nor_double_a_line() {
    let setup = Setup::new().await;
    setup.cli.run(&["create", "j", "--json"]).await.ok();
    let plan = FaultPlan::seeded(11, 0.3).max_delay(Duration::from_millis(20)).max_stall(Duration::from_millis(50));
    let proxy = FaultProxy::start(setup.server.addr(), plan).await.unwrap();
    let cli = Cli::new(proxy.url());
    // Lines that come one after the other make many requests.
    let (writer, mut stdin) = cli.feed(&["write", "j", "--lines", "--timeout", "50"]);
    let mut reader = setup.cli.follow(&["read", "j", "--json-lines", "--live", "sse"]);
    let text = numbers(3000);
    let lines: Vec<&str> = text.lines().collect();
    for chunk in lines.chunks(100) {
        stdin.write_all(format!("{}\n", chunk.join("\n")).as_bytes()).await.unwrap();
        // The next ones go out when these have arrived.
        for line in chunk {
            assert_eq!(reader.line().await.as_deref(), Some(*line));
        }
    }
    drop(stdin);
    let (said, run) = writer.finish().await;
    run.ok();
    assert_eq!(said, ["Wrote 3000 messages (28.2 KB) to stream \"j\""]);
    let read = setup.cli.run(&["read", "j", "--no-follow", "--json-lines"]).await.ok();
    assert_eq!(read, text);
    assert!(proxy.counts().total() > 0, "no fault was met");
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_after_it_is_sent() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "j", "--json"]).await.ok();
    let err = cli.pipe(&["write", "j", "--lines"], "1\n\n[2]\n{3}\n4\n").await.fails();
    assert!(err.starts_with("Line 4: invalid JSON"), "{err}");
    assert!(err.contains("2 messages (4 bytes) before it stored, nothing after it sent"), "{err}");
    assert_eq!(cli.run(&["read", "j", "--no-follow"]).await.ok(), "[1,[2]]");
}

#[tokio::test]
async fn lines_of_a_text_stream_keep_their_ends() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    let text = "a\n\nä\r\nlast";
    let wrote = cli.pipe(&["write", "t", "--lines", "--close"], text).await.ok();
    assert_eq!(wrote, "Wrote 4 messages (11 bytes) to stream \"t\"\nStream closed successfully: \"t\"\n");
    assert_eq!(cli.run(&["read", "t"]).await.ok(), text);
    let err = cli.run(&["write", "t", "more"]).await.fails();
    assert!(err.contains("Conflict (409): the stream is closed"), "{err}");
    assert!(err.contains("0 of 1 message stored, 1 not stored"), "{err}");
}

#[tokio::test]
async fn no_lines_are_no_messages() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t"]).await.ok();
    let wrote = cli.pipe(&["write", "t", "--lines"], "").await.ok();
    assert_eq!(wrote, "Wrote 0 messages (0 bytes) to stream \"t\"\n");
}

#[tokio::test]
async fn a_line_is_stored_while_the_input_is_still_open() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    let mut reader = cli.follow(&["read", "t"]);
    let (writer, mut stdin) = cli.feed(&["write", "t", "--lines"]);
    for line in ["one", "two"] {
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        assert_eq!(reader.line().await.as_deref(), Some(line));
    }
    // Ctrl-C is an orderly end of the input.
    writer.signal("INT").await;
    let (said, run) = writer.finish().await;
    run.ok();
    assert_eq!(said, ["Wrote 2 messages (8 bytes) to stream \"t\""]);
}

#[tokio::test]
async fn a_server_that_goes_away_ends_the_write_with_an_account() {
    let Setup { server, cli } = Setup::new().await;
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    let mut reader = cli.follow(&["read", "t"]);
    let (writer, mut stdin) = cli.feed(&["write", "t", "--lines", "--timeout", "1"]);
    stdin.write_all(b"one\n").await.unwrap();
    assert_eq!(reader.line().await.as_deref(), Some("one"));
    server.shutdown().await;
    stdin.write_all(b"two\n").await.unwrap();
    // The input stays open: it is the failure that ends it.
    let (_, run) = writer.finish().await;
    let err = run.fails();
    assert!(err.contains("1 of 2 messages stored, 1 "), "{err}");
    drop(stdin);
}

#[tokio::test]
async fn large_input_passes_through_in_pieces_and_unchanged() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    let text = "äöü€ ".repeat(700_000);
    let wrote = cli.pipe(&["write", "t", "--close"], &text).await.ok();
    assert!(wrote.starts_with("Wrote 6.7 MB to stream"), "{wrote}");
    assert!(cli.run(&["read", "t"]).await.ok() == text);
}

#[tokio::test]
async fn the_elements_of_a_large_array_are_sent_while_it_is_read() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "j", "--json"]).await.ok();
    let lines = numbers(20_000);
    let array = format!("\u{feff}[\n{}\n]\n", lines.trim_end().replace('\n', ",\n"));
    let wrote = cli.pipe(&["write", "j", "--batch-json"], &array).await.ok();
    assert_eq!(wrote, "Wrote 20000 messages to stream \"j\"\n");
    assert!(cli.run(&["read", "j", "--no-follow", "--json-lines"]).await.ok() == lines);

    let err = cli.pipe(&["write", "j", "--batch-json"], "[1, 2, x]").await.fails();
    assert!(err.contains("2 messages (2 bytes) before it stored"), "{err}");
    let err = cli.run(&["write", "j", "--batch-json", "[1, 2, x]"]).await.fails();
    assert!(err.starts_with("Failed to parse JSON content"), "{err}");
    assert_eq!(cli.run(&["write", "j", "--batch-json", "[]"]).await.ok(), "Wrote 0 messages to stream \"j\"\n");
}

#[tokio::test]
async fn a_producer_id_fences_and_does_not_repeat() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t"]).await.ok();
    let write = |epoch: &'static str| cli.run_owned(["write", "t", "x", "--producer-id", "p", "--epoch", epoch]);
    write("1").await.ok();
    let fenced = write("0").await.fails();
    assert!(fenced.contains("Forbidden (403)"), "{fenced}");
    let repeat = write("1").await.fails();
    assert!(repeat.contains("took some messages for repeats"), "{repeat}");
    assert!(repeat.contains("0 of 1 message stored, 1 unknown"), "{repeat}");
    write("2").await.ok();
    assert_eq!(cli.run(&["read", "t", "--no-follow"]).await.ok(), "xx");
}
