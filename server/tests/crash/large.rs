//! Large data stays where it was committed.

use std::collections::BTreeMap;

use bytes::Bytes;
use everstream_disk::{SimDisk, SteppedServer as Server};
use everstream_server::engine::{Append, CreateRequest, Outcome, ProducerTag};

fn create(server: &mut Server, name: &'static str) {
    let request = CreateRequest { content_type: Some("text/plain".into()), ..CreateRequest::default() };
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.create(name, request).await.map(drop) })).unwrap();
}

fn append(server: &mut Server, name: &'static str, text: &str) {
    let append = Append::new("text/plain", Bytes::copy_from_slice(text.as_bytes()));
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.stream(name).await?.append(append).await })).unwrap();
}

fn delete(server: &mut Server, name: &'static str) {
    let engine = server.engine.clone();
    server.wait(Box::pin(async move { engine.delete(name).await })).unwrap();
}

fn text(number: usize, size: usize) -> String {
    format!("{number}{};", char::from(b'a' + (number % 26) as u8).to_string().repeat(size))
}

/// How many files there are whose names begin so, and how long they are together.
fn found(disk: &SimDisk, prefix: &str) -> (usize, usize) {
    let files = disk.files();
    let sizes: Vec<usize> =
        files.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, data)| data.len()).collect();
    (sizes.len(), sizes.iter().sum())
}

/// Drains until nothing is to be moved any more.
fn settle(server: &mut Server) {
    for _ in 0..3 {
        server.steps.drain().unwrap();
    }
}

#[test]
fn it_is_written_once_and_a_start_does_not_read_it() {
    let disk = SimDisk::new(6);
    let mut server = Server::open(&disk).unwrap();
    create(&mut server, "s");
    let whole: String = (0..20).map(|number| text(number, 40_000)).collect();
    for number in 0..20 {
        append(&mut server, "s", &text(number, 40_000));
    }
    settle(&mut server);
    let (data, log) = (found(&disk, "data"), found(&disk, "log"));
    assert!(data.1 < 20_000 && log.0 == 21, "{data:?} in data files, {log:?} in the log");
    assert_eq!(server.text("s").unwrap().0, whole);
    drop(server);
    disk.restart();
    // What a start reads it would find damaged.
    let mut files = disk.files();
    let last = files.keys().rfind(|name| name.starts_with("log")).unwrap().clone();
    for (_, data) in files.iter_mut().filter(|(name, _)| name.starts_with("log") && **name != last) {
        data[..60].fill(0xff);
    }
    let mut server = Server::open(&SimDisk::of(&files)).unwrap();
    assert_eq!(server.text("s").unwrap().0, whole, "the first 60 bytes are none of the stream's");
}

#[test]
fn its_space_comes_back_when_most_of_a_segment_is_not_needed() {
    let disk = SimDisk::new(7);
    let mut server = Server::with_segments(&disk, 800_000).unwrap();
    create(&mut server, "gone");
    create(&mut server, "here");
    for number in 0..10 {
        append(&mut server, "gone", &text(number, 50_000));
        if number % 4 == 0 {
            append(&mut server, "here", &text(number, 40_000));
        }
    }
    let here: String = [0, 4, 8].map(|number| text(number, 40_000)).concat();
    settle(&mut server);
    let kept = disk.files().into_keys().find(|name| name.starts_with("log")).unwrap();
    assert!(found(&disk, "data").1 < 20_000, "nothing was moved");
    delete(&mut server, "gone");
    settle(&mut server);
    assert!(!disk.files().contains_key(&kept), "the segment is gone");
    assert!((120_000..140_000).contains(&found(&disk, "data").1), "what is needed of it was moved");
    assert_eq!(server.text("here").unwrap().0, here);
    delete(&mut server, "here");
    settle(&mut server);
    assert_eq!(found(&disk, "data"), (0, 0));
    append_after_restart(&disk);
}

/// A folder from which much was removed is one to go on with.
fn append_after_restart(disk: &SimDisk) {
    disk.restart();
    let mut server = Server::open(disk).unwrap();
    create(&mut server, "here");
    append(&mut server, "here", "again;");
    assert_eq!(server.text("here").unwrap().0, "again;");
}

#[test]
fn many_small_files_are_put_together_without_it() {
    let disk = SimDisk::new(8);
    let mut server = Server::with_segments(&disk, 800_000).unwrap();
    create(&mut server, "s");
    let mut whole = String::new();
    for number in 0..30 {
        let text = text(number, 90_000);
        append(&mut server, "s", &text);
        whole.push_str(&text);
        server.steps.drain().unwrap();
    }
    let (data, log) = (found(&disk, "data"), found(&disk, "log"));
    assert!(data.0 <= 9 && data.1 < 20_000 && log.0 == 31, "{data:?} in data files, {log:?} in the log");
    for _ in 0..2 {
        assert_eq!(server.text("s").unwrap().0, whole);
        drop(server);
        disk.restart();
        server = Server::open(&disk).unwrap();
    }
}

#[test]
fn a_folder_of_the_first_version_is_read_and_goes_on_as_one_of_this_version() {
    // Made by the last program that wrote this version: two streams drained, one append in the log.
    let files = [
        ("FORMAT", &include_bytes!("format-1/FORMAT")[..]),
        ("manifest", include_bytes!("format-1/manifest")),
        ("data-0000000000000001", include_bytes!("format-1/data-0000000000000001")),
        ("log-0000000000000002", include_bytes!("format-1/log-0000000000000002")),
    ];
    let files: BTreeMap<String, Vec<u8>> =
        files.into_iter().map(|(name, data)| (name.to_owned(), data.to_vec())).collect();
    let disk = SimDisk::of(&files);
    let orders: String = (0..11).map(|number| format!("{number}:order;")).collect();
    let texts = ["a".repeat(18_000), "b".repeat(5000), text(0, 40_000)];
    for life in 0..3 {
        let mut server = Server::open(&disk).unwrap();
        if life == 0 {
            append(&mut server, "texts", &texts[2]);
            let mut again = Append::new("text/plain", Bytes::from_static(b"10:order;"));
            again.producer = Some(ProducerTag { id: Bytes::from_static(b"p"), epoch: 0, seq: 10 });
            let engine = server.engine.clone();
            let receipt = server.wait(Box::pin(async move { engine.stream("orders").await?.append(again).await }));
            assert_eq!(receipt.unwrap().outcome, Outcome::Duplicate);
        }
        assert_eq!(server.text("orders").unwrap().0, orders);
        assert_eq!(server.text("texts").unwrap().0, texts.concat());
        assert!(server.text("gone").is_err());
        settle(&mut server);
        drop(server);
        disk.restart();
    }
    assert_eq!(disk.files()["FORMAT"], b"everstream log, format 2\n");
}
