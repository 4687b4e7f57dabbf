//! What happened, line by line: to be told when a promise was broken, and to compare two runs of one seed.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hasher;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// As many lines are kept to be told.
const KEPT: usize = 4000;

/// Lines with the virtual time at which they were told. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Story(Arc<Inner>);

struct Inner {
    began: Instant,
    /// Also as it happens: `EVERSTREAM_SIM_STORY=1`.
    aloud: bool,
    told: Mutex<Told>,
}

struct Told {
    lines: VecDeque<String>,
    /// Of all lines, those that were not kept included.
    digest: Fnv,
}

impl Story {
    pub(crate) fn new() -> Self {
        let told = Told { lines: VecDeque::new(), digest: Fnv(0xcbf2_9ce4_8422_2325) };
        let aloud = std::env::var_os("EVERSTREAM_SIM_STORY").is_some();
        Self(Arc::new(Inner { began: Instant::now(), aloud, told: Mutex::new(told) }))
    }

    pub(crate) fn tell(&self, what: fmt::Arguments<'_>) {
        let line = format!("{:>10.3}s  {what}", self.0.began.elapsed().as_secs_f64());
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.digest.write(line.as_bytes());
        if self.0.aloud {
            eprintln!("{line}");
        }
        if told.lines.len() == KEPT {
            told.lines.pop_front();
        }
        told.lines.push_back(line);
    }

    /// The last lines that name `about`, at most `limit`.
    pub(crate) fn about(&self, about: &str, limit: usize) -> String {
        let told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<&String> = told.lines.iter().filter(|line| line.contains(about)).collect();
        let skipped = lines.len().saturating_sub(limit);
        lines[skipped..].iter().fold(String::new(), |story, line| story + line + "\n")
    }

    pub(crate) fn digest(&self) -> u64 {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner).digest.0
    }
}

/// FNV-1a: the same in every process, unlike the standard library's.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
