//! One line of a scripted plan: which requests, which fault.

use http::request::Parts;
use http::{HeaderName, Method};

use crate::fault::Fault;

/// Says which requests meet a fault. A new rule harms the first request of all; each method narrows or widens that.
///
/// `Rule::new(Fault::ResetAfter).method(Method::POST).nth(2)` harms the second POST and no other request.
#[derive(Debug, Clone)]
pub struct Rule {
    fault: Fault,
    method: Option<Method>,
    path: Option<String>,
    query: Option<String>,
    header: Option<(HeaderName, String)>,
    nth: u64,
    times: u64,
}

impl Rule {
    /// The first request meets `fault`.
    pub fn new(fault: Fault) -> Self {
        Self { fault, method: None, path: None, query: None, header: None, nth: 1, times: 1 }
    }

    /// Only requests with this method match.
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only requests whose path contains this text match.
    pub fn path(mut self, contains: impl Into<String>) -> Self {
        self.path = Some(contains.into());
        self
    }

    /// Only requests whose query contains this text match, such as `live=sse`.
    pub fn query(mut self, contains: impl Into<String>) -> Self {
        self.query = Some(contains.into());
        self
    }

    /// Only requests whose header has exactly this value match, such as `producer-seq: 3`.
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.header = Some((name, value.into()));
        self
    }

    /// The first match to harm, counted from 1. Default: 1.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = nth.max(1);
        self
    }

    /// How many matches to harm in a row. Default: 1.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Harms every match from the [`nth`](Self::nth) on.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// The fault for the request, when `seen` requests have matched before it.
    pub(crate) fn apply(&self, seen: u64) -> Option<Fault> {
        let first = self.nth - 1;
        (seen >= first && seen - first < self.times).then(|| self.fault.clone())
    }

    pub(crate) fn matches(&self, request: &Parts) -> bool {
        self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.path.as_ref().is_none_or(|path| request.uri.path().contains(path))
            && self.query.as_ref().is_none_or(|query| request.uri.query().unwrap_or_default().contains(query))
            && self.header.as_ref().is_none_or(|(name, value)| {
                request.headers.get(name).is_some_and(|found| found.as_bytes() == value.as_bytes())
            })
    }
}
