//! `delete`: the stream and its data.

use crate::args::StreamArg;
use crate::output::{Failure, say};
use crate::target::Target;

pub(crate) async fn run(target: &Target, args: &StreamArg) -> Result<(), Failure> {
    let id = &args.id;
    target.stream(id)?.delete().await.map_err(|error| Failure::of("delete stream", id, &error))?;
    say(&format!("Stream deleted successfully: \"{id}\""));
    Ok(())
}
