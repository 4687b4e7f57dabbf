//! Names of files, what every file begins with, and the version of the format.
//!
//! | Name | What it holds |
//! |---|---|
//! | `FORMAT` | the version of the format, as text |
//! | `LOCK` | nothing; locked by the process that has the folder |
//! | `log-N` | commits that are not drained yet, see `segment`; or large messages of drained ones, see `run` |
//! | `data-N` | messages that are, see `run` |
//! | `manifest` | which streams there are and which runs they have, see `manifest` |
//!
//! Numbers are 16 hexadecimal digits and are never used again. `*.new` is a file in the making.

use std::io;

use bytes::BufMut;

use super::codec::{Decoded, Decoder, Malformed};
use super::disk::Disk;

/// The version that this code writes. See [`prepare`] for what happens to others.
///
/// | Version | What is new |
/// |---|---|
/// | 1 | |
/// | 2 | runs whose data stays in the log, see `run`; a checkpoint names the first segment that is not drained |
pub(super) const VERSION: u32 = 2;

const FORMAT: &str = "FORMAT";
const FORMAT_NEW: &str = "FORMAT.new";
const FORMAT_WORDS: &str = "everstream log, format ";
pub(super) const LOCK: &str = "LOCK";
pub(super) const MANIFEST: &str = "manifest";
pub(super) const MANIFEST_NEW: &str = "manifest.new";

pub(super) fn segment_name(number: u64) -> String {
    format!("log-{number:016x}")
}

pub(super) fn data_name(number: u64) -> String {
    format!("data-{number:016x}")
}

/// The number in a name that [`segment_name`] or [`data_name`] made with this prefix.
pub(super) fn number_of(name: &str, prefix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_prefix('-')?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Segment = b'L',
    Data = b'D',
    Manifest = b'M',
}

/// The first bytes of every file: magic, kind, version, the file's number, one more number, checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) number: u64,
    /// Of a segment: the sequence number of its first record.
    pub(super) first: u64,
}

const MAGIC: &[u8; 7] = b"evrstrm";

impl Header {
    pub(super) const LEN: usize = 32;

    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.extend_from_slice(MAGIC);
        out.put_u8(self.kind as u8);
        out.put_u32_le(VERSION);
        out.put_u64_le(self.number);
        out.put_u64_le(self.first);
        out.put_u32_le(crc32fast::hash(&out));
        out
    }

    /// The header of a file, and the version that wrote it.
    pub(super) fn decode(bytes: &[u8], kind: Kind, number: u64) -> Decoded<(Self, u32)> {
        let bytes = bytes.get(..Self::LEN).ok_or(Malformed)?;
        let mut decoder = Decoder(bytes);
        let (head, version) = ((decoder.take(MAGIC.len())?, decoder.u8()?), decoder.u32()?);
        let header = Self { kind, number: decoder.u64()?, first: decoder.u64()? };
        let intact = decoder.u32()? == crc32fast::hash(&bytes[..Self::LEN - 4]);
        let ours = head == (MAGIC, kind as u8) && (1..=VERSION).contains(&version) && header.number == number;
        if intact && ours { Ok((header, version)) } else { Err(Malformed) }
    }
}

/// Whether the folder has a version that this code reads: its own, or an older one.
///
/// # Errors
/// It has a newer one, or none; or the disk fails.
pub(super) fn check(disk: &dyn Disk) -> io::Result<()> {
    match found_version(disk)? {
        Some(..=VERSION) => Ok(()),
        Some(version) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the data has format {version}, this program checks formats up to {VERSION}"),
        )),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "there are no streams here")),
    }
}

/// Carries a folder from one version of the format to the next.
pub(super) type Migration = fn(&dyn Disk) -> io::Result<()>;

/// From version `n + 1` to `n + 2`, at index `n`. Version 1 is the first.
///
/// Files of version 1 are read as they are, and a manifest of that version is written anew at the start that reads it.
const MIGRATIONS: &[Migration] = &[|_| Ok(())];

/// Makes sure that the folder has the version of this code: a new one gets it, an older one is migrated
/// step by step, a newer one is refused.
///
/// # Errors
/// A newer version, a file `FORMAT` that is none, or a failure of the disk.
pub(super) fn prepare(disk: &dyn Disk) -> io::Result<()> {
    bring_to(disk, VERSION, MIGRATIONS)
}

