//! The core's log in Python's `logging`, below the logger `everstream`.
//!
//! Nothing is logged before `logging` is imported and asked for a level. Records go through a bounded queue to one
//! thread, so that no thread that carries traffic waits for the interpreter.

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwapOption;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::runtime::{Born, is_exiting, lock, with_python};

/// Records that may wait; later ones are counted and dropped.
const QUEUE: usize = 10_000;

/// Python's level; what is below is not even formatted.
static LEVEL: AtomicU8 = AtomicU8::new(u8::MAX);
static DROPPED: AtomicU64 = AtomicU64::new(0);
/// Not behind a lock, which a fork could copy locked.
static QUEUE_END: ArcSwapOption<(Born, SyncSender<Record>)> = ArcSwapOption::const_empty();

struct Record {
    level: u8,
    logger: String,
    message: String,
}

/// Sets from which of Python's levels on there is something to log.
#[pyfunction]
pub(crate) fn set_log_level(level: u8) {
    if level != u8::MAX && QUEUE_END.load().as_ref().is_none_or(|end| !end.0.is_here()) {
        QUEUE_END.store(Some(Arc::new((Born::now(), start()))));
    }
    let before = LEVEL.swap(level, Ordering::Relaxed);
    if before == u8::MAX && level != u8::MAX {
        // Fails when the process has a subscriber already: this one, or that of a command, which then logs.
        let _ = tracing::subscriber::set_global_default(ToPython);
    }
    if before != level {
        // Each place that logs remembers whether somebody listened.
        tracing::callsite::rebuild_interest_cache();
    }
}

fn python_level(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

struct ToPython;

/// Events only: spans would need a registry, whose locks a fork could copy locked, and `logging` has none.
impl Subscriber for ToPython {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !metadata.is_span()
            && metadata.target().starts_with("everstream")
            && python_level(*metadata.level()) >= LEVEL.load(Ordering::Relaxed)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut message = Message::default();
        event.record(&mut message);
        let record =
            Record { level: python_level(*metadata.level()), logger: logger(metadata.target()), message: message.0 };
        if let Some(end) = &*QUEUE_END.load()
            && end.0.is_here()
            && let Err(TrySendError::Full(_)) = end.1.try_send(record)
        {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// `everstream_server::http` becomes `everstream.server`, everything of the client `everstream.client`.
fn logger(target: &str) -> String {
    let krate = target.split("::").next().unwrap_or_default();
    match krate {
        "everstream" => "everstream.client".to_owned(),
        other => other.replacen('_', ".", 1),
    }
}

fn start() -> SyncSender<Record> {
    let (sender, records) = sync_channel::<Record>(QUEUE);
    // Without the thread nothing is logged, which is no reason to fail.
    let _ = std::thread::Builder::new().name("everstream-log".to_owned()).spawn(move || {
        let records = Mutex::new(records);
        // Entered once: entering anew for each record would take a lock of CPython's each time, which a fork can copy
        // locked and the child then waits for.
        with_python(|py| {
            while let Some(record) = py.detach(|| next(&records)) {
                // What a handler raises is `logging`'s to tell; without `logging` there is nobody to tell.
                let _ = log(py, &record);
            }
        });
    });
    sender
}

fn next(records: &Mutex<Receiver<Record>>) -> Option<Record> {
    let record = lock(records).recv().ok();
    while is_exiting() {
        // The way back from here leads into an interpreter that is no more; the thread ends with the process.
        std::thread::park();
    }
    record
}

fn log(py: Python<'_>, record: &Record) -> PyResult<()> {
    let logger = py.import("logging")?.call_method1("getLogger", (&record.logger,))?;
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        let message = format!("{dropped} records were dropped: logging is slower than what is logged");
        logger.call_method1("warning", (message,))?;
    }
    logger.call_method1("log", (record.level, "%s", &record.message)).map(drop)
}

/// The message, then the fields as `name=value`.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            let fields = std::mem::take(&mut self.0);
            write!(self.0, "{value:?}{fields}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}
