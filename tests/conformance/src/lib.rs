//! Conformance written once: cases in YAML, run through an adapter for each language, against any server.
//!
//! An adapter is a program that takes commands as JSON lines and carries them out with one client library. Between the
//! client and the server stands the proxy of `everstream-faults`, which breaks what a case wants broken, answers what a
//! case wants answered, and remembers what was asked. `README.md` beside this crate describes cases and commands.

mod adapter;
mod case;
mod chaos;
mod exec;
mod expect;
mod gaps;
mod html;
mod matrix;
mod origin;
mod report;
mod run;
mod template;

pub use adapter::AdapterSpec;
pub use case::{Case, CaseFile, Step, load_cases};
pub use chaos::{Chaos, Difference, Survived};
pub use gaps::Gaps;
pub use html::render as render_html;
pub use matrix::{MatrixSize, generated_cases};
pub use origin::{Origin, ServerKind};
pub use report::{Outcome, Report, Verdict};
pub use run::{Plan, run};
