//! `delete`: the stream and its data.

use serde_json::json;

use crate::args::DeleteArgs;
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &DeleteArgs) -> Result<(), Failure> {
    let id = &args.stream.id;
    target.stream(id)?.delete().await.map_err(|error| Failure::of("delete stream", id, &error))?;
    if args.output.is_json() {
        say(&json!({"id": id, "deleted": true}).to_string());
        return Ok(());
    }
    say(&format!("Stream deleted successfully: \"{id}\""));
    Ok(())
}
