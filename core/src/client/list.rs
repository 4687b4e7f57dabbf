//! Listing the streams of a server.

use std::sync::Arc;

use serde::Deserialize;

use super::exchange::{Core, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::names;
use crate::proto::offset::Offset;
use crate::proto::request::{Operation, Request};
use crate::proto::url::StreamUrl;

/// A stream in a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ListedStream {
    /// Its path below the stream root.
    pub path: String,
    /// As first given.
    pub content_type: String,
    /// When it was created, in milliseconds since 1970.
    pub created_at: u64,
    /// Its tail.
    #[serde(deserialize_with = "offset")]
    pub offset: Offset,
    /// Whether it takes no more data.
    pub closed: bool,
    /// How many bytes are stored before the tail, those that a fork shares with its source included.
    #[serde(default)]
    pub bytes: u64,
}

#[derive(Deserialize)]
struct Page {
    streams: Vec<ListedStream>,
    next: Option<String>,
}

pub(super) async fn list(core: &Arc<Core>, root: &str, prefix: &str) -> Result<Vec<ListedStream>> {
    let url = format!("{}/{}/{}", core.join(root).trim_end_matches('/'), names::CONTROL_SEGMENT, names::LIST_ROUTE);
    let target = Target { url: StreamUrl::parse(&url)?, extras: core.extras.clone() };
    let mut streams = Vec::new();
    let mut after = None;
    loop {
        let (_, body) = core.call(&target, Request::list(prefix, after.as_deref())).await?;
        let page: Page = parse(&body).map_err(|error| {
            Error::new(ErrorKind::Parse, format!("the answer is no list of streams: {error}"))
                .with_context(Operation::List, target.url.shown())
                .with_source(error)
        })?;
        streams.extend(page.streams);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(streams),
        }
    }
}

/// From text, as all that the crate reads: serde_json exists twice for who reads bytes as well, and a page downloads it.
fn parse(body: &[u8]) -> std::result::Result<Page, Box<dyn std::error::Error + Send + Sync>> {
    Ok(serde_json::from_str(std::str::from_utf8(body)?)?)
}

fn offset<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Offset, D::Error> {
    Offset::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}
