//! `fork`: a stream that starts with the data of another one on the same server.

use everstream::{CreateOptions, Fork, Offset};
use serde_json::json;

use crate::args::ForkArgs;
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &ForkArgs) -> Result<(), Failure> {
    let (source, id) = (&args.source, &args.stream.id);
    let stream = target.stream(id)?;
    let options = CreateOptions {
        content_type: args.content_type.clone(),
        ttl: args.lifetime.ttl,
        expires_at: args.lifetime.expires_at.clone(),
        closed: args.closed,
        body: None,
        fork: Some(Fork { source: target.path_of(source)?, offset: args.offset.clone(), sub_offset: args.sub_offset }),
    };
    let created = stream
        .create(&options)
        .await
        .map_err(|error| Failure::of(&format!("fork stream \"{source}\" to"), id, &error))?;
    if args.output.is_json() {
        let offset = created.offset.as_ref().map(Offset::as_str);
        let object =
            json!({"id": id, "url": stream.url(), "source": source, "offset": offset, "created": created.created});
        say(&object.to_string());
        return Ok(());
    }
    say(&format!("Stream forked successfully: \"{source}\" to \"{id}\"\n  URL: {}", stream.url()));
    if let Some(offset) = created.offset {
        say(&format!("  Offset: {offset}"));
    }
    if !created.created {
        say("  It existed already, with the same configuration");
    }
    Ok(())
}
