//! Starts of the storage `log` over files that something has changed: whatever they are, the start is refused, or what is
//! served is an exact part of what was stored, or an error. Where checksums were made to fit as well, nobody can tell what
//! was stored; then nothing panics. What a start has served and taken is there after the next one.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use everstream_disk::{SimDisk, SteppedServer};
use everstream_server::engine::{Append, CreateRequest, EngineError, ForkRequest, ProducerTag, Receipt};
use everstream_server::storage::log::check;
use everstream_server::storage::{Disk, StorageErrorKind};

type Files = BTreeMap<String, Vec<u8>>;
/// What streams hold, by name.
type Contents = BTreeMap<String, Vec<u8>>;

/// Where the first record or frame of a file is (`storage/log/format`).
const HEADER: usize = 32;
/// Of a record in a segment, up to its body.
const RECORD_HEAD: usize = 24;
/// Of a frame in the manifest.
const FRAME_HEAD: usize = 8;

/// One input.
pub fn run(data: &[u8]) {
    // An input that is too short ends the story early; what was told until then has been checked.
    let _ = story(&mut Unstructured::new(data));
}

fn story(u: &mut Unstructured<'_>) -> Result<()> {
    let (mut files, contents) = folder(u)?;
    for _ in 0..u.int_in_range(1..=4_u8)? {
        change(u, &mut files)?;
    }
    let forged = u.arbitrary()?;
    if forged {
        forge(&mut files);
    }
    // It looks at the same files, and changes nothing; what it finds is another matter.
    let _ = check(&(Arc::new(SimDisk::of(&files)) as Arc<dyn Disk>));
    let disk = SimDisk::of(&files);
    let mut server = match SteppedServer::open(&disk) {
        Ok(server) => server,
        Err(error) => {
            let refused = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::Unsupported);
            assert!(refused, "a start ends with {:?}: {error}", error.kind());
            return Ok(());
        }
    };
    let mut served = Contents::new();
    for (name, stored) in &contents {
        if let Some(content) = content(&mut server, name) {
            assert!(forged || stored.starts_with(&content), "{name} has {content:?}, stored was {stored:?}");
            served.insert(name.clone(), content);
        }
    }
    for (name, content) in &mut served {
        if append(&mut server, name, None, b"more;").is_ok() {
            content.extend(b"more;");
        }
    }
    if u.arbitrary()? {
        let _ = server.steps.drain();
    }
    drop(server);
    let mut server = SteppedServer::open(&disk).expect("what was served can be started again");
    for (name, before) in &served {
        if let Some(now) = content(&mut server, name) {
            assert_eq!(now, *before, "{name} after the next start");
        }
    }
    Ok(())
}

/// Some streams on a disk, in every state, and what they hold.
fn folder(u: &mut Unstructured<'_>) -> Result<(Files, Contents)> {
    let disk = SimDisk::new(1);
    let mut server = SteppedServer::open(&disk).expect("an empty disk");
    let mut contents = Contents::new();
    create(&mut server, "s0", None);
    contents.insert("s0".to_owned(), Vec::new());
    for number in 1..=u.int_in_range(1..=16_u64)? {
        let names: Vec<String> = contents.keys().cloned().collect();
        let name = u.choose(&names)?.clone();
        match u.int_in_range(0..=9_u8)? {
            0 | 1 => {
                let source = u.arbitrary::<bool>()?.then_some(&*name);
                let new = format!("s{number}");
                if create(&mut server, &new, source) {
                    contents.insert(new, source.map(|source| contents[source].clone()).unwrap_or_default());
                }
            }
            2 => {
                server.steps.drain().expect("nothing is wrong with the disk");
            }
            3 => {
                let engine = server.engine.clone();
                // What is stored of it may come back when the record of its end is changed.
                let _ = server.wait(Box::pin(async move { engine.delete(&name).await.map(drop) }));
            }
            _ => {
                // Now and then one that stays in the log when it is drained.
                let size = if u.ratio(1, 8)? { 33_000 } else { u.int_in_range(0..=90)? };
                let text = format!("{number}{};", "x".repeat(size));
                if append(&mut server, &name, Some(number), text.as_bytes()).is_ok() {
                    contents.entry(name).or_default().extend(text.bytes());
                }
            }
        }
    }
    Ok((disk.files(), contents))
}

