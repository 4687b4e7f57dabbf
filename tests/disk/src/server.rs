//! A server on a simulated disk, all of it but HTTP, whose storage works when it is told to.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use everstream_server::clock::SystemClock;
use everstream_server::engine::{Engine, EngineError, Position};
use everstream_server::storage::{LogOptions, LogSteps, LogStorage, Storage};

use crate::SimDisk;

/// An engine over the storage `log` over a [`SimDisk`].
pub struct SteppedServer {
    /// What requests are made to.
    pub engine: Engine,
    /// What makes the storage work.
    pub steps: LogSteps,
    // Dropped last: it closes the queue.
    _storage: Arc<dyn Storage>,
}

/// Something that the engine does.
pub type Work<T> = Pin<Box<dyn Future<Output = Result<T, EngineError>>>>;

/// Looks whether it is done.
pub fn poll<T>(work: &mut Work<T>) -> Poll<Result<T, EngineError>> {
    work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

impl SteppedServer {
    /// Starts over what is on the disk.
    ///
    /// # Errors
    /// Of the disk, or about what is on it.
    pub fn open(disk: &SimDisk) -> io::Result<Self> {
        // So small that almost every step meets the end of a segment.
        Self::with_segments(disk, 3000)
    }

    /// As [`open`](Self::open), with segments of the log of this size.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_segments(disk: &SimDisk, bytes: u64) -> io::Result<Self> {
        let options = LogOptions::default().segment_bytes(bytes);
        let (storage, steps) = LogStorage::stepped(Arc::new(disk.clone()), options)?;
        let storage: Arc<dyn Storage> = Arc::new(storage);
        Ok(Self { engine: Engine::new(Arc::clone(&storage), Arc::new(SystemClock)), steps, _storage: storage })
    }

    /// Works until this is done.
    ///
    /// # Errors
    /// Those of the work.
    ///
    /// # Panics
    /// It does not end.
    pub fn wait<T>(&mut self, mut work: Work<T>) -> Result<T, EngineError> {
        for _ in 0..100 {
            if let Poll::Ready(result) = poll(&mut work) {
                return result;
            }
            self.steps.commit();
        }
        panic!("an operation does not end");
    }

    /// All that a stream holds, and whether it is closed.
    ///
    /// # Errors
    /// It cannot be read.
    ///
    /// # Panics
    /// A read does not get on.
    pub fn content(&mut self, name: &str) -> Result<(Vec<u8>, bool), EngineError> {
        let engine = self.engine.clone();
        let owned = name.to_owned();
        let stream = self.wait(Box::pin(async move { engine.stream(&owned).await }))?;
        let (mut content, mut at) = (Vec::new(), Position(0));
        loop {
            let reader = Arc::clone(&stream);
            let part = self.wait(Box::pin(async move { reader.read(at, 700).await }))?;
            content.extend(part.data.concat());
            if part.is_up_to_date() {
                return Ok((content, part.tail.closed));
            }
            assert!(part.next > at, "a read gets on");
            at = part.next;
        }
    }

    /// As [`content`](Self::content), of a stream that holds text.
    ///
    /// # Errors
    /// It cannot be read.
    ///
    /// # Panics
    /// It does not hold text.
    pub fn text(&mut self, name: &str) -> Result<(String, bool), EngineError> {
        let (content, closed) = self.content(name)?;
        Ok((String::from_utf8(content).expect("a stream of text"), closed))
    }
}
