//! A disk that is full or fails: writes are refused and say why, reads go on.

use std::sync::Arc;

use bytes::Bytes;
use everstream_disk::{SimDisk, SteppedServer as Server};
use everstream_server::clock::SystemClock;
use everstream_server::engine::{Append, CreateRequest, Engine, EngineError, Outcome, Position, ProducerTag, Receipt};
use everstream_server::storage::{LogOptions, LogStorage, StorageErrorKind};

fn create(server: &mut Server, name: &'static str) -> Result<(), EngineError> {
    let request = CreateRequest { content_type: Some("text/plain".into()), ..CreateRequest::default() };
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.create(name, request).await.map(drop) }))
}

fn append(server: &mut Server, seq: u64, size: usize) -> Result<Receipt, EngineError> {
    let mut append = Append::new("text/plain", Bytes::from(vec![b'a' + (seq % 26) as u8; size]));
    append.producer = Some(ProducerTag { id: Bytes::from_static(b"p"), epoch: 0, seq });
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.stream("s").await?.append(append).await }))
}

fn kind(error: EngineError) -> StorageErrorKind {
    match error {
        EngineError::Storage(error) => error.kind,
        error => panic!("not an error of the storage: {error}"),
    }
}

#[test]
fn a_full_disk_refuses_data_lets_go_of_streams_and_takes_data_again() {
    let disk = SimDisk::new(3);
    let mut server = Server::open(&disk).unwrap();
    create(&mut server, "s").unwrap();
    create(&mut server, "large").unwrap();
    let mut stored = 0;
    disk.capacity(Some(disk.used() + 100_000));
    let refused = loop {
        match append(&mut server, stored, 1000) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10_000, "the disk is full at some time");
    };
    assert_eq!(kind(refused), StorageErrorKind::Full);
    assert_eq!(server.text("s").unwrap().0.len() as u64, stored * 1000, "reads go on");
    assert_eq!(kind(append(&mut server, stored, 1000).unwrap_err()), StorageErrorKind::Full);
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.delete("large").await })).expect("a removal has room kept for it");
    disk.capacity(None);
    let receipt = append(&mut server, stored, 1000).expect("there is room again");
    assert_eq!(receipt.outcome, Outcome::Appended, "what was refused was not stored");
    drop(server);
    disk.restart();
    let mut server = Server::open(&disk).unwrap();
    assert_eq!(server.text("s").unwrap().0.len() as u64, (stored + 1) * 1000);
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_the_disk_was_read_anew() {
    let disk = SimDisk::new(4);
    let mut server = Server::open(&disk).unwrap();
    create(&mut server, "s").unwrap();
    append(&mut server, 0, 10).unwrap();
    disk.failures(1000);
    assert_eq!(kind(append(&mut server, 1, 10).unwrap_err()), StorageErrorKind::Io);
    disk.failures(0);
    let error = append(&mut server, 1, 10).unwrap_err();
    assert!(error.to_string().contains("restart the server"), "{error}");
    assert_eq!(server.text("s").unwrap().0.len(), 10, "reads go on");
    drop(server);
    // No loss of power: the next process sees the cache of the system, which has more than the disk.
    let mut server = Server::open(&disk).unwrap();
    append(&mut server, 1, 10).expect("the batch is there or it is not, and is stored once");
    drop(server);
    disk.restart();
    assert_eq!(Server::open(&disk).unwrap().text("s").unwrap().0.len(), 20);
}

#[test]
fn the_space_of_removed_streams_comes_back() {
    let disk = SimDisk::new(5);
    let mut server = Server::open(&disk).unwrap();
    create(&mut server, "s").unwrap();
    create(&mut server, "kept").unwrap();
    for seq in 0..50 {
        append(&mut server, seq, 100_000).unwrap();
    }
    let engine = server.engine.clone();
    let small = Append::new("text/plain", Bytes::from_static(b"here;"));
    server.wait(Box::pin(async move { engine.stream("kept").await?.append(small).await })).unwrap();
    server.steps.drain().unwrap();
    let full = disk.used();
    assert!(full > 5_000_000, "{full}");
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.delete("s").await })).unwrap();
    server.steps.drain().unwrap();
    // Moving what is left of a file takes a step of its own.
    server.steps.drain().unwrap();
    let left = disk.used();
    assert!(left < 200_000, "{left} of {full} bytes are left, and an empty segment has 128 KiB");
    assert_eq!(server.text("kept").unwrap().0, "here;");
    drop(server);
    disk.restart();
    assert_eq!(Server::open(&disk).unwrap().text("kept").unwrap().0, "here;");
}

#[tokio::test]
async fn a_full_disk_is_opened_for_reading_and_takes_writes_when_there_is_room() {
    let disk = SimDisk::new(6);
    let mut server = Server::open(&disk).unwrap();
    create(&mut server, "s").unwrap();
    for seq in 0..5 {
        append(&mut server, seq, 1000).unwrap();
    }
    drop(server);
    // A process was killed, and what it has left fills the disk to the last byte.
    disk.capacity(Some(disk.used()));
    let open = || Arc::new(LogStorage::with_disk(Arc::new(disk.clone()), LogOptions::default()).unwrap());
    let storage = open();
    let engine = Engine::new(Arc::clone(&storage) as _, Arc::new(SystemClock));
    let append = async |engine: &Engine, seq: u64| {
        let mut append = Append::new("text/plain", Bytes::from(vec![b'a' + (seq % 26) as u8; 1000]));
        append.producer = Some(ProducerTag { id: Bytes::from_static(b"p"), epoch: 0, seq });
        engine.stream("s").await?.append(append).await
    };
    let stored = async |engine: &Engine| {
        let read = engine.stream("s").await.unwrap().read(Position::ZERO, 1 << 20).await.unwrap();
        assert!(read.is_up_to_date());
        read.len()
    };
    assert_eq!(stored(&engine).await, 5000, "reads are served");
    assert_eq!(kind(append(&engine, 5).await.unwrap_err()), StorageErrorKind::Full);
    assert_eq!(kind(engine.delete("s").await.unwrap_err()), StorageErrorKind::Full);
    assert_eq!(engine.check_writable().unwrap_err().kind, StorageErrorKind::Full, "it is not ready");
    assert_eq!(stored(&engine).await, 5000);

    disk.capacity(None);
    let receipt = loop {
        match append(&engine, 5).await {
            Ok(receipt) => break receipt,
            Err(error) => assert_eq!(kind(error), StorageErrorKind::Full),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(receipt.outcome, Outcome::Appended, "what was refused was not stored");
    assert_eq!(engine.check_writable(), Ok(()));
    assert_eq!(append(&engine, 4).await.unwrap().outcome, Outcome::Duplicate, "producers are remembered");
    drop((engine, storage));
    disk.restart();
    let storage = open();
    let engine = Engine::new(storage, Arc::new(SystemClock));
    assert_eq!(stored(&engine).await, 6000);
}
