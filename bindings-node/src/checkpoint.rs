//! Checkpoints in files. Their JSON form is the core's.

use everstream::{Checkpoint, CheckpointFile, Error, ErrorKind};
use napi::Env;
use napi_derive::napi;

use crate::call::call;
use crate::error;
use crate::value::Raw;

/// The JSON form of the checkpoint that a file holds for a stream; `null` if it holds none.
#[napi(catch_unwind, ts_return_type = "Promise<string | null>")]
pub fn load_checkpoint(env: Env, path: String, stream: String) -> napi::Result<Raw> {
    let load = async move { blocking(move || CheckpointFile::new(path, stream).load()).await };
    call(env, None, load, |env, checkpoint| Raw::of(env, checkpoint.map(|it| it.to_json())))
}

/// Replaces what a file holds.
#[napi(catch_unwind, ts_return_type = "Promise<void>")]
pub fn store_checkpoint(env: Env, path: String, stream: String, checkpoint: String) -> napi::Result<Raw> {
    let checkpoint = Checkpoint::from_json(&checkpoint).map_err(|refused| error::throw(env, &refused))?;
    let store = async move { blocking(move || CheckpointFile::new(path, stream).store(&checkpoint)).await };
    call(env, None, store, |env, ()| error::nothing(env))
}

/// Brings a checkpoint of a user's into its JSON form, or refuses it.
#[napi(catch_unwind)]
pub fn check_checkpoint(env: Env, checkpoint: String) -> napi::Result<String> {
    let checked = Checkpoint::from_json(&checkpoint).map_err(|refused| error::throw(env, &refused))?;
    Ok(checked.to_json())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> everstream::Result<T> {
    let internal = |why: String| Error::new(ErrorKind::Internal, why);
    let done = tokio::task::spawn_blocking(work).await.map_err(|failed| internal(failed.to_string()))?;
    done.map_err(|failed| {
        Error::new(ErrorKind::InvalidArgument, format!("checkpoint file: {failed}")).with_source(failed)
    })
}
