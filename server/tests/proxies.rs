//! A server behind proxies: what absolute URLs say, and who counts as the client.
#![allow(clippy::unwrap_used)]

mod support;

use everstream_server::config::{Config, ForwardedHeader};
use everstream_server::{RunningServer, Server};
use serde_json::Value;
use support::{JSON, TEXT, request};

async fn start(change: impl FnOnce(&mut Config)) -> RunningServer {
    let mut config = Config::default();
    change(&mut config);
    Server::builder().config(config).bind(([127, 0, 0, 1], 0)).start().await.unwrap()
}

async fn location(server: &RunningServer, name: &str, headers: &[(&str, &str)]) -> String {
    let headers = [headers, &[TEXT]].concat();
    let answer = request(server, "PUT", &format!("/v1/stream/{name}"), &headers, b"").await;
    assert_eq!(answer.status, 201);
    answer.header("location").unwrap().to_owned()
}

#[tokio::test]
async fn s_create_9_a_location_is_what_the_request_says_and_tls_only_by_a_trusted_proxy() {
    let https = ("x-forwarded-proto", "https");
    let server = start(|_| {}).await;
    assert_eq!(location(&server, "a", &[https]).await, "http://example.test/v1/stream/a");
    let server = start(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".into()]).await;
    assert_eq!(location(&server, "a", &[https]).await, "https://example.test/v1/stream/a");
    assert_eq!(location(&server, "b", &[]).await, "http://example.test/v1/stream/b");
    assert_eq!(
        location(&server, "c", &[("forwarded", "proto=https")]).await,
        "http://example.test/v1/stream/c",
        "only the header that the proxies set counts"
    );
    let server = start(|config| {
        config.server.trusted_proxies = vec!["127.0.0.1".into()];
        config.server.forwarded_header = ForwardedHeader::Forwarded;
    })
    .await;
    let forwarded = ("forwarded", "for=192.0.2.1;proto=https");
    assert_eq!(location(&server, "a", &[forwarded]).await, "https://example.test/v1/stream/a");
}

#[tokio::test]
async fn a_public_url_is_in_every_absolute_url() {
    let server = start(|config| config.server.public_url = "https://streams.example.com/edge/".into()).await;
    assert_eq!(location(&server, "a", &[]).await, "https://streams.example.com/edge/v1/stream/a");
    let body = br#"{"type":"webhook","pattern":"a","webhook":{"url":"https://example.com/"}}"#;
    let answer = request(&server, "PUT", "/v1/stream/__ds/subscriptions/s", &[JSON], body).await;
    let shown: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(shown["webhook"]["signing"]["jwks_url"], "https://streams.example.com/edge/v1/stream/__ds/jwks.json");
}

#[tokio::test]
async fn a_limit_of_requests_counts_the_clients_behind_a_trusted_proxy() {
    let statuses = async |server: &RunningServer, clients: [&str; 4]| {
        let mut statuses = Vec::new();
        for client in clients {
            let headers = [("x-forwarded-for", client)];
            statuses.push(request(server, "HEAD", "/v1/stream/none", &headers, b"").await.status);
        }
        statuses
    };
    let limited = |config: &mut Config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 1);
    };
    let server = start(|config| {
        limited(config);
        config.server.trusted_proxies = vec!["127.0.0.1".into()];
    })
    .await;
    let clients = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"];
    assert_eq!(statuses(&server, clients).await, [404; 4]);
    // A client that writes another address before its own is still the same.
    let server = start(|config| {
        (config.limits.requests_per_second, config.limits.request_burst) = (1, 1);
        config.server.trusted_proxies = vec!["127.0.0.1".into()];
    })
    .await;
    let spoofed = ["6.6.6.1, 192.0.2.9", "6.6.6.2, 192.0.2.9", "6.6.6.3, 192.0.2.9", "6.6.6.4, 192.0.2.9"];
    assert!(statuses(&server, spoofed).await[1..].contains(&429));
    // Without trust all of them are the peer.
    let server = start(limited).await;
    assert!(statuses(&server, clients).await[1..].contains(&429));
}

#[tokio::test]
async fn a_trusted_proxy_says_who_asks_and_nobody_else_does() {
    let access = serde_json::from_value(serde_json::json!({"proxy": {
        "user_header": "X-Forwarded-User",
        "grants": [{"streams": ["users/{user}/**"], "allow": ["create", "read"]}],
    }}));
    let access: everstream_server::access::AccessConfig = access.unwrap();
    let put = async |server: &RunningServer, name: &str, headers: &[(&str, &str)]| {
        let headers = [headers, &[TEXT]].concat();
        request(server, "PUT", &format!("/v1/stream/{name}"), &headers, b"").await.status
    };
    let trusting = |networks: &[&str]| {
        let (access, networks) = (access.clone(), networks.iter().map(|it| (*it).to_owned()).collect());
        start(move |config| (config.access, config.server.trusted_proxies) = (access, networks))
    };
    let alice = ("x-forwarded-user", "alice");
    let server = trusting(&["127.0.0.1"]).await;
    assert_eq!(put(&server, "users/alice/a", &[alice]).await, 201);
    assert_eq!(put(&server, "users/bob/a", &[alice]).await, 403);
    assert_eq!(put(&server, "users/alice/b", &[]).await, 401);
    // One of two is the client's own.
    assert_eq!(put(&server, "users/alice/c", &[("x-forwarded-user", "bob"), alice]).await, 401);
    assert_eq!(put(&server, "users/a/b", &[("x-forwarded-user", "a/b")]).await, 403);
    assert_eq!(put(&server, "users/x/b", &[("x-forwarded-user", "")]).await, 401);
    let server = trusting(&["192.0.2.0/24"]).await;
    assert_eq!(put(&server, "users/alice/a", &[alice]).await, 401, "the peer is no trusted proxy");
    let mut config = Config::default();
    config.access = access.clone();
    assert!(config.checked().unwrap_err().to_string().contains("server.trusted_proxies"));
}

#[tokio::test]
async fn what_is_no_url_or_network_is_refused_at_the_start() {
    for url in ["streams.example.com", "ftp://h", "https://me:pw@h", "https://h/?a=b"] {
        let mut config = Config::default();
        config.server.public_url = url.into();
        assert!(config.checked().unwrap_err().to_string().contains("server.public_url"), "{url}");
    }
    let mut config = Config::default();
    config.server.trusted_proxies = vec!["10.0.0.0/40".into()];
    assert!(config.checked().unwrap_err().to_string().contains("10.0.0.0/40"));
}
