//! Stored bytes that lie in a file as well. The kernel sends them from there without a copy (`sendfile`), and a catch-up costs
//! about half.
//!
//! # What is sent
//! The bytes of an answer are in memory, checked. What the kernel sends is what it has of the file at that moment, and nobody looks
//! at it on its way. So it is compared with the checked bytes before, and that holds for a [`MOMENT`]; then it is compared anew. Whoever asks
//! first in a moment gets the bytes from memory: a reader alone would pay for a comparison and gain nothing. Readers that catch up come in crowds.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::disk::DiskFile;
use super::files::name_of;

/// How long a comparison holds.
const MOMENT: Duration = Duration::from_secs(1);
/// So many spans are known in a moment. Each has [`FileSpan::SMALLEST`] bytes at least, so these are a gigabyte or more.
const MOST: usize = 16 << 10;
/// Bytes that are compared at a time: they stay in the processor's cache in between.
const COMPARED: usize = 64 << 10;

/// Where bytes lie in a file.
#[derive(Clone)]
pub struct FileSpan {
    file: Arc<dyn DiskFile>,
    /// Names the file.
    number: u64,
    at: u64,
    trust: Arc<Trust>,
    /// What the file has is what memory has.
    until: Option<Instant>,
}

impl FileSpan {
    /// Fewer bytes are as well copied.
    pub(crate) const SMALLEST: usize = 64 << 10;

    pub(super) fn new(file: Arc<dyn DiskFile>, number: u64, at: u64, trust: Arc<Trust>) -> Self {
        Self { file, number, at, trust, until: None }
    }

    /// Two spans of a file, the second `len` bytes behind the first.
    #[cfg(test)]
    pub(crate) fn pair(file: Arc<dyn DiskFile>, at: u64, len: u64) -> [Self; 2] {
        let first = Self::new(file, 1, at, Arc::default());
        [first.clone(), Self { at: at + len, ..first }]
    }

    /// The file and the place in it where `bytes`, which are those of the span, can be sent from now; `None` if they are to be sent
    /// from memory.
    pub(crate) fn place_of(&mut self, bytes: &[u8], now: Instant) -> Option<(BorrowedFd<'_>, u64)> {
        if self.until.is_none_or(|until| until <= now) {
            self.file.descriptor()?;
            let key = Key { number: self.number, at: self.at, len: bytes.len() };
            self.until = match self.trust.ask(key, now) {
                Trusted::First => None,
                Trusted::Until(until) => Some(until),
                Trusted::NotYet => self.has(bytes).then(|| self.trust.note(key, now)),
            };
            self.until?;
        }
        Some((self.file.descriptor()?, self.at))
    }

    /// So many bytes of it are sent.
    pub(crate) fn advance(&mut self, sent: usize) {
        self.at += sent as u64;
    }

    /// Whether the file has these bytes in the kernel's memory.
    fn has(&self, bytes: &[u8]) -> bool {
        let parts = (self.at..).step_by(COMPARED).zip(bytes.chunks(COMPARED));
        for (at, part) in parts {
            match self.file.read_at_once(at, part.len()) {
                Ok(read) if read == part => {}
                Ok(_) => {
                    let file = name_of(self.number);
                    tracing::error!(
                        file,
                        at,
                        "damaged: the file has other bytes than memory, which are served; stop the server and run `everstream fsck`"
                    );
                    return false;
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        let file = name_of(self.number);
                        tracing::warn!(file, at, %error, "what memory has cannot be read from its file; it is served from memory");
                    }
                    return false;
                }
            }
        }
        true
    }
}

impl fmt::Debug for FileSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSpan").field("number", &self.number).field("at", &self.at).finish_non_exhaustive()
    }
}

/// Which spans were asked for, and which compared, in this moment and in the one before.
pub(super) struct Trust(Mutex<Known>);

struct Known {
    begun: Instant,
    now: HashMap<Key, Seen>,
    before: HashMap<Key, Seen>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    number: u64,
    at: u64,
    len: usize,
}

