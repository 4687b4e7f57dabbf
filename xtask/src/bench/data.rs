//! What is sent, and the plain HTTP client that ours is held against.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use everstream::{Client, CreateOptions, DurableStream, ProducerOptions};
use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};

/// A message of about 100 bytes, as page views are.
pub(super) fn message(number: u64) -> String {
    format!(
        r#"{{"i":{number},"t":0,"user":"user-{:06}","action":"page_view","path":"/items/{:05}","ok":true}}"#,
        number % 100_000,
        number % 99_991
    )
}

/// The same message, typed.
#[derive(Deserialize, Serialize)]
pub(super) struct Message {
    pub(super) i: u64,
    t: i64,
    user: String,
    action: String,
    path: String,
    ok: bool,
}

/// JSON arrays of the messages in their order, of at most this many bytes each.
pub(super) fn batches(messages: &[String], max_bytes: usize) -> Vec<Bytes> {
    let mut batches = Vec::new();
    let mut open = Vec::new();
    for message in messages {
        if open.len() + message.len() + 2 > max_bytes && !open.is_empty() {
            open.push(b']');
            batches.push(Bytes::from(std::mem::take(&mut open)));
        }
        open.push(if open.is_empty() { b'[' } else { b',' });
        open.extend_from_slice(message.as_bytes());
    }
    if !open.is_empty() {
        open.push(b']');
        batches.push(open.into());
    }
    batches
}

/// Bytes that tell their own place: the word at `at` is `at`. `at` and `len` are multiples of eight.
pub(super) fn numbered(at: u64, len: usize) -> Bytes {
    (at..at + len as u64).step_by(8).flat_map(u64::to_le_bytes).collect()
}

/// Whether a piece of [`numbered`] data belongs at `at`: looks at its first whole word and its last.
pub(super) fn is_numbered(at: u64, piece: &[u8]) -> bool {
    let skipped = (at.next_multiple_of(8) - at) as usize;
    let Some(words) = piece.get(skipped..) else { return true };
    let (words, _) = words.as_chunks::<8>();
    let first = at + skipped as u64;
    let is_at = |word: Option<&[u8; 8]>, at: u64| word.is_none_or(|word| u64::from_le_bytes(*word) == at);
    is_at(words.first(), first) && is_at(words.last(), first + (words.len() as u64).saturating_sub(1) * 8)
}

/// Our client, as most people would use it.
pub(super) fn client() -> Result<Client> {
    Ok(Client::builder().ignore_environment().build()?)
}

/// A new stream of JSON messages.
pub(super) async fn fill_json(url: &str, messages: u64) -> Result<DurableStream> {
    let stream = client()?.stream(url)?;
    stream.create(&CreateOptions::json()).await?;
    let producer = stream.producer("fill", ProducerOptions::default()).await?;
    for number in 0..messages {
        producer.append(message(number)).await?;
    }
    let flushed = producer.flush().await?;
    ensure!(flushed.messages == messages, "the stream could not be filled");
    Ok(stream)
}

/// reqwest and nothing else, with connections as ours has them.
pub(super) fn bare_client() -> Result<reqwest::Client> {
    // Fails when there is a provider already, which is just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().gzip(false).no_proxy().build()?)
}

/// Where a bare read goes on, and whether it has to.
pub(super) struct Next {
    pub(super) offset: String,
    pub(super) up_to_date: bool,
}

impl Next {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self> {
        use everstream::proto::names;
        let offset = headers.get(names::STREAM_NEXT_OFFSET).context("no next offset")?;
        Ok(Self { offset: offset.to_str()?.to_owned(), up_to_date: headers.contains_key(names::STREAM_UP_TO_DATE) })
    }
}

/// Numbers that have to come one after the other.
#[derive(Default)]
pub(super) struct Sequence(u64);

impl Sequence {
    pub(super) fn take(&mut self, number: u64) -> Result<()> {
        ensure!(number == self.0, "message {number} came where {} was due", self.0);
        self.0 += 1;
        Ok(())
    }

    pub(super) fn finish(&self, count: u64) -> Result<()> {
        ensure!(self.0 == count, "{} messages came instead of {count}", self.0);
        Ok(())
    }
}
