//! What the network does to one exchange, drawn from the seed.

use std::time::Duration;

use everstream::proto::jitter::Jitter;

/// The fate of one request and its answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fate {
    /// Until the request reaches the server.
    pub(crate) request_delay: Duration,
    /// Until each piece of the answer reaches the client.
    pub(crate) answer_delay: Duration,
    pub(crate) fault: Option<Fault>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Reset before the server saw it; the client may or may not know that nothing left.
    ResetBefore { known: bool },
    /// The server acted; its answer is lost and the connection reset.
    ResetAfter,
    /// Nothing is ever heard of it: no answer, no reset. The server acted, or not.
    Silence { acted: bool },
    /// A status instead of the answer; `acted` when the server handled the request all the same.
    Status { status: u16, acted: bool },
    /// The request is handled twice; the client hears the answer to the second.
    Duplicate,
    /// A copy of the request arrives once more, later; nobody hears its answer.
    LateCopy(Duration),
    /// The answer's body breaks off here, as a part of its length; cleanly, where that can be (an event stream).
    Cut { at: f64, clean: bool },
}

/// Draws the fate of a request at a moment.
pub(crate) fn fate(jitter: &mut Jitter, rate: f64) -> Fate {
    let mut below = |limit: u64| jitter.next_u64() % limit;
    let request_delay = Duration::from_millis(below(20));
    let answer_delay = Duration::from_millis(below(20));
    let hit = (below(1 << 20) as f64) < rate * f64::from(1 << 20);
    let status = [500, 502, 503, 504, 429][below(5) as usize];
    let fault = hit.then(|| match below(10) {
        0 => Fault::ResetBefore { known: below(2) == 0 },
        1 | 2 => Fault::ResetAfter,
        3 => Fault::Silence { acted: below(2) == 0 },
        4 => Fault::Status { status, acted: false },
        // 429 and 503 say that nothing was done, so a server that acted does not send them.
        5 => Fault::Status { status: [500, 502, 504][below(3) as usize], acted: true },
        6 => Fault::Duplicate,
        7 => Fault::LateCopy(Duration::from_millis(below(4000))),
        _ => Fault::Cut { at: below(1000) as f64 / 1000.0, clean: below(2) == 0 },
    });
    Fate { request_delay, answer_delay, fault }
}
