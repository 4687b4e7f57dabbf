//! For people who live in terminals: tail, columns, colours, hints, JSON, completions, the manual, a small benchmark.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use serde_json::Value;
use support::Setup;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("one JSON object")
}

#[tokio::test]
async fn tail_shows_the_last_messages_and_goes_on() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "j", "--json"]).await.ok();
    cli.run(&["write", "j", "--batch-json", r#"[1,{"a": 2},"three",4]"#]).await.ok();
    assert_eq!(cli.run(&["tail", "j", "-n", "2", "--no-follow"]).await.ok(), "\"three\"\n4\n");
    assert_eq!(cli.run(&["tail", "j", "--no-follow"]).await.ok().lines().count(), 4);
    let mut tail = cli.follow(&["tail", "j", "-n", "1"]);
    assert_eq!(tail.line().await.as_deref(), Some("4"));
    cli.run(&["write", "j", "5"]).await.ok();
    assert_eq!(tail.line().await.as_deref(), Some("5"));
    cli.run(&["close", "j", "--data", "6"]).await.ok();
    let (rest, run) = tail.finish().await;
    assert_eq!((rest, run.code), (vec!["6".to_owned()], 0));
}

#[tokio::test]
async fn tail_since_now_shows_nothing_of_what_is_there() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    cli.run(&["write", "t", "old\\n"]).await.ok();
    let mut tail = cli.follow(&["tail", "t", "--since-now"]);
    // Whether it follows yet shows only when something arrives.
    let line = loop {
        cli.run(&["write", "t", "new\\n"]).await.ok();
        if let Ok(line) = tokio::time::timeout(std::time::Duration::from_millis(500), tail.line()).await {
            break line;
        }
    };
    assert_eq!(line.as_deref(), Some("new"));
    tail.signal("INT").await;
    let (rest, run) = tail.finish().await;
    assert_eq!(run.code, 0);
    assert!(rest.iter().all(|line| line == "new"), "{rest:?}");
    assert_eq!(cli.run(&["tail", "t", "--since-now", "--no-follow"]).await.ok(), "");
}

#[tokio::test]
async fn tail_counts_lines_of_text_however_they_were_appended() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "t", "--content-type", "text/plain"]).await.ok();
    for piece in ["one\\ntwo\\nth", "ree\\nfo", "ur"] {
        cli.run(&["write", "t", piece]).await.ok();
    }
    assert_eq!(cli.run(&["tail", "t", "-n", "2", "--no-follow"]).await.ok(), "three\nfour");
    assert_eq!(cli.run(&["tail", "t", "-n", "9", "--no-follow"]).await.ok(), "one\ntwo\nthree\nfour");
    let objects = cli.run(&["tail", "t", "-n", "1", "--no-follow", "--output", "json"]).await.ok();
    assert_eq!(objects, "{\"message\":\"four\",\"stream\":\"t\"}\n");
    // What is in the middle of a line is shown as it comes.
    let mut tail = cli.follow(&["tail", "t", "-n", "1"]);
    cli.run(&["write", "t", " and\\n"]).await.ok();
    assert_eq!(tail.line().await.as_deref(), Some("four and"));
}

#[tokio::test]
async fn tail_of_several_streams_says_whose_a_line_is() {
    let Setup { server: _server, cli } = Setup::new().await;
    cli.run(&["create", "a", "--json"]).await.ok();
    cli.run(&["create", "long/name", "--content-type", "text/plain"]).await.ok();
    cli.run(&["write", "a", "1"]).await.ok();
    cli.run(&["close", "a"]).await.ok();
    cli.run(&["write", "long/name", "x\\ny", "--close"]).await.ok();
    let shown = cli.run(&["tail", "a", "long/name"]).await.ok();
    let mut lines: Vec<_> = shown.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a         | 1", "long/name | x", "long/name | y"]);
    let objects = cli.run(&["tail", "a", "long/name", "--output", "json"]).await.ok();
    let mut by_stream: HashMap<String, Vec<Value>> = HashMap::new();
    for line in objects.lines() {
        let object = json(line);
        by_stream.entry(object["stream"].as_str().unwrap().to_owned()).or_default().push(object["message"].clone());
    }
    assert_eq!(by_stream["a"], [1]);
    assert_eq!(by_stream["long/name"], ["x", "y"]);
    // One that is not there does not keep the others from being shown.
    let run = cli.run(&["tail", "nope", "a"]).await;
    assert_eq!(run.out, "a    | 1\n");
    assert!(run.fails().contains("\"nope\""));
}

