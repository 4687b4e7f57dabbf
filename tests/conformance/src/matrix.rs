//! Generated cases: each fault at each place, for producers and for readers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::case::Case;

/// How much of the matrix to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MatrixSize {
    /// Nothing of it.
    None,
    /// Every fourth or fifth case: each fault, and over all faults each combination of the other dimensions.
    Short,
    /// All of it.
    Full,
}

const MESSAGES: usize = 12;
const BATCH: usize = 3;
/// The epoch that another producer holds when ours has to claim.
const HELD_EPOCH: u64 = 3;

/// The cases of the matrix.
pub fn generated_cases(size: MatrixSize) -> Vec<Case> {
    let (writes, reads) = match size {
        MatrixSize::None => return Vec::new(),
        MatrixSize::Short => (5, 4),
        MatrixSize::Full => (1, 1),
    };
    // Of the faults of event streams there are only four cases each.
    chosen(producer_cases(), writes).chain(chosen(reader_cases(), reads)).collect()
}

/// Of the cases of each fault one in so many, with another one first for each: always the same ones would never meet
/// some combinations.
fn chosen(faults: Vec<Vec<Case>>, one_in: usize) -> impl Iterator<Item = Case> {
    faults
        .into_iter()
        .enumerate()
        .flat_map(move |(number, cases)| cases.into_iter().skip(number % one_in).step_by(one_in))
}

/// What a stream holds, and how its messages are written.
#[derive(Clone, Copy)]
enum Kind {
    Json,
    Text,
    Bytes,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Json, Self::Text, Self::Bytes];

    fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Bytes => "bytes",
        }
    }

    /// A message, numbered, with what is easily broken in it.
    fn message(self, number: usize) -> Vec<u8> {
        match self {
            Self::Json => format!("{{\"n\":{number},\"text\":\"é€\"}}").into_bytes(),
            Self::Text => format!("<{number} é€\r\n>").into_bytes(),
            Self::Bytes => vec![0xff, 0x00, u8::try_from(number).unwrap_or(u8::MAX), b'\n', 0xc3],
        }
    }

    /// The message as a field of a command.
    fn append(self, number: usize) -> Value {
        let message = self.message(number);
        match self {
            Self::Bytes => json!({"do": "append", "data": BASE64.encode(message), "binary": true}),
            _ => json!({"do": "append", "data": String::from_utf8_lossy(&message)}),
        }
    }

    /// What `stored` or a result says when exactly these messages are there.
    fn all(self, messages: &[Vec<u8>]) -> (&'static str, Value) {
        match self {
            Self::Json => {
                let list = messages.iter().map(|text| serde_json::from_slice(text).unwrap_or_default());
                ("json", Value::Array(list.collect()))
            }
            Self::Text => ("text", String::from_utf8_lossy(&messages.concat()).into()),
            Self::Bytes => ("base64", BASE64.encode(messages.concat()).into()),
        }
    }
}

/// The faults of a request that carries data, as rules of a case.
fn write_faults() -> Vec<(String, Value)> {
    let mut faults: Vec<(String, Value)> = vec![
        ("reset-before".into(), json!({"fault": "reset-before"})),
        ("reset-after".into(), json!({"fault": "reset-after"})),
        ("truncate-request".into(), json!({"fault": "truncate-request"})),
        ("duplicate".into(), json!({"fault": "duplicate"})),
        ("delay".into(), json!({"fault": "delay", "ms": 30})),
        ("delay-after".into(), json!({"fault": "delay-after", "ms": 30})),
        ("reorder".into(), json!({"fault": "reorder", "ms": 50})),
        ("cut-body".into(), json!({"fault": "cut-body"})),
        ("stall".into(), json!({"fault": "stall", "ms": 30})),
    ];
    for status in [429, 500, 502, 503, 504] {
        faults.push((format!("status-{status}"), json!({"fault": "status", "status": status})));
    }
    for status in [500, 502, 503, 504] {
        faults.push((format!("status-{status}-after"), json!({"fault": "status-after", "status": status})));
    }
    faults
}

/// Which batch meets the fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Middle,
    Last,
    Closing,
}

impl Place {
    const ALL: [Self; 4] = [Self::First, Self::Middle, Self::Last, Self::Closing];

    fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Middle => "middle",
            Self::Last => "last",
            Self::Closing => "closing",
        }
    }

    fn seq(self) -> usize {
        match self {
            Self::First => 0,
            Self::Middle => 1,
            Self::Last => MESSAGES / BATCH - 1,
            Self::Closing => MESSAGES / BATCH,
        }
    }
}

/// By fault.
fn producer_cases() -> Vec<Vec<Case>> {
    let mut faults = Vec::new();
    for (fault, rule) in write_faults() {
        let mut cases = Vec::new();
        for place in Place::ALL {
            for in_flight in [1, 5] {
                for kind in Kind::ALL {
                    for claim in [false, true] {
                        cases.push(producer_case(&fault, &rule, place, in_flight, kind, claim));
                    }
                }
            }
        }
        faults.push(cases);
    }
    faults
}

