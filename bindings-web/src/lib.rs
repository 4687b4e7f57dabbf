//! The WebAssembly half of the npm package `everstream`: extract, call the core, convert.
//!
//! It has the shape of the native add-on (`bindings-node`), so that one TypeScript face stands over both. No rule of the
//! protocol is here; requests go through a function of TypeScript's, which calls `fetch`.

#![allow(unreachable_pub, reason = "wasm-bindgen exports what is `pub`, whether Rust can reach it or not")]

mod abort;
mod body;
mod call;
mod callback;
mod client;
mod error;
mod fetch;
mod host;
mod options;
mod producer;
mod reader;
mod stream;
mod value;

use everstream::Checkpoint;
use js_sys::Function;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

/// Tells how errors of JavaScript are made. To be called once, before anything else.
#[wasm_bindgen(js_name = setErrorFactory)]
pub fn set_error_factory(factory: Function) {
    error::set_factory(factory);
    host::install();
}

/// Brings a checkpoint of a user's into its JSON form, or refuses it.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no checkpoint.
#[wasm_bindgen(js_name = checkCheckpoint)]
pub fn check_checkpoint(checkpoint: &str) -> Result<String, JsValue> {
    Checkpoint::from_json(checkpoint).map(|it| it.to_json()).map_err(|refused| error::value(&refused))
}
