//! The records of the demo: flights, from the npm package `vega-datasets`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::value::RawValue;

use crate::process::{npm_ci, root, target_dir};

/// Records of the package, each as its own JSON text, in their order.
pub(crate) struct Records(Vec<Box<RawValue>>);

impl Records {
    /// The first `limit` records, or all. The package is installed when it is not there yet.
    pub(crate) fn load(limit: Option<usize>) -> Result<Self> {
        let path = install()?.join("node_modules/vega-datasets/data/flights-200k.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut records: Vec<Box<RawValue>> = serde_json::from_slice(&text).context("the records are not JSON")?;
        if let Some(limit) = limit {
            ensure!(
                (2..=records.len()).contains(&limit),
                "there are {} records: ask for at least 2 of them",
                records.len()
            );
            records.truncate(limit);
        }
        Ok(Self(records))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is sent: each record's text, with its ordinal around it.
    pub(crate) fn messages(&self) -> impl Iterator<Item = String> {
        self.0.iter().enumerate().map(|(n, record)| message(n, record))
    }

    /// What is sent for the record with this ordinal.
    pub(crate) fn message(&self, n: usize) -> Option<String> {
        self.0.get(n).map(|record| message(n, record))
    }
}

#[cfg(test)]
impl From<&[&str]> for Records {
    fn from(records: &[&str]) -> Self {
        let parse = |text: &&str| RawValue::from_string((*text).to_owned()).unwrap();
        Self(records.iter().map(parse).collect())
    }
}

fn message(n: usize, record: &RawValue) -> String {
    format!(r#"{{"n":{n},"record":{}}}"#, record.get())
}

fn install() -> Result<PathBuf> {
    let (from, folder) = (root().join("xtask/demo"), target_dir().join("demo"));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for name in ["package.json", "package-lock.json", ".npmrc"] {
        let wanted = fs::read(from.join(name)).with_context(|| format!("cannot read xtask/demo/{name}"))?;
        let path = folder.join(name);
        // Written only when it differs: `npm_ci` goes by its age.
        if fs::read(&path).ok().as_ref() != Some(&wanted) {
            fs::write(&path, wanted).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    npm_ci(&folder)?;
    Ok(folder)
}