#[derive(Clone, Copy)]
enum Seen {
    Asked(Instant),
    Compared(Instant),
}

/// Whether a file can be trusted to have the bytes of a span.
#[derive(Debug, PartialEq, Eq)]
enum Trusted {
    /// Nobody has asked a moment ago.
    First,
    NotYet,
    Until(Instant),
}

impl Default for Trust {
    fn default() -> Self {
        Self(Mutex::new(Known { begun: Instant::now(), now: HashMap::new(), before: HashMap::new() }))
    }
}

impl Trust {
    fn ask(&self, key: Key, now: Instant) -> Trusted {
        let mut known = self.0.lock();
        let known = known.at(now);
        match known.now.get(&key).or_else(|| known.before.get(&key)) {
            Some(Seen::Compared(at)) if now < *at + MOMENT => Trusted::Until(*at + MOMENT),
            Some(Seen::Asked(at) | Seen::Compared(at)) if now < *at + 2 * MOMENT => Trusted::NotYet,
            _ => {
                known.put(key, Seen::Asked(now));
                Trusted::First
            }
        }
    }

    /// The bytes were compared and are the same; until when that holds.
    fn note(&self, key: Key, now: Instant) -> Instant {
        self.0.lock().at(now).put(key, Seen::Compared(now));
        now + MOMENT
    }
}

impl Known {
    /// Forgets what is too old.
    fn at(&mut self, now: Instant) -> &mut Self {
        if now >= self.begun + MOMENT {
            self.before = std::mem::take(&mut self.now);
            self.begun = now;
        }
        self
    }

    fn put(&mut self, key: Key, seen: Seen) {
        if self.now.len() < MOST {
            self.now.insert(key, seen);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use everstream::proto::content_type::StreamFormat;
    use rustix::io::pread;

    use super::super::disk::{Disk as _, Folder};
    use super::super::{LogOptions, LogStorage};
    use super::*;
    use crate::engine::{Commit, Lifetime, Messages, Position};
    use crate::storage::{Loaded, NewStream, Piece, ReadRange, Storage as _, StreamId, StreamMeta};

    const LEN: usize = 3 * COMPARED + 5;

    /// A span of these bytes in a file that has them behind seven others.
    fn span(folder: &tempfile::TempDir, bytes: &[u8]) -> (FileSpan, Arc<dyn DiskFile>) {
        let file = Folder::open(folder.path()).unwrap().create("x").unwrap();
        file.write_at(7, bytes).unwrap();
        (FileSpan::new(Arc::clone(&file), 1, 7, Arc::default()), file)
    }

    #[test]
    fn the_first_who_asks_gets_memory_and_the_others_the_file_until_the_moment_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
        let (first, file) = span(&folder, &bytes);
        let begun = Instant::now();
        let place = |after, len| {
            let found = first.clone().place_of(&bytes[..len], begun + after).map(|(_, at)| at);
            assert!(found.is_none_or(|at| at == 7));
            found.is_some()
        };
        assert!(!place(Duration::ZERO, LEN) && !place(Duration::ZERO, LEN - 1));
        assert!(place(Duration::ZERO, LEN), "compared");
        // What a comparison has found holds for a moment, whatever happens to the file.
        file.write_at(7 + LEN as u64 - 1, b"!").unwrap();
        assert!(place(MOMENT - Duration::from_millis(1), LEN));
        assert!(!place(MOMENT, LEN), "compared anew");
        assert!(place(MOMENT, LEN - 1), "the change lies behind these");
        file.write_at(7 + LEN as u64 - 1, &bytes[LEN - 1..]).unwrap();
        assert!(place(2 * MOMENT - Duration::from_millis(1), LEN));
        assert!(!place(9 * MOMENT, LEN), "forgotten");
        // A file that ends before the bytes do.
        file.truncate(100).unwrap();
        assert!(!place(9 * MOMENT, LEN));
    }

    #[test]
    fn what_is_sent_is_no_longer_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = vec![1; LEN];
        let (mut span, _file) = span(&folder, &bytes);
        let now = Instant::now();
        assert!(span.clone().place_of(&bytes, now).is_none());
        assert_eq!(span.place_of(&bytes, now).unwrap().1, 7);
        span.advance(10);
        assert_eq!(span.place_of(&bytes[10..], now).unwrap().1, 17);
        // The rest is another question.
        assert!(span.place_of(&bytes[10..], now + MOMENT).is_none());
    }

