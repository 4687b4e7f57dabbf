//! Workers and receivers of subscriptions, over a scripted transport with time paused.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Reply, Script, answer, with_body};
use everstream::{ErrorKind, SubscriptionOptions, Subscriptions};

const ROOT: &str = "http://h/v1/stream/";
const CLAIM: &str = r#"{"wake_id":"w1","generation":4,"token":"t1","lease_ttl_ms":3000,"streams":[
    {"path":"a/b","link_type":"glob","acked_offset":"-1","tail_offset":"7","has_pending":true},
    {"path":"c","link_type":"explicit","acked_offset":"3","tail_offset":"3","has_pending":false}]}"#;

fn subscriptions(script: &Script) -> Subscriptions {
    script.client().subscriptions(ROOT).unwrap()
}

fn refused(status: u16, body: &'static str) -> Reply {
    with_body(status, &[("content-type", "application/json")], body)
}

const FENCED: &str = r#"{"error":{"code":"FENCED","message":"over"}}"#;

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_lease_and_take_over_fresh_tokens() {
    let script = Script::new(|seen, number| match number {
        0 => with_body(200, &[], CLAIM),
        2 => with_body(200, &[], r#"{"ok":true,"next_wake":false,"token":"t2"}"#),
        _ if seen.url.ends_with("/ack") => with_body(200, &[], r#"{"ok":true,"next_wake":true}"#),
        _ => answer(404, &[]),
    });
    let lease = subscriptions(&script).claim("a/s", "me").await.unwrap().unwrap();
    assert_eq!((lease.wake_id(), lease.generation()), ("w1", 4));
    assert_eq!(lease.pending().map(|it| it.path.as_str()).collect::<Vec<_>>(), ["a/b"]);
    // Three thirds of the lease.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let acks = [("a/b".to_owned(), "7".parse().unwrap())];
    assert!(lease.finish(&acks).await.unwrap(), "there is more to do");
    let seen = script.seen();
    assert_eq!(seen[0].url, "http://h/v1/stream/__ds/subscriptions/a%2Fs/claim");
    assert_eq!(seen[0].body, r#"{"worker":"me"}"#);
    let tokens: Vec<_> = seen[1..].iter().map(|it| it.header("authorization").to_owned()).collect();
    assert_eq!(tokens, ["Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]);
    assert_eq!(seen[1].body, r#"{"wake_id":"w1","generation":4,"acks":[],"done":false}"#);
    let last = r#"{"wake_id":"w1","generation":4,"acks":[{"stream":"a/b","offset":"7"}],"done":true}"#;
    assert_eq!(seen[4].body, last);
    // It is over: nothing more is sent.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(script.seen().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn c_hook_4_a_worker_that_was_fenced_is_told() {
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[], CLAIM),
        _ => refused(409, FENCED),
    });
    let lease = subscriptions(&script).claim("s", "me").await.unwrap().unwrap();
    assert!(!lease.is_lost());
    lease.lost().await;
    assert!(lease.is_lost());
    let error = lease.ack(&[]).await.unwrap_err();
    assert_eq!((error.kind(), error.status(), error.outcome_unknown()), (&ErrorKind::LeaseLost, Some(409), false));
    // The heartbeats have stopped, and giving back what is gone is no error.
    let sent = script.seen().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(script.seen().len(), sent);
    lease.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn s_lease_2_the_second_answer_to_a_finish_whose_first_was_lost_is_no_certain_failure() {
    let script = Script::new(|_, number| match number {
        0 => with_body(200, &[], CLAIM),
        1 => Reply::Reset,
        _ => refused(409, FENCED),
    });
    let lease = subscriptions(&script).claim("s", "me").await.unwrap().unwrap();
    let error = lease.finish(&[]).await.unwrap_err();
    assert!(error.outcome_unknown(), "{error}");
    assert_eq!(error.kind(), &ErrorKind::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_not_acked_and_not_lost() {
    let script = Script::new(|seen, _| match seen.url.rsplit('/').next() {
        Some("claim") => with_body(200, &[], CLAIM),
        _ => with_body(200, &[], r#"{"ok":true,"next_wake":false}"#),
    });
    let lease = subscriptions(&script).claim("s", "me").await.unwrap().unwrap();
    assert!(!lease.is_over());
    assert!(!lease.finish(&[]).await.unwrap());
    assert!(lease.is_over() && !lease.is_lost());
    let sent = script.seen().len();
    for error in [lease.ack(&[]).await.unwrap_err(), lease.finish(&[]).await.unwrap_err()] {
        assert_eq!(error.code(), "ALREADY_CLOSED");
    }
    lease.release().await.unwrap();
    assert_eq!(script.seen().len(), sent, "nothing more is sent");
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_gives_back_what_it_gets() {
    let script = Script::new(|seen, _| match seen.url.rsplit('/').next() {
        Some("claim") => Reply::After(Duration::from_secs(1), Box::new(with_body(200, &[], CLAIM))),
        _ => answer(204, &[]),
    });
    let subscriptions = subscriptions(&script);
    let claim = subscriptions.claim("s", "me");
    assert!(tokio::time::timeout(Duration::from_millis(500), claim).await.is_err());
    assert_eq!(script.seen().len(), 1);
    // The answer comes, and nobody is there to have it.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calls: Vec<_> = script.seen().iter().map(|it| it.url.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(calls, ["claim", "release"], "no heartbeat follows");
}

#[tokio::test(start_paused = true)]
async fn a_worker_gives_back_what_was_not_finished_before_it_takes_more() {
    const SUBSCRIPTION: &str = r#"{"id":"s","type":"pull-wake","wake_stream":"wakes","lease_ttl_ms":3000,
        "status":"active","streams":[]}"#;
    let script = Script::new(|seen, _| match seen.url.rsplit('/').next() {
        Some("claim") => with_body(200, &[], CLAIM),
        Some("release") => answer(204, &[]),
        Some("ack") => with_body(200, &[], r#"{"ok":true,"next_wake":false}"#),
        Some("s") => with_body(200, &[], SUBSCRIPTION),
        _ => with_body(
            200,
            &[("content-type", "application/json"), ("stream-next-offset", "1"), ("stream-up-to-date", "true")],
            "[]",
        ),
    });
    let mut worker = subscriptions(&script).worker("s", "me").await.unwrap();
    let calls = || {
        let seen = script.seen();
        let names = seen.iter().filter_map(|it| it.url.rsplit('/').next().map(str::to_owned));
        names.filter(|it| ["claim", "release", "ack"].contains(&it.as_str())).collect::<Vec<_>>()
    };
    let undone = worker.next().await.unwrap();
    let done = worker.next().await.unwrap();
    assert!(undone.is_over() && !done.is_over());
    assert_eq!(calls(), ["claim", "release", "claim"]);
    done.finish(&[]).await.unwrap();
    drop(worker.next().await.unwrap());
    assert_eq!(calls()[3..], ["ack", "claim"]);
    // One that was dropped is not waited for, either.
    worker.next().await.unwrap();
    assert_eq!(calls()[5..], ["release", "claim"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_waits_for_a_server_that_is_away_and_hears_of_what_does_not_come_back() {
    const SUBSCRIPTION: &str = r#"{"id":"s","type":"pull-wake","wake_stream":"wakes","lease_ttl_ms":3000,
        "status":"active","streams":[]}"#;
    let begun = tokio::time::Instant::now();
    let script = Script::new(move |seen, _| match seen.url.rsplit('/').next() {
        Some("s") => with_body(200, &[], SUBSCRIPTION),
        Some("claim") if begun.elapsed() < Duration::from_secs(3600) => Reply::Refused,
        Some("claim") if begun.elapsed() < Duration::from_secs(7200) => with_body(200, &[], CLAIM),
        Some("claim") => answer(404, &[]),
        Some("release") => answer(204, &[]),
        _ if seen.url.contains("live=") => Reply::Silence,
        _ => with_body(
            200,
            &[("content-type", "application/json"), ("stream-next-offset", "1"), ("stream-up-to-date", "true")],
            "[]",
        ),
    });
    let mut worker = subscriptions(&script).worker("s", "me").await.unwrap();
    let lease = worker.next().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(3600));
    lease.release().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(worker.next().await.unwrap_err().kind(), &ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn c_hook_5_nothing_to_do_is_no_error() {
    for code in ["ALREADY_CLAIMED", "NO_PENDING_WORK"] {
        let body: &'static str = format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#).leak();
        let script = Script::new(move |_, _| refused(409, body));
        assert!(subscriptions(&script).claim("s", "me").await.unwrap().is_none(), "{code}");
    }
    let script = Script::new(|_, _| refused(404, r#"{"error":{"code":"SUBSCRIPTION_NOT_FOUND","message":"m"}}"#));
    let error = subscriptions(&script).claim("s", "me").await.unwrap_err();
    assert_eq!((error.code(), error.operation().unwrap().name()), ("NOT_FOUND", "control"));
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_a_create_is_told_by_its_body() {
    let script =
        Script::new(|_, _| refused(409, r#"{"error":{"code":"SUBSCRIPTION_ALREADY_EXISTS","message":"other"}}"#));
    let options = SubscriptionOptions::pull_wake("wakes", "jobs/**");
    let error = subscriptions(&script).create("s", &options).await.unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), ("CONFLICT_EXISTS", false));
    let seen = &script.seen()[0];
    assert_eq!((seen.method.as_str(), seen.header("content-type")), ("PUT", "application/json"));
}

// The key of RFC 8032, section 7.1, test 1, and a signature that the server's code has made with it.
const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","use":"sig","alg":"EdDSA",
    "kid":"ds_1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn signed_by(kid: &str) -> String {
    format!(
        "t=1700000000,kid={kid},\
         ed25519=jsuVxkA_AkVTFzBCTKTrjAZaeCChaR-y9aS0q9WrZDC7D7BaCZ-tI8v_nvIZW79k7Z99rP9If7816GiGLgJABw"
    )
}

#[tokio::test(start_paused = true)]
async fn c_hook_1_keys_are_fetched_once_and_again_for_one_that_is_not_known_but_not_at_anyones_pace() {
    let script = Script::new(|_, _| with_body(200, &[], JWKS));
    let verifier = subscriptions(&script).webhook_verifier().unwrap();
    let check = async |kid: &str| verifier.verify(&signed_by(kid), br#"{"a":1}"#).await.unwrap_err().to_string();
    // A good signature, and old by now.
    assert!(check("ds_1").await.contains("too old"));
    assert!(check("ds_1").await.contains("too old"));
    assert_eq!(script.seen().len(), 1);
    assert_eq!(script.seen()[0].url, "http://h/v1/stream/__ds/jwks.json");
    // It may be a new one.
    for _ in 0..10 {
        assert!(check("ds_2").await.contains("no key is named"));
    }
    assert_eq!(script.seen().len(), 2);
    tokio::time::sleep(Duration::from_secs(11)).await;
    check("ds_2").await;
    check("ds_3").await;
    assert_eq!(script.seen().len(), 3);
    // A key that was withdrawn is not believed for ever.
    tokio::time::sleep(Duration::from_secs(301)).await;
    check("ds_1").await;
    assert_eq!(script.seen().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn c_hook_1_without_a_good_header_nothing_is_fetched() {
    let script = Script::new(|_, _| with_body(200, &[], JWKS));
    let verifier = subscriptions(&script).webhook_verifier().unwrap();
    assert_eq!(verifier.verify("", b"{}").await.unwrap_err().kind(), &ErrorKind::InvalidSignature);
    assert!(script.seen().is_empty());
}
