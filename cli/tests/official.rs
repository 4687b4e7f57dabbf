//! What the official command line does, and scripts rely on (API.md section 4).

mod support;

use support::{Cli, Setup};

#[tokio::test]
async fn create_write_read_delete_say_what_the_official_ones_say() {
    let Setup { server, cli } = Setup::new().await;
    let url = server.stream_url("s");
    assert_eq!(cli.run(&["create", "s"]).await.ok(), format!("Stream created successfully: \"s\"\n  URL: {url}\n"));
    let again = cli.run(&["create", "s"]).await.ok();
    assert!(again.starts_with("Stream created successfully: \"s\"\n"), "{again}");
    assert!(again.contains("existed already"), "{again}");

    assert_eq!(cli.run(&["write", "s", "Hello,", "world!"]).await.ok(), "Wrote 13 bytes to stream \"s\"\n");
    assert_eq!(cli.run(&["write", "s", r"\n\t\\x"]).await.ok(), "Wrote 4 bytes to stream \"s\"\n");
    assert_eq!(cli.pipe(&["write", "s"], vec![b'z'; 1536]).await.ok(), "Wrote 1.5 KB to stream \"s\"\n");
    cli.run(&["close", "s"]).await.ok();
    let all = cli.run(&["read", "s"]).await.ok();
    assert_eq!(all, format!("Hello, world!\n\t\\x{}", "z".repeat(1536)));

    assert_eq!(cli.run(&["delete", "s"]).await.ok(), "Stream deleted successfully: \"s\"\n");
    let gone = cli.run(&["read", "s"]).await.fails();
    assert!(gone.starts_with("Failed to read stream \"s\"\n  Not Found (404)"), "{gone}");
}

#[tokio::test]
async fn json_streams_take_one_message_or_each_element_of_an_array() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "--json", "j"]).await.ok();
    cli.run(&["create", "j", "--content-type=application/json"]).await.ok();
    assert_eq!(
        cli.run(&["write", "j", "--json", r#"{"a": [1, "x y"]}"#]).await.ok(),
        "Wrote 1 JSON message to stream \"j\"\n"
    );
    assert_eq!(cli.run(&["write", "--json", "j", "[1,2]"]).await.ok(), "Wrote 1 JSON message to stream \"j\"\n");
    assert_eq!(cli.run(&["write", "j", "--batch-json", "[3,[4],5]"]).await.ok(), "Wrote 3 messages to stream \"j\"\n");
    assert_eq!(
        cli.pipe(&["write", "j", "--json", "--batch-json"], " [6, {\"b\": 7}] ").await.ok(),
        "Wrote 2 messages to stream \"j\"\n"
    );
    assert_eq!(cli.pipe(&["write", "j", "--batch-json"], "8").await.ok(), "Wrote 1 message to stream \"j\"\n");
    assert_eq!(cli.run(&["read", "j", "--no-follow"]).await.ok(), r#"[{"a":[1,"x y"]},[1,2],3,[4],5,6,{"b":7},8]"#);
    let bad = cli.run(&["write", "j", "--json", "{oops"]).await.fails();
    assert!(bad.starts_with("Failed to parse JSON content\n"), "{bad}");
    let bad = cli.pipe(&["write", "j", "--json"], "{oops").await.fails();
    assert!(bad.starts_with("Failed to parse JSON from stdin\n"), "{bad}");
}

#[tokio::test]
async fn every_failure_is_exit_code_1_with_a_reason_on_stderr() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "s"]).await.ok();
    for (args, reason) in [
        (&["write", "nope", "x"][..], "Failed to write to stream \"nope\"\n  Not Found (404)"),
        (&["delete", "nope"], "Failed to delete stream \"nope\"\n  Not Found (404)"),
        (&["create", "s", "--json"], "Failed to create stream \"s\"\n  Conflict (409)"),
        (&["write", "s", "--json", "1"], "Failed to write to stream \"s\"\n  Conflict (409)"),
        (&["write", "s"], "No data received from stdin"),
        (&["create"], "Error: Missing stream_id"),
        (&["create", "s", "--content-type"], "Error: --content-type requires a value"),
        (
            &["--content-type", "text/plain", "create", "s"],
            "Error: \"--content-type\" must come after the command and stream_id",
        ),
        (&["--json", "create", "s"], "Error: \"--json\" must come after the command and stream_id"),
        (&["unknown-command"], "Error: Unknown command"),
        (&["wriet", "s", "x"], "Error: Unknown command \"wriet\"\n  Hint: there is `write`\n"),
        (&["create", "s", "--jsn"], "Error: Unknown option \"--jsn\"\n  Hint: there is `--json`\n"),
        (&["--foobar"], "Error: Unknown option"),
        (&["write", "s", "x", "--foobar"], "Error: Unknown option"),
        (&["read", "a b"], "Error: Invalid stream ID"),
        (&["read", "a/../s"], "Error: Invalid stream ID"),
        (&["--url", "ftp://h", "read", "s"], "Error: Invalid URL protocol"),
        (&["--auth=", "read", "s"], "Error: Authorization value cannot be empty"),
        (&[], "Error: No command specified"),
    ] {
        let run = cli.run(args).await;
        assert_eq!(run.out, "", "{args:?}");
        let err = run.fails();
        assert!(err.starts_with(reason), "{args:?}: {err}");
    }
}

