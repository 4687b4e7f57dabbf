//! Create, append, head, close, delete through the public API, over a scripted transport with time paused.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Reply, Script, answer, with_body};
use everstream::{AppendOptions, CreateOptions, ErrorKind, Extras, ProducerOptions, ReadOptions};

const URL: &str = "http://h/v1/stream/a";
const JSON: (&str, &str) = ("content-type", "application/json");
const NEXT: (&str, &str) = ("stream-next-offset", "0_5");

#[tokio::test(start_paused = true)]
async fn create_tells_new_from_there_already() {
    let script = Script::new(|_, number| answer(if number == 0 { 201 } else { 200 }, &[JSON, NEXT]));
    let stream = script.client().stream(URL).unwrap();
    assert!(stream.create(&CreateOptions::json()).await.unwrap().created);
    let again = stream.create(&CreateOptions::json()).await.unwrap();
    assert!(!again.created);
    assert_eq!(again.offset.unwrap().as_str(), "0_5");
    assert_eq!(stream.content_type(), Some("application/json"));
}

#[tokio::test(start_paused = true)]
async fn p4_an_append_to_a_json_stream_is_one_message_and_bad_json_is_never_sent() {
    let script = Script::new(|_, _| answer(204, &[NEXT]));
    let stream = script.client().stream(URL).unwrap().with_content_type("application/json");
    stream.append("[1,2]").await.unwrap();
    stream.append_json("text").await.unwrap();
    let error = stream.append("{not json").await.unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::InvalidArgument);
    let bodies: Vec<_> = script.seen().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies, ["[[1,2]]", "[\"text\"]"]);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_content_type_is_asked_for_once() {
    let script = Script::new(|seen, _| match seen.method.as_str() {
        "HEAD" => answer(200, &[("content-type", "text/plain"), NEXT]),
        _ => answer(204, &[NEXT]),
    });
    let stream = script.client().stream(URL).unwrap();
    stream.append("a").await.unwrap();
    stream.append("b").await.unwrap();
    let methods: Vec<_> = script.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["HEAD", "POST", "POST"]);
    assert_eq!(script.seen()[1].header("content-type"), "text/plain");
}

