//! `[ui]`.

use serde::{Deserialize, Serialize};

/// The web page at `/ui`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct UiConfig {
    /// Whether there is a page, and what it offers. Default `auto`.
    pub mode: UiMode,
}

/// What the web page offers. What a caller may do is decided by `[access]` alone: a page that offers less only spares
/// mistakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UiMode {
    /// `on` while the server listens on loopback only, else `read-only`.
    #[default]
    Auto,
    /// There is no page: 404.
    Off,
    /// It shows, creates, writes, closes, forks and deletes.
    On,
    /// It shows, and changes nothing.
    ReadOnly,
}