#[tokio::test]
async fn help_anywhere_is_usage_on_stdout() {
    let cli = Cli::new("http://127.0.0.1:1");
    for args in
        [&["--help"][..], &["-h"], &["write", "s", "--help"], &["read", "--bogus", "-h"], &["nonsense", "--help"]]
    {
        let run = cli.run(args).await;
        assert_eq!(run.err, "", "{args:?}");
        assert!(run.ok().contains("Usage: everstream"), "{args:?}");
    }
}

#[tokio::test]
async fn the_official_name_is_the_same_program() {
    let Setup { server, cli: _ } = Setup::new().await;
    let cli = Cli { binary: env!("CARGO_BIN_EXE_durable-stream"), ..Cli::new(server.url()) };
    cli.run(&["create", "s"]).await.ok();
    assert!(cli.run(&["--help"]).await.ok().contains("Usage: durable-stream "));
}

#[tokio::test]
async fn the_url_may_have_a_path_or_not_and_a_flag_beats_the_environment() {
    let Setup { server, cli: _ } = Setup::new().await;
    let url = server.url();
    Cli::new(&url).run(&["create", "s"]).await.ok();
    for base in [format!("{url}/"), format!("{url}/v1/stream"), format!("{url}/v1/stream//")] {
        Cli::new(&base).run(&["head", "s"]).await.ok();
        Cli::new("http://127.0.0.1:1").run(&["head", "s", "--url", &base]).await.ok();
        Cli::new("").run(&[&format!("--url={base}"), "head", "s"]).await.ok();
    }
    // The official rule: the id is simply joined.
    Cli::new(format!("{url}/v1/stream/group")).run(&["create", "x"]).await.ok();
    Cli::new(&url).run(&["head", "group/x"]).await.ok();
    let bad = Cli::new("nonsense").run(&["head", "s"]).await.fails();
    assert!(bad.starts_with("Error: Invalid STREAM_URL environment variable"), "{bad}");
}

#[tokio::test]
async fn a_bare_token_is_warned_of_and_no_secret_is_shown() {
    let Setup { server, cli } = Setup::new().await;
    cli.run(&["create", "s"]).await.ok();
    let warned = cli.run(&["--auth", "s3cret", "head", "s"]).await;
    assert!(warned.err.starts_with("Warning: Authorization"), "{warned:?}");
    let fine = cli.run(&["--auth", "Bearer s3cret", "head", "s"]).await;
    assert_eq!(fine.err, "");
    let with_password = server.url().replace("http://", "http://me:s3cret@");
    for args in [
        &["-vv", "--auth", "s3cret", "-H", "X-Key: s3cret", "read", "s", "--no-follow"][..],
        &["-vv", "--url", &with_password, "head", "s"],
        &["--url", &with_password, "create", "s"],
        &["--url", &with_password, "read", "nope"],
        &["--auth", "s3cret\n", "read", "s"],
        &["-H", "s3cret", "read", "s"],
    ] {
        let run = cli.run(args).await;
        assert!(!format!("{run:?}").contains("s3cret"), "{args:?}: {run:?}");
    }
}