fn bring_to(disk: &dyn Disk, current: u32, migrations: &[Migration]) -> io::Result<()> {
    let Some(mut version) = found_version(disk)? else {
        return write_version(disk, current);
    };
    if version > current {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("the data has format {version}, this program knows formats up to {current}: use a newer program"),
        ));
    }
    while version < current {
        let migrate = migrations.get(version.saturating_sub(1) as usize).ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, format!("there is no way from format {version} to {current}"))
        })?;
        migrate(disk)?;
        version += 1;
        write_version(disk, version)?;
        tracing::info!(version, "migrated the data to a newer format");
    }
    Ok(())
}

/// `None` in a folder without any file of ours.
fn found_version(disk: &dyn Disk) -> io::Result<Option<u32>> {
    let names = disk.list()?;
    if !names.iter().any(|name| name == FORMAT) {
        // Files without a version are none that any version has left behind.
        return match names
            .iter()
            .find(|name| *name == MANIFEST || number_of(name, "log").is_some() || number_of(name, "data").is_some())
        {
            Some(name) => Err(damaged(FORMAT, format_args!("missing, although there is {name}"))),
            None => Ok(None),
        };
    }
    let file = disk.open(FORMAT)?;
    let len = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    if len > 100 {
        return Err(damaged(FORMAT, "too long"));
    }
    let text = file.read_at(0, len)?;
    let version =
        std::str::from_utf8(&text).ok().and_then(|text| text.trim_end().strip_prefix(FORMAT_WORDS)?.parse().ok());
    match version {
        Some(version @ 1..) => Ok(Some(version)),
        _ => Err(damaged(FORMAT, "not a version")),
    }
}

fn write_version(disk: &dyn Disk, version: u32) -> io::Result<()> {
    let file = disk.create(FORMAT_NEW)?;
    file.write_at(0, format!("{FORMAT_WORDS}{version}\n").as_bytes())?;
    file.sync()?;
    disk.rename(FORMAT_NEW, FORMAT)?;
    disk.sync_names()
}

/// Bytes that were safe once are not what they were.
pub(super) fn damaged(file: &str, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("file {file} is damaged: {what}; `everstream fsck` says more"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::storage::Folder;

    fn folder() -> (tempfile::TempDir, Folder) {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(path.path()).unwrap();
        (path, folder)
    }

    fn text(path: &tempfile::TempDir) -> String {
        std::fs::read_to_string(path.path().join(FORMAT)).unwrap()
    }

    #[test]
    fn a_new_folder_gets_the_version_and_keeps_it() {
        let (path, folder) = folder();
        prepare(&folder).unwrap();
        assert_eq!(text(&path), "everstream log, format 2\n");
        prepare(&folder).unwrap();
        check(&folder).unwrap();
    }

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let (path, folder) = folder();
        write_version(&folder, VERSION + 1).unwrap();
        let error = prepare(&folder).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("use a newer program"), "{error}");
        assert_eq!(text(&path), "everstream log, format 3\n");
    }

    #[test]
    fn an_older_version_is_migrated_step_by_step() {
        fn leave(disk: &dyn Disk, name: &str) -> io::Result<()> {
            disk.create(name).map(drop)
        }
        let migrations: &[Migration] = &[|disk| leave(disk, "one"), |disk| leave(disk, "two")];
        let (path, folder) = folder();
        write_version(&folder, 2).unwrap();
        bring_to(&folder, 3, migrations).unwrap();
        assert_eq!(text(&path), "everstream log, format 3\n");
        let names = folder.list().unwrap();
        assert!(names.contains(&"two".to_owned()) && !names.contains(&"one".to_owned()), "{names:?}");
        let (_path, folder) = self::folder();
        write_version(&folder, 1).unwrap();
        assert!(bring_to(&folder, 4, migrations).is_err(), "there is no third step");
    }

    #[test]
    fn files_without_a_version_are_not_taken_for_ours() {
        let (_path, folder) = folder();
        folder.create(&segment_name(1)).unwrap();
        assert_eq!(prepare(&folder).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn numbers_of_names_are_read_as_they_are_written() {
        for number in [0, 1, 0xabc, u64::MAX] {
            assert_eq!(number_of(&segment_name(number), "log"), Some(number));
            assert_eq!(number_of(&data_name(number), "data"), Some(number));
            assert_eq!(number_of(&data_name(number), "log"), None);
        }
        assert_eq!(number_of("log-1", "log"), None);
    }
}
