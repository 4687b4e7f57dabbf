//! Looks at everything in a folder and changes nothing: the work of `everstream fsck`.

use std::io;
use std::sync::Arc;

use super::Types;
use super::disk::Disk;
use super::drain::Drains;
use super::files::Files;
use super::format::{self, data_name, segment_name};
use super::recover;
use super::run::{Patience, Reader};

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// Streams that there are.
    pub streams: u64,
    /// Bytes of messages in data files and in parts of the log that are kept, all of which were read and held against their
    /// checksums.
    pub drained_bytes: u64,
    /// Records of the log that the next start replays.
    pub replayed: u64,
    /// Things that a crash has left and that lose nothing; the next start clears them away.
    pub leftovers: Vec<String>,
    /// What is not as it was written. Empty if all is well.
    pub damage: Vec<String>,
}

/// Reads all of a folder and checks every checksum. Nothing is written.
///
/// # Errors
/// The folder holds no streams or those of another version, or the disk fails. Damage is no error: it is in
/// [`Checked::damage`].
pub fn check(disk: &Arc<dyn Disk>) -> io::Result<Checked> {
    format::check(&**disk)?;
    let files = Arc::new(Files::new(Arc::clone(disk), 0, Arc::new(Drains::default())));
    let mut checked = Checked::default();
    let found = match recover::read(&**disk, &files, &Types::default()) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            checked.damage.push(error.to_string());
            return Ok(checked);
        }
        found => found?,
    };
    checked.streams = found.streams.len() as u64;
    checked.replayed = found.replayed;
    let torn = found.torn.iter().map(|number| format!("{} ends in a torn group", segment_name(*number)));
    let unused = found.unused_files.iter().map(|number| format!("{} is not used", data_name(*number)));
    checked.leftovers = torn.chain(unused).collect();
    for entry in &found.streams {
        let runs = entry.lock().runs.clone();
        for run in runs {
            checked.drained_bytes += run.len;
            match entry.with_run(run, Patience::ForDisk, |reader: &Reader<'_>| reader.all().map(drop)) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    checked.damage.push(format!("stream {}: {error}", entry.meta.name));
                }
                read => read?,
            }
        }
    }
    Ok(checked)
}
