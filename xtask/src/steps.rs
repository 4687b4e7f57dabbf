//! Steps that run one after the other until one fails, and the summary of them.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::HumanDuration;

/// One thing to pass.
pub(crate) struct Step {
    name: &'static str,
    action: Box<dyn FnOnce() -> Result<()>>,
}

impl Step {
    pub(crate) fn new(name: &'static str, action: impl FnOnce() -> Result<()> + 'static) -> Self {
        Self { name, action: Box::new(action) }
    }
}

/// The steps from the first on whose name contains this.
///
/// # Errors
/// None does.
pub(crate) fn from(mut steps: Vec<Step>, name: &str) -> Result<Vec<Step>> {
    let Some(first) = steps.iter().position(|step| step.name.contains(name)) else {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        bail!("no step is called `{name}`: {}", names.join("; "));
    };
    Ok(steps.split_off(first))
}

/// Runs the steps in their order and prints a summary, whose last line counts them.
///
/// # Errors
/// The first failure. Steps after it do not run.
pub(crate) fn run_all(steps: Vec<Step>) -> Result<()> {
    let mut passed = Vec::new();
    let mut failed = None;
    let mut names = steps.iter().map(|step| step.name).collect::<Vec<_>>();
    for step in steps {
        println!("\n=== {}", step.name);
        let start = Instant::now();
        let done = (step.action)();
        let time = start.elapsed();
        match done {
            Ok(()) => passed.push((step.name, time)),
            Err(error) => {
                eprintln!("error: {error:#}");
                failed = Some((step.name, time, error));
                break;
            }
        }
    }
    let not_run = names.split_off(passed.len() + usize::from(failed.is_some()));
    let failure = failed.as_ref().map(|(name, time, _)| (*name, *time));
    println!("\n{}", summary(&passed, failure, &not_run));
    match failed {
        Some((name, _, error)) => Err(error).context(name),
        None => Ok(()),
    }
}

fn summary(passed: &[(&str, Duration)], failed: Option<(&str, Duration)>, not_run: &[&str]) -> String {
    let mut text = String::new();
    let mut line = |state: &str, name: &str, time: String| {
        writeln!(text, "{state:<8} {name:<48} {time}").expect("a string takes everything");
    };
    for (name, time) in passed {
        line("ok", name, HumanDuration(*time).to_string());
    }
    if let Some((name, time)) = failed {
        line("FAILED", name, HumanDuration(time).to_string());
    }
    for name in not_run {
        line("not run", name, String::new());
    }
    write!(text, "{} passed, {} failed", passed.len(), u8::from(failed.is_some())).expect("a string takes everything");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn nothing_runs_after_a_failure() {
        let ran = Rc::new(Cell::new(0));
        let count = |ran: &Rc<Cell<u32>>| {
            let ran = Rc::clone(ran);
            move || {
                ran.set(ran.get() + 1);
                Ok(())
            }
        };
        let steps = vec![
            Step::new("first", count(&ran)),
            Step::new("second", || bail!("broken")),
            Step::new("third", count(&ran)),
        ];
        let error = run_all(steps).unwrap_err();
        assert_eq!(format!("{error:#}"), "second: broken");
        assert_eq!(ran.get(), 1);
    }

    #[test]
    fn steps_go_on_from_one_of_them() {
        let steps = || ["web: build", "web: tests", "demo"].map(|name| Step::new(name, || Ok(()))).into();
        let names = |name| from(steps(), name).map(|steps| steps.iter().map(|step| step.name).collect::<Vec<_>>());
        assert_eq!(names("tests").unwrap(), ["web: tests", "demo"]);
        assert!(names("lints").unwrap_err().to_string().contains("web: build; web: tests; demo"));
    }

    #[test]
    fn the_last_line_counts_the_steps() {
        let second = Duration::from_secs(1);
        let text = summary(&[("a", second), ("b", second)], None, &[]);
        assert_eq!(text.lines().last(), Some("2 passed, 0 failed"));
        let text = summary(&[("a", second)], Some(("b", second)), &["c"]);
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed"));
        assert_eq!(text.lines().count(), 4);
    }
}
