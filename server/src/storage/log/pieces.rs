//! What was read from runs last, checked already, for the next reader of the same.
//!
//! Readers that catch up come in crowds: after a start, after an outage, when a page is opened. They ask for the same pieces
//! within moments. Runs never change, so what one of them has read and checked is good for all.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;

use super::run::RunRef;
use crate::engine::Position;
use crate::storage::ReadRange;

/// How many bytes are kept at most.
const KEPT: usize = 16 << 20;
/// Smaller pieces are as quickly read again.
const SMALLEST: usize = 64 << 10;

/// What was asked of a run. The same question has the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// The pieces. The one read last comes last.
#[derive(Default)]
pub(super) struct Pieces(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    pieces: VecDeque<(Question, Bytes, Position)>,
    bytes: usize,
}

impl Pieces {
    /// The answer, if it is known: the data, and the position after it.
    pub(super) fn find(&self, question: &Question) -> Option<(Bytes, Position)> {
        let kept = self.0.lock();
        kept.pieces.iter().rev().find(|(asked, ..)| asked == question).map(|(_, data, next)| (data.clone(), *next))
    }

    /// Keeps an answer, and drops the oldest ones for it.
    pub(super) fn keep(&self, question: Question, data: &Bytes, next: Position) {
        if !(SMALLEST..=KEPT / 4).contains(&data.len()) {
            return;
        }
        let mut gone = Vec::new();
        let mut kept = self.0.lock();
        kept.bytes += data.len();
        kept.pieces.push_back((question, data.clone(), next));
        while kept.bytes > KEPT
            && let Some((_, oldest, _)) = kept.pieces.pop_front()
        {
            kept.bytes -= oldest.len();
            gone.push(oldest);
        }
        // Memory is given back outside of the lock.
        drop(kept);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const MAX: usize = 1 << 20;

    fn question(file: u64, from: u64) -> Question {
        let run = RunRef { file, offset: 32, start: 0, len: 64 << 20, messages: 1 };
        Question::new(&run, ReadRange { from: Position(from), to: Position(u64::MAX), max_bytes: MAX }, true)
    }

    #[test]
    fn the_same_question_has_the_answer_until_others_have_pushed_it_out() {
        let pieces = Pieces::default();
        let data = Bytes::from(vec![7; MAX]);
        pieces.keep(question(1, 0), &data, Position(5));
        assert_eq!(pieces.find(&question(1, 0)).unwrap(), (data.clone(), Position(5)));
        assert!(pieces.find(&question(2, 0)).is_none() && pieces.find(&question(1, 1)).is_none());
        for file in 2..2 + (KEPT / MAX) as u64 {
            pieces.keep(question(file, 0), &data, Position(file));
        }
        assert!(pieces.find(&question(1, 0)).is_none());
        assert!(pieces.find(&question(2, 0)).is_some());
        assert_eq!(pieces.0.lock().bytes, KEPT);
    }

    #[test]
    fn small_pieces_are_not_kept() {
        let pieces = Pieces::default();
        pieces.keep(question(1, 0), &Bytes::from_static(b"x"), Position(1));
        assert!(pieces.find(&question(1, 0)).is_none());
    }
}
