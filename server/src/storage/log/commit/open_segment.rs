//! The segment that is written to.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::disk::DiskFile;
use super::super::drain::Sealed;
use super::super::format::{Header, Kind, segment_name};
use super::super::parts::Parts;
use super::super::{LogOptions, Shared};
use crate::engine::Commit;
use crate::storage::blocks::{MERGED, Place};

/// A segment grows by this much at a time, or by its full size if that is less, in zeros: syncing a write into
/// blocks that are there already costs a fraction of one that makes the file longer.
const GROW: u64 = 1 << 20;
/// Zeros end where a page of the system's cache does.
const ALIGN: u64 = 4 << 10;
/// Groups of this size and above make the file longer themselves: their sync takes long enough, and zeros that they would
/// overwrite at once are as dear as they are.
const LARGE: u64 = 128 << 10;
/// Room that data leaves for removals when the disk is full.
const RESERVE: u64 = 64 << 10;

/// The segment that is written to.
pub(in super::super) struct OpenSegment {
    file: Arc<dyn DiskFile>,
    pub(super) number: u64,
    /// Where the next group goes.
    pub(super) at: u64,
    /// Up to where the file has zeros.
    room: u64,
    /// Bytes of data that have a place.
    large: u64,
}

/// Why a group is not in a segment.
pub(super) enum Unwritten {
    /// Nothing of it is stored.
    Nothing(io::Error),
    /// What is on the disk is not known.
    Unknown(io::Error),
}

impl OpenSegment {
    /// Makes a segment whose first record will be `first`.
    pub(in super::super) fn create(shared: &Shared, number: u64, first: u64) -> io::Result<Self> {
        let name = segment_name(number);
        let make = || {
            let file = shared.disk.create(&name)?;
            let mut bytes = Header { kind: Kind::Segment, number, first }.encode();
            bytes.resize(grow(&shared.options) as usize, 0);
            file.write_at(0, &bytes)?;
            file.sync()?;
            shared.disk.sync_names()?;
            Ok(Self { file, number, at: Header::LEN as u64, room: bytes.len() as u64, large: 0 })
        };
        make().inspect_err(|_| {
            // It holds nothing; what cannot be removed is removed at the next start.
            let _ = shared.disk.remove(&name);
        })
    }

    /// Writes and syncs records, and tells how long the sync took. `has_data`: there is room left for removals behind them,
    /// when the disk is full.
    pub(super) fn write(
        &mut self,
        records: &Parts,
        has_data: bool,
        options: &LogOptions,
    ) -> Result<Duration, Unwritten> {
        let len = records.len() as u64;
        let end = self.at + len;
        let needed = if has_data { end + RESERVE } else { end };
        if needed > self.room {
            let step = if len < LARGE { grow(options) } else { ALIGN };
            let grown = (needed + 1).next_multiple_of(step);
            let from = end.max(self.room);
            // Nothing is lost by zeros that were not written.
            self.file.write_at(from, &vec![0; (grown - from) as usize]).map_err(Unwritten::Nothing)?;
            self.room = grown;
        }
        match self.file.write_parts_at(self.at, &records.slices()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                // Some of it may be in the file: what was answered with "not stored" must not come back.
                if self.file.truncate(self.at).and_then(|()| self.file.sync()).is_ok() {
                    self.room = self.at;
                    return Err(Unwritten::Nothing(error));
                }
                return Err(Unwritten::Unknown(error));
            }
            Err(error) => return Err(Unwritten::Unknown(error)),
        }
        let begun = Instant::now();
        self.file.sync().map_err(Unwritten::Unknown)?;
        self.at = end;
        Ok(begun.elapsed())
    }

    /// The place of a commit's data at `at`, if it is so large that it may stay there.
    pub(super) fn place(&mut self, at: u64, commit: &Commit) -> Option<Place> {
        let len = commit.messages.len();
        if len < MERGED {
            return None;
        }
        let segment = NonZeroU32::new(u32::try_from(self.number).ok()?)?;
        u32::try_from(at + len as u64).ok()?;
        self.large += len as u64;
        Some(Place { segment, offset: at as u32 })
    }

    /// Whether nothing was written to it.
    pub(super) fn is_empty(&self) -> bool {
        self.at == Header::LEN as u64
    }

    /// What the drain has to know when nothing more will be written.
    pub(super) fn sealed(&self) -> Sealed {
        Sealed { number: self.number, used: self.at, is_worth_keeping: self.large * 2 > self.at }
    }
}

fn grow(options: &LogOptions) -> u64 {
    options.segment_bytes.clamp(2 * RESERVE, GROW)
}
