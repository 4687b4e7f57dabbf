//! A single request through its retries: everything but reads and producers (T-RETRY).

use super::Instant;
use super::jitter::Jitter;
use super::request::{Operation, Repeat, Request};
use super::response::{Disconnect, ResponseHead};
use super::retry::{RetryPolicy, RetryState};
use crate::error::{Error, Result};

/// One request until it is answered for good.
///
/// The driver sends [`request`](Self::request), reports what came of it, and does what [`Step`] says.
#[derive(Debug)]
pub struct Call {
    request: Request,
    policy: RetryPolicy,
    retry: RetryState,
    jitter: Jitter,
    /// Whether an earlier try left and was never answered.
    unanswered: bool,
}

/// What to do after a try.
#[derive(Debug)]
pub enum Step {
    /// It is over.
    Done(Result<ResponseHead>),
    /// Send it again at this moment. The error says why.
    Retry(Instant, Error),
}

impl Call {
    /// A request and how it may be repeated.
    pub fn new(request: Request, policy: RetryPolicy, jitter_seed: u64) -> Self {
        Self { request, policy, retry: RetryState::default(), jitter: Jitter::new(jitter_seed), unanswered: false }
    }

    /// The request to send.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// A try begins.
    pub fn handle_sent(&mut self, now: Instant) {
        self.retry.starts(now);
    }

    /// The server answered.
    pub fn handle_response(&mut self, head: ResponseHead, now: Instant) -> Step {
        if head.status.is_success() {
            return Step::Done(Ok(head));
        }
        // A repeated DELETE finds nothing: the first one did it.
        if self.request.operation == Operation::Delete && self.unanswered && head.status == 404 {
            return Step::Done(Ok(head));
        }
        let error = head.to_error(&self.request);
        if !head.is_transient() {
            // After a lost answer a conflict may be with the very data that the lost try stored.
            let unknown = self.unanswered && self.request.method == http::Method::POST && head.status == 409;
            return Step::Done(Err(error.with_outcome_unknown(unknown)));
        }
        let may_have_acted = !head.did_nothing();
        let allowed = match self.request.repeat {
            Repeat::Safe => true,
            // A gateway's 502 or 504 says nothing about what the server behind it did.
            Repeat::Unsafe => head.did_nothing() || (head.status == 500 && self.policy.plain_appends_on_500),
        };
        self.unanswered |= may_have_acted;
        self.again(error, allowed, now)
    }

    /// No answer came, or only a part of one.
    pub fn handle_disconnect(&mut self, cause: Disconnect, now: Instant) -> Step {
        self.unanswered |= !cause.not_sent;
        self.again(cause.error, cause.not_sent || self.request.repeat == Repeat::Safe, now)
    }

    /// A try could not be made, and no other will be. What became of those before it may still be unknown.
    pub fn handle_fatal(&self, error: Error) -> Error {
        let unknown = error.outcome_unknown() || self.outcome_unknown();
        error.with_outcome_unknown(unknown)
    }

    /// Whether a try that had no answer may have changed something.
    fn outcome_unknown(&self) -> bool {
        self.unanswered && !self.request.method.is_safe()
    }

