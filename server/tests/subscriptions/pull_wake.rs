//! Pull-wake: events in a stream, and workers that claim.

use serde_json::{Value, json};

use crate::{Api, Json as _, World, ack, code, entry, pull, token};

async fn subscribed(world: &World) -> Api {
    let api = world.start().await;
    api.stream("wakes", "").await;
    assert_eq!(api.put("s", &pull("events/*")).await.status, 201);
    api
}

async fn claim_as(api: &Api, worker: &Value) -> (u16, Value) {
    let answer = api.post("s", "claim", None, &json!({"worker": worker})).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn s_pull_1_each_wake_is_one_event_in_the_wake_stream() {
    let world = World::default();
    let api = subscribed(&world).await;
    api.stream("events/a", "[1]").await;
    let expected = json!({
        "type": "wake", "subscription_id": "s", "stream": "events/a", "generation": 1, "ts": 1_700_000_000_000_u64,
    });
    assert_eq!(api.wakes("wakes", 1).await, [expected]);
    // S-WAKE-3: none for what comes while nobody has claimed it.
    api.append("events/a", "[2]").await;
    let work = api.claim("s").await;
    let tail = entry(&work, "events/a")["tail_offset"].as_str().unwrap().to_owned();
    api.post("s", "ack", token(&work), &ack(&work, &[("events/a", &tail)], true)).await;
    api.append("events/a", "[3]").await;
    assert_eq!(api.wakes("wakes", 2).await[1]["generation"], 2);
}

#[tokio::test]
async fn s_pull_1_without_a_wake_stream_the_wake_can_still_be_claimed() {
    let api = World::default().start().await;
    api.put("s", &pull("events/*")).await;
    api.stream("events/a", "[1]").await;
    assert_eq!(api.claim("s").await["generation"], 1);
}

#[tokio::test]
async fn s_wake_3_wake_events_wake_nobody() {
    let world = World::default();
    let api = world.start().await;
    api.stream("wakes", "").await;
    api.put("s", &pull("**")).await;
    let body = json!({"type": "pull-wake", "pattern": "**", "wake_stream": "other-wakes"});
    api.put("t", &body).await;
    api.stream("other-wakes", "").await;
    api.stream("events/a", "[1]").await;
    for (id, wakes) in [("s", "wakes"), ("t", "other-wakes")] {
        api.wakes(wakes, 1).await;
        let work = api.claim(id).await;
        let paths: Vec<_> = work["streams"].as_array().unwrap().iter().map(|it| it["path"].clone()).collect();
        assert_eq!(paths, ["events/a"], "{id}");
    }
}

#[tokio::test]
async fn s_pull_2_to_4_a_claim_hands_out_the_work_to_one_worker() {
    let world = World::default();
    let api = subscribed(&world).await;
    assert_eq!(claim_as(&api, &json!("one")).await.1["error"]["code"], "NO_PENDING_WORK");
    for worker in [json!(""), json!(1), json!(null)] {
        assert_eq!(claim_as(&api, &worker).await.0, 400, "{worker}");
    }
    let tail = api.stream("events/a", "[1]").await;
    let (status, work) = claim_as(&api, &json!("one")).await;
    assert_eq!(status, 200);
    assert_eq!((&work["generation"], &work["lease_ttl_ms"]), (&json!(1), &json!(1000)));
    let expected = json!([{
        "path": "events/a", "link_type": "glob", "acked_offset": "-1", "tail_offset": tail, "has_pending": true,
    }]);
    assert_eq!(work["streams"], expected);
    let (status, held) = claim_as(&api, &json!("two")).await;
    assert_eq!((status, &held["error"]["code"]), (409, &json!("ALREADY_CLAIMED")));
    assert_eq!((&held["error"]["current_holder"], &held["error"]["generation"]), (&json!("one"), &json!(1)));
}

#[tokio::test]
async fn s_pull_3_a_webhook_cannot_be_claimed() {
    let api = World::default().start().await;
    let body = json!({"type": "webhook", "pattern": "events/*", "webhook": {"url": "https://example.com/"}});
    api.put("s", &body).await;
    assert_eq!(api.post("s", "claim", None, &json!({"worker": "w"})).await.code(), code(400, "INVALID_REQUEST"));
}

#[tokio::test]
async fn s_pull_5_and_s_lease_2_acks_end_the_work_once() {
    let world = World::default();
    let api = subscribed(&world).await;
    let tail = api.stream("events/a", "[1]").await;
    let work = api.claim("s").await;
    let beat = api.post("s", "ack", token(&work), &ack(&work, &[], false)).await;
    assert_eq!((beat.status, beat.json()), (200, json!({"ok": true, "next_wake": false})));
    let last = ack(&work, &[("events/a", &tail)], true);
    let done = api.post("s", "ack", token(&work), &last).await;
    assert_eq!((done.status, done.json()), (200, json!({"ok": true, "next_wake": false})));
    assert_eq!(api.post("s", "ack", token(&work), &last).await.code(), code(409, "FENCED"));
    assert_eq!(claim_as(&api, &json!("two")).await.1["error"]["code"], "NO_PENDING_WORK");
}

#[tokio::test]
async fn s_pull_6_a_release_gives_the_work_to_the_next_worker() {
    let world = World::default();
    let api = subscribed(&world).await;
    api.stream("events/a", "[1]").await;
    let work = api.claim("s").await;
    let released = api.post("s", "release", token(&work), &ack(&work, &[], false)).await;
    assert_eq!((released.status, released.text()), (204, ""));
    api.wakes("wakes", 2).await;
    let next = api.claim("s").await;
    assert_eq!((&next["generation"], &entry(&next, "events/a")["acked_offset"]), (&json!(2), &json!("-1")));
    let late = api.post("s", "release", token(&work), &ack(&work, &[], false)).await;
    assert_eq!(late.code(), code(409, "FENCED"));
}

#[tokio::test]
async fn s_lease_1_two_workers_of_which_one_is_slow() {
    let world = World::default();
    let api = subscribed(&world).await;
    let tail = api.stream("events/a", "[1]").await;
    let slow = api.claim("s").await;
    world.clock.advance(1_000);
    api.wakes("wakes", 2).await;
    let quick = api.claim("s").await;
    let (late, good) = (ack(&slow, &[("events/a", &tail)], true), ack(&quick, &[("events/a", &tail)], true));
    assert_eq!(api.post("s", "ack", token(&slow), &late).await.code(), code(409, "FENCED"));
    assert_eq!(api.post("s", "ack", token(&slow), &good).await.code(), code(409, "FENCED"));
    assert_eq!(api.post("s", "ack", token(&quick), &late).await.code(), code(409, "FENCED"));
    assert_eq!(api.post("s", "ack", token(&quick), &good).await.status, 200);
}

#[tokio::test]
async fn many_workers_and_writers_lose_nothing_and_process_nothing_twice() {
    const MESSAGES: usize = 60;
    let world = World::default();
    let api = std::sync::Arc::new(subscribed(&world).await);
    api.stream("counted", "").await;
    let writer = tokio::spawn({
        let api = std::sync::Arc::clone(&api);
        async move {
            for n in 0..MESSAGES {
                let path = format!("events/{}", n % 3);
                api.stream(&path, "").await;
                api.append(&path, &format!("[{n}]")).await;
            }
        }
    });
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let api = std::sync::Arc::clone(&api);
            tokio::spawn(async move { work(&api, MESSAGES).await })
        })
        .collect();
    writer.await.unwrap();
    // The clock stands still, so that no lease ends.
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    done.sort_unstable();
    assert_eq!(done, (0..MESSAGES as u64).collect::<Vec<_>>());
}

/// Claims, reads, acks, until the last message of all has been acked by somebody.
async fn work(api: &Api, messages: usize) -> Vec<u64> {
    let mut done = Vec::new();
    loop {
        let answer = api.post("s", "claim", None, &json!({"worker": "w"})).await;
        if answer.status == 409 {
            let counted = api.events("counted").await.len();
            if counted == messages {
                return done;
            }
            tokio::task::yield_now().await;
            continue;
        }
        let work = answer.json();
        let mut acks = Vec::new();
        for stream in work["streams"].as_array().unwrap() {
            let (path, from) = (stream["path"].as_str().unwrap(), stream["acked_offset"].as_str().unwrap());
            let answer = api.call("GET", &format!("{path}?offset={from}"), None, "").await;
            for message in answer.json().as_array().unwrap() {
                done.push(message.as_u64().unwrap());
                api.append("counted", &format!("[{message}]")).await;
            }
            acks.push((path.to_owned(), answer.offset()));
        }
        let acks: Vec<_> = acks.iter().map(|(path, offset)| (path.as_str(), offset.as_str())).collect();
        let answer = api.post("s", "ack", token(&work), &ack(&work, &acks, true)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}
