//! A run: all cases with all adapters on all servers, several at a time.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::adapter::{Adapter, AdapterSpec};
use crate::case::Case;
use crate::exec::Execution;
use crate::gaps::Gaps;
use crate::origin::{Origin, ServerKind};
use crate::report::{Outcome, Report, Verdict};

/// How long one case may take.
const CASE_LIMIT: Duration = Duration::from_secs(40);

/// What to run.
#[derive(Debug)]
pub struct Plan {
    /// The cases, written and generated.
    pub cases: Vec<Case>,
    /// The adapters.
    pub adapters: Vec<AdapterSpec>,
    /// The servers.
    pub servers: Vec<ServerKind>,
    /// What is known not to hold.
    pub gaps: Gaps,
    /// How many processes of each adapter run at once; most cases wait most of the time.
    pub processes: usize,
}

impl Plan {
    /// The folder with cases, adapters and known gaps.
    pub fn home() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }
}

/// Runs everything.
///
/// # Errors
/// A server does not start. That a case fails is in the report.
pub async fn run(plan: Plan) -> Result<Report> {
    let mut report = Report { cases: plan.cases, ..Report::default() };
    let gaps = Arc::new(plan.gaps);
    // Told apart also where an official server is left over from an earlier run.
    let serial = Arc::new(AtomicUsize::new(0));
    for kind in &plan.servers {
        let origin = Arc::new(Origin::start(kind).await?);
        let mut workers = JoinSet::new();
        for spec in &plan.adapters {
            report.columns.push((spec.language.clone(), kind.name().to_owned()));
            let queue = Arc::new(Mutex::new(report.cases.iter().cloned().collect::<VecDeque<_>>()));
            for _ in 0..plan.processes {
                let worker = Worker {
                    spec: spec.clone(),
                    server: kind.name(),
                    origin: origin.clone(),
                    gaps: gaps.clone(),
                    serial: serial.clone(),
                    adapter: None,
                };
                workers.spawn(worker.work(queue.clone()));
            }
        }
        while let Some(outcomes) = workers.join_next().await {
            report.outcomes.extend(outcomes.context("a worker panicked")?);
        }
        if let Some(origin) = Arc::into_inner(origin) {
            origin.stop().await;
        }
    }
    Ok(report)
}

/// One process of an adapter, and the cases that it gets.
struct Worker {
    spec: AdapterSpec,
    server: &'static str,
    origin: Arc<Origin>,
    gaps: Arc<Gaps>,
    serial: Arc<AtomicUsize>,
    adapter: Option<Adapter>,
}

impl Worker {
    async fn work(mut self, queue: Arc<Mutex<VecDeque<Case>>>) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        let next = || queue.lock().expect("nothing panics while it holds this lock").pop_front();
        while let Some(case) = next() {
            let start = Instant::now();
            let result = self.run(&case).await;
            let verdict = self.verdict(&case.name, result);
            outcomes.push(Outcome {
                case: case.name,
                language: self.spec.language.clone(),
                server: self.server.to_owned(),
                verdict,
                time: start.elapsed(),
            });
        }
        if let (Some(adapter), Some(last)) = (self.adapter.take(), outcomes.last_mut())
            && let Err(error) = adapter.shut_down().await
        {
            last.verdict = Verdict::Failed(format!("after the last case: {error:#}"));
        }
        outcomes
    }

    /// Gives a feature that the adapter lacks, if there is one.
    async fn run(&mut self, case: &Case) -> Result<Option<String>> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let stream = format!("/v1/stream/case-{serial}");
        if self.adapter.is_none() {
            self.adapter = Some(Adapter::start(&self.spec)?);
        }
        let adapter = self.adapter.as_mut().context("it was started above")?;
        let running = Execution::run(case, &stream, &self.origin, adapter);
        let done = tokio::time::timeout(CASE_LIMIT, running).await.context("the case does not end");
        let done = done.and_then(std::convert::identity);
        match done {
            Ok(lacks) => Ok(lacks),
            // A command may still be under way: the next case gets a new process.
            Err(error) => {
                let said = match self.adapter.take() {
                    Some(adapter) => adapter.kill().await,
                    None => String::new(),
                };
                Err(if said.trim().is_empty() { error } else { error.context(format!("the adapter said: {said}")) })
            }
        }
    }

    fn verdict(&self, case: &str, result: Result<Option<String>>) -> Verdict {
        let gap = self.gaps.of(case, &self.spec.language, self.server);
        match (result, gap) {
            (Ok(Some(feature)), _) => Verdict::Gap(format!("the adapter declares no {feature}")),
            (Ok(None), Some(gap)) if !gap.sometimes => {
                Verdict::Failed(format!("it passes, though known-gaps.toml says: {}", gap.reason))
            }
            (Ok(None), _) => Verdict::Passed,
            (Err(_), Some(gap)) => Verdict::Gap(gap.reason.clone()),
            (Err(error), None) => Verdict::Failed(format!("{error:#}")),
        }
    }
}
