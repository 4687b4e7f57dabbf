//! `read`: where it starts and stops, what it prints, and resuming exactly once.

mod support;

use std::collections::VecDeque;

use everstream_faults::{FaultPlan, FaultProxy};
use std::time::Duration;
use support::{Cli, Setup, finish};

#[tokio::test]
async fn it_follows_until_the_stream_is_closed() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "j", "--json"]).await.ok();
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    for live in ["auto", "sse", "long-poll"] {
        cli.run(&["write", "j", "1"]).await.ok();
        cli.run(&["write", "t", "1\\n"]).await.ok();
        let mut json = cli.follow(&["read", "j", "--json-lines", "--live", live, "-n", "3"]);
        let mut text = cli.follow(&["read", "t", "--live", live, "-n", "3"]);
        assert_eq!(json.line().await.as_deref(), Some("1"));
        assert_eq!(text.line().await.as_deref(), Some("1"));
        cli.run(&["write", "j", "--batch-json", "[2,3,4]"]).await.ok();
        cli.run(&["write", "t", "2\\n3\\n4\\n"]).await.ok();
        let (rest, run) = json.finish().await;
        run.ok();
        assert_eq!(rest, ["2", "3"], "{live}");
        let (rest, run) = text.finish().await;
        run.ok();
        assert_eq!(rest, ["2", "3"], "{live}");
        for id in ["j", "t"] {
            cli.run(&["delete", id]).await.ok();
        }
        cli.run(&["create", "j", "--json"]).await.ok();
        cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    }
    let follower = cli.follow(&["read", "j", "--from", "beginning"]);
    cli.run(&["write", "j", "5"]).await.ok();
    cli.run(&["close", "j"]).await.ok();
    let (lines, run) = follower.finish().await;
    run.ok();
    assert_eq!(lines, ["[5]"]);
}

#[tokio::test]
async fn it_starts_at_an_offset_or_now() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t"]).await.ok();
    cli.run(&["write", "t", "old\\n"]).await.ok();
    let shown = cli.run(&["read", "t", "--no-follow", "--show-offset"]).await;
    let offset = shown.err.lines().last().unwrap().strip_prefix("offset: ").unwrap().to_owned();
    let mut now = cli.follow(&["read", "t", "--from", "now", "-n", "1", "--show-offset"]);
    // It says where it is before anything comes.
    let mut stderr = tokio::io::BufReader::new(now.child.stderr.take().unwrap());
    let mut place = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut stderr, &mut place).await.unwrap();
    assert_eq!(place, format!("offset: {offset}\n"));
    cli.run(&["write", "t", "new\\n"]).await.ok();
    let (lines, run) = now.finish().await;
    run.ok();
    assert_eq!(lines, ["new"]);
    for (start, text) in [(offset.as_str(), "new\n"), ("-1", "old\nnew\n"), ("now", "")] {
        let read = cli.run(&["read", "t", "--no-follow", "--offset", start]).await.ok();
        assert_eq!(read, text, "{start}");
    }
    assert_eq!(cli.run(&["read", "t", "-n", "0"]).await.ok(), "");
    let err = cli.run(&["read", "t", "--no-follow", "--offset", "nonsense"]).await.fails();
    assert!(err.contains("Bad Request (400)"), "{err}");
    cli.run(&["read", "t", "--offset", "a/b"]).await.fails();
}