#[tokio::test]
async fn results_can_be_had_as_json() {
    let Setup { server, cli } = Setup::new().await;
    let run = async |args: &[&str]| json(&cli.run(&[args, &["--output", "json"]].concat()).await.ok());
    let created = run(&["create", "s", "--json"]).await;
    assert_eq!((&created["id"], &created["created"]), (&"s".into(), &true.into()));
    assert_eq!(created["url"], server.stream_url("s"));
    assert_eq!(run(&["create", "s", "--json"]).await["created"], false);
    assert_eq!(run(&["write", "s", "--batch-json", "[1,2]"]).await["messages"], 2);
    let head = run(&["head", "s"]).await;
    let fork = run(&["fork", "s", "f"]).await;
    assert_eq!(fork["offset"], head["offset"]);
    let closed = run(&["close", "s"]).await;
    assert_eq!((&closed["closed"], &closed["finalOffset"]), (&true.into(), &head["offset"]));
    let listed = run(&["ls", "s"]).await;
    assert_eq!((&listed["id"], &listed["closed"], &listed["offset"]), (&"s".into(), &true.into(), &head["offset"]));
    assert_eq!(run(&["delete", "f"]).await["deleted"], true);
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let Setup { server, cli } = Setup::new().await;
    let err = cli.run(&["read", "nope"]).await.fails();
    assert!(err.contains("Hint: `everstream create nope`"), "{err}");
    cli.run(&["create", "c", "--closed"]).await.ok();
    let err = cli.run(&["write", "c", "x"]).await.fails();
    assert!(err.contains("Hint: a closed stream takes no more data"), "{err}");
    let err = cli.run(&["create", "c", "--json"]).await.fails();
    assert!(err.contains("Hint: a stream of that name is there"), "{err}");
    server.shutdown().await;
    let err = cli.run(&["head", "c", "--timeout", "300ms"]).await.fails();
    assert!(err.contains("Hint: is a server there?"), "{err}");
}

#[tokio::test]
async fn bench_measures_counts_and_cleans_up() {
    let Setup { server: _server, cli } = Setup::new().await;
    let small = ["bench", "--messages", "50", "--size", "100"];
    let table = cli.run(&small).await.ok();
    for what in [
        "append, one at a time",
        "append, idempotent producer",
        "read from the beginning",
        "until a live reader has it",
    ] {
        assert!(table.contains(what), "{table}");
    }
    let rows: Vec<Value> =
        cli.run(&[&small[..], &["--output", "json"]].concat()).await.ok().lines().map(json).collect();
    let counts: Vec<_> = rows.iter().map(|row| row["messages"].as_u64().unwrap()).collect();
    assert_eq!(counts, [50, 50, 100, 50]);
    assert!(rows.iter().all(|row| row["messagesPerSecond"].as_f64().unwrap() > 0.0));
    assert!(rows[0]["p50Micros"].as_u64() <= rows[0]["p99Micros"].as_u64());
    assert_eq!(cli.run(&["ls", "bench"]).await.ok(), "", "nothing is left");
    cli.run(&["create", "mine", "--json"]).await.ok();
    assert!(cli.run(&["bench", "--stream", "mine"]).await.fails().contains("exists already"));
    cli.run(&["head", "mine"]).await.ok();
}

