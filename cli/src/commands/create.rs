//! `create`: a new stream, or the same one again.

use everstream::CreateOptions;
use serde_json::json;

use crate::args::CreateArgs;
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &CreateArgs) -> Result<(), Failure> {
    let id = &args.stream.id;
    let stream = target.stream(id)?;
    let content_type = if args.json { "application/json" } else { &args.content_type };
    let options = CreateOptions {
        ttl: args.lifetime.ttl,
        expires_at: args.lifetime.expires_at.clone(),
        closed: args.closed,
        ..CreateOptions::content_type(content_type)
    };
    let created = stream.create(&options).await.map_err(|error| Failure::of("create stream", id, &error))?;
    if args.output.is_json() {
        say(&json!({"id": id, "url": stream.url(), "created": created.created}).to_string());
        return Ok(());
    }
    say(&format!("Stream created successfully: \"{id}\"\n  URL: {}", stream.url()));
    if !created.created {
        say("  It existed already, with the same configuration");
    }
    Ok(())
}
