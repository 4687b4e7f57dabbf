//! Answers to a single request, any status with any headers, in any order with failures of the network: the call comes
//! to an end within its policy; success is success; what cannot be repeated is not sent again once it may have been
//! carried out; an error that leaves the outcome open says so (T-CLASS, T-RETRY, C-RETRY-2, C-RETRY-3).

use std::time::{Duration, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use everstream::proto::call::{Call, Step};
use everstream::proto::offset::ReadFrom;
use everstream::proto::request::{Repeat, Request};
use everstream::proto::response::{Disconnect, ResponseHead};
use everstream::{AppendOptions, Backoff, CreateOptions, Error, ErrorKind, RetryPolicy};
use http::{Method, StatusCode};

use crate::input::answer_headers;

/// One input.
pub fn run(data: &[u8]) {
    // An input that is too short ends the story early; what was told until then has been checked.
    let _ = one_call(&mut Unstructured::new(data));
}

fn one_call(u: &mut Unstructured<'_>) -> Result<()> {
    let request = request(u)?;
    let policy = policy(u)?;
    let unsafe_to_repeat = request.repeat == Repeat::Unsafe;
    let is_write = matches!(request.method, Method::POST | Method::PUT | Method::DELETE);
    let (max_retries, on_500) = (policy.max_retries, policy.plain_appends_on_500);
    let mut call = Call::new(request, policy, u.arbitrary()?);
    let mut now = Duration::from_millis(u.arbitrary::<u32>()?.into());
    let mut may_have_acted = false;
    let mut tries = 0_u32;
    // A policy may have no limit; the story does.
    while !u.is_empty() {
        call.handle_sent(now);
        tries += 1;
        assert!(max_retries.is_none_or(|max| tries <= max.saturating_add(1)), "{tries} tries, {max_retries:?} retries");
        now = now.saturating_add(Duration::from_millis(u.arbitrary::<u16>()?.into()));
        let mut success = false;
        let step = if u.ratio(1, 4)? {
            let cause = Disconnect { not_sent: u.arbitrary()?, error: Error::new(ErrorKind::Network, "reset") };
            may_have_acted |= !cause.not_sent;
            call.handle_disconnect(cause, now)
        } else {
            let head = head(u)?;
            success = head.status.is_success();
            may_have_acted |= head.is_transient() && !head.did_nothing();
            let did_nothing = head.did_nothing() || (head.status == 500 && on_500);
            let step = call.handle_response(head, now);
            if matches!(step, Step::Retry(..)) {
                assert!(did_nothing || !unsafe_to_repeat, "sent again, although it may have been carried out");
            }
            step
        };
        match step {
            Step::Retry(at, error) => {
                assert!(!success && at >= now);
                assert!(!error.code().is_empty() && !error.to_string().is_empty());
                now = at;
            }
            Step::Done(Ok(_)) => {
                assert!(success || call.request().method == Method::DELETE, "a refusal is no success");
                return Ok(());
            }
            Step::Done(Err(error)) => {
                assert!(!success, "{error}");
                assert!(!error.outcome_unknown() || (is_write && may_have_acted), "{error:?}");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn request(u: &mut Unstructured<'_>) -> Result<Request> {
    let body = Bytes::from_static(b"x");
    let seq: Option<String> = u.arbitrary()?;
    let made = match u.int_in_range(0..=6_u8)? {
        0 => Request::append(body, None, &AppendOptions { seq, ..AppendOptions::default() }, u.arbitrary()?),
        1 => Request::create(&CreateOptions { content_type: seq, ..CreateOptions::default() }),
        2 => Request::produce((u.arbitrary()?, u.arbitrary()?, u.arbitrary()?), u.arbitrary()?, body, u.arbitrary()?),
        3 => Ok(Request::delete()),
        4 => Ok(Request::head()),
        5 => Ok(Request::read(&ReadFrom::Now, None, seq.as_deref())),
        _ => Ok(Request::close()),
    };
    Ok(made.unwrap_or_else(|error| {
        assert_eq!(*error.kind(), ErrorKind::InvalidArgument, "{error}");
        Request::head()
    }))
}

/// A policy that its own check lets pass.
fn policy(u: &mut Unstructured<'_>) -> Result<RetryPolicy> {
    let backoff = Backoff { initial: u.arbitrary()?, max: u.arbitrary()?, multiplier: u.arbitrary()? };
    let policy = RetryPolicy {
        backoff,
        max_retries: u.arbitrary::<Option<u8>>()?.map(u32::from),
        max_elapsed: u.arbitrary()?,
        plain_appends_on_500: u.arbitrary()?,
    };
    Ok(if policy.validate().is_ok() { policy } else { RetryPolicy::default() })
}

fn head(u: &mut Unstructured<'_>) -> Result<ResponseHead> {
    const STATUSES: &[u16] = &[200, 201, 204, 304, 400, 403, 404, 409, 410, 413, 429, 500, 502, 503, 504];
    let status = if u.ratio(3, 4)? { *u.choose(STATUSES)? } else { u.int_in_range(100..=999)? };
    let status = StatusCode::from_u16(status).expect("100 to 999 is a status");
    Ok(ResponseHead::new(status, answer_headers(u)?, UNIX_EPOCH + Duration::from_secs(784_111_770)))
}
