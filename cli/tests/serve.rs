//! `serve`: the server as a process of its own.

mod support;

use support::{Cli, Follower};

async fn serve(args: &[&str]) -> (Follower, Cli) {
    serve_at("0", &[&["--storage", "memory"], args].concat()).await
}

async fn serve_at(port: &str, args: &[&str]) -> (Follower, Cli) {
    let command = Cli::new("").command(&[&["serve", "--port", port], args].concat());
    let mut server = Follower::new(command);
    let line = server.line().await.expect("it listens");
    let url = line.strip_prefix("Listening on ").expect(&line).to_owned();
    (server, Cli::new(url))
}

#[tokio::test]
async fn it_says_where_it_listens_and_stops_when_told_to() {
    for signal in ["INT", "TERM"] {
        let (server, cli) = serve(&[]).await;
        cli.run(&["create", "s"]).await.ok();
        cli.run(&["write", "s", "x\\n"]).await.ok();
        // A live reader does not hold it up.
        let mut reader = cli.follow(&["read", "s"]);
        assert_eq!(reader.line().await.as_deref(), Some("x"));
        server.signal(signal).await;
        let (rest, run) = server.finish().await;
        assert!(rest.is_empty(), "{rest:?}");
        assert!(run.err.contains("listening"), "{run:?}");
        run.ok();
        reader.signal("INT").await;
        reader.finish().await.1.ok();
    }
}

#[tokio::test]
async fn a_reader_outlives_a_restart_and_says_that_it_waits() {
    let (server, cli) = serve(&[]).await;
    let port = cli.url.rsplit(':').next().unwrap().to_owned();
    cli.run(&["create", "s"]).await.ok();
    cli.run(&["write", "s", "x\\n"]).await.ok();
    let mut reader = cli.follow(&["read", "s"]);
    assert_eq!(reader.line().await.as_deref(), Some("x"));
    server.signal("TERM").await;
    server.finish().await.1.ok();
    let mut stderr = tokio::io::BufReader::new(reader.child.stderr.take().unwrap());
    let mut notice = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut stderr, &mut notice).await.unwrap();
    assert!(notice.starts_with("Trying again: "), "{notice}");
    // Memory is gone: the stream is not there any more, and that is no reason to wait.
    let (_server, _) = serve_at(&port, &["--storage", "memory"]).await;
    let (_, run) = reader.finish().await;
    assert_eq!(run.code, 1, "{run:?}");
}

#[tokio::test]
async fn streams_in_a_folder_outlive_a_kill_and_a_reader_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let args = ["--data-dir", data.to_str().unwrap()];
    let (server, cli) = serve_at("0", &args).await;
    let port = cli.url.rsplit(':').next().unwrap().to_owned();
    cli.run(&["create", "s"]).await.ok();
    cli.run(&["write", "s", "x\n"]).await.ok();
    let mut reader = cli.follow(&["read", "s"]);
    assert_eq!(reader.line().await.as_deref(), Some("x"));
    // Two servers do not share a folder.
    let err = Cli::new("").run(&["serve", "--port", "0", args[0], args[1]]).await.fails();
    assert!(err.contains("another process uses the data directory"), "{err}");
    server.signal("KILL").await;
    server.finish().await;
    let (_server, _) = serve_at(&port, &args).await;
    cli.run(&["write", "s", "y\n"]).await.ok();
    assert_eq!(reader.line().await.as_deref(), Some("y"));
    reader.signal("INT").await;
    reader.finish().await.1.ok();
}

#[tokio::test]
async fn options_reach_the_server() {
    let (_server, cli) =
        serve(&["--root", "--max-body-bytes", "10", "--cors-origin", "http://page", "--log-format", "json"]).await;
    cli.run(&["--stream-root", "/", "create", "s"]).await.ok();
    cli.run(&["--stream-root", "/", "write", "s", "0123456789"]).await.ok();
    let err = cli.run(&["--stream-root", "/", "write", "s", "0123456789a"]).await.fails();
    assert!(err.contains("Payload Too Large (413)"), "{err}");
    let err = cli.run(&["head", "s"]).await.fails();
    assert!(err.contains("Not Found (404)"), "{err}");
}

#[tokio::test]
async fn what_cannot_be_served_is_an_error() {
    let (_server, running) = serve(&[]).await;
    let port = running.url.rsplit(':').next().unwrap().to_owned();
    let cli = Cli::new("");
    let err = cli.run(&["serve", "--storage", "memory", "--port", &port]).await.fails();
    assert!(err.contains("cannot listen on 127.0.0.1:"), "{err}");
    let err = cli.run(&["serve", "--storage", "memory", "--data-dir", "/tmp/x"]).await.fails();
    assert!(err.contains("--data-dir"), "{err}");
    cli.run(&["serve", "--storage", "paper"]).await.fails();
    let mut command = cli.command(&["serve", "--storage", "memory"]);
    command.env("EVERSTREAM_SERVER__PORT", &port);
    let err = support::finish(command.spawn().unwrap()).await.fails();
    assert!(err.contains(&format!("127.0.0.1:{port}")), "{err}");
}

#[tokio::test]
async fn a_file_variables_and_flags_make_one_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("everstream.toml");
    let text = "[server]\nport = 1\nstream_root = \"/here\"\n[limits]\nmax_body_bytes = \"1KiB\"\n";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let mut command = Cli::new("").command(&["serve", "--config", file, "--port", "3", "--print-config"]);
    command.env("EVERSTREAM_SERVER__PORT", "2").env("EVERSTREAM_LIMITS__MAX_READ_BYTES", "2KiB");
    let printed = support::finish(command.spawn().unwrap()).await.ok();
    for line in ["port = 3", "stream_root = \"/here\"", "max_body_bytes = \"1KiB\"", "max_read_bytes = \"2KiB\""] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is not in:\n{printed}");
    }
    let cli = Cli::new("");
    cli.run(&["serve", "--config", file, "--check-config"]).await.ok();
    let err = cli.run(&["serve", "--config", file, "--set", "limits.max_boddy=1", "--check-config"]).await.fails();
    assert!(err.contains("unknown key `limits.max_boddy`; did you mean `limits.max_body_bytes`?"), "{err}");
    std::fs::write(file, "[server]\nprot = 1\n").unwrap();
    let err = cli.run(&["serve", "--config", file]).await.fails();
    assert!(err.contains(file) && err.contains("prot") && err.contains("server.port"), "{err}");
}
