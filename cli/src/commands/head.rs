//! `head`: what the server knows of a stream.

use everstream::Offset;
use serde_json::json;

use crate::args::HeadArgs;
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &HeadArgs) -> Result<(), Failure> {
    let id = &args.stream.id;
    let stream = target.stream(id)?;
    let info = stream.head().await.map_err(|error| Failure::of("look at stream", id, &error))?;
    if args.json || args.output.is_json() {
        let object = json!({
            "id": id,
            "url": stream.url(),
            "contentType": info.content_type,
            "offset": info.offset.as_ref().map(Offset::as_str),
            "closed": info.closed,
            "ttlSeconds": info.ttl.map(|ttl| ttl.as_secs()),
            "expiresAt": info.expires_at,
            "etag": info.etag,
        });
        say(&object.to_string());
        return Ok(());
    }
    let mut lines = vec![format!("Stream: \"{id}\""), format!("  URL: {}", stream.url())];
    lines.extend(info.content_type.map(|it| format!("  Content-Type: {it}")));
    lines.extend(info.offset.map(|it| format!("  Offset: {it}")));
    lines.push(format!("  Closed: {}", if info.closed { "yes" } else { "no" }));
    lines.extend(info.ttl.map(|ttl| format!("  TTL: {} s", ttl.as_secs())));
    lines.extend(info.expires_at.map(|it| format!("  Expires-At: {it}")));
    lines.extend(info.etag.map(|it| format!("  ETag: {it}")));
    say(&lines.join("\n"));
    Ok(())
}
