//! What a plan decides, without any connection.

use std::collections::HashSet;
use std::time::Duration;

use everstream_faults::{CutAt, Decider, Fault, FaultKind, FaultPlan, Method, Rule};
use http::Request;
use http::request::Parts;

fn request(method: Method, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request").into_parts().0
}

fn append(seq: u64) -> Parts {
    let seq = seq.to_string();
    let headers = [("content-length", "9"), ("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", &seq)];
    request(Method::POST, "/v1/stream/s", &headers)
}

/// The traffic of a producer and its readers.
fn traffic(len: u64) -> Vec<Parts> {
    let mut requests = Vec::new();
    for i in 0..len {
        requests.push(append(i));
        requests.push(request(Method::GET, &format!("/v1/stream/s?offset={i}"), &[]));
        requests.push(request(Method::GET, &format!("/v1/stream/s?offset={i}&live=long-poll"), &[]));
        requests.push(request(Method::GET, &format!("/v1/stream/s?offset={i}&live=sse"), &[]));
    }
    requests
}

fn decisions(plan: FaultPlan, requests: &[Parts]) -> Vec<Option<Fault>> {
    let mut decider = Decider::new(plan);
    requests.iter().map(|request| decider.decide(request)).collect()
}

fn kinds(decisions: &[Option<Fault>]) -> HashSet<FaultKind> {
    decisions.iter().flatten().map(Fault::kind).collect()
}

#[test]
fn a_seed_decides_the_same_for_the_same_requests() {
    let requests = traffic(500);
    let first = decisions(FaultPlan::seeded(42, 0.3), &requests);
    assert_eq!(first, decisions(FaultPlan::seeded(42, 0.3), &requests));
    assert_ne!(first, decisions(FaultPlan::seeded(43, 0.3), &requests));
}

#[test]
fn a_decision_hangs_on_the_ordinal_and_not_on_what_came_before() {
    let plan = || FaultPlan::seeded(42, 0.3).max_consecutive(u32::MAX);
    let mut requests = traffic(100);
    let first = decisions(plan(), &requests);
    for request in requests.iter_mut().take(399) {
        *request = append(7);
    }
    assert_eq!(first.last(), decisions(plan(), &requests).last());
}

#[test]
fn the_rate_is_met_whatever_the_requests_are() {
    let appends: Vec<_> = (0..10_000).map(append).collect();
    for requests in [traffic(2_500), appends] {
        let met = decisions(FaultPlan::seeded(1, 0.2), &requests).iter().flatten().count();
        assert!((1_850..2_150).contains(&met), "{met} of 10000");
    }
    assert_eq!(decisions(FaultPlan::seeded(1, 0.0), &traffic(100)).iter().flatten().count(), 0);
    assert_eq!(decisions(FaultPlan::none(), &traffic(100)).iter().flatten().count(), 0);
}

#[test]
fn every_kind_is_drawn_and_only_where_it_fits() {
    let requests = traffic(1_000);
    let decided = decisions(FaultPlan::seeded(5, 0.5), &requests);
    let drawn = FaultKind::ALL.into_iter().filter(|kind| *kind != FaultKind::Answer);
    assert_eq!(kinds(&decided), drawn.collect());
    for (request, fault) in requests.iter().zip(&decided) {
        let Some(fault) = fault else { continue };
        let sse = request.uri.query().is_some_and(|query| query.contains("live=sse"));
        match fault.kind() {
            FaultKind::CutSse => assert!(sse),
            FaultKind::CutBody => assert!(request.method == Method::GET && !sse),
            FaultKind::Stall => assert_eq!(request.method, Method::GET),
            FaultKind::Duplicate | FaultKind::Reorder | FaultKind::TruncateRequest => {
                assert_eq!(request.method, Method::POST);
            }
            _ => {}
        }
    }
}

#[test]
fn an_append_without_identity_is_not_duplicated() {
    let plain = vec![request(Method::POST, "/s", &[("content-length", "1")]); 500];
    let plan = || FaultPlan::seeded(1, 1.0).only([FaultKind::Duplicate]);
    assert_eq!(decisions(plan(), &plain).iter().flatten().count(), 0);
    assert_eq!(decisions(plan(), &vec![append(0); 500]).iter().flatten().count(), 500);
}

#[test]
fn only_and_without_choose_the_kinds() {
    let chosen = [FaultKind::ResetAfter, FaultKind::CutSse];
    let decided = decisions(FaultPlan::seeded(5, 0.5).only(chosen), &traffic(500));
    assert_eq!(kinds(&decided), HashSet::from(chosen));
    let decided = decisions(FaultPlan::seeded(5, 0.5).without(chosen), &traffic(500));
    // Written answers are never drawn.
    assert_eq!(kinds(&decided).len(), FaultKind::ALL.len() - 3);
    assert!(kinds(&decided).is_disjoint(&HashSet::from(chosen)));
}

