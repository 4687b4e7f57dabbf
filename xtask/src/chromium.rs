//! Debian's Chromium, which tests of web pages look with.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::apt;

/// Where it may be, first the one that the environment names.
const PLACES: [&str; 4] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];

/// The program. Where there is none, it is installed by apt if that is possible: machines of CI begin without one.
///
/// # Errors
/// There is none and it cannot be installed; says what to do.
pub(crate) fn find() -> Result<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM") {
        let path = PathBuf::from(named);
        if !path.exists() {
            bail!("there is no {}, which the variable CHROMIUM names", path.display());
        }
        return Ok(path);
    }
    if let Some(found) = installed() {
        return Ok(found);
    }
    if !apt::may_install() {
        bail!(
            "tests of web pages need Chromium: install it (`apt-get install chromium`), or name another one in the variable CHROMIUM"
        );
    }
    apt::install(&["chromium"])?;
    installed().context("apt-get installed chromium, and it is not where it should be")
}

fn installed() -> Option<PathBuf> {
    PLACES.into_iter().map(PathBuf::from).find(|path| path.exists())
}
