//! Everything that a change must pass.

use anyhow::Result;

use crate::process::{cargo, run as call};
use crate::steps::{Step, from, run_all};
use crate::{ai_chat, cases, check, conformance, demo, guide, node, python, quickstart, ui, web};

/// Records of the demo in small: enough to meet most kinds of faults.
const DEMO_RECORDS: usize = 20_000;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Begins at the first step whose name contains this, to go on after what failed there was mended
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut steps = check::steps();
    steps.extend([
        // All targets at once: the same features and profile as the tests, so that nothing is compiled twice.
        Step::new("build", || call(&mut cargo(["build", "--workspace", "--all-targets"]))),
        Step::new("unit, property, model and documentation tests", || {
            call(&mut cargo(["test", "--workspace", "--quiet"]))
        }),
    ]);
    steps.extend(python::steps());
    steps.extend(node::steps());
    steps.extend(ui::steps());
    steps.extend(web::steps());
    steps.extend([
        Step::new("official server suite", || conformance::run(&conformance::Arguments::default())),
        Step::new("official server suite, streams on disk", || conformance::run(&conformance::Arguments::on_disk())),
        Step::new("conformance cases", || cases::run(&cases::Arguments::short())),
        Step::new("quick start in Rust", quickstart::rust),
        Step::new("quick start in Python", quickstart::python),
        Step::new("quick start in Node", quickstart::node),
        Step::new("quick start on the command line", quickstart::cli),
        Step::new("links and tables of the guide", guide::links),
        Step::new("programs of the guide", guide::programs),
        Step::new("demo in small", || demo::run(&demo::Arguments::small(DEMO_RECORDS, demo::Reader::Rust))),
        Step::new("demo in small, read by Python", || {
            demo::run(&demo::Arguments::small(DEMO_RECORDS, demo::Reader::Python))
        }),
        Step::new("demo in small, read by Node", || {
            demo::run(&demo::Arguments::small(DEMO_RECORDS, demo::Reader::Node))
        }),
    ]);
    steps.extend(ai_chat::steps());
    run_all(match &arguments.from {
        Some(name) => from(steps, name)?,
        None => steps,
    })
}
