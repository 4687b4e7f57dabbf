//! Carrying out a plan: request in, fault out. No sockets, no clock.

use std::collections::HashMap;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, StatusCode};

use crate::answer::Answer;
use crate::fault::{CutAt, Fault, FaultKind};
use crate::plan::{FaultPlan, Source};
use crate::rng::Draws;

/// A [`FaultPlan`] at work. Given the same requests in the same order, it decides the same.
#[derive(Debug)]
pub struct Decider {
    plan: FaultPlan,
    ordinal: u64,
    /// How many requests each rule of a script has matched.
    matched: Vec<u64>,
    /// How many times in a row a request has broken; one that got through is taken out.
    broken: HashMap<String, u32>,
}

impl Decider {
    /// Starts at the first request of the plan.
    pub fn new(plan: FaultPlan) -> Self {
        let rules = match &plan.source {
            Source::Scripted(rules) => rules.len(),
            Source::Seeded { .. } => 0,
        };
        Self { plan, ordinal: 0, matched: vec![0; rules], broken: HashMap::new() }
    }

    /// The fault that the next request meets, if any.
    pub fn decide(&mut self, request: &Parts) -> Option<Fault> {
        let ordinal = self.ordinal;
        self.ordinal += 1;
        match self.plan.source {
            Source::Scripted(_) => self.follow_script(request),
            Source::Seeded { seed, rate } => {
                let fault = self.plan.draw(Draws::new(seed, ordinal), rate, request);
                self.limit_run(request, fault)
            }
        }
    }

    fn follow_script(&mut self, request: &Parts) -> Option<Fault> {
        let Source::Scripted(rules) = &self.plan.source else {
            return None;
        };
        let mut decided = None;
        for (rule, matched) in rules.iter().zip(&mut self.matched) {
            if rule.matches(request) {
                decided = decided.or_else(|| rule.apply(*matched));
                *matched += 1;
            }
        }
        decided
    }

    fn limit_run(&mut self, request: &Parts, fault: Option<Fault>) -> Option<Fault> {
        let key = identity(request);
        if !fault.as_ref().is_some_and(|fault| fault.kind().breaks()) {
            self.broken.remove(&key);
            return fault;
        }
        let run = self.broken.entry(key).or_default();
        *run += 1;
        if *run > self.plan.max_consecutive {
            *run = 0;
            return None;
        }
        fault
    }
}

impl FaultPlan {
    fn draw(&self, mut draws: Draws, rate: f64, request: &Parts) -> Option<Fault> {
        if draws.part() >= rate {
            return None;
        }
        let fitting: Vec<_> = self.kinds.iter().copied().filter(|kind| fits(*kind, request)).collect();
        let kind = draws.pick(&fitting)?;
        Some(self.draw_details(kind, &mut draws, request))
    }

    fn draw_details(&self, kind: FaultKind, draws: &mut Draws, request: &Parts) -> Fault {
        match kind {
            // Never drawn, since it fits nothing.
            FaultKind::Answer => Fault::Answer(Box::new(Answer::new(StatusCode::SERVICE_UNAVAILABLE))),
            FaultKind::CutBody => Fault::CutBody { at: CutAt::Part(draws.part()) },
            FaultKind::CutSse => Fault::CutSse { after_bytes: draw_sse_cut(draws), clean: draws.coin() },
            FaultKind::Delay => Fault::Delay(up_to(self.max_delay, draws)),
            FaultKind::DelayAfter => Fault::DelayAfter(up_to(self.max_delay, draws)),
            FaultKind::Duplicate => Fault::Duplicate,
            FaultKind::Reorder => Fault::Reorder { bound: self.max_delay },
            FaultKind::ResetAfter => Fault::ResetAfter,
            FaultKind::ResetBefore => Fault::ResetBefore,
            FaultKind::Stall => {
                let at = if is_sse(request) { CutAt::Byte(draw_sse_cut(draws)) } else { CutAt::Part(draws.part()) };
                Fault::Stall { at, pause: up_to(self.max_stall, draws) }
            }
            FaultKind::Status => self.draw_status(&REFUSALS, false, draws),
            FaultKind::StatusAfter => self.draw_status(&FAILURES, true, draws),
            FaultKind::TruncateRequest => Fault::TruncateRequest,
        }
    }

    fn draw_status(&self, codes: &[StatusCode], after: bool, draws: &mut Draws) -> Fault {
        let code = draws.pick(codes).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let longest = u32::try_from(self.max_delay.as_secs()).unwrap_or(u32::MAX);
        let retry_after = draws.coin().then(|| draws.below(u64::from(longest) + 1) as u32);
        Fault::Status { code, retry_after, after }
    }
}

/// What a server or gateway answers when it has not done the work, or does not know.
const REFUSALS: [StatusCode; 5] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Those of the refusals that can follow work that was done: 429 promises that it was not.
const FAILURES: [StatusCode; 4] = [
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Whether a fault of this kind does anything to such a request that a real network could do.
fn fits(kind: FaultKind, request: &Parts) -> bool {
    match kind {
        FaultKind::Answer => false,
        FaultKind::CutBody => request.method == Method::GET && !is_sse(request),
        FaultKind::CutSse => is_sse(request),
        FaultKind::Stall => request.method == Method::GET,
        FaultKind::TruncateRequest => has_body(request),
        // RFC 9110 9.2.2: what is idempotent may be repeated on the way. The protocol makes a producer's append so.
        FaultKind::Duplicate => match request.method {
            Method::PUT | Method::DELETE => true,
            Method::POST => request.headers.contains_key("producer-id"),
            _ => false,
        },
        FaultKind::Reorder => request.method == Method::POST,
        FaultKind::Delay
        | FaultKind::DelayAfter
        | FaultKind::ResetAfter
        | FaultKind::ResetBefore
        | FaultKind::Status
        | FaultKind::StatusAfter => true,
    }
}

fn is_sse(request: &Parts) -> bool {
    request.method == Method::GET && request.uri.query().unwrap_or_default().split('&').any(|pair| pair == "live=sse")
}

fn has_body(request: &Parts) -> bool {
    request.headers.contains_key(TRANSFER_ENCODING)
        || request.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// What stays the same when a client sends a request again.
fn identity(request: &Parts) -> String {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (epoch, seq) = (header("producer-epoch"), header("producer-seq"));
    format!("{} {} {epoch} {seq}", request.method, request.uri.path())
}

fn up_to(longest: Duration, draws: &mut Draws) -> Duration {
    longest.mul_f64(draws.part())
}

/// Anywhere below 256 KiB, with as many cuts in the first bytes as around the second, fourth or thousandth event: an
/// SSE answer has no length to draw over.
fn draw_sse_cut(draws: &mut Draws) -> u64 {
    let magnitude = draws.below(19);
    draws.below(1 << magnitude)
}
