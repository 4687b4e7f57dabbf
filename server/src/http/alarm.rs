//! What ends a long-poll that nothing came for: its time, and the end of the server.
//!
//! A client that follows a stream asks again as soon as it is answered. A timer and a look at the end of the server for
//! each of its requests would be put into lists that all tasks share and taken out again, mostly for nothing. So one
//! of each is kept with the connection; a timer that goes off early is set again.

use tokio::time::Instant;

use super::App;
use crate::aside::Aside;

/// Goes off at a time, or when the server stops.
pub(super) struct Alarm {
    aside: Aside<'static, Event>,
    /// When the timer goes off, if there is one.
    set: Option<Instant>,
    is_over: bool,
}

enum Event {
    Timer,
    Stop,
}

impl Alarm {
    pub(super) fn new(app: &App) -> Self {
        let (stop, mut aside) = (app.stop().clone(), Aside::new());
        aside.add(async move {
            stop.cancelled_owned().await;
            Event::Stop
        });
        Self { aside, set: None, is_over: false }
    }

    /// Waits until then, or for the server to stop.
    ///
    /// # Cancel safety
    /// Nothing is lost by dropping the future.
    pub(super) async fn until(&mut self, at: Instant) {
        while !self.is_over {
            // One that goes off earlier is set again then.
            if self.set.is_none_or(|set| set > at) {
                self.set = Some(at);
                self.aside.add(async move {
                    tokio::time::sleep_until(at).await;
                    Event::Timer
                });
            }
            match self.aside.next().await {
                Event::Stop => self.is_over = true,
                Event::Timer => {
                    self.set = None;
                    if Instant::now() >= at {
                        return;
                    }
                }
            }
        }
    }
}
