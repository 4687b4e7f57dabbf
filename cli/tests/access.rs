//! Tokens and signed URLs, made on the command line and let in by a server that is configured with what it printed.

mod support;

use std::io::Write as _;

use support::{Cli, Follower};

/// A server with this configuration, and its URL.
async fn serve(config: &str) -> (Follower, String, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(config.as_bytes()).expect("it is written");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    let mut server = Cli::new("").follow(&["serve", "--port", "0", "--storage", "memory", "--config", &path]);
    let line = server.line().await.expect("it starts");
    (server, line.strip_prefix("Listening on ").expect("an address").to_owned(), file)
}

fn token_in(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("# es_").map(|_| &line[2..])).expect("a token")
}

#[tokio::test]
async fn a_token_does_what_it_was_made_for_and_nothing_else() {
    let made =
        Cli::new("").run(&["token", "--name", "w", "--streams", "orders/*", "--allow", "create,append"]).await.ok();
    let (_server, url, _file) = serve(&made).await;
    let cli = Cli::new(&url);
    let auth = format!("Bearer {}", token_in(&made));
    cli.run(&["create", "orders/1", "--auth", &auth]).await.ok();
    cli.run(&["write", "orders/1", "hello", "--auth", &auth, "--content-type", "application/octet-stream"]).await.ok();
    let refused = cli.run(&["read", "orders/1", "--no-follow", "--auth", &auth]).await.fails();
    assert!(refused.contains("Forbidden (403)"), "{refused}");
    let elsewhere = cli.run(&["create", "other", "--auth", &auth]).await.fails();
    assert!(elsewhere.contains("Forbidden (403)"), "{elsewhere}");
    let anyone = cli.run(&["create", "orders/2"]).await.fails();
    assert!(anyone.contains("Unauthorized (401)"), "{anyone}");
}

#[tokio::test]
async fn a_token_of_ones_own_is_hashed_unless_it_could_be_guessed() {
    let own = "0123456789abcdef0123456789abcdef";
    let made = Cli::new("").pipe(&["token", "--hash", "--streams", "**"], format!("{own}\n")).await.ok();
    assert!(!made.contains(own), "{made}");
    let (_server, url, _file) = serve(&made).await;
    Cli::new(&url).run(&["ls", "--auth", &format!("Bearer {own}")]).await.fails();
    let missing = Cli::new(&url).run(&["head", "x", "--auth", &format!("Bearer {own}")]).await.fails();
    assert!(missing.contains("404"), "{missing}");
    let short = Cli::new("").pipe(&["token", "--hash"], "hunter2").await.fails();
    assert!(short.contains("guessed") && !short.contains("hunter2"), "{short}");
}

#[tokio::test]
async fn a_signed_url_can_be_read_by_whoever_has_it() {
    let secret = "es_0123456789012345678901234567890123456789";
    let mut key = tempfile::NamedTempFile::new().expect("a file");
    writeln!(key, "{secret}").expect("it is written");
    let key_file = key.path().to_str().expect("UTF-8");
    let made = Cli::new("").run(&["token", "--allow", "create"]).await.ok();
    let config = format!("{made}\n[[access.url_keys]]\nid = \"web\"\nsecret = \"{secret}\"\n");
    let (_server, url, _file) = serve(&config).await;
    let cli = Cli::new(&url);
    let auth = format!("Bearer {}", token_in(&made));
    cli.run(&["create", "news", "--json", "--closed", "--auth", &auth]).await.ok();
    let signed = cli.run(&["sign", "news", "--key-id", "web", "--key-file", key_file]).await.ok();
    let client = everstream::Client::new().expect("a client");
    let stream = client.stream(signed.trim()).expect("a URL");
    assert!(stream.head().await.expect("it may be read").closed);
    let unsigned = client.stream(signed.trim().split('?').next().expect("a path")).expect("a URL");
    assert_eq!(unsigned.head().await.expect_err("it may not be read").status(), Some(401));
}

#[tokio::test]
async fn a_configuration_is_checked_with_its_rules_and_printed_without_secrets() {
    let secret = "es_0123456789012345678901234567890123456789";
    let file = tempfile::NamedTempFile::new().expect("a file");
    let check = async |config: &str, flag: &str| {
        std::fs::write(file.path(), config).expect("it is written");
        Cli::new("").run(&["serve", flag, "--config", file.path().to_str().expect("UTF-8")]).await
    };
    let keys = format!("[[access.url_keys]]\nid = \"web\"\nsecret = \"{secret}\"\n");
    let printed = check(&keys, "--print-config").await.ok();
    assert!(printed.contains("web") && !printed.contains(secret), "{printed}");
    for (config, named) in [
        ("[access.jwt]\njwks = \"/nowhere/keys.json\"\nissuers = [\"i\"]\naudiences = [\"a\"]\n", "/nowhere/keys.json"),
        ("[access]\nanyone = [{ streams = [\"/\"], allow = [\"read\"] }]\n", "pattern `/`"),
        ("[access]\nanyone = [{ streams = [\"a\"], allow = [\"write\"] }]\n", "write"),
        ("[server]\nhost = \"0.0.0.0\"\n", "--auth off"),
    ] {
        let error = check(config, "--check-config").await.fails();
        assert!(error.contains(named), "{config}: {error}");
    }
    let open = Cli::new("").run(&["serve", "--check-config", "--host", "0.0.0.0", "--auth", "off"]).await;
    open.ok();
}
