//! Format, lints, documentation, and the fence around the protocol.

use anyhow::{Result, bail};

use crate::process::{cargo, output, run as call};
use crate::steps::{Step, run_all};

/// What the core without `client` must not depend on: it is the protocol, which does no IO.
const OUTSIDE_THE_FENCE: [&str; 3] = ["tokio", "reqwest", "hyper"];

pub(crate) fn run() -> Result<()> {
    run_all(steps())
}

pub(crate) fn steps() -> Vec<Step> {
    vec![
        Step::new("format", || call(&mut cargo(["fmt", "--all", "--check"]))),
        Step::new("lints", || call(&mut cargo(["clippy", "--workspace", "--all-targets", "--", "--deny=warnings"]))),
        Step::new("lints of the core without a runtime", || {
            // As machines alone, and with the client for a host that has a runtime of its own.
            ["", "driver"].iter().try_for_each(|features| {
                let arguments = ["clippy", "--package=everstream", "--no-default-features", "--features", features];
                call(cargo(arguments).args(["--", "--deny=warnings"]))
            })
        }),
        Step::new("lints of the command line with traces", || {
            let arguments = ["clippy", "--package=everstream-cli", "--features=otlp", "--all-targets"];
            call(cargo(arguments).args(["--", "--deny=warnings"]))
        }),
        Step::new("the protocol needs no runtime", fence),
        Step::new("documentation", || {
            // Of the default members, which are what users get. Only their libraries: the command `everstream` would
            // overwrite the pages of the crate `everstream`.
            call(cargo(["doc", "--no-deps", "--lib"]).env("RUSTDOCFLAGS", "--deny=warnings"))
        }),
    ]
}

fn fence() -> Result<()> {
    let tree = output(&mut cargo([
        "tree",
        "--package=everstream",
        "--no-default-features",
        "--edges=normal",
        "--prefix=none",
    ]))?;
    let found = forbidden(&tree);
    if !found.is_empty() {
        bail!("the core without `client` depends on {}", found.join(", "));
    }
    println!("the core without `client` depends on {} packages", packages(&tree).count());
    Ok(())
}

fn forbidden(tree: &str) -> Vec<&str> {
    packages(tree).filter(|package| OUTSIDE_THE_FENCE.contains(package)).collect()
}

/// The names in the output of `cargo tree --prefix=none`, without the root and without repetitions.
fn packages(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().skip(1).filter(|line| !line.ends_with("(*)")).filter_map(|line| line.split_whitespace().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fence_sees_whole_names_only() {
        let tree = "everstream v0.1.0\nhyperlocal v1.0.0\nbytes v1.0.0\nbytes v1.0.0 (*)\n";
        assert_eq!(forbidden(tree), Vec::<&str>::new());
        assert_eq!(packages(tree).count(), 2);
        assert_eq!(forbidden(&format!("{tree}tokio v1.0.0\nhyper v1.0.0\n")), ["tokio", "hyper"]);
    }
}