#[test]
fn the_same_request_gets_through_after_so_many_breaks() {
    for max in 0..5 {
        // Each request is sent again until it gets through, and others are sent between.
        let plan = FaultPlan::seeded(9, 1.0).only([FaultKind::ResetAfter]).max_consecutive(max);
        let mut decider = Decider::new(plan);
        for round in 0..20_u64 {
            for attempt in 0..=max {
                for seq in [2 * round, 2 * round + 1] {
                    assert_eq!(decider.decide(&append(seq)).is_none(), attempt == max);
                }
            }
        }
    }
}

#[test]
fn what_only_disturbs_is_not_limited() {
    let plan = FaultPlan::seeded(9, 1.0).only([FaultKind::Delay]).max_consecutive(1);
    assert_eq!(decisions(plan, &vec![append(0); 50]).iter().flatten().count(), 50);
}

#[test]
fn delays_stay_below_their_limit() {
    let limit = Duration::from_secs(3);
    let plan = FaultPlan::seeded(3, 1.0).max_delay(limit).max_stall(limit * 2).max_consecutive(u32::MAX);
    let decided = decisions(plan, &traffic(2_000));
    let mut longest_retry = None;
    for fault in decided.iter().flatten() {
        match *fault {
            Fault::Delay(delay) | Fault::DelayAfter(delay) | Fault::Reorder { bound: delay } => assert!(delay <= limit),
            Fault::Stall { pause, .. } => assert!(pause <= limit * 2),
            Fault::Status { retry_after, .. } => longest_retry = longest_retry.max(retry_after),
            _ => {}
        }
    }
    assert_eq!(longest_retry, Some(3));
}

#[test]
fn cuts_fall_everywhere_and_half_of_the_sse_cuts_are_clean() {
    let plan = FaultPlan::seeded(3, 1.0).only([FaultKind::CutBody, FaultKind::CutSse]).max_consecutive(u32::MAX);
    let (mut clean, mut sse, mut near, mut thirds) = (0, 0, 0, [0; 3]);
    for fault in decisions(plan, &traffic(1_000)).into_iter().flatten() {
        match fault {
            Fault::CutBody { at: CutAt::Part(part) } => thirds[(part * 3.0) as usize] += 1,
            Fault::CutSse { after_bytes, clean: ends_well } => {
                sse += 1;
                clean += u32::from(ends_well);
                near += u32::from(after_bytes < 512);
                assert!(after_bytes < 256 * 1024);
            }
            other => panic!("{other:?} was not chosen"),
        }
    }
    assert_eq!(sse, 1_000);
    assert!((400..600).contains(&clean), "{clean} of {sse} are clean");
    assert!((400..700).contains(&near), "{near} of {sse} are within the first events");
    assert!(thirds.iter().all(|n| *n > 500), "{thirds:?}");
}

#[test]
fn rules_match_by_all_they_name() {
    let rule = || Rule::new(Fault::ResetBefore).always();
    let hits = |rule: Rule, request: Parts| decisions(FaultPlan::scripted([rule]), &[request])[0].is_some();
    let read = || request(Method::GET, "/v1/stream/s?offset=1&live=sse", &[]);
    assert!(hits(rule(), read()));
    assert!(hits(rule().method(Method::GET).path("/stream/s").query("live=sse"), read()));
    assert!(!hits(rule().method(Method::POST), read()));
    assert!(!hits(rule().path("/stream/t"), read()));
    assert!(!hits(rule().query("live=long-poll"), read()));
    assert!(hits(rule().header(http::HeaderName::from_static("producer-seq"), "3"), append(3)));
    assert!(!hits(rule().header(http::HeaderName::from_static("producer-seq"), "3"), append(33)));
}

#[test]
fn rules_count_their_own_matches() {
    let script = [
        Rule::new(Fault::ResetAfter).method(Method::POST).nth(2).times(2),
        Rule::new(Fault::Duplicate).nth(3),
        Rule::new(Fault::ResetBefore).method(Method::GET).nth(2).always(),
    ];
    let post = || append(0);
    let get = || request(Method::GET, "/s", &[]);
    let decided = decisions(FaultPlan::scripted(script), &[post(), post(), get(), post(), post(), get(), get()]);
    let names: Vec<_> = decided.iter().map(|fault| fault.as_ref().map_or("-", |fault| fault.kind().name())).collect();
    assert_eq!(names, ["-", "reset-after", "duplicate", "reset-after", "-", "reset-before", "reset-before"]);
}