fn create(server: &mut SteppedServer, name: &str, source: Option<&str>) -> bool {
    let fork = source.map(|source| ForkRequest { source: source.to_owned(), offset: None, sub_offset: 0 });
    let request = CreateRequest { content_type: Some("text/plain".into()), fork, ..CreateRequest::default() };
    let (engine, name) = (server.engine.clone(), name.to_owned());
    server.wait(Box::pin(async move { engine.create(&name, request).await.map(drop) })).is_ok()
}

/// Each with an id of its own, which the log then holds.
fn append(
    server: &mut SteppedServer,
    name: &str,
    producer: Option<u64>,
    text: &[u8],
) -> std::result::Result<Receipt, EngineError> {
    let mut append = Append::new("text/plain", Bytes::copy_from_slice(text));
    append.producer = producer.map(|id| ProducerTag { id: id.to_string().into(), epoch: 0, seq: 0 });
    let (engine, name) = (server.engine.clone(), name.to_owned());
    server.wait(Box::pin(async move { engine.stream(&name).await?.append(append).await }))
}

/// What can be read of a stream; `None` if there is none, or an error that says why not.
fn content(server: &mut SteppedServer, name: &str) -> Option<Vec<u8>> {
    match server.content(name) {
        Ok((content, _)) => Some(content),
        Err(EngineError::NotFound | EngineError::SoftDeleted) => None,
        Err(EngineError::Storage(error)) => {
            assert_eq!(error.kind, StorageErrorKind::Io, "{name}: {error}");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// One change of the files.
fn change(u: &mut Unstructured<'_>, files: &mut Files) -> Result<()> {
    let names: Vec<String> = files.keys().cloned().collect();
    let Some(name) = names.get(u.choose_index(names.len().max(1))?) else { return Ok(()) };
    let other = names[u.choose_index(names.len())?].clone();
    let copied = files[&other].clone();
    let Some(data) = files.get_mut(name) else { return Ok(()) };
    // A segment ends in a long run of zeros, which is not where things happen.
    let used = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 20).min(data.len()));
    let at = u.int_in_range(0..=used)?;
    let to = u.int_in_range(at..=used)?;
    match u.int_in_range(0..=8_u8)? {
        0 | 1 if at < used => data[at] ^= 1 << u.int_in_range(0..=7_u8)?,
        2 if at < used => data[at] = u.arbitrary()?,
        // A whole number, such as a length.
        3 if at + 4 <= used => data[at..at + 4].copy_from_slice(&u.arbitrary::<[u8; 4]>()?),
        4 => data.truncate(at),
        5 => drop(data.drain(at..to)),
        6 => {
            let from = u.int_in_range(0..=copied.len())?;
            let len = u.int_in_range(0..=(copied.len() - from).min(200))?;
            drop(data.splice(at..at, copied[from..from + len].iter().copied()));
        }
        7 => *data = copied,
        8 => drop(files.remove(name)),
        _ => {}
    }
    Ok(())
}

/// Makes the checksums of records and frames fit what they hold, as far as one follows the other.
fn forge(files: &mut Files) {
    for (name, data) in files {
        if let Some(number) = name.strip_prefix("log-").and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
            each(data, RECORD_HEAD, 8, |record| {
                let mut hasher = crc32fast::Hasher::new();
                hasher.update(&number.to_le_bytes());
                hasher.update(&record[..4]);
                hasher.update(&record[8..]);
                hasher.finalize()
            });
        } else if name == "manifest" {
            each(data, FRAME_HEAD, 1, |frame| crc32fast::hash(&frame[FRAME_HEAD..]));
        }
    }
}

/// Goes through what begins with a length and a checksum, and writes the checksum anew.
fn each(data: &mut [u8], head: usize, align: usize, checksum: impl Fn(&[u8]) -> u32) {
    let mut at = HEADER;
    while let Some(length) = data.get(at..at + 4) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at + head + length;
        let Some(whole) = data.get_mut(at..end).filter(|_| length > 0) else { return };
        let sum = checksum(whole);
        whole[4..8].copy_from_slice(&sum.to_le_bytes());
        at = end.next_multiple_of(align);
    }
}
