//! Packages of Debian's, for machines of CI, which begin without them.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::{output, run as call};

/// Only root may, and only Debian and its kind have them.
pub(crate) fn may_install() -> bool {
    let is_root = output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    is_root && Path::new("/etc/debian_version").exists()
}

/// Installs packages, with as little else as they need.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let apt = |args: &[&str]| call(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"));
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}
