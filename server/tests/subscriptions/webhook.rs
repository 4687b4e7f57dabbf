//! Webhooks, as a receiver sees them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use crate::receiver::{Hook, Receiver};
use crate::support::eventually;
use crate::{Api, Json as _, World, ack, code, entry, token};

fn webhook(receiver: &Receiver) -> Value {
    json!({"type": "webhook", "pattern": "events/*", "webhook": {"url": receiver.url()}, "lease_ttl_ms": 1000})
}

async fn jwks(api: &Api) -> Value {
    let answer = api.call("GET", "__ds/jwks.json", None, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"), "S-HOOK-3");
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"), "S-HOOK-3");
    answer.json()
}

/// Checks a signature as C-HOOK-1 says, with the key that the set has under its `kid`.
fn is_signed(hook: &Hook, jwks: &Value) -> bool {
    let signature = hook.header("webhook-signature");
    let fields: Vec<_> = signature.split(',').map(|field| field.split_once('=').unwrap()).collect();
    let [("t", seconds), ("kid", kid), ("ed25519", signature)] = fields[..] else { panic!("{signature}") };
    let key = jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap();
    let key = URL_SAFE_NO_PAD.decode(key["x"].as_str().unwrap()).unwrap();
    let message = format!("{seconds}.{}", hook.body);
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ED25519, key).verify(message.as_bytes(), &signature).is_ok()
}

#[tokio::test]
async fn s_hook_1_and_2_a_webhook_says_what_is_to_be_done_and_is_signed() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    let view = api.put("a%2Fb", &webhook(&receiver)).await.json();
    assert_eq!(view["webhook"]["url"], receiver.url());
    let signing = &view["webhook"]["signing"];
    assert_eq!(signing["alg"], "ed25519", "S-SUB-8");
    assert_eq!(signing["jwks_url"], "http://example.test/v1/stream/__ds/jwks.json", "S-SUB-8: the host of the client");
    let tail = api.stream("events/x", "[1]").await;

    let hook = receiver.next().await;
    assert!(hook.head.starts_with("POST /hook HTTP/1.1"), "{}", hook.head);
    assert_eq!(hook.header("content-type"), "application/json");
    let keys = jwks(&api).await;
    assert!(is_signed(&hook, &keys), "S-HOOK-2");
    assert!(hook.header("webhook-signature").starts_with("t=1700000000,kid=ds_"));
    assert!(!is_signed(&Hook { body: hook.body.replace("events/x", "events/y"), ..hook.clone() }, &keys));

    let work = hook.json();
    assert_eq!((&work["subscription_id"], &work["generation"]), (&json!("a/b"), &json!(1)));
    assert_eq!(work["callback_url"], "http://example.test/v1/stream/__ds/subscriptions/a%2Fb/callback");
    let expected = json!([{
        "path": "events/x", "link_type": "glob", "acked_offset": "-1", "tail_offset": tail, "has_pending": true,
    }]);
    assert_eq!(work["streams"], expected, "S-WAKE-4, S-WAKE-5");
    let done = api.post("a%2Fb", "callback", token(&work), &ack(&work, &[("events/x", &tail)], true)).await;
    assert_eq!((done.status, done.json()), (200, json!({"ok": true, "next_wake": false})));
}

#[tokio::test]
async fn s_hook_3_and_4_the_key_outlives_a_restart_and_its_secret_is_never_shown() {
    let world = World::default();
    let first = world.start().await;
    let before = jwks(&first).await;
    first.0.shutdown().await;
    assert_eq!(jwks(&world.start().await).await, before);
    let key = before["keys"][0].as_object().unwrap();
    assert_eq!(key.keys().collect::<Vec<_>>(), ["alg", "crv", "kid", "kty", "use", "x"]);
    let other = jwks(&World::default().start().await).await;
    assert_ne!(other, before, "each server has its own");
}

#[tokio::test]
async fn s_hook_6_done_acks_the_snapshot_and_what_came_meanwhile_causes_the_next_wake() {
    let mut receiver = Receiver::start().await;
    let api = World::default().start().await;
    api.put("s", &webhook(&receiver)).await;
    api.stream("events/a", "[1]").await;
    let first = receiver.next().await.json();
    let tail = api.append("events/a", "[2]").await;
    receiver.answer("200 OK", r#"{"done":true}"#);
    let done = api.post("s", "callback", token(&first), &ack(&first, &[], true)).await;
    assert_eq!(done.json(), json!({"ok": true, "next_wake": true}), "S-PULL-5: nothing was acked");
    let second = receiver.next().await.json();
    assert_eq!(second["generation"], 2);
    assert_ne!(second["wake_id"], first["wake_id"]);
    assert_eq!(entry(&second, "events/a")["tail_offset"], tail);
    api.acked("s", "events/a", &tail).await;
}

#[tokio::test]
async fn s_hook_7_and_s_ssrf_4_a_redirect_or_an_error_is_a_failure_and_is_tried_again() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    api.put("s", &webhook(&receiver)).await;
    let elsewhere = Receiver::start().await;
    let moved = format!(
        "HTTP/1.1 307 Moved\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        elsewhere.url()
    );
    receiver.answer_raw(moved);
    receiver.answer("500 Broken", "");
    receiver.answer_raw("HTTP/1.1 200 OK\r\ncontent-length: 20\r\nconnection: close\r\n\r\n{\"done".into());
    receiver.answer("200 OK", r#"{"done":true}"#);
    let tail = api.stream("events/a", "[1]").await;
    let first = receiver.next().await.json();
    eventually("failed", async || api.get("s").await["status"] == "failed").await;
    for _ in 0..3 {
        let again = sooner(&world, receiver.next()).await.json();
        assert_eq!((&again["wake_id"], &again["generation"]), (&first["wake_id"], &first["generation"]));
        assert_ne!(again["callback_token"], first["callback_token"], "a fresh one");
    }
    api.acked("s", "events/a", &tail).await;
    assert_eq!(api.get("s").await["status"], "active", "S-SUB-9");
    assert!(elsewhere.is_empty(), "a redirect is not followed");
}

/// Lets a minute pass, again and again, until something happens.
async fn sooner<T>(world: &World, happens: impl Future<Output = T>) -> T {
    let pass = async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            world.clock.advance(60_000);
        }
    };
    tokio::select! {
        happened = happens => happened,
        () = pass => unreachable!(),
    }
}

