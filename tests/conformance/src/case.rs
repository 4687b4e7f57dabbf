//! What a case is, and where cases come from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// A file of cases about one subject.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseFile {
    /// What its cases are about; for readers.
    pub about: String,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One claim about every client, and the steps that show whether it holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its name within the file. [`load_cases`] puts the file's name before it: `retry/the-name`.
    pub name: String,
    /// The claim, as a sentence.
    pub claim: String,
    /// The rules of the protocol that it is about, such as `C-READ-1`.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Defects of other clients that it shows to be absent, such as `C4`.
    #[serde(default)]
    pub defects: Vec<String>,
    /// Features beyond the nine that an adapter needs for it, such as `subscriptions`. One that does not declare them
    /// leaves it out.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The stream `${stream}` that the server has before the first step: `json`, `text`, `bytes` or a content type.
    #[serde(default)]
    pub stream: Option<String>,
    /// What that stream holds.
    #[serde(default)]
    pub holds: Option<String>,
    /// What happens, in this order.
    pub steps: Vec<Value>,
}

/// One step of a case. Exactly one of the fields before `with` says what it does.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Sends this command to the adapter.
    pub client: Option<String>,
    /// Waits for the answer of the command that was sent with this name as `background`.
    pub join: Option<String>,
    /// Sends a request with this method to the server, past the proxy.
    pub server: Option<String>,
    /// Replaces what the proxy does to requests.
    pub network: Option<Vec<NetworkRule>>,
    /// Replaces what the receiver at `${receiver}` answers.
    pub receiver: Option<Vec<NetworkRule>>,
    /// Compares the requests that the proxy has seen.
    pub requests: Option<Requests>,
    /// Waits until the proxy has seen so many requests.
    pub wait: Option<Wait>,
    /// Compares what the server holds.
    pub stored: Option<Stored>,

    /// Fields of the command, or `path`, `headers`, `body` of the request.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// Does not wait for the answer; `join` does.
    pub background: Option<String>,
    /// What the answer must be. Without it, a command must succeed and a request be answered with 2xx.
    pub expect: Option<BTreeMap<String, Value>>,
    /// Keeps values of the answer as variables: the variable, and where in the answer it is. Of `wait`, in the requests
    /// that were waited for.
    #[serde(default)]
    pub save: BTreeMap<String, String>,
}

/// What happens to requests that match.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkRule {
    /// Only requests with this method.
    pub method: Option<String>,
    /// Only requests whose path contains this.
    pub path: Option<String>,
    /// Only requests whose query contains this.
    pub query: Option<String>,
    /// Only requests with this value of this header.
    pub header: Option<BTreeMap<String, String>>,
    /// The first of them, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many in a row; 0 is all from there on.
    #[serde(default = "one")]
    pub times: u64,
    /// The fault that they meet: a name, and what follows it.
    pub fault: Option<String>,
    /// Where a cut or stall is, in bytes.
    #[serde(default)]
    pub at: u64,
    /// How long a delay, stall or hold is.
    #[serde(default)]
    pub ms: u64,
    /// The status of the fault `status` or `status-after`.
    pub status: Option<u16>,
    /// The `Retry-After` of it.
    pub retry_after: Option<u32>,
    /// The answer that they get instead of the server's.
    pub answer: Option<WrittenAnswer>,
}

fn one() -> u64 {
    1
}

/// An answer in place of the server's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenAnswer {
    /// Its status; default 200.
    #[serde(default = "ok")]
    pub status: u16,
    /// Its headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Option<String>,
    /// Its body, in pieces that arrive one after the other.
    #[serde(default)]
    pub pieces: Vec<String>,
    /// Its body in base64, in pieces: what is not text, or cuts characters.
    #[serde(default)]
    pub pieces_base64: Vec<String>,
    /// What comes then: `complete` (default), `open` or `reset`.
    #[serde(default)]
    pub end: End,
}

fn ok() -> u16 {
    200
}

/// How the body of a [`WrittenAnswer`] ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// As it should.
    #[default]
    Complete,
    /// Not before the client goes away.
    Open,
    /// With a reset.
    Reset,
}

/// Whose requests a step looks at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeenAt {
    /// Those of the client, on their way to the server.
    #[default]
    Proxy,
    /// Those to `${receiver}`: webhooks.
    Receiver,
}

