//! Access over real sockets: who gets in, who does not, and what they are told.
#![allow(clippy::unwrap_used)]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use everstream_server::access::{AccessConfig, SignedUrl, TokenDigest, UrlKey};
use everstream_server::clock::{Clock, SystemClock};
use everstream_server::{RunningServer, StartError};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use support::{Answer, Client, JSON, TEXT, eventually, quick, request};

const URL_SECRET: &str = "es_0123456789012345678901234567890";

/// The configuration as an operator writes it.
fn access() -> AccessConfig {
    let digest = |token| TokenDigest::of(token).to_string();
    serde_json::from_value(serde_json::json!({
        "anyone": [{"streams": ["public/**"], "allow": ["read"]}],
        "tokens": [
            {"name": "admin", "sha256": digest("root"), "grants": [
                {"streams": ["**"], "allow": ["read", "append", "create", "delete", "admin"]}]},
            {"name": "writer", "sha256": digest("writer"), "grants": [
                {"streams": ["orders/*"], "allow": ["append", "create"]},
                {"streams": ["source"], "allow": ["read"]}]},
            {"name": "tenant", "sha256": digest("tenant"), "grants": [
                {"streams": ["t/**"], "allow": ["read", "admin"]}]},
        ],
        "url_keys": [{"id": "k", "secret": URL_SECRET}],
    }))
    .unwrap()
}

