//! What was read from runs last, checked already, for the next reader of the same.
//!
//! Readers that catch up come in crowds: after a start, after an outage, when a page is opened. They ask for the same pieces
//! within moments. Runs never change, so what one of them has read and checked is good for all.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use super::run::{Part, RunRef};
use crate::engine::Position;
use crate::storage::ReadRange;

/// Smaller pieces are as quickly read again.
const SMALLEST: usize = 64 << 10;

/// What was asked of a run. The same question has the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    file: u64,
    offset: u64,
    from: u64,
    to: u64,
    max_bytes: usize,
    at_least_one: bool,
}

impl Question {
    pub(super) fn new(run: &RunRef, range: ReadRange, at_least_one: bool) -> Self {
        let to = range.to.0.min(run.end());
        Self {
            file: run.file,
            offset: run.offset,
            from: range.from.0,
            to,
            max_bytes: range.max_bytes.min(run.len as usize),
            at_least_one,
        }
    }
}

/// The pieces.
pub(super) struct Pieces {
    /// How many bytes are kept at most.
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    pieces: HashMap<Question, (Vec<Part>, Position)>,
    /// The one read last comes last.
    order: VecDeque<Question>,
    bytes: usize,
}

impl Pieces {
    pub(super) fn new(most: usize) -> Self {
        Self { most, kept: Mutex::default() }
    }

    /// The answer, if it is known: the data, and the position after it.
    pub(super) fn find(&self, question: &Question) -> Option<(Vec<Part>, Position)> {
        self.kept.lock().pieces.get(question).cloned()
    }

    /// Keeps an answer, and drops the oldest ones for it.
    pub(super) fn keep(&self, question: Question, parts: &[Part], next: Position) {
        let len = len(parts);
        if !(SMALLEST..=self.most / 4).contains(&len) {
            return;
        }
        let mut gone = Vec::new();
        let mut kept = self.kept.lock();
        if kept.pieces.insert(question, (parts.to_vec(), next)).is_some() {
            // Two have read the same at the same time.
            return;
        }
        kept.bytes += len;
        kept.order.push_back(question);
        while kept.bytes > self.most
            && let Some(oldest) = kept.order.pop_front()
        {
            if let Some((oldest, _)) = kept.pieces.remove(&oldest) {
                kept.bytes -= self::len(&oldest);
                gone.push(oldest);
            }
        }
        // Memory is given back outside of the lock.
        drop(kept);
    }
}

fn len(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.data.len()).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;
    const KEPT: usize = 16 << 20;

    fn question(file: u64, from: u64) -> Question {
        let run = RunRef { file, offset: 32, start: 0, len: 64 << 20, messages: 1, log: 0 };
        Question::new(&run, ReadRange { from: Position(from), to: Position(u64::MAX), max_bytes: MAX }, true)
    }

    fn part(len: usize) -> Part {
        Part { data: vec![7; len].into(), at: 0 }
    }

    #[test]
    fn the_same_question_has_the_answer_until_others_have_pushed_it_out() {
        let pieces = Pieces::new(KEPT);
        let data = [part(MAX - 9), part(9)];
        pieces.keep(question(1, 0), &data, Position(5));
        pieces.keep(question(1, 0), &data, Position(5));
        let (found, next) = pieces.find(&question(1, 0)).unwrap();
        assert_eq!(
            (found.iter().map(|part| part.data.len()).collect::<Vec<_>>(), next),
            (vec![MAX - 9, 9], Position(5))
        );
        assert!(pieces.find(&question(2, 0)).is_none() && pieces.find(&question(1, 1)).is_none());
        for file in 2..2 + (KEPT / MAX) as u64 {
            pieces.keep(question(file, 0), &data, Position(file));
        }
        assert!(pieces.find(&question(1, 0)).is_none());
        assert!(pieces.find(&question(2, 0)).is_some());
        assert_eq!(pieces.kept.lock().bytes, KEPT);
    }

    #[test]
    fn pieces_are_not_kept_that_are_small_or_would_push_out_most_others() {
        for (most, len) in [(KEPT, 1), (KEPT, KEPT / 4 + 1), (0, MAX)] {
            let pieces = Pieces::new(most);
            pieces.keep(question(1, 0), &[part(len)], Position(1));
            assert!(pieces.find(&question(1, 0)).is_none(), "{len} of {most}");
        }
    }
}