#[tokio::test]
async fn a_checkpoint_resumes_each_message_exactly_once() {
    // Small answers, so that there are many; and counts that stop in the middle of them.
    let Setup { server: _server, cli } = Setup::with(|server| server.max_read_bytes(1000)).await;
    let dir = tempfile::tempdir().unwrap();
    let all: Vec<String> = (0..1500).map(|number| format!("{{\"n\":{number}}}")).collect();
    for (id, json) in [("j", true), ("t", false)] {
        let content_type = if json { "application/json" } else { "text/plain" };
        cli.run(&["create", id, "--content-type", content_type]).await.ok();
        cli.pipe(&["write", id, "--lines"], all.join("\n") + "\n").await.ok();
        let file = dir.path().join(id);
        let file = file.to_str().unwrap();
        let mut seen = Vec::new();
        for count in ["1", "137", "64", "500", "1000"] {
            let args = ["read", id, "--no-follow", "--json-lines", "-n", count, "--checkpoint", file];
            let text = cli.run(&args).await.ok();
            seen.extend(text.lines().map(str::to_owned));
        }
        assert!(seen == all, "{id}: {} messages", seen.len());
        let args = ["read", id, "--no-follow", "--from", "beginning", "--checkpoint", file];
        assert_eq!(cli.run(&args).await.ok(), "", "the file counts, not --from");
    }
    let other = dir.path().join("t");
    let err = cli.run(&["read", "j", "--checkpoint", other.to_str().unwrap()]).await.fails();
    assert!(err.contains("belongs to stream \"t\""), "{err}");

    cli.run(&["delete", "j"]).await.ok();
    cli.run(&["create", "j", "--json"]).await.ok();
    cli.run(&["write", "j", "1"]).await.ok();
    let file = dir.path().join("j");
    let err = cli.run(&["read", "j", "--no-follow", "--checkpoint", file.to_str().unwrap()]).await.fails();
    assert!(err.contains("Failed to read stream"), "another incarnation: {err}");
}

#[tokio::test]
async fn interrupted_readers_on_a_bad_network_see_each_line_once() {
    let setup = Setup::with(|server| server.max_read_bytes(300)).await;
    setup.cli.run(&["create", "j", "--json"]).await.ok();
    let all: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    setup.cli.pipe(&["write", "j", "--lines", "--close"], all.join("\n")).await.ok();
    let plan = FaultPlan::seeded(5, 0.3).max_delay(Duration::from_millis(20)).max_stall(Duration::from_millis(50));
    let proxy = FaultProxy::start(setup.server.addr(), plan).await.unwrap();
    let cli = Cli::new(proxy.url());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("at");
    let args = ["read", "j", "--json-lines", "--checkpoint", file.to_str().unwrap()];
    let mut left: VecDeque<&str> = all.iter().map(String::as_str).collect();
    let mut runs = 0;
    while !left.is_empty() {
        let mut reader = cli.follow(&args);
        let mut lines = Vec::new();
        for _ in 0..40 {
            lines.extend(reader.line().await);
        }
        reader.signal("INT").await;
        let (rest, run) = reader.finish().await;
        run.ok();
        lines.extend(rest);
        for line in lines {
            assert_eq!(Some(line.as_str()), left.pop_front());
        }
        runs += 1;
    }
    assert!(runs > 1, "nothing was interrupted");
}

#[tokio::test]
async fn ctrl_c_and_a_closed_pipe_are_good_ends() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t"]).await.ok();
    cli.run(&["write", "t", "first\\n"]).await.ok();
    for signal in ["INT", "TERM"] {
        let mut reader = cli.follow(&["read", "t"]);
        assert_eq!(reader.line().await.as_deref(), Some("first"));
        reader.signal(signal).await;
        let (rest, run) = reader.finish().await;
        assert!(rest.is_empty());
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{signal}");
    }
    // Nobody reads on, and nothing more comes either.
    let mut reader = cli.follow(&["read", "t"]);
    assert_eq!(reader.line().await.as_deref(), Some("first"));
    drop(reader.lines);
    let run = finish(reader.child).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    // Nobody reads on, and there is more than a pipe holds.
    cli.pipe(&["write", "t"], "x".repeat(4 << 20)).await.ok();
    let mut reader = cli.follow(&["read", "t", "--no-follow"]);
    assert_eq!(reader.line().await.as_deref(), Some("first"));
    drop(reader.lines);
    let run = finish(reader.child).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""));
}