async fn server() -> RunningServer {
    quick().access(access()).fault_injection(true).start().await.unwrap()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

async fn ask(server: &RunningServer, method: &str, path: &str, token: &str) -> Answer {
    ask_with(server, method, path, token, &[], b"").await
}

async fn ask_with(
    server: &RunningServer,
    method: &str,
    path: &str,
    token: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let token = bearer(token);
    let mut headers = vec![("authorization", token.as_str())];
    headers.extend_from_slice(more);
    request(server, method, path, &headers, body).await
}

#[tokio::test]
async fn each_operation_needs_its_grant() {
    let server = server().await;
    for (method, allowed) in [("PUT", 201), ("POST", 204), ("GET", 403), ("HEAD", 403), ("DELETE", 403)] {
        let answer = ask_with(&server, method, "/v1/stream/orders/1", "writer", &[TEXT], b"x").await;
        assert_eq!(answer.status, allowed, "{method}");
    }
    for (method, allowed) in [("GET", 200), ("HEAD", 200), ("DELETE", 204)] {
        assert_eq!(ask(&server, method, "/v1/stream/orders/1", "root").await.status, allowed, "{method}");
    }
    let elsewhere = ask_with(&server, "PUT", "/v1/stream/other", "writer", &[TEXT], b"x").await;
    assert_eq!(elsewhere.status, 403);
    assert_eq!(elsewhere.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(elsewhere.header("producer-epoch"), None, "it is no fencing");
}

#[tokio::test]
async fn without_or_with_wrong_credentials_the_answer_is_401_and_says_how() {
    let server = server().await;
    ask_with(&server, "PUT", "/v1/stream/secret", "root", &[TEXT], b"x").await;
    // Whether a stream is there makes no difference.
    for path in ["/v1/stream/secret", "/v1/stream/absent"] {
        let anyone = request(&server, "GET", path, &[], b"").await;
        assert_eq!(anyone.status, 401, "{path}");
        assert_eq!(anyone.header("www-authenticate"), Some(r#"Bearer realm="everstream""#));
        assert_eq!(anyone.header("access-control-allow-origin"), Some("*"));
        let wrong = ask(&server, "GET", path, "wrong").await;
        assert_eq!(wrong.status, 401);
        assert_eq!(wrong.header("www-authenticate"), Some(r#"Bearer realm="everstream", error="invalid_token""#));
        assert!(!wrong.text().contains("wrong"), "{}", wrong.text());
    }
    let twice = [("authorization", "Bearer root"), ("authorization", "Bearer root")];
    assert_eq!(request(&server, "GET", "/v1/stream/secret", &twice, b"").await.status, 401);
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_around_a_pattern() {
    let server = server().await;
    ask_with(&server, "PUT", "/v1/stream/secret", "root", &[TEXT], b"hidden").await;
    ask_with(&server, "PUT", "/v1/stream/public/x", "root", &[TEXT], b"shown").await;
    assert_eq!(request(&server, "GET", "/v1/stream/public/x", &[], b"").await.text(), "shown");
    assert_eq!(request(&server, "GET", "/v1/stream/public%2Fx/", &[], b"").await.text(), "shown");
    for path in [
        "/v1/stream/public/../secret",
        "/v1/stream/public/%2e%2e/secret",
        "/v1/stream/public%2f..%2fsecret",
        "/v1/stream/public/..%5csecret",
        "/v1/stream/public//secret",
        "/v1/stream//secret",
        "/v1/stream/./secret",
        "/v1/stream/%73ecret",
        "/v1/stream/secret/",
        "/v1/stream/secret?x=/v1/stream/public/x",
        "/v1/stream/secret%3F",
        "/v1/stream/secret%00",
        "/v1/stream/Public/../secret",
        "/v1/stream/PUBLIC/x",
        "/V1/stream/public/x",
        "//v1/stream/secret",
        "/v1/stream/public/x/../../secret",
        "/v1/stream/%2570ublic/x",
        "http://example.test/v1/stream/secret",
    ] {
        let answer = request(&server, "GET", path, &[], b"").await;
        assert!(matches!(answer.status, 400 | 401 | 404), "{path}: {}", answer.status);
        assert!(!answer.text().contains("hidden"), "{path}");
    }
}

#[tokio::test]
async fn a_fork_needs_its_source_to_be_readable() {
    let server = server().await;
    for name in ["secret", "source"] {
        ask_with(&server, "PUT", &format!("/v1/stream/{name}"), "root", &[TEXT], b"x").await;
    }
    let fork = async |source: &str| {
        let headers = [TEXT, ("stream-forked-from", source)];
        ask_with(&server, "PUT", "/v1/stream/orders/fork", "writer", &headers, b"").await.status
    };
    assert_eq!(fork("/v1/stream/secret").await, 403);
    assert_eq!(fork("/v1/stream/%73ecret").await, 403);
    assert_eq!(fork("/v1/stream/absent").await, 403, "nor does it tell what is there");
    assert_eq!(ask(&server, "HEAD", "/v1/stream/orders/fork", "root").await.status, 404);
    assert_eq!(fork("/v1/stream/source").await, 201);
}

#[tokio::test]
async fn listing_and_control_are_for_admins_in_the_form_of_the_control_api() {
    let server = server().await;
    for name in ["t/1", "u/1"] {
        ask_with(&server, "PUT", &format!("/v1/stream/{name}"), "root", &[TEXT], b"").await;
    }
    let list = "/v1/stream/__ds/streams";
    assert_eq!(ask(&server, "GET", list, "root").await.status, 200);
    assert_eq!(ask(&server, "GET", list, "writer").await.status, 403);
    assert_eq!(ask(&server, "GET", list, "tenant").await.status, 403);
    let own = ask(&server, "GET", &format!("{list}?prefix=t%2F"), "tenant").await;
    assert!(own.status == 200 && own.text().contains("t/1") && !own.text().contains("u/1"), "{}", own.text());
    for around in ["?prefix=t", "?prefix=t%2F&prefix=", "?prefix=&prefix=t%2F", "?pre%66ix=u&prefix=t%2F"] {
        let answer = ask(&server, "GET", &format!("{list}{around}"), "tenant").await;
        assert!(!answer.text().contains("u/1"), "{around}: {}", answer.text());
    }
    let anyone = request(&server, "GET", list, &[], b"").await;
    assert_eq!(anyone.status, 401);
    assert_eq!(anyone.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&anyone.body).unwrap();
    assert_eq!(body["error"]["code"], "UNAUTHORIZED");
    assert_eq!(ask(&server, "PUT", "/v1/stream/__ds/subscriptions/s", "tenant").await.status, 403);
}

#[tokio::test]
async fn what_the_protocol_does_not_define_is_refused_with_problem_details() {
    let server = server().await;
    for path in ["/_test/inject-error"] {
        let answer = request(&server, "POST", path, &[JSON], b"{}").await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((body["status"].as_u64(), body["title"].as_str()), (Some(401), Some("Unauthorized")));
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(request(&server, "GET", path, &[], b"").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_for_admins_of_everything_wherever_streams_are() {
    for at_root in [false, true] {
        let server = quick().access(access()).fault_injection(true).mount_at_root(at_root);
        let server = server.start().await.unwrap();
        for (token, status) in [("root", 200), ("tenant", 403), ("writer", 403), ("wrong", 401)] {
            assert_eq!(ask(&server, "GET", "/metrics", token).await.status, status, "{token}");
        }
        assert_eq!(request(&server, "GET", "/metrics", &[], b"").await.status, 401);
        let fault = br#"{"path": "/x", "status": 500}"#;
        for (token, status) in [("root", 200), ("writer", 403)] {
            let answer = ask_with(&server, "POST", "/_test/inject-error", token, &[JSON], fault).await;
            assert_eq!(answer.status, status, "{token}");
        }
    }
}

#[tokio::test]
async fn a_preflight_needs_no_credentials() {
    let server = server().await;
    let headers = [("origin", "https://app.example"), ("access-control-request-method", "PUT")];
    let answer = request(&server, "OPTIONS", "/v1/stream/secret", &headers, b"").await;
    assert_eq!(answer.status, 204);
}

#[tokio::test]
async fn answers_to_someone_known_are_kept_out_of_shared_caches() {
    let server = server().await;
    ask_with(&server, "PUT", "/v1/stream/public/x", "root", &[TEXT], b"data").await;
    let cache = |answer: &Answer| answer.header("cache-control").unwrap_or_default().to_owned();
    assert!(cache(&ask(&server, "GET", "/v1/stream/public/x", "root").await).starts_with("private"));
    assert!(cache(&request(&server, "GET", "/v1/stream/public/x", &[], b"").await).starts_with("public"));
}

#[tokio::test]
async fn a_refused_request_leaves_the_connection_usable() {
    let server = server().await;
    let mut connection = support::Connection::open(&server).await;
    let refused = connection.request("POST", "/v1/stream/orders/1", &[TEXT], &[b'x'; 10_000]).await;
    assert_eq!(refused.status, 401);
    assert_eq!(connection.request("GET", "/healthz", &[], b"").await.status, 200);
}

#[tokio::test]
async fn a_signed_url_reads_one_stream_until_it_expires() {
    let server = server().await;
    ask_with(&server, "PUT", "/v1/stream/a%20b", "root", &[TEXT], b"data").await;
    let key = UrlKey::new("k", URL_SECRET).unwrap();
    let now = SystemClock.now() / 1000;
    let sign = |stream, expires| key.sign(SignedUrl { stream, expires });
    let get = async |path: String| request(&server, "GET", &path, &[], b"").await;
    let good = sign("a b", now + 600);
    let answer = get(format!("/v1/stream/a%20b?offset=-1&sig={good}")).await;
    assert_eq!((answer.status, answer.text()), (200, "data"));
    assert!(answer.header("cache-control").unwrap().starts_with("private"));
    assert_eq!(get(format!("/v1/stream/a%20b?sig={}", sign("a b", now - 1))).await.status, 401);
    assert_eq!(get(format!("/v1/stream/other?sig={good}")).await.status, 401);
    let append = request(&server, "POST", &format!("/v1/stream/a%20b?sig={good}"), &[TEXT], b"x").await;
    assert_eq!(append.status, 401);
    assert_eq!(get("/v1/stream/a%20b".into()).await.status, 401);
}

#[tokio::test]
async fn a_server_for_the_network_starts_only_if_someone_has_said_who_may_come_in() {
    let start = async |access: AccessConfig| quick().bind(([0, 0, 0, 0], 0)).access(access).start().await;
    match start(AccessConfig::default()).await {
        Err(StartError::Config(why)) => assert!(why.to_string().contains("--auth off"), "{why}"),
        other => panic!("{other:?}"),
    }
    let open: AccessConfig = serde_json::from_str(r#"{"mode": "off"}"#).unwrap();
    let server = start(open).await.unwrap();
    let answer = Client(&server).put("x", &[TEXT], "").await;
    assert_eq!(answer.status, 201);
    assert!(start(access()).await.is_ok());
}

/// A key that signs tokens.
struct Signer(Ed25519KeyPair);

impl Signer {
    fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn jwks(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x}]}).to_string()
    }

    fn token(&self, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&json!({"alg": "EdDSA", "kid": "k"})), encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes())))
    }
}

#[tokio::test]
async fn jwt_are_checked_with_the_keys_of_the_file_as_it_is_now() {
    let (old, new) = (Signer::new(), Signer::new());
    let file = std::env::temp_dir().join(format!("everstream-jwks-{}.json", std::process::id()));
    std::fs::write(&file, old.jwks()).unwrap();
    let access: AccessConfig = serde_json::from_value(json!({"jwt": {
        "jwks": file,
        "issuers": ["https://id.example"],
        "audiences": ["everstream"],
        "grants": [{"streams": ["users/{sub}/*"], "allow": ["create", "read"]}],
    }}))
    .unwrap();
    let server = quick().access(access).start().await.unwrap();
    let now = SystemClock.now() / 1000;
    let claims = json!({"iss": "https://id.example", "aud": "everstream", "sub": "ann", "exp": now + 600});
    let put = async |signer: &Signer, path: &str| {
        ask_with(&server, "PUT", &format!("/v1/stream/{path}"), &signer.token(&claims), &[TEXT], b"").await.status
    };
    assert_eq!(put(&old, "users/ann/x").await, 201);
    assert_eq!(put(&old, "users/bob/x").await, 403);
    assert_eq!(put(&new, "users/ann/x").await, 401);
    // A file that cannot be used changes nothing; the next one does, in one step as tools write it.
    std::fs::write(&file, "no keys").unwrap();
    let next = file.with_extension("new");
    std::fs::write(&next, new.jwks()).unwrap();
    assert_eq!(put(&old, "users/ann/x").await, 200);
    std::fs::rename(&next, &file).unwrap();
    eventually("the new key counts", async || put(&new, "users/ann/x").await == 200).await;
    assert_eq!(put(&old, "users/ann/x").await, 401);
    std::fs::remove_file(&file).unwrap();
}
