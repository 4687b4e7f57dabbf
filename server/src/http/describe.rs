//! `GET {root}/__ds/streams/{path}`: what there is to know of one stream (an extension, S-HTTP-19).
//!
//! What a listing says, and `incarnation`, `forks` (how many streams have it as source), `producerCount` and
//! `producers`: at most 100 of them by id, with `epoch` and `seq`, the last one accepted. With access rules it needs
//! `admin` on the stream. Reading it does not touch the stream's lifetime.

use std::sync::Arc;

use everstream::proto::names;
use http::Response;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::body::Body;
use super::error::HttpError;
use super::{App, list, path};

/// Producers that are named.
const PRODUCERS: usize = 100;

/// Whether a route of the control API is this one.
pub(super) fn is_at(rest: &str) -> bool {
    raw_name(rest).is_some()
}

/// The name of the stream that is asked about, if it can be one.
pub(super) fn name(rest: &str) -> Option<String> {
    let name = percent_decode_str(raw_name(rest)?).decode_utf8().ok()?;
    path::check_name(&name).is_ok().then(|| name.into_owned())
}

pub(super) async fn handle(app: &Arc<App>, rest: &str) -> Result<Response<Body>, HttpError> {
    let name = name(rest).ok_or(HttpError::BadRequest("the path is not that of a stream"))?;
    let stream = app.engine().stream(&name).await?;
    let tail = stream.tail();
    let relations = stream.relations();
    let mut facts = list::facts(stream.meta(), tail.position, tail.closed);
    let producers: Vec<Value> = relations
        .producers
        .iter()
        .take(PRODUCERS)
        .map(|producer| {
            let id = String::from_utf8_lossy(&producer.id);
            json!({"id": id, "epoch": producer.epoch, "seq": producer.seq})
        })
        .collect();
    facts.insert("incarnation".to_owned(), stream.meta().id.to_string().into());
    facts.insert("forks".to_owned(), relations.forks.into());
    facts.insert("producerCount".to_owned(), relations.producers.len().into());
    facts.insert("producers".to_owned(), producers.into());
    Ok(list::answer(&facts.into()))
}

fn raw_name(rest: &str) -> Option<&str> {
    rest.strip_prefix(names::LIST_ROUTE)?.strip_prefix('/')
}
