//! Bytes that change where they lie: what is served is an exact part of what was stored, or an error.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use everstream_disk::{SimDisk, SteppedServer as Server};
use everstream_server::engine::{Append, CreateRequest, EngineError, ForkRequest, ProducerTag};
use everstream_server::storage::log::check;
use everstream_server::storage::{Disk, StorageErrorKind};

const STREAMS: [&str; 4] = ["drained", "both", "in-the-log", "large"];

fn append(server: &mut Server, name: &'static str, seq: u64, size: usize) {
    let mut append = Append::new("text/plain", Bytes::from(format!("{seq}{};", "z".repeat(size))));
    append.producer = Some(ProducerTag { id: Bytes::from_static(b"p"), epoch: 0, seq });
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.stream(name).await?.append(append).await })).unwrap();
}

/// A small folder with something in every kind of file, and what its streams hold.
fn folder() -> (BTreeMap<String, Vec<u8>>, BTreeMap<&'static str, String>) {
    let disk = SimDisk::new(1);
    let mut server = Server::open(&disk).unwrap();
    for name in STREAMS {
        let request = CreateRequest { content_type: Some("text/plain".into()), ..CreateRequest::default() };
        let engine = server.engine.clone();
        server.wait(Box::pin(async move { engine.create(name, request).await })).unwrap();
    }
    for seq in 0..3 {
        append(&mut server, "drained", seq, 40);
        append(&mut server, "both", seq, 40);
    }
    // What is large stays where it was committed.
    append(&mut server, "large", 0, 33_000);
    append(&mut server, "large", 1, 40_000);
    server.steps.drain().unwrap();
    for seq in 0..3 {
        append(&mut server, "both", seq + 3, 20);
        append(&mut server, "in-the-log", seq, 20);
    }
    let texts = STREAMS.map(|name| (name, server.text(name).unwrap().0));
    (disk.files(), texts.into())
}

