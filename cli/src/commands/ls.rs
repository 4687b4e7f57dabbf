//! `ls`: which streams there are.
//!
//! Our server lists them itself. Others may keep a registry stream (API.md section 5): a JSON stream of State Protocol
//! events; the streams are what is left of them at its tail.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use everstream::{ErrorKind, LiveMode, ReadOptions};
use indicatif::HumanBytes;
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::LsArgs;
use crate::output::{Failure, describe, say};
use crate::style::{Color, is_colored, paint};
use crate::target::Target;

const REGISTRY: &str = "__registry__";

/// One change of a stream's entry. Whatever else an event holds does not matter here.
#[derive(Deserialize)]
struct Event {
    key: String,
    #[serde(default)]
    value: Option<Entry>,
    headers: Headers,
}

#[derive(Deserialize)]
struct Headers {
    operation: String,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
struct Entry {
    content_type: Option<String>,
    created_at: Option<u64>,
    /// Only where the server lists streams itself.
    #[serde(skip)]
    offset: Option<String>,
    #[serde(skip)]
    closed: Option<bool>,
    #[serde(skip)]
    bytes: Option<u64>,
}

pub(crate) async fn run(target: &Target, args: &LsArgs) -> Result<(), Failure> {
    let streams = match target.list(&args.prefix).await {
        Ok(listed) => listed
            .into_iter()
            .map(|stream| {
                let entry = Entry {
                    content_type: Some(stream.content_type),
                    created_at: Some(stream.created_at),
                    offset: Some(stream.offset.to_string()),
                    closed: Some(stream.closed),
                    bytes: Some(stream.bytes),
                };
                (stream.path, entry)
            })
            .collect(),
        // The route is our own; a server that has another one below it answers in its own way.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotSupported | ErrorKind::Parse) => {
            registered(target, &args.prefix).await?
        }
        Err(error) => return Err(Failure::new("Failed to list streams").because(&error)),
    };
    if args.long && std::io::stdout().is_terminal() {
        columns(&streams);
        return Ok(());
    }
    for (name, entry) in &streams {
        say(&show(name, entry, args));
    }
    Ok(())
}

/// For people: under headings, each column as wide as what is in it.
fn columns(streams: &BTreeMap<String, Entry>) {
    let mut rows = vec![["PATH", "TYPE", "SIZE", "CREATED", "STATE", "OFFSET"].map(str::to_owned)];
    rows.extend(streams.iter().map(|(name, entry)| {
        let state = entry.closed.map_or("-", |closed| if closed { "closed" } else { "open" });
        let created = entry.created_at.and_then(moment).unwrap_or_else(|| "-".to_owned());
        let offset = entry.offset.clone().unwrap_or_else(|| "-".to_owned());
        let content_type = entry.content_type.as_deref().unwrap_or("-");
        let size = entry.bytes.map_or_else(|| "-".to_owned(), size);
        [plain(name), plain(content_type), size, created, state.to_owned(), offset]
    }));
    let widths: Vec<usize> =
        (0..6).map(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or_default()).collect();
    let is_colored = is_colored(&std::io::stdout());
    for (n, row) in rows.iter().enumerate() {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let line = line.join("  ");
        say(&paint(line.trim_end(), Color::Bold, is_colored && n == 0));
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// Milliseconds since 1970 as a moment in UTC, to the second.
fn moment(millis: u64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(i64::try_from(millis / 1000).ok()?).ok()?;
    at.format(&Rfc3339).ok()
}

/// A name comes from whoever wrote it, and must not be able to move the cursor.
fn plain(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// The streams by the server's registry.
async fn registered(target: &Target, prefix: &str) -> Result<BTreeMap<String, Entry>, Failure> {
    let mut reader = target.stream(REGISTRY)?.read(ReadOptions {
        live: LiveMode::CatchUp,
        json: true,
        request_timeout: target.try_timeout,
        ..ReadOptions::default()
    });
    let mut streams = BTreeMap::new();
    while let Some(batch) = reader.next().await {
        let batch = batch.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failure::new("Failed to list streams")
                .detail(describe(&error))
                .detail(format!("The server lists no streams, and has no registry stream \"{REGISTRY}\"")),
            _ => Failure::new("Failed to list streams").because(&error),
        })?;
        for message in batch.messages() {
            fold(&mut streams, &message, prefix);
        }
    }
    Ok(streams)
}

/// Takes one event into account. The registry is open to every writer: what is no event of a stream is skipped.
fn fold(streams: &mut BTreeMap<String, Entry>, message: &[u8], prefix: &str) {
    let Ok(event) = serde_json::from_slice::<Event>(message) else {
        return;
    };
    if !event.key.starts_with(prefix) {
        return;
    }
    match event.headers.operation.as_str() {
        "insert" | "update" | "upsert" => {
            streams.insert(event.key, event.value.unwrap_or_default());
        }
        "delete" => {
            streams.remove(&event.key);
        }
        _ => {}
    }
}

fn show(name: &str, entry: &Entry, args: &LsArgs) -> String {
    if args.json || args.output.is_json() {
        let mut object = json!({"id": name, "contentType": entry.content_type, "createdAt": entry.created_at});
        if let (Some(offset), Some(closed), Some(bytes)) = (&entry.offset, entry.closed, entry.bytes) {
            object["offset"] = offset.as_str().into();
            object["closed"] = closed.into();
            object["bytes"] = bytes.into();
        }
        return object.to_string();
    }
    let name = plain(name);
    if !args.long {
        return name;
    }
    let content_type = plain(entry.content_type.as_deref().unwrap_or("-"));
    let created = entry.created_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    let offset = entry.offset.as_deref().unwrap_or("-");
    let closed = entry.closed.map_or("-", |closed| if closed { "closed" } else { "open" });
    let bytes = entry.bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    format!("{name}\t{content_type}\t{created}\t{offset}\t{closed}\t{bytes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_what_inserts_and_deletes_leave() {
        let mut streams = BTreeMap::new();
        for event in [
            r#"{"type":"stream","key":"a/x","value":{"path":"a/x","contentType":"text/plain","createdAt":5},"headers":{"operation":"insert"}}"#,
            r#"{"type":"stream","key":"a/y","value":{},"headers":{"operation":"insert"}}"#,
            r#"{"type":"stream","key":"b","value":{},"headers":{"operation":"insert"}}"#,
            r#"{"type":"stream","key":"a/y","headers":{"operation":"delete"}}"#,
            r#""noise""#,
            r#"{"headers":{"control":"snapshot-end"}}"#,
        ] {
            fold(&mut streams, event.as_bytes(), "a/");
        }
        let entry = Entry { content_type: Some("text/plain".into()), created_at: Some(5), ..Entry::default() };
        assert_eq!(streams.into_iter().collect::<Vec<_>>(), [("a/x".to_owned(), entry)]);
    }
}
