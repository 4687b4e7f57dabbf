//! `/ui`: the files, their headers, and what the page learns about the server.
#![allow(clippy::unwrap_used)]

mod support;

use everstream_server::config::{Config, Loader};
use everstream_server::{RunningServer, Server};
use serde_json::Value;
use support::{Client, Connection, JSON, TEXT, quick};

async fn with(settings: &[(&str, &str)]) -> RunningServer {
    let mut loader = Loader::new();
    loader.set("server.port", "0", "test").unwrap();
    for (key, value) in settings {
        loader.set(key, value, "test").unwrap();
    }
    let config: Config = loader.finish().unwrap();
    Server::builder().config(config).start().await.unwrap()
}

async fn get(server: &RunningServer, path: &str, headers: &[(&str, &str)]) -> support::Answer {
    Connection::open(server).await.request("GET", path, headers, b"").await
}

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy_and_is_revalidated() {
    let server = quick().start().await.unwrap();
    let moved = get(&server, "/ui", &[]).await;
    assert_eq!((moved.status, moved.header("location")), (308, Some("ui/")));
    let page = get(&server, "/ui/", &[]).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.text().contains("<style") && !page.text().contains(" onclick"), "nothing inline");
    assert_eq!(page.header("x-frame-options"), Some("DENY"));

    let script = get(&server, "/ui/main.js", &[]).await;
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(script.header("cache-control"), Some("no-cache"));
    let tag = script.header("etag").unwrap();
    let again = get(&server, "/ui/main.js", &[("if-none-match", tag)]).await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    let packed = get(&server, "/ui/main.js", &[("accept-encoding", "gzip")]).await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < script.body.len() / 2);
    let head = Connection::open(&server).await.request("HEAD", "/ui/main.js", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));

    for (method, path, status) in
        [("GET", "/ui/no.js", 404), ("GET", "/ui/../main.js", 404), ("POST", "/ui/", 405), ("GET", "/uix", 404)]
    {
        let answer = Connection::open(&server).await.request(method, path, &[], b"").await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn the_page_is_told_what_it_may_offer_and_is_read_only_on_a_network() {
    let told = async |server: &RunningServer| -> Value {
        serde_json::from_slice(&get(server, "/ui/config.json", &[]).await.body).unwrap()
    };
    let on = told(&with(&[]).await).await;
    assert_eq!(
        (&on["readOnly"], &on["access"], &on["streamRoot"]),
        (&false.into(), &false.into(), &"/v1/stream".into())
    );
    let network = [("server.host", "0.0.0.0"), ("access.mode", "off")];
    assert_eq!(told(&with(&network).await).await["readOnly"], true);
    let server = with(&[network[0], network[1], ("ui.mode", "on"), ("server.stream_root", "")]).await;
    let told = told(&server).await;
    assert_eq!((&told["readOnly"], &told["streamRoot"]), (&false.into(), &"".into()));
    let off = with(&[("ui.mode", "off")]).await;
    assert_eq!((get(&off, "/ui/", &[]).await.status, off.ui_url()), (404, None));
    // Then the name is a stream's, where streams are at the root.
    let off = with(&[("ui.mode", "off"), ("server.stream_root", "")]).await;
    assert_eq!(Connection::open(&off).await.request("PUT", "/ui", &[TEXT], b"x").await.status, 201);
    assert_eq!(get(&off, "/ui", &[]).await.text(), "x");
}

#[tokio::test]
async fn files_need_no_credentials_and_descriptions_need_admin_on_their_stream() {
    let rules = "[{name = \"a\", sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\", \
        grants = [{streams = [\"a/*\"], allow = [\"create\", \"admin\"]}, {streams = [\"b\"], allow = [\"create\", \"read\"]}]}]";
    let server = with(&[("access.tokens", rules)]).await;
    assert_eq!(get(&server, "/ui/main.js", &[]).await.status, 200);
    assert!(get(&server, "/ui/config.json", &[]).await.text().contains("\"access\":true"));
    let auth = ("authorization", "Bearer test");
    let mut connection = Connection::open(&server).await;
    for name in ["a/x", "b"] {
        assert_eq!(connection.request("PUT", &format!("/v1/stream/{name}"), &[auth, TEXT], b"").await.status, 201);
    }
    for (path, headers, status) in
        [("a%2Fx", &[auth][..], 200), ("b", &[auth], 403), ("a/x", &[], 401), ("a/y", &[auth], 404)]
    {
        let answer = get(&server, &format!("/v1/stream/__ds/streams/{path}"), headers).await;
        assert_eq!(answer.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_description_has_lifetime_origin_forks_and_producers() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    client.put("d/source", &[JSON, ("stream-ttl", "60")], "[1,22]").await;
    let producer = [JSON, ("producer-id", "p/1"), ("producer-epoch", "2"), ("producer-seq", "0")];
    assert_eq!(client.post("d/source", &producer, "[3]").await.status, 200);
    let at = ("stream-fork-offset", "0000000000000000_0000000000000002");
    client.put("d/fork", &[("stream-forked-from", "/v1/stream/d/source"), at], "").await;
    let described = async |name: &str| -> Value {
        serde_json::from_slice(&client.get(&format!("__ds/streams/{name}")).await.body).unwrap()
    };
    let source = described("d/source").await;
    assert_eq!((&source["bytes"], &source["ttl"], &source["forks"]), (&7.into(), &60.into(), &1.into()));
    assert_eq!(source["producers"], serde_json::json!([{"id": "p/1", "epoch": 2, "seq": 0}]));
    assert_eq!(source["producerCount"], 1);
    let head = client.head("d/source").await;
    assert_eq!(head.header("stream-incarnation"), source["incarnation"].as_str());
    let fork = described("d/fork").await;
    assert_eq!(
        (&fork["forkedFrom"], &fork["forkOffset"], &fork["forks"]),
        (&"d/source".into(), &at.1.into(), &0.into())
    );
    assert_eq!(client.get("__ds/streams/d/none").await.status, 404);
    // The same in a listing.
    let listing: Value = serde_json::from_slice(&client.get("__ds/streams?prefix=d/").await.body).unwrap();
    assert_eq!(listing["streams"][0]["forkedFrom"], "d/source");
    assert_eq!(listing["streams"][1]["ttl"], 60);
}

#[tokio::test]
async fn what_a_browser_would_run_is_confined_to_an_origin_of_its_own() {
    let server = quick().start().await.unwrap();
    let client = Client(&server);
    for (content_type, policy) in [
        ("text/html", Some("sandbox")),
        ("Text/HTML; charset=utf-8", Some("sandbox")),
        ("image/svg+xml", Some("sandbox")),
        ("application/xml", Some("sandbox")),
        ("text/plain", None),
        ("application/octet-stream", None),
    ] {
        let name = content_type.replace(['/', ' ', ';', '='], "-");
        client.put(&name, &[("content-type", content_type)], "x").await;
        assert_eq!(client.get(&name).await.header("content-security-policy"), policy, "{content_type}");
    }
}