    #[test]
    fn what_is_known_is_bounded() {
        let (trust, now) = (Trust::default(), Instant::now());
        let key = |at| Key { number: 0, at, len: LEN };
        for at in 0..2 * MOST as u64 {
            assert_eq!(trust.ask(key(at), now), Trusted::First);
        }
        assert_eq!(trust.ask(key(0), now), Trusted::NotYet);
        assert_eq!(trust.ask(key(2 * MOST as u64 - 1), now), Trusted::First);
        assert_eq!(trust.0.lock().now.len(), MOST);
        assert_eq!(trust.ask(key(0), now + MOMENT), Trusted::NotYet);
        assert_eq!(trust.ask(key(0), now + 3 * MOMENT), Trusted::First);
        let known = trust.0.lock();
        assert_eq!((known.now.len(), known.before.len()), (1, 0));
    }

    /// Large data is in the log, then in a run that refers to it; small data is in the log with others, and then in a run of its own.
    #[tokio::test]
    async fn blocks_lie_where_their_spans_say_in_memory_and_in_runs() {
        let folder = tempfile::tempdir().unwrap();
        let storage = LogStorage::with_disk(
            Arc::new(Folder::open(folder.path()).unwrap()),
            LogOptions::default().segment_bytes(4 << 20),
        )
        .unwrap();
        let read = |loaded: Loaded, tail: u64| async move {
            let (mut whole, mut placed) = (Vec::new(), 0);
            while (whole.len() as u64) < tail {
                let from = Position(whole.len() as u64);
                let Piece { data, spans, .. } =
                    loaded.log.read(ReadRange { from, to: Position(tail), max_bytes: 1 << 20 }).await.unwrap();
                for (number, block) in data.iter().enumerate() {
                    if let Some(span) = spans.get(number).and_then(Option::as_ref) {
                        let mut in_file = vec![0; block.len()];
                        pread(span.file.descriptor().unwrap(), &mut in_file, span.at).unwrap();
                        assert!(in_file == block[..], "{span:?}");
                        placed += block.len() as u64;
                    }
                    whole.extend_from_slice(block);
                }
            }
            (whole, placed)
        };
        for (name, sizes) in [("large", [300_000; 40]), ("small", [30_000; 40])] {
            let meta = StreamMeta {
                name: name.into(),
                id: StreamId(1),
                content_type: "text/plain".into(),
                lifetime: Lifetime::Unlimited,
                created_at: 0,
                fork: None,
            };
            let made = storage.create(NewStream { meta, content: Messages::default(), closed: false }).await.unwrap();
            let mut expected = Vec::new();
            for (number, size) in sizes.into_iter().enumerate() {
                let body = Bytes::from(vec![b'a' + (number % 26) as u8; size]);
                expected.extend_from_slice(&body);
                let messages = Messages::frame(StreamFormat::Text, body).unwrap();
                made.log.commit(Commit { messages, ..Commit::default() }).await.unwrap();
            }
            let tail = expected.len() as u64;
            let (whole, placed) = read(made, tail).await;
            assert!(whole == expected, "{name}");
            let in_log = if name == "large" { 0 } else { tail };
            assert!(placed + in_log >= tail, "{name}: {placed} of {tail}");
        }
        // A start drains everything.
        drop(storage);
        let storage = LogStorage::open(folder.path()).unwrap();
        for (name, tail) in [("large", 12_000_000), ("small", 1_200_000)] {
            let (whole, placed) = read(storage.load(name).await.unwrap().unwrap(), tail).await;
            assert_eq!((whole.len() as u64, placed), (tail, tail), "{name}");
        }
    }
}
