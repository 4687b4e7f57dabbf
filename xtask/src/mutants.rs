//! Shows that the simulation hunts: breaks the product in one way after the other, in a copy of the tree, and each must
//! be caught.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use wildmatch::WildMatch;

use crate::process::{cargo, output, root, run as call, target_dir};

const MUTANTS: &str = "tests/simulation/mutants.toml";
/// Where the simulation begins to look. The unbroken product must pass as many.
const FIRST_SEED: u64 = 0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutants {
    #[serde(rename = "mutant")]
    all: Vec<Mutant>,
}

/// One way to break the product.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    file: PathBuf,
    from: String,
    to: String,
}

impl Mutants {
    fn load() -> Result<Self> {
        let text = fs::read_to_string(root().join(MUTANTS)).with_context(|| format!("cannot read {MUTANTS}"))?;
        toml::from_str(&text).with_context(|| format!("{MUTANTS} is wrong"))
    }
}

impl Mutant {
    /// The file as it is when it is broken.
    fn apply(&self, text: &str) -> Result<String> {
        let found = text.matches(&self.from).count();
        let file = self.file.display();
        ensure!(found == 1, "`{}`: what {MUTANTS} changes is {found} times in {file}; bring it up to date", self.name);
        Ok(text.replace(&self.from, &self.to))
    }
}

/// Runs all mutants whose name matches, each with at most so many seeds.
pub(crate) fn run(pattern: &str, seeds: u64) -> Result<()> {
    let wanted = WildMatch::new(pattern);
    let mut mutants = Mutants::load()?.all;
    mutants.retain(|mutant| wanted.matches(&mutant.name));
    ensure!(!mutants.is_empty(), "no mutant is called {pattern}");
    let copy = Tree::copy()?;
    println!("=== unbroken");
    if let Some(found) = copy.simulate(seeds)? {
        bail!("the simulation finds something in what is not broken: {found}");
    }
    let mut lines = Vec::new();
    let mut missed = 0;
    for mutant in &mutants {
        println!("=== {}", mutant.name);
        let found = copy.with(mutant, || copy.simulate(seeds))?;
        missed += usize::from(found.is_none());
        lines.push(match found {
            Some(found) => format!("caught  {:<52} {found}", mutant.name),
            None => format!("MISSED  {:<52} by {seeds} seeds", mutant.name),
        });
    }
    println!("\n{}\n{} caught, {missed} missed; unbroken: nothing found", lines.join("\n"), mutants.len() - missed);
    ensure!(missed == 0, "the simulation does not see what is broken");
    Ok(())
}

/// A copy of the tree, and where it is built: once, and then what a mutant changes.
struct Tree {
    folder: PathBuf,
    build: PathBuf,
}

impl Tree {
    fn copy() -> Result<Self> {
        let home = target_dir().join("mutants");
        let copy = Self { folder: home.join("tree"), build: home.join("build") };
        let mut list = Command::new("git");
        list.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let mut files = HashSet::new();
        for file in output(&mut list)?.split('\0').filter(|file| !file.is_empty()) {
            // What git knows of may be gone.
            if root().join(file).is_file() {
                copy.place(Path::new(file), &fs::read(root().join(file))?)?;
                files.insert(copy.folder.join(file));
            }
        }
        keep(&copy.folder, &files)?;
        Ok(copy)
    }

    /// Writes a file of the copy, unless it is like that already: what does not change is not compiled again.
    fn place(&self, file: &Path, content: &[u8]) -> Result<()> {
        let path = self.folder.join(file);
        if fs::read(&path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Breaks the copy for as long as `work` takes.
    fn with<T>(&self, mutant: &Mutant, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let original = fs::read_to_string(root().join(&mutant.file))?;
        self.place(&mutant.file, mutant.apply(&original)?.as_bytes())?;
        let done = work();
        self.place(&mutant.file, original.as_bytes())?;
        done
    }

    /// What the simulation finds first: the seed, the check, and what is wrong.
    fn simulate(&self, seeds: u64) -> Result<Option<String>> {
        let mut build = cargo(["build", "--quiet", "--package", "everstream-simulation"]);
        call(build.current_dir(&self.folder).env("CARGO_TARGET_DIR", &self.build))?;
        let program = self.build.join("debug").join(format!("everstream-sim{}", std::env::consts::EXE_SUFFIX));
        let seeds = seeds.to_string();
        let output = Command::new(program).args(["--seed", &FIRST_SEED.to_string(), "--seeds", &seeds]).output()?;
        if output.status.success() {
            return Ok(None);
        }
        let told = String::from_utf8_lossy(&output.stdout);
        let found = told.lines().next().filter(|line| line.starts_with("seed "));
        let found =
            found.with_context(|| format!("the simulation failed: {}", String::from_utf8_lossy(&output.stderr)))?;
        println!("{found}");
        Ok(Some(shortened(found)))
    }
}

/// Removes all other files below a folder: an earlier copy may have had them.
fn keep(folder: &Path, files: &HashSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            keep(&path, files)?;
        } else if !files.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The beginning of a line, as much as fits beside a name.
fn shortened(line: &str) -> String {
    const LONGEST: usize = 140;
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_changes_one_place_that_is_there() {
        let mutants = Mutants::load().unwrap().all;
        assert!(mutants.len() >= 10);
        for mutant in mutants {
            let text = fs::read_to_string(root().join(&mutant.file)).unwrap();
            assert_ne!(mutant.apply(&text).unwrap(), text, "{}", mutant.name);
        }
    }

    #[test]
    fn a_copy_keeps_what_the_tree_has() {
        let folder = tempfile::tempdir().unwrap();
        let [kept, lost, moved] = ["a/kept.rs", "a/lost.rs", "b/c/moved.rs"].map(|file| folder.path().join(file));
        fs::create_dir_all(moved.parent().unwrap()).unwrap();
        fs::create_dir_all(kept.parent().unwrap()).unwrap();
        for file in [&kept, &lost, &moved] {
            fs::write(file, "").unwrap();
        }
        keep(folder.path(), &HashSet::from([kept.clone()])).unwrap();
        assert_eq!([kept, lost, moved].map(|file| file.is_file()), [true, false, false]);
    }
}
