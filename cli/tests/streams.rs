//! The small commands: head, close, fork, ls, create with a lifetime; and servers that do not answer.

mod support;

use std::time::{Duration, Instant};

use support::{Cli, Setup, finish};

#[tokio::test]
async fn head_tells_all_as_text_and_as_json() {
    let Setup { server, cli } = Setup::new().await;
    cli.run(&["create", "j", "--json", "--ttl", "10m"]).await.ok();
    cli.run(&["create", "e", "--expires-at", "2100-01-01T00:00:00Z", "--closed"]).await.ok();
    let text = cli.run(&["head", "j"]).await.ok();
    for line in
        ["Stream: \"j\"\n", "  Content-Type: application/json\n", "  Closed: no\n", "  TTL: 600 s\n", "  Offset: "]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    let object: serde_json::Value = serde_json::from_str(&cli.run(&["head", "e", "--json"]).await.ok()).unwrap();
    assert_eq!(object["closed"], true);
    assert_eq!(object["url"], server.stream_url("e"));
    assert!(object["expiresAt"].as_str().unwrap().starts_with("2100-01-01T00:00:00"));
    assert_eq!(object["ttlSeconds"], serde_json::Value::Null);
    cli.run(&["create", "x", "--ttl", "5", "--expires-at", "2100-01-01T00:00:00Z"]).await.fails();
    let err = cli.run(&["create", "x", "--expires-at", "tomorrow"]).await.fails();
    assert!(err.contains("Bad Request (400)"), "{err}");
}

#[tokio::test]
async fn close_may_carry_a_last_message_and_can_be_repeated() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    cli.run(&["create", "j", "--json"]).await.ok();
    let said = cli.run(&["close", "t", "--data", "bye\\n"]).await.ok();
    assert!(said.starts_with("Stream closed successfully: \"t\"\n  Final offset: "), "{said}");
    assert_eq!(cli.run(&["close", "t"]).await.ok(), said);
    assert_eq!(cli.run(&["read", "t"]).await.ok(), "bye\n");
    cli.run(&["close", "t", "--data", "more"]).await.fails();
    cli.run(&["close", "j", "--data", "{bad"]).await.fails();
    cli.run(&["close", "j", "--data", "[1]"]).await.ok();
    assert_eq!(cli.run(&["read", "j"]).await.ok(), "[[1]]");
    let err = cli.run(&["close", "nope"]).await.fails();
    assert!(err.contains("Not Found (404)"), "{err}");
}

#[tokio::test]
async fn a_fork_starts_with_what_its_source_had() {
    let Setup { server, cli } = Setup::new().await;
    cli.run(&["create", "g/src", "--json"]).await.ok();
    cli.run(&["write", "g/src", "1"]).await.ok();
    let shown = cli.run(&["read", "g/src", "--no-follow", "--show-offset"]).await.err;
    let offset = shown.trim().strip_prefix("offset: ").unwrap().to_owned();
    cli.run(&["write", "g/src", "--batch-json", "[2,3]"]).await.ok();
    let said = cli.run(&["fork", "g/src", "all"]).await.ok();
    assert!(said.contains(&server.stream_url("all")), "{said}");
    cli.run(&["fork", "g/src", "one", "--offset", &offset]).await.ok();
    cli.run(&["fork", "g/src", "two", "--offset", &offset, "--sub-offset", "1", "--ttl", "1h"]).await.ok();
    cli.run(&["write", "two", "9"]).await.ok();
    for (id, content) in [("all", "[1,2,3]"), ("one", "[1]"), ("two", "[1,2,9]"), ("g/src", "[1,2,3]")] {
        assert_eq!(cli.run(&["read", id, "--no-follow"]).await.ok(), content, "{id}");
    }
    let err = cli.run(&["fork", "nope", "x"]).await.fails();
    assert!(err.starts_with("Failed to fork stream \"nope\" to \"x\"\n  Not Found (404)"), "{err}");
}

#[tokio::test]
async fn ls_lists_the_streams_of_the_server_by_name() {
    let Setup { server: _server, cli } = Setup::new().await;
    assert_eq!(cli.run(&["ls"]).await.ok(), "");
    for id in ["b", "a/2", "a/1", "gone"] {
        cli.run(&["create", id, "--content-type", "text/plain"]).await.ok();
    }
    cli.run(&["delete", "gone"]).await.ok();
    assert_eq!(cli.run(&["ls"]).await.ok(), "a/1\na/2\nb\n");
    assert_eq!(cli.run(&["ls", "a/"]).await.ok(), "a/1\na/2\n");
    cli.run(&["write", "a/2", "seven b"]).await.ok();
    let long = cli.run(&["ls", "a/2", "--long"]).await.ok();
    assert!(long.starts_with("a/2\ttext/plain\t") && long.ends_with("\topen\t7\n"), "{long}");
    let json = cli.run(&["ls", "a/2", "--json"]).await.ok();
    assert!(json.contains("\"contentType\":\"text/plain\"") && json.contains("\"bytes\":7"), "{json}");
}

const COMMANDS: [&[&str]; 9] = [
    &["create", "s"],
    &["write", "s", "x"],
    &["write", "s", "x", "--content-type", "text/plain"],
    &["read", "s"],
    &["head", "s"],
    &["close", "s"],
    &["delete", "s"],
    &["fork", "s", "t"],
    &["ls"],
];

#[tokio::test]
async fn a_server_that_is_down_is_an_error_within_the_budget() {
    // Nothing listens on a port that was just given back.
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = Cli::new(format!("http://{}", free.local_addr().unwrap()));
    drop(free);
    // This one takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = Cli::new(format!("http://{}", silent.local_addr().unwrap()));
    let mut runs = tokio::task::JoinSet::new();
    for (cli, reason) in [(&down, "no connection to the server"), (&mute, "")] {
        for args in COMMANDS {
            let args = [args, &["--timeout", "2"]].concat();
            let started = Instant::now();
            let child = cli.command(&args).spawn().unwrap();
            runs.spawn(async move {
                let err = finish(child).await.fails();
                (args, reason, err, started.elapsed())
            });
        }
    }
    while let Some(run) = runs.join_next().await {
        let (args, reason, err, took) = run.unwrap();
        assert!(err.contains("Failed to "), "{args:?}: {err}");
        assert!(err.contains(reason), "{args:?}: {err}");
        assert!(took < Duration::from_secs(5), "{args:?} took {took:?}");
    }
}
