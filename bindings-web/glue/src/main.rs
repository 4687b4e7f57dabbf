//! `everstream-web-glue MODULE.wasm FOLDER`: what wasm-bindgen makes of a module, for a page that instantiates it itself.

use std::env;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut args = env::args_os().skip(1);
    let module = args.next().context("which module?")?;
    let folder = args.next().context("into which folder?")?;
    Bindgen::new()
        .input_path(module)
        .web(true)?
        // Where the module comes from is decided in TypeScript.
        .omit_default_module_path(true)
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(folder)
}