#[tokio::test]
async fn shells_and_man_are_told_about_every_command() {
    let Setup { server: _server, cli } = Setup::new().await;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = cli.run(&["completions", shell]).await.ok();
        for word in ["tail", "since-now", "fsck"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(cli.run(&["man"]).await.ok().contains(".TH everstream 1"));
    let folder = tempfile::tempdir().unwrap();
    cli.run(&["man", folder.path().to_str().unwrap()]).await.ok();
    for page in ["everstream.1", "everstream-tail.1", "everstream-serve.1"] {
        let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
        assert!(text.contains(".SH OPTIONS"), "{page}");
    }
}

#[cfg(unix)]
mod pty {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Stdio};

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// What a command shows on a terminal.
    async fn shown(cli: &support::Cli, variables: &[(&str, &str)], args: &[&str]) -> String {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = || {
            let path = std::path::Path::new(name.to_str().unwrap());
            OwnedFd::from(File::options().read(true).write(true).open(path).unwrap())
        };
        let mut command = Command::new(cli.binary);
        command.args(args).env("STREAM_URL", &cli.url).env_remove("NO_COLOR").env("TERM", "xterm");
        command.envs(variables.iter().copied()).stdin(Stdio::null()).stdout(slave()).stderr(slave());
        let mut child = command.spawn().unwrap();
        drop(command);
        tokio::task::spawn_blocking(move || {
            let mut text = Vec::new();
            let mut master = File::from(master);
            let mut piece = [0; 4096];
            // Linux says EIO when nobody has the other end any more.
            while let Ok(count @ 1..) = master.read(&mut piece) {
                text.extend_from_slice(&piece[..count]);
            }
            child.wait().unwrap();
            String::from_utf8(text).unwrap().replace("\r\n", "\n")
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_terminal_gets_columns_and_colours_unless_it_wants_none() {
        let Setup { server: _server, cli } = Setup::new().await;
        cli.run(&["create", "a", "--json"]).await.ok();
        cli.run(&["write", "a", &format!("\"{}\"", "x".repeat(2046))]).await.ok();
        cli.run(&["create", "b/longer", "--content-type", "text/plain", "--closed"]).await.ok();
        let colored = shown(&cli, &[], &["ls", "-l"]).await;
        assert!(colored.starts_with("\x1b[1mPATH "), "{colored:?}");
        let plain = shown(&cli, &[("NO_COLOR", "1")], &["ls", "-l"]).await;
        assert!(!plain.contains('\x1b'), "{plain:?}");
        let lines: Vec<_> = plain.lines().collect();
        let column = lines[0].find("TYPE").unwrap();
        assert_eq!(&lines[1][column..column + 16], "application/json");
        assert_eq!(&lines[2][column..column + 10], "text/plain");
        let column = lines[0].find("SIZE").unwrap();
        assert!(lines[1][column..].starts_with("2.00 KiB ") && lines[2][column..].starts_with("0 B "), "{plain}");
        assert!(lines[2].contains("closed") && lines[1].contains("open"));

        let error = shown(&cli, &[], &["head", "nope"]).await;
        assert!(error.starts_with("\x1b[31mFailed to look at stream \"nope\"\x1b[0m\n"), "{error:?}");
        for variables in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            assert!(!shown(&cli, &[variables], &["head", "nope"]).await.contains('\x1b'));
        }
        // Into a pipe there are none, and the columns are for programs.
        let piped = cli.run(&["ls", "-l"]).await.ok();
        assert!(piped.starts_with("a\tapplication/json\t") && !piped.contains('\x1b'));
    }

    #[tokio::test]
    async fn prefixes_of_tail_have_colours_on_a_terminal() {
        let Setup { server: _server, cli } = Setup::new().await;
        for id in ["a", "b"] {
            cli.run(&["create", id, "--json"]).await.ok();
            cli.run(&["close", id, "--data", "1"]).await.ok();
        }
        let text = shown(&cli, &[], &["tail", "a", "b"]).await;
        assert!(text.contains("\x1b[36ma\x1b[0m") && text.contains("\x1b[33mb\x1b[0m"), "{text:?}");
        let plain = shown(&cli, &[("NO_COLOR", "1")], &["tail", "a", "b"]).await;
        assert!(plain.contains("a | 1\n") && plain.contains("b | 1\n"), "{plain:?}");
    }
}