/// What the requests must have been.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    /// Whose.
    #[serde(default)]
    pub at: SeenAt,
    /// Only those that look like this; all without it.
    pub only: Option<Value>,
    /// Exactly these, in this order.
    pub are: Option<Vec<Value>>,
    /// Each looks like this.
    pub every: Option<Value>,
    /// At least so many.
    pub min: Option<usize>,
    /// At most so many.
    pub max: Option<usize>,
    /// These places are the same in all, such as `headers.producer-seq`.
    #[serde(default)]
    pub same: Vec<String>,
    /// This place is different in each.
    pub distinct: Option<String>,
    /// Between one and the next there is at least so much time, in milliseconds.
    pub apart_ms: Option<u64>,
}

/// What to wait for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// Whose.
    #[serde(default)]
    pub at: SeenAt,
    /// Only requests that look like this count.
    pub only: Option<Value>,
    /// So many of them.
    pub requests: usize,
}

/// What the server must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// The stream; default `${stream}`.
    pub path: Option<String>,
    /// Its text, all messages after each other.
    pub text: Option<String>,
    /// Its messages.
    pub json: Option<Vec<Value>>,
    /// Its bytes, in base64.
    pub base64: Option<String>,
    /// Whether it is closed.
    pub closed: Option<bool>,
}

impl Step {
    /// Reads a step.
    ///
    /// # Errors
    /// It does nothing or two things, or has fields that nothing reads.
    pub fn parse(value: &Value) -> Result<Self> {
        let step: Self = serde_json::from_value(value.clone()).with_context(|| format!("not a step: {value}"))?;
        let verbs = [
            step.client.is_some(),
            step.join.is_some(),
            step.server.is_some(),
            step.network.is_some(),
            step.receiver.is_some(),
            step.requests.is_some(),
            step.wait.is_some(),
            step.stored.is_some(),
        ];
        let said = verbs.into_iter().filter(|said| *said).count();
        ensure!(said == 1, "a step does one thing, and this one {said}: {value}");
        let answered = step.client.is_some() || step.join.is_some() || step.server.is_some();
        ensure!(
            answered || (step.expect.is_none() && step.with.is_empty()),
            "`with` and `expect` belong to `client`, `join` and `server`: {value}"
        );
        ensure!(
            answered || step.wait.is_some() || step.save.is_empty(),
            "`save` belongs to `client`, `join`, `server` and `wait`: {value}"
        );
        ensure!(step.background.is_none() || step.client.is_some(), "`background` belongs to `client`: {value}");
        Ok(step)
    }
}

impl Case {
    /// Checks what can be checked before it runs.
    ///
    /// # Errors
    /// A step that is none, or commands that overlap, which the protocol of adapters does not have.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.claim.trim().is_empty(), "{}: a case claims something", self.name);
        ensure!(!self.rules.is_empty() || !self.defects.is_empty(), "{}: a case names a rule or a defect", self.name);
        let mut open: Option<String> = None;
        for value in &self.steps {
            let step = Step::parse(value).with_context(|| self.name.clone())?;
            match (&open, &step.join) {
                (Some(name), Some(joined)) if name == joined => open = None,
                (_, Some(joined)) => bail!("{}: nothing runs as {joined}", self.name),
                (Some(name), None) if step.client.is_some() => bail!("{}: join {name} first", self.name),
                _ => {}
            }
            open = step.background.or(open);
        }
        ensure!(open.is_none(), "{}: {open:?} is never joined", self.name);
        Ok(())
    }
}

/// The cases of all YAML files of a folder, in the order of their names, checked.
///
/// # Errors
/// A file cannot be read or is not understood, a case is wrong, or two have the same name.
pub fn load_cases(folder: &Path) -> Result<Vec<Case>> {
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("cannot read {}", folder.display()))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: CaseFile = serde_saphyr::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for mut case in file.cases {
            case.name = format!("{stem}/{}", case.name);
            case.check()?;
            ensure!(cases.iter().all(|other| other.name != case.name), "two cases are called {}", case.name);
            cases.push(case);
        }
    }
    ensure!(!cases.is_empty(), "there are no cases in {}", folder.display());
    Ok(cases)
}
