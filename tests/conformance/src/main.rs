//! `everstream-conformance`: the conformance cases, for any client that has an adapter.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use everstream_conformance::{
    AdapterSpec, Gaps, MatrixSize, Plan, ServerKind, generated_cases, load_cases, render_html,
};
use wildmatch::WildMatch;

/// Runs the conformance cases through adapters, and prints a table of what holds.
#[derive(Parser)]
#[command(name = "everstream-conformance", version)]
struct Arguments {
    /// An adapter, as NAME=PROGRAM, with arguments after blanks. Can be repeated
    #[arg(long = "adapter", required = true)]
    adapters: Vec<String>,
    /// Runs only the cases with this name; `*` stands for any text
    #[arg(long = "case")]
    pattern: Option<String>,
    /// Runs against the official server too, started by this script with node
    #[arg(long)]
    official: Option<PathBuf>,
    /// Leaves our server out
    #[arg(long, requires = "official")]
    without_ours: bool,
    /// How many of the generated cases to run
    #[arg(long, value_enum, default_value = "full")]
    matrix: MatrixSize,
    /// Processes of each adapter that run at once
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// Where to write the report
    #[arg(long)]
    html: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let mut cases = load_cases(&Plan::home().join("cases"))?;
    cases.extend(generated_cases(arguments.matrix));
    if let Some(pattern) = &arguments.pattern {
        let pattern = WildMatch::new(pattern);
        cases.retain(|case| pattern.matches(&case.name));
    }
    if cases.is_empty() {
        bail!("no case is called {}", arguments.pattern.unwrap_or_default());
    }
    let mut servers = Vec::new();
    if !arguments.without_ours {
        servers.push(ServerKind::Ours);
    }
    servers.extend(arguments.official.map(ServerKind::Official));
    let adapters = arguments.adapters.iter().map(|text| adapter(text)).collect::<Result<_>>()?;
    let gaps = Gaps::load(&Plan::home().join("known-gaps.toml"))?;
    let plan = Plan { cases, adapters, servers, gaps, processes: arguments.processes };
    let runtime = tokio::runtime::Runtime::new().context("cannot start a runtime")?;
    let report = runtime.block_on(everstream_conformance::run(plan))?;
    println!("{}", report.text());
    if let Some(path) = arguments.html {
        fs::write(&path, render_html(&report)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    report.verdict()
}

fn adapter(text: &str) -> Result<AdapterSpec> {
    let (language, command) = text.split_once('=').with_context(|| format!("not NAME=PROGRAM: {text}"))?;
    let mut words = command.split_whitespace().map(str::to_owned);
    let program = words.next().with_context(|| format!("no program in {text}"))?.into();
    Ok(AdapterSpec { language: language.to_owned(), program, arguments: words.collect(), features: Vec::new() })
}
