//! `close`: no more data for this stream, perhaps after a last message.

use everstream::Offset;
use serde_json::json;

use crate::args::CloseArgs;
use crate::commands::content::{for_format, unescape};
use crate::commands::writer::producer;
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &CloseArgs) -> Result<(), Failure> {
    let id = &args.stream.id;
    let stream = target.stream(id)?;
    let failed = |error| Failure::of("close stream", id, &error);
    let final_offset = match args.data.as_deref().filter(|data| !data.is_empty()) {
        None => stream.close().await.map_err(failed)?.final_offset,
        // Through a producer, so that a repeat after a lost answer is known to be one.
        Some(data) => {
            let (producer, format) = producer(target, &stream, None, 0).await.map_err(failed)?;
            let message = for_format(format, data, &unescape(data))?;
            producer.close(Some(&message)).await.map_err(failed)?.offset
        }
    };
    if args.output.is_json() {
        let offset = final_offset.as_ref().map(Offset::as_str);
        say(&json!({"id": id, "closed": true, "finalOffset": offset}).to_string());
        return Ok(());
    }
    say(&format!("Stream closed successfully: \"{id}\""));
    if let Some(offset) = final_offset {
        say(&format!("  Final offset: {offset}"));
    }
    Ok(())
}
