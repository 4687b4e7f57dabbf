//! The order of requests that one connection has sent without waiting for answers, and what it keeps from one to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::App;
use super::alarm::Alarm;
use crate::engine::Sink;

/// Whose turn it is on a connection. A request keeps the turn until it is answered, unless it passes it on before: then
/// the next request may begin, and what it does comes after what this one does.
///
/// Only the task of the connection uses it, so that relaxed order is enough.
#[derive(Default)]
pub(crate) struct Turn {
    is_passed: AtomicBool,
    alarm: Mutex<Option<Box<Alarm>>>,
    sink: Option<Arc<dyn Sink>>,
}

impl Turn {
    /// For a connection whose live answers may be written past it, while it waits for their next part.
    pub(crate) fn new(sink: Option<Arc<dyn Sink>>) -> Self {
        Self { sink, ..Self::default() }
    }

    /// Where live answers may be written while the connection waits for their next part, if that is possible.
    pub(super) fn sink(&self) -> Option<&Arc<dyn Sink>> {
        self.sink.as_ref()
    }

    /// A request begins and has the turn.
    pub(crate) fn take(&self) {
        self.is_passed.store(false, Ordering::Relaxed);
    }

    /// The next request may begin.
    pub(super) fn pass(&self) {
        self.is_passed.store(true, Ordering::Relaxed);
    }

    /// Whether the last request has passed the turn on.
    pub(crate) fn is_passed(&self) -> bool {
        self.is_passed.load(Ordering::Relaxed)
    }

    /// The alarm of the connection, or a new one.
    pub(super) fn take_alarm(&self, app: &App) -> Box<Alarm> {
        self.alarm.lock().take().unwrap_or_else(|| Box::new(Alarm::new(app)))
    }

    /// Keeps an alarm for the next request.
    pub(super) fn keep_alarm(&self, alarm: Box<Alarm>) {
        *self.alarm.lock() = Some(alarm);
    }
}
