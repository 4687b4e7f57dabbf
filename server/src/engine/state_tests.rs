//! Every row of T-POST and T-CLOSE, and the rules of S-SEQ and S-PROD that need a whole state.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::engine::expiry::Lifetime;

const JSON: &str = "application/json";

fn stream(content_type: &str) -> StreamState {
    StreamState::new(StreamConfig::new(content_type))
}

fn text() -> StreamState {
    stream("text/plain; charset=utf-8")
}

fn append(body: &'static str) -> Append<'static> {
    Append::new("text/plain", Bytes::from_static(body.as_bytes()))
}

fn json(body: &'static str) -> Append<'static> {
    Append::new(JSON, Bytes::from_static(body.as_bytes()))
}

fn tag(id: &'static str, epoch: u64, seq: u64) -> ProducerTag {
    ProducerTag { id: Bytes::from_static(id.as_bytes()), epoch, seq }
}

trait With {
    fn by(self, id: &'static str, epoch: u64, seq: u64) -> Self;
    fn at_seq(self, seq: &'static str) -> Self;
    fn closing(self) -> Self;
}

impl With for Append<'_> {
    fn by(mut self, id: &'static str, epoch: u64, seq: u64) -> Self {
        self.producer = Some(tag(id, epoch, seq));
        self
    }

    fn at_seq(mut self, seq: &'static str) -> Self {
        self.stream_seq = Some(Bytes::from_static(seq.as_bytes()));
        self
    }

    fn closing(mut self) -> Self {
        self.close = true;
        self
    }
}

/// Decides, applies what is to be committed, and gives the receipt.
fn run(state: &mut StreamState, append: &Append<'_>) -> Result<Receipt, EngineError> {
    match state.decide(append.clone(), 0)? {
        Decision::Commit(commit, receipt) => {
            state.apply(&commit);
            assert_eq!(receipt.next, state.tail(), "a receipt names the tail after its commit");
            assert_eq!(receipt.closed, state.is_closed());
            Ok(receipt)
        }
        Decision::Answer(receipt) => Ok(receipt),
    }
}

/// Asserts that a request is refused and that nothing changed (S-APPEND-5).
fn refused(state: &StreamState, append: &Append<'_>) -> EngineError {
    state.decide(append.clone(), 0).unwrap_err()
}

#[test]
fn an_append_without_a_body_is_refused_even_from_a_producer() {
    assert_eq!(refused(&text(), &append("")), EngineError::EmptyBody);
    assert_eq!(refused(&text(), &append("").by("p", 0, 0)), EngineError::EmptyBody);
}

#[test]
fn a_body_needs_a_content_type_and_the_right_one() {
    let mut untyped = append("x");
    untyped.content_type = None;
    assert_eq!(refused(&text(), &untyped), EngineError::MissingContentType);
    let other = Append::new("text/html", Bytes::from_static(b"x"));
    assert_eq!(refused(&text(), &other), EngineError::ContentTypeDiffers);
    let shouted = Append::new("TEXT/PLAIN;x=y", Bytes::from_static(b"x"));
    assert!(run(&mut text(), &shouted).is_ok());
}

#[test]
fn a_plain_append_moves_the_tail_by_its_bytes() {
    let mut state = text();
    let receipt = run(&mut state, &append("hello")).unwrap();
    assert_eq!(receipt, Receipt { outcome: Outcome::Appended, next: Position(5), closed: false, producer: None });
}

#[test]
fn an_expired_stream_is_not_there() {
    let mut config = StreamConfig::new("text/plain");
    config.lifetime = Lifetime::Ttl(1);
    let state = StreamState::new(config);
    assert!(state.decide(append("x"), 999).is_ok());
    assert_eq!(state.decide(append("x"), 1000), Err(EngineError::NotFound));
    assert_eq!(state.decide(Append::close_only(), 1000), Err(EngineError::NotFound));
}

#[test]
fn a_commit_restarts_the_window_and_a_refusal_does_not() {
    let mut config = StreamConfig::new("text/plain");
    config.lifetime = Lifetime::Ttl(1);
    let mut state = StreamState::new(config);
    let Decision::Commit(commit, _) = state.decide(append("x"), 500).unwrap() else { panic!() };
    state.apply(&commit);
    assert_eq!(state.deadline(), Some(1500));
    assert!(state.decide(append(""), 900).is_err());
    assert_eq!(state.deadline(), Some(1500));
}

#[test]
fn closure_comes_before_every_other_conflict() {
    let mut state = text();
    run(&mut state, &append("ab").closing()).unwrap();
    let closed = EngineError::Closed { tail: Position(2) };
    assert_eq!(refused(&state, &append("x")), closed);
    assert_eq!(refused(&state, &json("{")), closed);
    assert_eq!(refused(&state, &append("x").by("p", 0, 5)), closed);
    assert_eq!(refused(&state, &append("x").closing()), closed);
}

#[test]
fn a_repeat_of_the_closing_tuple_succeeds_whatever_its_body() {
    let mut state = text();
    run(&mut state, &append("ab").by("p", 0, 0)).unwrap();
    run(&mut state, &append("cd").by("p", 0, 1).closing()).unwrap();
    let expected = Receipt { outcome: Outcome::Closed, next: Position(4), closed: true, producer: Some((0, 1)) };
    for repeat in [append("cd").closing(), append("other"), Append::close_only()] {
        assert_eq!(run(&mut state, &repeat.by("p", 0, 1)), Ok(expected));
    }
    let closed = EngineError::Closed { tail: Position(4) };
    for other in [("p", 0, 0), ("p", 0, 2), ("p", 1, 0), ("q", 0, 1)] {
        assert_eq!(refused(&state, &append("x").by(other.0, other.1, other.2)), closed);
        assert_eq!(refused(&state, &Append::close_only().by(other.0, other.1, other.2)), closed);
    }
}

#[test]
fn producer_rows_come_before_stream_seq_and_json() {
    let mut state = stream(JSON);
    run(&mut state, &json("1").by("p", 1, 0).at_seq("b")).unwrap();
    assert_eq!(refused(&state, &json("{").by("p", 0, 0)), EngineError::Fenced { epoch: 1 });
    assert_eq!(refused(&state, &json("{").by("p", 2, 1)), EngineError::NewEpochNotAtZero);
    assert_eq!(refused(&state, &json("{").by("p", 1, 2)), EngineError::Gap { expected: 1, received: 2 });
    let duplicate = run(&mut state, &json("{").by("p", 1, 0).at_seq("a")).unwrap();
    assert_eq!(duplicate.outcome, Outcome::Duplicate);
    assert_eq!((duplicate.next, duplicate.producer), (state.tail(), Some((1, 0))));
    assert_eq!(refused(&state, &json("{").by("p", 1, 1).at_seq("b")), EngineError::SeqRegression);
    assert!(matches!(refused(&state, &json("{").by("p", 1, 1)), EngineError::InvalidJson(_)));
    assert_eq!(refused(&state, &json("[]").by("p", 1, 1)), EngineError::EmptyArray);
    assert!(run(&mut state, &json("2").by("p", 1, 1).at_seq("c")).is_ok());
}

#[test]
fn a_duplicate_reports_the_highest_seq() {
    let mut state = text();
    for seq in 0..3 {
        run(&mut state, &append("x").by("p", 0, seq)).unwrap();
    }
    assert_eq!(run(&mut state, &append("x").by("p", 0, 1)).unwrap().producer, Some((0, 2)));
}

#[test]
fn after_a_gap_the_missing_seq_and_then_the_rejected_one_succeed() {
    let mut state = text();
    run(&mut state, &append("a").by("p", 0, 0)).unwrap();
    refused(&state, &append("c").by("p", 0, 2));
    run(&mut state, &append("b").by("p", 0, 1)).unwrap();
    run(&mut state, &append("c").by("p", 0, 2)).unwrap();
    assert_eq!(state.tail(), Position(3));
}

#[test]
fn stream_seq_is_compared_as_bytes_and_moves_only_with_data() {
    let mut state = text();
    run(&mut state, &append("x").at_seq("09")).unwrap();
    run(&mut state, &append("x").at_seq("10")).unwrap();
    run(&mut state, &append("x")).unwrap();
    assert_eq!(refused(&state, &append("x").at_seq("10")), EngineError::SeqRegression);
    run(&mut state, &append("x").at_seq("2")).unwrap();
    assert_eq!(refused(&state, &append("x").at_seq("10")), EngineError::SeqRegression);
    run(&mut state, &append("x").at_seq("a")).unwrap();
    assert_eq!(refused(&state, &append("x").at_seq("B")), EngineError::SeqRegression);
    assert_eq!(run(&mut state, &Append::close_only().at_seq("0")).unwrap().outcome, Outcome::Closed);
}

#[test]
fn every_row_of_t_close_is_answered_as_the_table_says() {
    let closed = |producer| Receipt { outcome: Outcome::Closed, next: Position(1), closed: true, producer };
    let open = || {
        let mut state = text();
        run(&mut state, &append("x").by("p", 1, 0)).unwrap();
        state
    };
    assert_eq!(run(&mut open(), &Append::close_only()), Ok(closed(None)));
    let mut state = open();
    assert_eq!(run(&mut state, &Append::close_only().by("p", 1, 1)), Ok(closed(Some((1, 1)))));
    assert_eq!(run(&mut state, &Append::close_only().by("p", 1, 1)), Ok(closed(Some((1, 1)))));
    assert_eq!(run(&mut state, &Append::close_only()), Ok(closed(None)));
    let final_offset = EngineError::Closed { tail: Position(1) };
    assert_eq!(refused(&state, &Append::close_only().by("p", 1, 2)), final_offset);

    let mut state = open();
    assert_eq!(refused(&state, &Append::close_only().by("p", 0, 0)), EngineError::Fenced { epoch: 1 });
    assert_eq!(refused(&state, &Append::close_only().by("p", 2, 1)), EngineError::NewEpochNotAtZero);
    let gap = EngineError::Gap { expected: 1, received: 2 };
    assert_eq!(refused(&state, &Append::close_only().by("p", 1, 2)), gap);
    let duplicate = run(&mut state, &Append::close_only().by("p", 1, 0)).unwrap();
    assert_eq!((duplicate.outcome, duplicate.closed), (Outcome::Duplicate, false));
    assert!(!state.is_closed());
}

#[test]
fn close_only_ignores_the_content_type() {
    let mut close = Append::close_only();
    close.content_type = Some(b"image/png");
    assert!(run(&mut text(), &close).is_ok());
}

#[test]
fn a_close_without_producer_has_no_closing_tuple() {
    let mut state = text();
    run(&mut state, &Append::close_only()).unwrap();
    let closed = EngineError::Closed { tail: Position::ZERO };
    assert_eq!(refused(&state, &Append::close_only().by("p", 0, 0)), closed);
}

#[derive(Clone, Debug)]
enum Op {
    Append { producer: Option<(u8, u64, u64)>, seq: Option<u8>, close: bool, empty: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let producer = prop::option::of((0..2u8, 0..3u64, 0..4u64));
    (producer, prop::option::of(b'a'..b'f'), prop::bool::weighted(0.05), prop::bool::weighted(0.2))
        .prop_map(|(producer, seq, close, empty)| Op::Append { producer, seq, close, empty })
}

proptest! {
    /// Whatever is sent: the tail moves exactly by what was acknowledged as appended, a tag is appended at
    /// most once, and after closure nothing moves.
    #[test]
    fn acknowledged_data_is_there_exactly_once(ops in prop::collection::vec(op(), 0..80)) {
        let mut state = text();
        let mut appended = 0u64;
        let mut seen = std::collections::HashSet::new();
        let mut closed = false;
        for Op::Append { producer, seq, close, empty } in ops {
            let mut request = if empty { Append::close_only() } else { append("abc") };
            request.close = close;
            request.producer = producer.map(|(id, epoch, seq)| tag(["p", "q"][usize::from(id)], epoch, seq));
            request.stream_seq = seq.map(|seq| Bytes::copy_from_slice(&[seq]));
            let before = state.tail();
            match run(&mut state, &request) {
                Ok(receipt) if receipt.outcome == Outcome::Appended => {
                    prop_assert!(!closed);
                    appended += 3;
                    if let Some(tag) = producer {
                        prop_assert!(seen.insert(tag));
                    }
                }
                _ => prop_assert_eq!(state.tail(), before),
            }
            prop_assert_eq!(state.tail(), Position(appended));
            prop_assert!(!closed || state.is_closed());
            closed = state.is_closed();
        }
    }
}