#[tokio::test]
async fn s_lease_1_a_receiver_that_never_calls_back_is_woken_anew_and_the_old_worker_is_fenced() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    api.put("s", &webhook(&receiver)).await;
    let tail = api.stream("events/a", "[1]").await;
    let first = receiver.next().await.json();
    // A heartbeat keeps it.
    world.clock.advance(900);
    let beat = api.post("s", "callback", token(&first), &ack(&first, &[], false)).await;
    assert_eq!(beat.json(), json!({"ok": true, "next_wake": false}));
    world.clock.advance(900);
    let beat = api.post("s", "callback", token(&first), &ack(&first, &[], false)).await;
    assert_eq!(beat.status, 200);
    world.clock.advance(1_000);
    let second = receiver.next().await.json();
    assert_eq!(second["generation"], 2);
    let late = ack(&first, &[("events/a", &tail)], true);
    assert_eq!(api.post("s", "callback", token(&first), &late).await.code(), code(409, "FENCED"));
    // The token of the first wake does not open the second one.
    let mixed = ack(&second, &[("events/a", &tail)], true);
    assert_eq!(api.post("s", "callback", token(&first), &mixed).await.code(), code(409, "FENCED"));
    assert_eq!(api.post("s", "callback", token(&second), &mixed).await.status, 200);
    api.acked("s", "events/a", &tail).await;
}

#[tokio::test]
async fn s_lease_4_a_heartbeat_with_an_old_token_brings_a_fresh_one_before_it_expires() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    let mut body = webhook(&receiver);
    body["lease_ttl_ms"] = json!(600_000);
    api.put("s", &body).await;
    api.stream("events/a", "[1]").await;
    let work = receiver.next().await.json();
    let beat = ack(&work, &[], false);
    let mut current = token(&work).unwrap().to_owned();
    let mut renewed = 0;
    for _ in 0..20 {
        world.clock.advance(500_000);
        let answer = api.post("s", "callback", Some(&current), &beat).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        if let Some(fresh) = answer.json()["token"].as_str() {
            current = fresh.into();
            renewed += 1;
        }
    }
    assert!(renewed > 1, "10,000 s of work with tokens of 3,600 s");
    assert_eq!(api.post("s", "callback", token(&work), &beat).await.code(), code(401, "TOKEN_EXPIRED"));
}

#[tokio::test]
async fn t_ack_the_first_check_that_fails_answers() {
    let mut receiver = Receiver::start().await;
    let world = World::default();
    let api = world.start().await;
    api.put("s", &webhook(&receiver)).await;
    api.put("p", &crate::pull("events/*")).await;
    api.stream("events/a", "[1]").await;
    let work = receiver.next().await.json();
    let good = ack(&work, &[], false);
    let beyond = ack(&work, &[("events/a", "0000000000000000_0000000000000099")], true);
    for (id, what, bearer, body, expected) in [
        ("none", "callback", None, &json!([]), code(401, "TOKEN_INVALID")),
        ("none", "callback", Some("x"), &json!([]), code(404, "SUBSCRIPTION_NOT_FOUND")),
        ("s", "ack", Some("x"), &json!([]), code(400, "INVALID_REQUEST")),
        ("s", "release", Some("x"), &json!([]), code(400, "INVALID_REQUEST")),
        ("p", "callback", Some("x"), &json!([]), code(400, "INVALID_REQUEST")),
        ("s", "callback", Some("x"), &json!([]), code(401, "TOKEN_INVALID")),
        ("p", "ack", token(&work), &good, code(401, "TOKEN_INVALID")),
        ("s", "callback", token(&work), &json!([]), code(400, "INVALID_REQUEST")),
        ("s", "callback", token(&work), &json!({"wake_id": "x", "generation": 1}), code(409, "FENCED")),
        ("s", "callback", token(&work), &beyond, code(409, "INVALID_OFFSET")),
        ("s", "callback", token(&work), &good, code(200, "")),
    ] {
        let answer = api.post(id, what, bearer, body).await;
        assert_eq!(answer.code(), expected, "{id} {what} {bearer:?} {body}");
        assert_eq!(answer.header("www-authenticate").is_some(), answer.status == 401);
    }
    // The token in the body or the query counts for nothing (S-LEASE-3).
    let mut with_token = good.clone();
    with_token["callback_token"] = work["callback_token"].clone();
    assert_eq!(api.post("s", "callback", None, &with_token).await.code(), code(401, "TOKEN_INVALID"));
}