fn producer_case(fault: &str, rule: &Value, place: Place, in_flight: u64, kind: Kind, claim: bool) -> Case {
    let with = |header: &str, value: String, times: u64| {
        let mut rule = rule.clone();
        rule["method"] = "POST".into();
        rule["header"] = json!({header: value});
        rule["times"] = times.into();
        rule
    };
    let times = if fault == "reorder" { 1 } else { 2 };
    // Of the request that learns of the fence nobody could tell whether it was stored: see the written case about that.
    let network = if claim && place == Place::First {
        vec![with("producer-epoch", (HELD_EPOCH + 1).to_string(), times)]
    } else {
        vec![with("producer-seq", place.seq().to_string(), times)]
    };
    let mut steps = Vec::new();
    let mut messages = Vec::new();
    if claim {
        let held = match kind {
            Kind::Json => "[\"held\"]",
            _ => "held",
        };
        steps.push(json!({"server": "POST", "with": {"body": held, "headers": {
            "content-type": match kind { Kind::Json => "application/json", Kind::Text => "text/plain", Kind::Bytes => "application/octet-stream" },
            "producer-id": "p", "producer-epoch": HELD_EPOCH.to_string(), "producer-seq": "0",
        }}}));
        messages.push(match kind {
            Kind::Json => b"\"held\"".to_vec(),
            _ => b"held".to_vec(),
        });
    }
    steps.push(json!({"network": network}));
    let mut actions: Vec<Value> = (0..MESSAGES).map(|number| kind.append(number)).collect();
    messages.extend((0..MESSAGES).map(|number| kind.message(number)));
    if place == Place::Closing {
        let mut close = kind.append(MESSAGES);
        close["do"] = "close".into();
        actions.push(close);
        messages.push(kind.message(MESSAGES));
    } else {
        actions.push(json!({"do": "flush"}));
        actions.push(json!({"do": "detach"}));
    }
    steps.push(json!({
        "client": "producer",
        "with": {
            "producerId": "p", "autoClaim": claim, "maxInFlight": in_flight, "maxBatchItems": BATCH, "lingerMs": 5,
            "retry": {"initialDelayMs": 5, "maxDelayMs": 50}, "actions": actions,
        },
        "expect": {
            "outcomes": {"$each": {"ok": true}},
            "deliveries": {"$each": {"ok": true}},
            "epoch": if claim { HELD_EPOCH + 1 } else { 0 },
        },
    }));
    let (name, all) = kind.all(&messages);
    steps.push(json!({"stored": {name: all, "closed": place == Place::Closing}}));
    // That the fault was met at all.
    steps.push(json!({"requests": {"only": {"method": "POST", "fault": {"$present": true}}, "min": 1}}));
    Case {
        name: format!(
            "producer/{fault}/{}-of-{in_flight}-{}{}",
            place.name(),
            kind.name(),
            if claim { "-claim" } else { "" }
        ),
        claim: format!("What a producer was told is stored is stored once and in order through {fault}"),
        rules: ["C-PROD-3", "C-PROD-5", "C-PROD-6", "C-PROD-8"].map(str::to_owned).to_vec(),
        requires: Vec::new(),
        defects: Vec::new(),
        stream: Some(kind.name().to_owned()),
        holds: None,
        steps,
    }
}

/// The faults of a read, as rules of a case.
fn read_faults() -> Vec<(String, Value)> {
    let mut faults: Vec<(String, Value)> = vec![
        ("reset-before".into(), json!({"fault": "reset-before"})),
        ("reset-after".into(), json!({"fault": "reset-after"})),
        ("delay".into(), json!({"fault": "delay", "ms": 30})),
        ("stall".into(), json!({"fault": "stall", "at": 50, "ms": 30})),
    ];
    for status in [429, 500, 502, 503, 504] {
        faults.push((format!("status-{status}"), json!({"fault": "status", "status": status})));
    }
    for at in [0, 1, 700] {
        faults.push((format!("cut-body-{at}"), json!({"fault": "cut-body", "at": at})));
    }
    for at in [0, 61, 333] {
        faults.push((format!("cut-sse-{at}"), json!({"fault": "cut-sse", "at": at})));
        faults.push((format!("end-sse-{at}"), json!({"fault": "end-sse", "at": at})));
    }
    faults
}

/// By fault.
fn reader_cases() -> Vec<Vec<Case>> {
    let mut faults = Vec::new();
    for (fault, rule) in read_faults() {
        let mut cases = Vec::new();
        for live in [json!(false), json!("long-poll"), json!("sse"), json!(true)] {
            // Only an answer that is an event stream can be cut as one.
            if fault.contains("-sse") && live != "sse" && live != true {
                continue;
            }
            for kind in Kind::ALL {
                if fault.contains("-sse") && live == true && !matches!(kind, Kind::Json) {
                    continue;
                }
                cases.push(reader_case(&fault, &rule, &live, kind));
            }
        }
        faults.push(cases);
    }
    faults
}

