//! The web page of the server, in a real browser.

use anyhow::Result;

use crate::chromium;
use crate::process::{cargo, npm, npm_ci, root, run as call, target_dir};
use crate::steps::Step;

pub(crate) fn steps() -> Vec<Step> {
    vec![Step::new("web page", test)]
}

/// Runs `tests/ui` against the server as it is built for tests.
fn test() -> Result<()> {
    let chromium = chromium::find()?;
    let folder = root().join("tests/ui");
    npm_ci(&folder)?;
    // All packages at once: the same features as in the tests before, so that nothing is compiled twice.
    call(&mut cargo(["build", "--workspace", "--bin", "everstream"]))?;
    let binary = target_dir().join("debug").join(format!("everstream{}", std::env::consts::EXE_SUFFIX));
    call(
        npm(&folder, ["test", "--silent"])
            .env("EVERSTREAM_BINARY", binary)
            .env("CHROMIUM", chromium)
            .env("RUST_LOG", "warn")
            // What a proxy of the environment must not carry.
            .env("NO_PROXY", "127.0.0.1,localhost"),
    )
}
