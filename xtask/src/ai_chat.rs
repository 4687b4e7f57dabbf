//! `examples/ai-chat`, with both of its servers, in a real browser.

use anyhow::Result;

use crate::chromium;
use crate::node;
use crate::process::{npm, npm_ci, root, run as call};
use crate::python::Python;
use crate::steps::Step;

pub(crate) fn steps() -> Vec<Step> {
    vec![Step::new("example: AI chat", test)]
}

fn test() -> Result<()> {
    let chromium = chromium::find()?;
    node::install()?;
    let folder = root().join("examples/ai-chat");
    npm_ci(&folder)?;
    let python = Python::for_tests()?;
    call(
        npm(&folder, ["test", "--silent"])
            .env("PYTHON", python.program("python"))
            .env("CHROMIUM", chromium)
            // What a proxy of the environment must not carry.
            .env("NO_PROXY", "127.0.0.1,localhost"),
    )
}
