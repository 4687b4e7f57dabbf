//! The control API itself.

use serde_json::json;

use crate::support::{eventually, request};
use crate::{Json as _, World, acked_offset, code, pull};

#[tokio::test]
async fn s_url_3_and_4_unknown_routes_are_404_with_the_error_body_whatever_the_method() {
    let api = World::default().start().await;
    for (method, path) in [
        ("GET", "__ds"),
        ("PUT", "__ds/"),
        ("POST", "__ds/nothing"),
        ("DELETE", "__ds/subscriptions"),
        ("PUT", "__ds/subscriptions/"),
        ("PATCH", "__ds/subscriptions/a"),
        ("PUT", "__ds/subscriptions/a/claim"),
        ("POST", "__ds/subscriptions/a/other"),
        ("DELETE", "__ds/subscriptions/a/streams"),
        ("POST", "__ds/jwks.json"),
    ] {
        let answer = api.call(method, path, None, "").await;
        assert_eq!(answer.code(), code(404, "SUBSCRIPTION_NOT_FOUND"), "{method} {path}");
    }
}

#[tokio::test]
async fn subscriptions_are_listed_by_id_without_their_streams() {
    let api = World::default().start().await;
    for id in ["b", "a%2Fx", "c"] {
        api.put(id, &pull("events/*")).await;
    }
    let ids = async |query: &str| {
        let answer = api.call("GET", &format!("__ds/subscriptions{query}"), None, "").await.json();
        assert_eq!(answer["subscriptions"][0]["streams"], serde_json::Value::Null);
        let ids = answer["subscriptions"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, ["a/x", "b", "c"]);
    assert_eq!(ids("?after=a%2Fx").await, ["b", "c"]);
}

#[tokio::test]
async fn s_hook_4_a_rotation_names_its_key_and_refuses_what_makes_no_sense() {
    let api = World::default().start().await;
    let rotated = api.call("POST", "__ds/keys/rotate", None, r#"{"overlap_ms":1000}"#).await.json();
    assert_eq!(rotated["keys"].as_array().unwrap().len(), 2);
    assert_eq!(rotated["keys"][0]["kid"], rotated["kid"]);
    for bad in [r#"{"overlap_ms":-1}"#, r#"{"overlap_ms":"1d"}"#, "[]", r#"{"overlap_ms":99999999999999}"#] {
        assert_eq!(api.call("POST", "__ds/keys/rotate", None, bad).await.code(), code(400, "INVALID_REQUEST"), "{bad}");
    }
    assert_eq!(api.call("GET", "__ds/keys/rotate", None, "").await.status, 404);
}

#[tokio::test]
async fn s_url_3_what_the_server_keeps_for_itself_cannot_be_reached_as_a_stream() {
    let api = World::default().start().await;
    api.stream("a", "").await;
    assert_eq!(api.put("s", &pull("events/*")).await.status, 201);
    // They are there.
    assert!(api.0.engine().stream("__ds/keys").await.is_ok());
    for path in ["__ds/keys", "__ds%2Fkeys", "%5F%5Fds/keys", "__ds/subscriptions/0000000000000001", "x/../__ds/keys"] {
        for method in ["GET", "POST", "DELETE", "HEAD", "PUT"] {
            let answer = api.call(method, path, None, "[1]").await;
            assert!(matches!(answer.status, 204 | 400 | 404), "{method} {path}: {}", answer.status);
            assert!(!answer.text().contains("\"kty\""), "{method} {path}");
        }
        let from = format!("/v1/stream/{path}");
        let headers = [("stream-forked-from", from.as_str())];
        let fork = request(&api.0, "PUT", "/v1/stream/fork", &headers, b"").await;
        assert!(matches!(fork.status, 400 | 404), "{path}: {}", fork.status);
    }
    for limit in 1..4 {
        let listed = api.call("GET", &format!("__ds/streams?limit={limit}"), None, "").await;
        assert!(!listed.text().contains("__ds/"), "{}", listed.text());
        assert!(listed.text().contains("\"a\""), "{}", listed.text());
    }
    let listed = api.call("GET", "__ds/streams?prefix=__ds/", None, "").await;
    assert_eq!(listed.json()["streams"], json!([]));
}

#[tokio::test]
async fn s_sub_1_and_7_a_subscription_is_shown_as_it_was_made() {
    let api = World::default().start().await;
    api.stream("named", "[1,2]").await;
    let body = json!({
        "type": "pull-wake", "pattern": "/events/**/", "streams": ["/named/", "missing"], "wake_stream": "wakes",
        "description": "all of it",
    });
    let answer = api.put("a%2Fb%20c", &body).await;
    assert_eq!(answer.status, 201);
    let view = answer.json();
    assert_eq!(view["streams"].as_array().unwrap().len(), 2);
    for stream in view["streams"].as_array().unwrap() {
        let offset = if stream["path"] == "named" { 4 } else { 0 };
        assert_eq!(stream["link_type"], "explicit");
        assert_eq!(stream["acked_offset"], format!("{:016}_{offset:016}", 0));
    }
    assert_eq!((&view["id"], &view["subscription_id"]), (&json!("a/b c"), &json!("a/b c")));
    assert_eq!((&view["type"], &view["pattern"]), (&json!("pull-wake"), &json!("events/**")));
    assert_eq!((&view["wake_stream"], &view["lease_ttl_ms"]), (&json!("wakes"), &json!(30_000)));
    assert_eq!((&view["created_at"], &view["status"]), (&json!("2023-11-14T22:13:20Z"), &json!("active")));
    assert_eq!((&view["description"], &view["webhook"]), (&json!("all of it"), &json!(null)));
    assert_eq!(api.get("a%2Fb%20c").await, view);
    assert_eq!(api.call("GET", "__ds/subscriptions/a/b%20c", None, "").await.status, 404);
}

#[tokio::test]
async fn s_sub_3_the_same_again_is_200_and_something_else_409() {
    let api = World::default().start().await;
    assert_eq!(api.put("s", &pull("events/*")).await.status, 201);
    assert_eq!(api.put("s", &pull("/events/*/")).await.status, 200);
    assert_eq!(api.put("s", &pull("events/**")).await.code(), code(409, "SUBSCRIPTION_ALREADY_EXISTS"));
    assert_eq!(api.put("s", &json!([])).await.code(), code(400, "INVALID_REQUEST"));
    // Links that were added since are no configuration.
    let added = api.post("s", "streams", None, &json!({"streams": ["x"]})).await;
    assert_eq!(added.status, 204);
    assert_eq!(api.put("s", &pull("events/*")).await.status, 200);
}

#[tokio::test]
async fn s_sub_10_after_a_delete_nothing_is_there() {
    let api = World::default().start().await;
    assert_eq!(api.call("DELETE", "__ds/subscriptions/s", None, "").await.status, 204, "unknown, and gone");
    api.put("s", &pull("events/*")).await;
    api.stream("events/a", "[1]").await;
    let work = api.claim("s").await;
    assert_eq!(api.call("DELETE", "__ds/subscriptions/s", None, "").await.status, 204);
    let gone = code(404, "SUBSCRIPTION_NOT_FOUND");
    let token = work["token"].as_str();
    for what in ["ack", "release", "callback", "streams", "claim"] {
        let body = crate::ack(&work, &[], true);
        assert_eq!(api.post("s", what, token, &body).await.code(), gone, "{what}");
    }
    assert_eq!(api.call("GET", "__ds/subscriptions/s", None, "").await.code(), gone);
    // A new one of this id does not know the tokens of the old one.
    api.put("s", &pull("events/*")).await;
    api.append("events/a", "[2]").await;
    api.claim("s").await;
    assert_eq!(api.post("s", "ack", token, &crate::ack(&work, &[], true)).await.code(), code(401, "TOKEN_INVALID"));
}

#[tokio::test]
async fn s_sub_6_and_11_streams_are_added_and_removed_by_paths_with_slashes() {
    let api = World::default().start().await;
    api.put("s", &json!({"type": "pull-wake", "streams": ["a/b"], "wake_stream": "wakes"})).await;
    let tail = api.stream("c/d%20e", "[1]").await;
    let added = api.post("s", "streams", None, &json!({"streams": ["/c/d e/", "a/b"]})).await;
    assert_eq!(added.status, 204);
    let view = api.get("s").await;
    assert_eq!(acked_offset(&view, "c/d e"), Some(tail), "at the tail: no history");
    for bad in [json!({}), json!({"streams": "a"}), json!({"streams": [1]}), json!({"streams": [""]}), json!([])] {
        assert_eq!(api.post("s", "streams", None, &bad).await.code(), code(400, "INVALID_REQUEST"), "{bad}");
    }
    let unknown = api.post("other", "streams", None, &json!({"streams": ["a"]})).await;
    assert_eq!(unknown.code(), code(404, "SUBSCRIPTION_NOT_FOUND"));
    for path in ["c/d%20e", "c%2Fd%20e", "never/there"] {
        let removed = api.call("DELETE", &format!("__ds/subscriptions/s/streams/{path}"), None, "").await;
        assert_eq!(removed.status, 204, "{path}");
    }
    let view = api.get("s").await;
    assert_eq!(view["streams"].as_array().unwrap().len(), 1);
    assert_eq!(acked_offset(&view, "a/b").as_deref(), Some("0000000000000000_0000000000000000"));
}

#[tokio::test]
async fn s_ssrf_webhooks_that_may_not_be_reached_are_rejected_and_can_be_switched_off() {
    let hook = |url: &str| json!({"type": "webhook", "pattern": "events/*", "webhook": {"url": url}});
    let world = World::default();
    let api = world.start().await;
    for url in ["http://10.0.0.1/hook", "https://169.254.169.254/", "https://[::1]/", "http://example.com/", "nonsense"]
    {
        assert_eq!(api.put("s", &hook(url)).await.code(), code(400, "WEBHOOK_URL_REJECTED"), "{url}");
    }
    assert_eq!(api.put("s", &hook("http://127.0.0.1:1/hook")).await.status, 201, "S-SSRF-1: for development");
    let private = world.start_with(|server| server.private_webhooks(true)).await;
    assert_eq!(private.put("p", &hook("http://10.0.0.1/hook")).await.status, 201);
    let off = world.start_with(|server| server.webhooks(false)).await;
    assert_eq!(off.put("o", &hook("https://example.com/")).await.code(), code(400, "INVALID_REQUEST"));
    assert_eq!(off.put("q", &pull("events/*")).await.status, 201);
}

#[tokio::test]
async fn a_deleted_stream_takes_its_link_along_and_an_explicit_one_waits_for_the_next() {
    let api = World::default().start().await;
    let body = json!({"type": "pull-wake", "pattern": "events/*", "streams": ["named"], "wake_stream": "wakes"});
    api.put("s", &body).await;
    for path in ["events/a", "named"] {
        api.stream(path, "[1,2,3]").await;
        eventually("the link", async || acked_offset(&api.get("s").await, path).is_some()).await;
        assert_eq!(api.call("DELETE", path, None, "").await.status, 204);
    }
    let view = api.get("s").await;
    assert_eq!(acked_offset(&view, "events/a"), None);
    assert_eq!(acked_offset(&view, "named").as_deref(), Some("0000000000000000_0000000000000000"));
    api.stream("named", "[1]").await;
    let work = api.claim("s").await;
    assert_eq!(crate::entry(&work, "named")["has_pending"], true);
}