#[tokio::test(start_paused = true)]
async fn an_empty_append_is_refused_with_status_400_and_not_sent() {
    let script = Script::new(|_, _| answer(204, &[]));
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    assert_eq!(stream.append("").await.unwrap_err().status(), Some(400));
    assert!(script.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn c4_an_append_whose_answer_is_lost_is_not_sent_twice() {
    let script = Script::new(|_, _| Reply::Reset);
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    let error = stream.append("x").await.unwrap_err();
    assert_eq!((error.code(), error.outcome_unknown()), ("NETWORK_ERROR", true));
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_no_repeat_mends_is_told_at_once_and_so_is_whether_it_may_have_been_stored() {
    for not_sent in [false, true] {
        let script = Script::new(move |_, _| Reply::Broken { not_sent });
        let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
        let error = stream.append("x").await.unwrap_err();
        assert_eq!((error.code(), error.outcome_unknown()), ("INVALID_ARGUMENT", !not_sent));
        assert!(!stream.head().await.unwrap_err().outcome_unknown(), "nothing is stored by asking");
        let producer = stream.producer("p", ProducerOptions::default()).await.unwrap();
        producer.append("x").await.unwrap();
        let error = producer.flush().await.unwrap_err();
        assert_eq!((error.code(), error.outcome_unknown()), ("INVALID_ARGUMENT", !not_sent));
        assert_eq!(script.seen().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn an_append_that_did_not_leave_is_sent_again() {
    let script = Script::new(|_, number| if number < 3 { Reply::Refused } else { answer(204, &[NEXT]) });
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    assert_eq!(stream.append("x").await.unwrap().offset.unwrap().as_str(), "0_5");
}

#[tokio::test(start_paused = true)]
async fn c5_an_unreachable_server_is_an_error_within_the_budget() {
    let script = Script::new(|_, _| Reply::Refused);
    let begun = tokio::time::Instant::now();
    let error = script.client().stream(URL).unwrap().head().await.unwrap_err();
    assert_eq!(error.code(), "NETWORK_ERROR");
    // Virtual time: the sum of the waits.
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(script.seen().len(), 16);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_a_timeout() {
    let script = Script::new(|_, _| Reply::Silence);
    let error = script.client().stream(URL).unwrap().head().await.unwrap_err();
    assert_eq!(error.code(), "TIMEOUT");
}

#[tokio::test(start_paused = true)]
async fn each_try_without_an_answer_is_told_of() {
    let script = Script::new(|_, _| Reply::Silence);
    let told = Arc::new(AtomicUsize::new(0));
    let hook = told.clone();
    let tries = |script: &Script| script.seen().len();
    let client = script.builder().on_failed_attempt(move || {
        hook.fetch_add(1, Ordering::Relaxed);
    });
    let stream = client.build().unwrap().stream(URL).unwrap().with_content_type("text/plain");
    stream.head().await.unwrap_err();
    assert_eq!(told.load(Ordering::Relaxed), tries(&script));
    stream.read(ReadOptions::default()).next().await.unwrap().unwrap_err();
    assert_eq!(told.load(Ordering::Relaxed), tries(&script));

    // A producer has a try under way when it gives up the one before.
    let producer = stream.producer_lazy("p", ProducerOptions::default()).unwrap();
    let (before, delivery) = (tries(&script), producer.append("a").await.unwrap());
    delivery.await.unwrap_err();
    let posts = tries(&script) - before;
    assert!(posts > 1);
    assert!(told.load(Ordering::Relaxed) >= before + posts - 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_a_floor_of_the_wait() {
    let script = Script::new(|_, number| match number {
        0 => answer(429, &[("retry-after", "7")]),
        _ => answer(200, &[NEXT]),
    });
    let begun = tokio::time::Instant::now();
    script.client().stream(URL).unwrap().head().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(7));
}

#[tokio::test(start_paused = true)]
async fn c12_c13_errors_are_typed_and_name_the_stream() {
    let script = Script::new(|seen, _| match seen.method.as_str() {
        "HEAD" => answer(404, &[]),
        "PUT" => answer(409, &[]),
        _ => answer(409, &[("stream-closed", "true"), NEXT]),
    });
    let stream = script.client().stream("http://me:pw@h/v1/stream/a?token=t").unwrap().with_content_type("text/plain");
    let error = stream.head().await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (&ErrorKind::NotFound, Some(404)));
    assert!(error.to_string().contains("/v1/stream/a"), "{error}");
    assert!(!error.to_string().contains("pw") && !format!("{error:?}").contains("token"));
    assert_eq!(stream.create(&CreateOptions::default()).await.unwrap_err().code(), "CONFLICT_EXISTS");
    assert_eq!(stream.append("x").await.unwrap_err().final_offset().unwrap().as_str(), "0_5");
}

#[tokio::test(start_paused = true)]
async fn headers_and_params_are_asked_for_once_per_try_and_never_override_the_protocol() {
    let script = Script::new(|_, number| if number == 0 { answer(503, &[]) } else { answer(204, &[NEXT]) });
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let client = script
        .builder()
        .header_provider(
            "authorization",
            Arc::new(move || {
                let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
                Box::pin(async move { Ok(format!("Bearer {call}")) })
            }),
        )
        .unwrap()
        .header("stream-seq", "evil")
        .unwrap()
        .header("stream-closed", "true")
        .unwrap()
        .param("tenant", "t 1")
        .param("live", "sse")
        .build()
        .unwrap();
    let extras = Extras::new().header("x-call", "1").unwrap();
    let stream = client.stream(URL).unwrap().with(&extras).with_content_type("text/plain");
    let options = AppendOptions { seq: Some("7".into()), ..AppendOptions::default() };
    stream.append_with("x", &options).await.unwrap();
    let seen = script.seen();
    let tokens: Vec<_> = seen.iter().map(|seen| seen.header("authorization")).collect();
    assert_eq!(tokens, ["Bearer 1", "Bearer 2"]);
    assert_eq!((seen[0].header("stream-seq"), seen[0].header("x-call")), ("7", "1"));
    assert!(!seen[0].headers.contains_key("stream-closed"));
    assert_eq!(seen[0].url, "http://h/v1/stream/a?tenant=t%201");
}

#[tokio::test(start_paused = true)]
async fn a_header_function_that_fails_fails_the_call_and_nothing_is_sent() {
    let script = Script::new(|_, _| answer(200, &[NEXT]));
    let refuse: everstream::Provider =
        Arc::new(|| Box::pin(async { Err(everstream::Error::invalid_argument("no token today")) }));
    let client = script.builder().header_provider("authorization", refuse).unwrap().build().unwrap();
    let error = client.stream(URL).unwrap().head().await.unwrap_err();
    assert!(error.to_string().contains("no token today"));
    assert!(script.seen().is_empty());
}

#[tokio::test(start_paused = true)]
async fn secrets_are_in_no_debug_output() {
    let script = Script::new(|_, _| answer(200, &[NEXT]));
    let client =
        script.builder().header("authorization", "Bearer s3cret").unwrap().param("key", "s3cret").build().unwrap();
    let stream = client.stream("http://u:s3cret@h/a").unwrap();
    assert!(!format!("{client:?}{:?}", stream.read(Default::default())).contains("s3cret"));
    stream.head().await.unwrap();
    assert!(!format!("{:?}", script.seen()[0].headers).contains("s3cret"));
}

#[tokio::test(start_paused = true)]
async fn the_error_hook_can_mend_a_call() {
    let script = Script::new(|_, number| if number == 0 { answer(401, &[]) } else { answer(200, &[NEXT]) });
    let client = script
        .builder()
        .on_error(|error| Box::pin(async move { (error.kind() == &ErrorKind::Unauthorized).then(Extras::new) }))
        .build()
        .unwrap();
    client.stream(URL).unwrap().head().await.unwrap();
    assert_eq!(script.seen().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_an_error_is_kept_for_people() {
    let script = Script::new(|_, _| with_body(400, &[], "because"));
    let error = script.client().stream(URL).unwrap().close().await.unwrap_err();
    assert_eq!(error.response().unwrap().body.as_deref(), Some("because"));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_aborts_its_request() {
    let script = Script::new(|_, _| Reply::Silence);
    let stream = script.client().stream(URL).unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(1), stream.head()).await.is_err());
    assert_eq!(*script.aborted.lock().unwrap(), 1);
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    use everstream::{Backoff, Client, RetryPolicy};
    let message = |builder: everstream::ClientBuilder| builder.build().unwrap_err().to_string();
    assert!(message(Client::builder().proxy("::")).contains("proxy"));
    assert!(message(Client::builder().identity_pem("nonsense")).contains("identity"));
    let pem = "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n";
    assert!(message(Client::builder().root_certificates_pem(pem)).contains("root certificates"));
    let backoff = Backoff { multiplier: 0.0, ..Backoff::default() };
    assert!(message(Client::builder().retry(RetryPolicy { backoff, ..RetryPolicy::default() })).contains("multiplier"));
    assert!(Client::new().unwrap().stream("/relative").is_err());
    assert_eq!(Client::builder().base_url("http://h/r/").build().unwrap().stream("/s").unwrap().url(), "http://h/r/s");
}

#[tokio::test(start_paused = true)]
async fn r9_a_conflict_is_an_answer_and_not_retried() {
    let script = Script::new(|_, _| answer(409, &[]));
    let stream = script.client().stream(URL).unwrap().with_content_type("text/plain");
    assert_eq!(stream.append("x").await.unwrap_err().kind(), &ErrorKind::ContentTypeConflict);
    assert_eq!(stream.create(&CreateOptions::default()).await.unwrap_err().kind(), &ErrorKind::CreateConflict);
    assert_eq!(script.seen().len(), 2);
}