    fn again(&mut self, error: Error, allowed: bool, now: Instant) -> Step {
        let delay = match allowed {
            true => self.retry.failed(&self.policy, error.retry_after(), &mut self.jitter, now),
            false => None,
        };
        match delay {
            Some(delay) => Step::Retry(now.saturating_add(delay), error),
            None => Step::Done(Err(error.with_outcome_unknown(self.outcome_unknown()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::options::AppendOptions;
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};
    use std::time::{Duration, UNIX_EPOCH};

    const NOW: Instant = Duration::ZERO;

    fn answer(status: u16) -> ResponseHead {
        ResponseHead::new(StatusCode::from_u16(status).unwrap(), HeaderMap::new(), UNIX_EPOCH)
    }

    fn lost(not_sent: bool) -> Disconnect {
        Disconnect { not_sent, error: Error::new(ErrorKind::Network, "reset") }
    }

    fn append(seq: Option<&str>) -> Call {
        let options = AppendOptions { seq: seq.map(str::to_owned), ..AppendOptions::default() };
        let request = Request::append(Bytes::from_static(b"x"), None, &options, false).unwrap();
        Call::new(request, RetryPolicy::default(), 7)
    }

    fn error(step: Step) -> Error {
        match step {
            Step::Done(Err(error)) => error,
            other => panic!("not an error: {other:?}"),
        }
    }

    #[test]
    fn c4_a_plain_append_is_not_resent_when_it_may_have_been_stored() {
        for status in [502, 504] {
            assert!(error(append(None).handle_response(answer(status), NOW)).outcome_unknown(), "{status}");
        }
        assert!(error(append(None).handle_disconnect(lost(false), NOW)).outcome_unknown());
    }

    #[test]
    fn a_plain_append_is_resent_when_the_server_did_nothing_with_it() {
        for status in [429, 503, 500] {
            assert!(matches!(append(None).handle_response(answer(status), NOW), Step::Retry(..)), "{status}");
        }
        assert!(matches!(append(None).handle_disconnect(lost(true), NOW), Step::Retry(..)));
        let mut strict = append(None);
        strict.policy.plain_appends_on_500 = false;
        assert!(error(strict.handle_response(answer(500), NOW)).outcome_unknown());
    }

    #[test]
    fn a_conflict_after_a_lost_answer_may_mean_stored() {
        let mut call = append(Some("1"));
        assert!(matches!(call.handle_disconnect(lost(false), NOW), Step::Retry(..)));
        assert!(error(call.handle_response(answer(409), NOW)).outcome_unknown());
        assert!(!error(append(Some("1")).handle_response(answer(409), NOW)).outcome_unknown());
    }

    #[test]
    fn what_a_lost_try_did_is_unknown_also_where_no_other_can_be_made() {
        let fatal = || Error::invalid_argument("no header");
        let mut call = append(Some("1"));
        assert!(!call.handle_fatal(fatal()).outcome_unknown());
        assert!(matches!(call.handle_disconnect(lost(true), NOW), Step::Retry(..)));
        assert!(!call.handle_fatal(fatal()).outcome_unknown());
        assert!(matches!(call.handle_disconnect(lost(false), NOW), Step::Retry(..)));
        assert!(call.handle_fatal(fatal()).outcome_unknown());
        let mut head = Call::new(Request::head(), RetryPolicy::default(), 7);
        assert!(matches!(head.handle_disconnect(lost(false), NOW), Step::Retry(..)));
        assert!(!head.handle_fatal(fatal()).outcome_unknown());
    }

    #[test]
    fn a_delete_that_finds_nothing_after_a_lost_answer_is_done() {
        let mut call = Call::new(Request::delete(), RetryPolicy::default(), 7);
        assert!(
            error(Call::new(Request::delete(), RetryPolicy::default(), 7).handle_response(answer(404), NOW)).code()
                == "NOT_FOUND"
        );
        assert!(matches!(call.handle_disconnect(lost(false), NOW), Step::Retry(..)));
        assert!(matches!(call.handle_response(answer(404), NOW), Step::Done(Ok(_))));
    }

    #[test]
    fn c5_retries_give_up() {
        let mut call = Call::new(Request::head(), RetryPolicy::default(), 7);
        let mut now = NOW;
        for _ in 0..20 {
            call.handle_sent(now);
            match call.handle_disconnect(lost(true), now) {
                Step::Retry(at, _) => now = at,
                Step::Done(result) => {
                    assert_eq!(result.unwrap_err().code(), "NETWORK_ERROR");
                    return;
                }
            }
        }
        panic!("still trying after 20 tries");
    }
}
