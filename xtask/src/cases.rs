//! Our conformance cases, with the clients of all languages, against our server and the official one.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use everstream_conformance::{
    AdapterSpec, Gaps, MatrixSize, Plan, ServerKind, generated_cases, load_cases, render_html,
};
use wildmatch::WildMatch;

use crate::chromium;
use crate::node;
use crate::process::{cargo, npm, root, run as call, runtime, target_dir};
use crate::python::Python;
use crate::web;

/// Processes of each adapter: most cases wait most of the time.
const PROCESSES: usize = 4;

#[derive(Args, Clone)]
#[group(id = "our_cases")]
pub(crate) struct Arguments {
    /// Runs our own cases with the clients, instead of the official suite against the server
    #[arg(long)]
    pub(crate) cases: bool,
    /// Only with these clients
    #[arg(long = "language", value_enum, requires = "cases")]
    languages: Vec<Language>,
    /// Only the cases with this name; `*` stands for any text
    #[arg(long = "case", requires = "cases")]
    pattern: Option<String>,
    /// Only against these servers
    #[arg(long = "server", value_enum, requires = "cases")]
    servers: Vec<CaseServer>,
    /// How much of the generated fault x client matrix to run
    #[arg(long, value_enum, default_value = "full", requires = "cases")]
    matrix: MatrixSize,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { cases: false, languages: Vec::new(), pattern: None, servers: Vec::new(), matrix: MatrixSize::Full }
    }
}

impl Arguments {
    /// All written cases, and so much of the matrix that each fault, place and kind of stream is met.
    pub(crate) fn short() -> Self {
        Self { matrix: MatrixSize::Short, ..Self::default() }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Rust,
    Python,
    PythonAsync,
    Node,
    Browser,
}

impl Language {
    const ALL: [Self; 5] = [Self::Rust, Self::Python, Self::PythonAsync, Self::Node, Self::Browser];

    /// Those that every machine can build, and the one in a page where the package for pages was built before.
    fn built() -> Vec<Self> {
        Self::ALL.into_iter().filter(|it| *it != Self::Browser || web::is_built()).collect()
    }

    /// Its adapter, built and installed.
    pub(crate) fn adapter(self) -> Result<AdapterSpec> {
        let adapters = Plan::home().join("adapters");
        // Workers are not for pages.
        let features = if self == Self::Browser { Vec::new() } else { vec!["subscriptions".to_owned()] };
        match self {
            Self::Rust => {
                call(&mut cargo(["build", "--package", "everstream-adapter"]))?;
                let program =
                    target_dir().join("debug").join(format!("everstream-rust{}", std::env::consts::EXE_SUFFIX));
                Ok(AdapterSpec { language: "rust".to_owned(), program, arguments: Vec::new(), features })
            }
            Self::Browser => {
                web::build()?;
                chromium::find()?;
                let program = adapters.join("browser/everstream-browser");
                Ok(AdapterSpec { language: "browser".to_owned(), program, arguments: Vec::new(), features })
            }
            Self::Node => {
                node::install()?;
                let program = node_adapter();
                Ok(AdapterSpec { language: "node".to_owned(), program, arguments: Vec::new(), features })
            }
            Self::Python | Self::PythonAsync => {
                let (language, script) = match self {
                    Self::Python => ("python", "everstream-python-sync"),
                    _ => ("python-async", "everstream-python-async"),
                };
                Ok(AdapterSpec {
                    language: language.to_owned(),
                    program: Python::for_tests()?.program("python"),
                    arguments: vec![adapters.join("python").join(script).to_string_lossy().into_owned()],
                    features,
                })
            }
        }
    }
}

fn node_adapter() -> PathBuf {
    Plan::home().join("adapters/node/everstream-node")
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CaseServer {
    /// Ours, in memory
    Ours,
    /// Ours, on disk
    Disk,
    /// The official one of npm
    Official,
}

impl CaseServer {
    fn kind(self) -> Result<ServerKind> {
        match self {
            Self::Ours => Ok(ServerKind::Ours),
            Self::Disk => Ok(ServerKind::OursOnDisk),
            Self::Official => {
                let folder = root().join("bindings-python/tests/official");
                // Not `npm ci`, which refuses a lock file that lacks the optional packages of other platforms.
                if !folder.join("node_modules/.package-lock.json").exists() {
                    call(&mut npm(&folder, ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]))?;
                }
                Ok(ServerKind::Official(folder.join("serve.mjs")))
            }
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut cases = load_cases(&Plan::home().join("cases"))?;
    cases.extend(generated_cases(arguments.matrix));
    if let Some(pattern) = &arguments.pattern {
        let wanted = WildMatch::new(pattern);
        cases.retain(|case| wanted.matches(&case.name));
        ensure!(!cases.is_empty(), "no case is called {pattern}");
    }
    let languages = chosen(&arguments.languages, &Language::built());
    let servers = chosen(&arguments.servers, &[CaseServer::Ours, CaseServer::Disk, CaseServer::Official]);
    let plan = Plan {
        cases,
        adapters: languages.into_iter().map(Language::adapter).collect::<Result<_>>()?,
        servers: servers.into_iter().map(CaseServer::kind).collect::<Result<_>>()?,
        gaps: Gaps::load(&Plan::home().join("known-gaps.toml"))?,
        processes: PROCESSES,
    };
    let report = runtime()?.block_on(everstream_conformance::run(plan))?;
    println!("{}", report.text());
    let page = target_dir().join("conformance.html");
    fs::write(&page, render_html(&report)).with_context(|| format!("cannot write {}", page.display()))?;
    println!("the same as a page: {}", page.display());
    report.verdict()
}

fn chosen<T: Copy>(named: &[T], all: &[T]) -> Vec<T> {
    if named.is_empty() { all.to_vec() } else { named.to_vec() }
}