fn reader_case(fault: &str, rule: &Value, live: &Value, kind: Kind) -> Case {
    // Text over SSE loses CR (S-SSE-6), which is not what these cases are about.
    let message = |number: usize| match kind {
        Kind::Text => format!("<{number} é€\n>").repeat(20).into_bytes(),
        Kind::Bytes => format!("<{number} é€>").repeat(20).into_bytes(),
        Kind::Json => format!("{{\"n\":{number},\"text\":\"{}\"}}", "é€".repeat(50)).into_bytes(),
    };
    let content_type = match kind {
        Kind::Json => "application/json",
        Kind::Text => "text/plain",
        Kind::Bytes => "application/octet-stream",
    };
    let post = |from: usize| {
        let messages: Vec<Vec<u8>> = (from..from + 5).map(message).collect();
        let body = match kind {
            Kind::Json => [b"[".to_vec(), messages.join(&b','), b"]".to_vec()].concat(),
            _ => messages.concat(),
        };
        json!({"server": "POST", "with": {"body": String::from_utf8_lossy(&body), "headers": {"content-type": content_type}}})
    };
    let is_sse = fault.contains("-sse");
    let network: Vec<Value> = [1, 3]
        .into_iter()
        .map(|nth: u64| {
            let mut rule = rule.clone();
            rule["method"] = "GET".into();
            rule["nth"] = nth.into();
            if is_sse {
                rule["query"] = "live=sse".into();
            }
            rule
        })
        .collect();
    let mut steps: Vec<Value> = (0..4).map(|part| post(part * 5)).collect();
    let (later, closing) = (post(20), json!({"server": "POST", "with": {"headers": {"stream-closed": "true"}}}));
    let read = json!({"path": "${stream}", "live": live, "timeoutMs": 15000});
    let (name, all) = kind.all(&(0..25).map(message).collect::<Vec<_>>());
    let name = if name == "text" { "data" } else { name };
    let expect = json!({name: all, "streamClosed": true, "upToDate": true});
    if *live == false {
        steps.extend([later, closing, json!({"network": network})]);
        steps.push(json!({"client": "read", "with": read, "expect": expect}));
    } else {
        steps.push(json!({"network": network}));
        steps.push(json!({"client": "read", "with": read, "background": "reader"}));
        steps.push(json!({"wait": {"only": {"method": "GET", "query": {"live": {"$present": true}}}, "requests": 1}}));
        steps.extend([later, closing]);
        steps.push(json!({"join": "reader", "expect": expect}));
    }
    steps.push(json!({"requests": {"only": {"method": "GET", "fault": {"$present": true}}, "min": 1}}));
    let mode = live.as_str().unwrap_or(if *live == true { "auto" } else { "catch-up" });
    Case {
        name: format!("reader/{fault}/{mode}-{}", kind.name()),
        claim: format!("What is stored is read once and in order through {fault}"),
        rules: ["C-READ-1", "C-READ-3", "C-READ-10", "C-SSE-8", "C-SSE-12"].map(str::to_owned).to_vec(),
        requires: Vec::new(),
        defects: Vec::new(),
        stream: Some(kind.name().to_owned()),
        holds: None,
        steps,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::collections::HashSet;

    #[test]
    fn generated_cases_are_sound_and_have_names_of_their_own() {
        let cases = generated_cases(MatrixSize::Full);
        let names: HashSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), cases.len());
        for case in &cases {
            case.check().unwrap();
        }
    }

    #[test]
    fn a_short_run_meets_every_fault_place_and_kind() {
        let short = generated_cases(MatrixSize::Short);
        let has = |part: &str| assert!(short.iter().any(|case| case.name.contains(part)), "{part}");
        for (fault, _) in write_faults() {
            has(&format!("producer/{fault}/"));
        }
        for (fault, _) in read_faults() {
            has(&format!("reader/{fault}/"));
        }
        for place in Place::ALL {
            for in_flight in [1, 5] {
                has(&format!("{}-of-{in_flight}", place.name()));
            }
        }
        for kind in Kind::ALL {
            has(&format!("{}-claim", kind.name()));
        }
    }

    #[test]
    fn over_all_faults_a_short_run_meets_what_a_full_one_does() {
        // What comes behind the fault in a name: everything else that a case is about.
        let others = |size| -> HashSet<String> {
            let name = |case: Case| Some(case.name.rsplit_once('/')?.1.to_owned());
            generated_cases(size).into_iter().filter_map(name).collect()
        };
        assert_eq!(others(MatrixSize::Short), others(MatrixSize::Full));
    }
}
