//! Colours, where somebody looks: on a terminal that has them, unless `NO_COLOR` is set (no-color.org).

use std::env;
use std::io::IsTerminal;

/// Whether what is printed there may have colours.
pub(crate) fn is_colored(output: &impl IsTerminal) -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    output.is_terminal() && !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// A colour of the terminal's own palette, so that it suits dark and light ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    Bold,
    Dim,
    Red,
    /// One of six that are easy to tell apart.
    Nth(usize),
}

/// Text in a colour, or as it is.
pub(crate) fn paint(text: &str, color: Color, is_on: bool) -> String {
    if !is_on {
        return text.to_owned();
    }
    let code = match color {
        Color::Bold => 1,
        Color::Dim => 2,
        Color::Red => 31,
        Color::Nth(n) => [36, 33, 35, 32, 34, 91][n % 6],
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