/// What comes of a folder: the texts that could be read, or the error of the start.
fn serve(files: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<(&'static str, Result<String, EngineError>)>> {
    let mut server = Server::open(&SimDisk::of(files))?;
    Ok(STREAMS.into_iter().map(|name| (name, server.text(name).map(|found| found.0))).collect())
}

fn hold(files: &BTreeMap<String, Vec<u8>>, texts: &BTreeMap<&'static str, String>, what: &str) -> bool {
    let served = match serve(files) {
        Ok(served) => served,
        Err(error) => {
            assert!(matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Unsupported), "{what}: {error}");
            return true;
        }
    };
    let mut noticed = false;
    for (name, text) in served {
        match text {
            Ok(text) => assert!(texts[name].starts_with(&text), "{what}: {name} has {text}"),
            Err(EngineError::Storage(error)) => {
                assert_eq!(error.kind, StorageErrorKind::Io, "{what}");
                noticed = true;
            }
            // The last record alone may be lost: nothing tells it from one that was never answered.
            Err(EngineError::NotFound) => panic!("{what}: {name} is gone"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
    noticed
}

/// All places of a small file; of a large one all near its ends, and some between.
fn places(used: usize) -> impl Iterator<Item = usize> {
    (0..used).filter(move |at| used < 10_000 || *at < 1_000 || used - at < 1_000 || at % 101 == 0)
}

#[test]
fn a_changed_byte_anywhere_gives_an_error_or_an_exact_part() {
    let (files, texts) = folder();
    assert!(!hold(&files, &texts, "unchanged"));
    let (mut tried, mut noticed) = (0, 0);
    for (name, data) in &files {
        // A segment ends in a long run of zeros; a few of them stand for all.
        let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 20).min(data.len()));
        for at in places(used) {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            tried += 1;
            noticed += u32::from(hold(&files, &texts, &format!("{name}, byte {at}")));
        }
    }
    // What stays unnoticed is padding, and what cannot be told from a torn tail.
    assert!(noticed * 2 > tried, "{noticed} of {tried}");
}

#[test]
fn a_file_that_is_cut_or_missing_gives_an_error_or_an_exact_part() {
    let (files, texts) = folder();
    for (name, data) in &files {
        let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for len in places(used).step_by(5) {
            let mut files = files.clone();
            files.get_mut(name).unwrap().truncate(len);
            hold(&files, &texts, &format!("{name}, cut to {len}"));
        }
        let mut files = files.clone();
        files.remove(name);
        // The last segment of the log is empty, or the end of it.
        if !name.starts_with("log") || used > 20_000 {
            assert!(serve(&files).is_err() || name == "LOCK", "without {name}");
        }
    }
}

#[test]
fn a_fork_of_more_than_its_source_holds_is_damage() {
    // Found by the fuzz target `recovery`: such a stream was served, and reads of it never got on.
    let disk = SimDisk::new(1);
    let mut server = Server::open(&disk).unwrap();
    let create = |server: &mut Server, name: &'static str, fork| {
        let request = CreateRequest { content_type: Some("text/plain".into()), fork, ..CreateRequest::default() };
        let engine = server.engine.clone();
        server.wait(Box::pin(async move { engine.create(name, request).await })).unwrap();
    };
    create(&mut server, "source", None);
    let engine = server.engine.clone();
    let text = Append::new("text/plain", Bytes::from_static(b"inherited;"));
    server.wait(Box::pin(async move { engine.stream("source").await?.append(text).await })).unwrap();
    create(&mut server, "fork", Some(ForkRequest { source: "source".into(), offset: None, sub_offset: 0 }));
    let mut files = disk.files();
    assert!(Server::open(&SimDisk::of(&files)).is_ok());
    // The append becomes one to a stream that is not there, with a checksum that fits: no crash does that.
    let log = files.values_mut().find(|data| data.windows(10).any(|text| text == b"inherited;")).unwrap();
    let length = |log: &[u8], at: usize| u32::from_le_bytes(log[at..at + 4].try_into().unwrap()) as usize;
    let at = (32 + 24 + length(log, 32)).next_multiple_of(8);
    let end = at + 24 + length(log, at);
    log[at + 25..at + 33].copy_from_slice(&99_u64.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    [&log[12..20], &log[at..at + 4], &log[at + 8..end]].iter().for_each(|part| hasher.update(part));
    let checksum = hasher.finalize();
    log[at + 4..at + 8].copy_from_slice(&checksum.to_le_bytes());
    let refused = Server::open(&SimDisk::of(&files)).err().unwrap();
    assert!(refused.to_string().contains("fork") && refused.kind() == io::ErrorKind::InvalidData, "{refused}");
}

#[test]
fn fsck_finds_what_changed_and_changes_nothing() {
    let (files, _) = folder();
    let fsck = |files: &BTreeMap<String, Vec<u8>>| {
        let disk = SimDisk::of(files);
        let checked = check(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).unwrap();
        assert_eq!(disk.files(), *files, "nothing is written");
        checked
    };
    let checked = fsck(&files);
    assert_eq!((checked.streams, checked.damage.len()), (4, 0), "{checked:?}");
    assert!(checked.drained_bytes > 73_000 && checked.replayed == 6, "{checked:?}");
    let data = files.keys().find(|name| name.starts_with("data")).unwrap();
    let mut changed = files.clone();
    changed.get_mut(data).unwrap()[100] ^= 1;
    let checked = fsck(&changed);
    assert!(checked.damage.iter().any(|damage| damage.contains(data) && damage.contains("stream ")), "{checked:?}");
    let kept = files.iter().find(|(name, data)| name.starts_with("log") && data.len() > 20_000).unwrap().0;
    let mut changed = files.clone();
    changed.get_mut(kept).unwrap()[20_000] ^= 1;
    let checked = fsck(&changed);
    assert!(checked.damage.iter().any(|damage| damage.contains("stream large")), "{checked:?}");
    let log = files.keys().rfind(|name| name.starts_with("log")).unwrap();
    let mut changed = files.clone();
    changed.get_mut(log).unwrap()[60] ^= 1;
    assert!(fsck(&changed).damage.iter().any(|damage| damage.contains(log)));
}
