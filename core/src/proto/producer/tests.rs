use super::*;
use crate::proto::names;
use crate::proto::response::{Disconnect, ResponseHead};
use http::{HeaderMap, HeaderName, StatusCode};
use std::time::{Duration, UNIX_EPOCH};

const T0: Instant = Duration::ZERO;

fn options() -> ProducerOptions {
    ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() }
}

/// One message a batch, so that seqs count messages.
fn single() -> ProducerOptions {
    ProducerOptions { max_batch_items: Some(1), ..options() }
}

fn producer(options: ProducerOptions) -> Producer {
    Producer::new("p", "application/json", options, &RetryPolicy::default(), 1).unwrap()
}

fn answer(status: u16, headers: &[(HeaderName, &str)]) -> ResponseHead {
    let headers: HeaderMap = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    ResponseHead::new(StatusCode::from_u16(status).unwrap(), headers, UNIX_EPOCH)
}

fn stored(offset: &str) -> ResponseHead {
    answer(200, &[(names::STREAM_NEXT_OFFSET, offset)])
}

fn gap(expected: &str) -> ResponseHead {
    answer(409, &[(names::PRODUCER_EXPECTED_SEQ, expected), (names::PRODUCER_RECEIVED_SEQ, "99")])
}

fn fenced(epoch: &str) -> ResponseHead {
    answer(403, &[(names::PRODUCER_EPOCH, epoch)])
}

fn lost() -> Disconnect {
    Disconnect { not_sent: false, error: Error::new(ErrorKind::Network, "reset") }
}

fn refused() -> Disconnect {
    Disconnect { not_sent: true, error: Error::new(ErrorKind::Network, "refused") }
}

/// Sends what can be sent at `now`, as if every body were written at once.
fn transmit(producer: &mut Producer, now: Instant) -> Vec<Transmit> {
    let mut sent = Vec::new();
    while let Some(transmit) = producer.poll_transmit(now) {
        producer.handle_body_sent(transmit.batch);
        sent.push(transmit);
    }
    sent
}

fn identity(transmit: &Transmit) -> (u64, u64, &str) {
    let number = |name: HeaderName| transmit.request.headers[name].to_str().unwrap().parse().unwrap();
    let body = std::str::from_utf8(&transmit.request.body).unwrap();
    (number(names::PRODUCER_EPOCH), number(names::PRODUCER_SEQ), body)
}

fn events(producer: &mut Producer) -> Vec<ProducerEvent> {
    std::iter::from_fn(|| producer.poll_event()).collect()
}

fn flushed(producer: &mut Producer) -> Option<Result<Flushed>> {
    events(producer).into_iter().find_map(|event| match event {
        ProducerEvent::Flushed { result, .. } => Some(result),
        _ => None,
    })
}

/// Lets the waits of failed tries pass.
fn pass_backoff(producer: &mut Producer, now: &mut Instant) {
    *now += Duration::from_secs(2);
    producer.handle_timeout(*now);
}

#[test]
fn messages_of_a_json_stream_become_one_array_and_r3_bytes_are_joined() {
    let mut json = producer(options());
    for message in ["1", "[2]", "\"x\""] {
        json.append(message.as_bytes(), T0).unwrap();
    }
    assert_eq!(identity(&transmit(&mut json, T0)[0]), (0, 0, "[1,[2],\"x\"]"));

    let mut text = Producer::new("p", "text/plain", options(), &RetryPolicy::default(), 1).unwrap();
    for message in ["a", "b"] {
        text.append(message.as_bytes(), T0).unwrap();
    }
    assert_eq!(identity(&transmit(&mut text, T0)[0]), (0, 0, "ab"));
}

#[test]
fn a_batch_waits_for_the_linger_time_unless_it_is_full_or_flushed() {
    let linger = Duration::from_millis(5);
    let mut p = producer(ProducerOptions { linger, max_batch_bytes: 8, ..ProducerOptions::default() });
    p.append(b"111", T0).unwrap();
    assert!(transmit(&mut p, T0).is_empty());
    assert_eq!(p.poll_timeout(), Some(linger));
    assert_eq!(identity(&transmit(&mut p, linger)[0]), (0, 0, "[111]"));
    p.append(b"222", linger).unwrap();
    p.append(b"333", linger).unwrap();
    assert_eq!(identity(&transmit(&mut p, linger)[0]).2, "[222]");
    p.flush();
    assert_eq!(identity(&transmit(&mut p, linger)[0]).2, "[333]");
}

#[test]
fn max_batch_bytes_is_a_true_upper_bound_of_the_body() {
    let mut p = producer(ProducerOptions { max_batch_bytes: 10, max_in_flight: 100, ..options() });
    for message in ["1", "22", "333", "4444", "55555", "123456789012", "7"] {
        p.append(message.as_bytes(), T0).unwrap();
    }
    p.flush();
    let bodies: Vec<String> = transmit(&mut p, T0).iter().map(|t| identity(t).2.to_owned()).collect();
    assert_eq!(bodies, ["[1,22,333]", "[4444]", "[55555]", "[123456789012]", "[7]"]);
}

#[test]
fn g1_a_batch_held_back_by_the_in_flight_limit_goes_out_when_there_is_room() {
    let mut p = producer(ProducerOptions { max_in_flight: 1, ..single() });
    p.append(b"0", T0).unwrap();
    p.append(b"1", T0).unwrap();
    let first = transmit(&mut p, T0);
    assert_eq!(first.len(), 1);
    p.handle_response(first[0].batch, 1, &stored("1"), T0);
    assert_eq!(identity(&transmit(&mut p, T0)[0]), (0, 1, "[1]"));
}

#[test]
fn c1_g5_a_failed_batch_is_resent_with_its_identity_and_bytes() {
    let mut p = producer(options());
    let mut now = T0;
    p.append(b"0", T0).unwrap();
    let flush = p.flush();
    let mut sent = transmit(&mut p, now);
    for attempt in 1..40 {
        let failed = &sent[0];
        assert_eq!((identity(failed), failed.attempt), ((0, 0, "[0]"), attempt));
        match attempt % 4 {
            0 => p.handle_disconnect(failed.batch, attempt, lost(), now),
            1 => p.handle_response(failed.batch, attempt, &answer(500, &[]), now),
            2 => p.handle_response(failed.batch, attempt, &answer(503, &[]), now),
            _ => {
                now = p.poll_timeout().unwrap();
                p.handle_timeout(now);
            }
        }
        assert!(flushed(&mut p).is_none());
        // As if the server had been reached in the meantime: only the total time is bounded.
        p.options.delivery_timeout = None;
        now += Duration::from_secs(60);
        p.handle_timeout(now);
        sent = transmit(&mut p, now);
    }
    p.handle_response(sent[0].batch, sent[0].attempt, &answer(204, &[]), now);
    let settled = events(&mut p);
    assert!(
        matches!(&settled[..], [ProducerEvent::Settled { result: Ok(receipt), .. }, ProducerEvent::Flushed { flush: f, result: Ok(report) }]
        if receipt.duplicate && *f == flush && report.messages == 1 && report.duplicates == 0),
        "{settled:?}"
    );
}

#[test]
fn a_late_answer_to_a_try_that_was_given_up_does_not_count() {
    let mut p = producer(options());
    p.append(b"0", T0).unwrap();
    let first = transmit(&mut p, T0);
    let now = p.poll_timeout().unwrap();
    p.handle_timeout(now);
    assert!(!p.is_in_flight(first[0].batch, 1));
    p.handle_response(first[0].batch, 1, &answer(400, &[]), now);
    assert_eq!(p.pending_messages(), 1);
}

#[test]
fn a_gap_is_healed_by_waiting_for_the_batches_before_it() {
    let mut p = producer(single());
    let mut now = T0;
    for message in ["0", "1", "2"] {
        p.append(message.as_bytes(), now).unwrap();
    }
    p.flush();
    let sent = transmit(&mut p, now);
    p.handle_response(sent[2].batch, 1, &gap("0"), now);
    p.handle_response(sent[1].batch, 1, &gap("0"), now);
    assert!(transmit(&mut p, now).is_empty());
    p.handle_disconnect(sent[0].batch, 1, lost(), now);
    pass_backoff(&mut p, &mut now);
    for seq in 0..3 {
        let again = transmit(&mut p, now);
        assert_eq!(again.iter().map(|t| identity(t).1).collect::<Vec<_>>(), [seq]);
        p.handle_response(again[0].batch, 2, &stored("1"), now);
    }
    assert_eq!(flushed(&mut p).unwrap().unwrap().messages, 3);
}

#[test]
fn a_gap_answer_that_was_overtaken_by_the_missing_batchs_success_is_only_resent() {
    let mut p = producer(single());
    p.append(b"0", T0).unwrap();
    p.append(b"1", T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &stored("1"), T0);
    p.handle_response(sent[1].batch, 1, &gap("0"), T0);
    assert_eq!(identity(&transmit(&mut p, T0)[0]), (0, 1, "[1]"));
}

#[test]
fn a_batch_that_was_told_a_gap_may_be_stored_by_a_copy_of_it() {
    let after_gap = || {
        let mut p = producer(ProducerOptions {
            auto_claim: true,
            delivery_timeout: Some(Duration::from_millis(1)),
            ..single()
        });
        p.append(b"0", T0).unwrap();
        let first = transmit(&mut p, T0);
        p.handle_response(first[0].batch, 1, &stored("1"), T0);
        p.append(b"1", T0).unwrap();
        p.append(b"2", T0).unwrap();
        let sent = transmit(&mut p, T0);
        p.handle_response(sent[1].batch, 1, &gap("1"), T0);
        p.handle_response(sent[0].batch, 1, &stored("2"), T0);
        let again = transmit(&mut p, T0);
        assert_eq!(identity(&again[0]), (0, 2, "[2]"));
        (p, again[0].batch)
    };
    // Never sent again in time.
    let (mut p, batch) = after_gap();
    p.handle_disconnect(batch, 2, refused(), T0);
    p.flush();
    assert!(flushed(&mut p).unwrap().unwrap_err().outcome_unknown());
    // Somebody took over: under another epoch it could be stored twice.
    let (mut p, batch) = after_gap();
    p.handle_response(batch, 2, &fenced("7"), T0);
    p.flush();
    assert!(flushed(&mut p).unwrap().unwrap_err().outcome_unknown());
    // The copy was quicker: it is our own all the same.
    let (mut p, batch) = after_gap();
    p.handle_response(batch, 2, &answer(204, &[(names::STREAM_NEXT_OFFSET, "3")]), T0);
    p.flush();
    let report = flushed(&mut p).unwrap().unwrap();
    assert_eq!((report.messages, report.duplicates), (3, 0));
}

#[test]
fn a_gap_before_what_was_acknowledged_is_a_server_that_lost_data() {
    let mut p = producer(single());
    p.append(b"0", T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &stored("1"), T0);
    p.append(b"1", T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &gap("0"), T0);
    p.flush();
    let error = flushed(&mut p).unwrap().unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::SequenceGap { expected: 0, received: 99 });
    assert!(!error.outcome_unknown());
}

#[test]
fn c1_g2_a_fatal_answer_stops_the_producer_and_flush_reports_every_message() {
    let mut p = producer(single());
    for message in ["0", "1", "2", "3"] {
        p.append(message.as_bytes(), T0).unwrap();
    }
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[1].batch, 1, &answer(413, &[]), T0);
    p.flush();
    assert!(flushed(&mut p).is_none(), "batch 0 is still under way");
    p.handle_response(sent[0].batch, 1, &stored("1"), T0);
    let error = flushed(&mut p).unwrap().unwrap_err();
    assert_eq!(error.code(), "PAYLOAD_TOO_LARGE");
    assert_eq!(
        error.failures().iter().map(|f| (f.first_message, f.messages)).collect::<Vec<_>>(),
        [(1, 1), (2, 1), (3, 1)]
    );
    assert!(error.failures().iter().all(|f| !f.error.outcome_unknown()));
    // R4: nothing is dropped silently.
    assert_eq!(p.append(b"4", T0).unwrap_err().code(), "PAYLOAD_TOO_LARGE");
    assert_eq!(p.buffered_bytes(), 0);
    p.restart().unwrap();
    p.append(b"4", T0).unwrap();
    assert_eq!(identity(&transmit(&mut p, T0)[0]), (1, 0, "[4]"));
}

#[test]
fn fencing_without_a_claim_stops_the_producer() {
    let mut p = producer(options());
    p.append(b"0", T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &fenced("3"), T0);
    p.flush();
    assert_eq!(flushed(&mut p).unwrap().unwrap_err().kind(), &ErrorKind::ProducerFenced { current_epoch: 3 });
}

#[test]
fn c2_an_authorisation_403_is_no_fencing() {
    let mut p = producer(ProducerOptions { auto_claim: true, ..options() });
    p.append(b"0", T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &answer(403, &[]), T0);
    p.flush();
    assert_eq!(flushed(&mut p).unwrap().unwrap_err().code(), "FORBIDDEN");
    assert!(transmit(&mut p, T0).is_empty());
}

#[test]
fn a_claim_sends_one_batch_until_the_epoch_is_proven_and_keeps_the_order() {
    let mut p = producer(ProducerOptions { auto_claim: true, ..single() });
    for message in ["0", "1", "2"] {
        p.append(message.as_bytes(), T0).unwrap();
    }
    let sent = transmit(&mut p, T0);
    assert_eq!(sent.len(), 1);
    p.handle_response(sent[0].batch, 1, &fenced("4"), T0);
    let sent = transmit(&mut p, T0);
    assert_eq!(sent.iter().map(identity).collect::<Vec<_>>(), [(5, 0, "[0]")]);
    p.handle_response(sent[0].batch, 2, &stored("1"), T0);
    let sent = transmit(&mut p, T0);
    assert_eq!(sent.iter().map(identity).collect::<Vec<_>>(), [(5, 1, "[1]"), (5, 2, "[2]")]);
    // Fenced again with two under way: both get new numbers, in order.
    p.handle_response(sent[1].batch, 1, &fenced("9"), T0);
    assert!(transmit(&mut p, T0).is_empty());
    p.handle_response(sent[0].batch, 1, &fenced("9"), T0);
    let sent = transmit(&mut p, T0);
    assert_eq!(sent.iter().map(identity).collect::<Vec<_>>(), [(10, 0, "[1]")]);
    p.handle_response(sent[0].batch, 2, &stored("2"), T0);
    assert_eq!(transmit(&mut p, T0).iter().map(identity).collect::<Vec<_>>(), [(10, 1, "[2]")]);
}

#[test]
fn a_batch_that_may_have_been_stored_is_never_claimed_anew() {
    let mut p = producer(ProducerOptions { auto_claim: true, ..options() });
    let mut now = T0;
    p.append(b"0", now).unwrap();
    let sent = transmit(&mut p, now);
    p.handle_disconnect(sent[0].batch, 1, lost(), now);
    pass_backoff(&mut p, &mut now);
    let sent = transmit(&mut p, now);
    p.handle_response(sent[0].batch, 2, &fenced("1"), now);
    p.flush();
    let error = flushed(&mut p).unwrap().unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::ProducerFenced { current_epoch: 1 });
    assert!(error.outcome_unknown());
}

#[test]
fn a_refused_connection_leaves_no_doubt() {
    let mut p = producer(ProducerOptions { auto_claim: true, ..options() });
    let mut now = T0;
    p.append(b"0", now).unwrap();
    let sent = transmit(&mut p, now);
    p.handle_disconnect(sent[0].batch, 1, refused(), now);
    pass_backoff(&mut p, &mut now);
    let sent = transmit(&mut p, now);
    p.handle_response(sent[0].batch, 2, &fenced("1"), now);
    assert_eq!(identity(&transmit(&mut p, now)[0]), (2, 0, "[0]"));
}

#[test]
fn two_producers_that_claim_from_each_other_stop_in_the_end() {
    let mut p = producer(ProducerOptions { auto_claim: true, ..options() });
    p.append(b"0", T0).unwrap();
    p.flush();
    for claims in 0..20 {
        let sent = transmit(&mut p, T0);
        let epoch = (p.epoch() + 1).to_string();
        p.handle_response(sent[0].batch, sent[0].attempt, &fenced(&epoch), T0);
        if let Some(result) = flushed(&mut p) {
            assert_eq!((result.unwrap_err().code(), claims), ("STALE_EPOCH", MAX_CLAIMS));
            return;
        }
    }
    panic!("still claiming");
}

#[test]
fn the_delivery_timeout_ends_the_tries_and_says_what_is_unknown() {
    for (disconnect, unknown) in [(lost(), true), (refused(), false)] {
        let mut p = producer(options());
        let mut now = T0;
        p.append(b"0", now).unwrap();
        p.flush();
        let error = loop {
            for sent in transmit(&mut p, now) {
                p.handle_disconnect(sent.batch, sent.attempt, disconnect.clone(), now);
            }
            if let Some(result) = flushed(&mut p) {
                break result.unwrap_err();
            }
            now = p.poll_timeout().unwrap();
            p.handle_timeout(now);
        };
        assert_eq!((error.code(), error.outcome_unknown()), ("NETWORK_ERROR", unknown));
        assert!(now <= Duration::from_secs(120));
    }
}

#[test]
fn c14_memory_is_bounded_in_bytes_and_freed_by_answers() {
    let mut p = producer(ProducerOptions { max_buffered_bytes: 10, ..single() });
    p.append(b"1234", T0).unwrap();
    p.append(b"1234", T0).unwrap();
    assert_eq!(p.append(b"1", T0).unwrap_err().kind(), &ErrorKind::BufferFull);
    assert_eq!(p.append(b"12345678901", T0).unwrap_err().kind(), &ErrorKind::InvalidArgument);
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &stored("1"), T0);
    p.append(b"1", T0).unwrap();
    assert_eq!(p.buffered_bytes(), 7);
}

#[test]
fn what_can_never_be_stored_never_enters_a_batch() {
    for bad in ["", "{", "1 2", "nan"] {
        assert!(Producer::check_message(true, bad.as_bytes()).is_err(), "{bad:?}");
    }
    Producer::check_message(false, b"{").unwrap();
}

#[test]
fn close_goes_out_after_everything_else_and_repeats_its_result() {
    let mut p = producer(options());
    p.append(b"0", T0).unwrap();
    p.close(Some(b"1"), T0).unwrap();
    assert_eq!(p.append(b"2", T0).unwrap_err().code(), "ALREADY_CLOSED");
    let sent = transmit(&mut p, T0);
    // Alone: a repeat of batch 0 after the closure could not be told from new data (appendix E 13).
    assert_eq!(sent.iter().map(identity).collect::<Vec<_>>(), [(0, 0, "[0]")]);
    p.handle_response(sent[0].batch, 1, &stored("1"), T0);
    let sent = transmit(&mut p, T0);
    assert_eq!(sent.iter().map(identity).collect::<Vec<_>>(), [(0, 1, "[1]")]);
    assert_eq!(sent[0].request.headers[names::STREAM_CLOSED], "true");
    p.handle_response(
        sent[0].batch,
        1,
        &answer(200, &[(names::STREAM_NEXT_OFFSET, "2"), (names::STREAM_CLOSED, "true")]),
        T0,
    );
    p.close(None, T0).unwrap();
    let closed: Vec<_> = events(&mut p)
        .into_iter()
        .filter_map(|event| match event {
            ProducerEvent::Closed(result) => Some(result.unwrap().offset.unwrap().to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(closed, ["2", "2"]);
}

#[test]
fn a_close_that_was_taken_for_a_repeat_is_an_error() {
    let mut p = producer(options());
    p.close(None, T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &answer(204, &[]), T0);
    assert!(
        events(&mut p)
            .iter()
            .any(|event| matches!(event, ProducerEvent::Closed(Err(error)) if error.code() == "CONFLICT_SEQ"))
    );
}

#[test]
fn a_close_that_was_taken_as_new_is_done_whatever_the_answer_says_of_the_stream() {
    let mut p = producer(options());
    p.close(Some(b"1"), T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &stored("5"), T0);
    let closed = events(&mut p).into_iter().find_map(|event| match event {
        ProducerEvent::Closed(result) => Some(result.unwrap()),
        _ => None,
    });
    assert_eq!(closed, Some(Receipt { offset: Some(Offset::new("5").unwrap()), duplicate: false, closed: false }));
}

#[test]
fn a_failed_close_is_repeated_under_the_same_identity() {
    let mut p = producer(ProducerOptions { delivery_timeout: Some(Duration::ZERO), ..options() });
    p.close(Some(b"9"), T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_disconnect(sent[0].batch, 1, lost(), Duration::from_secs(1));
    assert!(
        events(&mut p)
            .iter()
            .any(|event| matches!(event, ProducerEvent::Closed(Err(error)) if error.outcome_unknown()))
    );
    p.close(None, T0).unwrap();
    let sent = transmit(&mut p, T0);
    assert_eq!(identity(&sent[0]), (0, 0, "[9]"));
    p.handle_response(sent[0].batch, 2, &answer(204, &[(names::STREAM_CLOSED, "true")]), T0);
    assert!(events(&mut p).iter().any(|event| matches!(event, ProducerEvent::Closed(Ok(_)))));
}

#[test]
fn a_first_try_that_counts_as_a_repeat_is_reported_apart() {
    let mut p = producer(options());
    p.append(b"0", T0).unwrap();
    p.flush();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &answer(204, &[]), T0);
    assert_eq!(flushed(&mut p).unwrap().unwrap(), Flushed { messages: 0, duplicates: 1, offset: None });
}

#[test]
fn nothing_overtakes_the_first_batch_of_a_later_epoch() {
    // Seed 27 of the simulation: the server refuses seq 1 of an epoch that it has no seq 0 of (400), and it was refused for good.
    let mut p = producer(ProducerOptions { epoch: 3, ..single() });
    for message in ["1", "2", "3"] {
        p.append(message.as_bytes(), T0).unwrap();
    }
    let first = transmit(&mut p, T0);
    assert_eq!(first.iter().map(identity).collect::<Vec<_>>(), [(3, 0, "[1]")]);
    p.handle_disconnect(first[0].batch, 1, lost(), T0);
    let mut now = T0;
    pass_backoff(&mut p, &mut now);
    let again = transmit(&mut p, now);
    assert_eq!(again.iter().map(identity).collect::<Vec<_>>(), [(3, 0, "[1]")]);
    p.handle_response(again[0].batch, 2, &stored("1"), now);
    let others = transmit(&mut p, now);
    assert_eq!(others.iter().map(identity).collect::<Vec<_>>(), [(3, 1, "[2]"), (3, 2, "[3]")]);
}

#[test]
fn auto_claim_takes_over_from_an_earlier_run_under_the_same_epoch() {
    let repeat = |seq: &str, tail: &str| {
        let headers = [(names::PRODUCER_EPOCH, "0"), (names::PRODUCER_SEQ, seq), (names::STREAM_NEXT_OFFSET, tail)];
        answer(204, &headers)
    };
    let claims = |first_answer: ResponseHead, maybe_stored: bool| {
        let mut p = producer(ProducerOptions { auto_claim: true, ..options() }).with_tail(Offset::new("5").unwrap());
        let mut now = T0;
        p.append(b"0", now).unwrap();
        let mut sent = transmit(&mut p, now);
        if maybe_stored {
            p.handle_disconnect(sent[0].batch, 1, lost(), now);
            pass_backoff(&mut p, &mut now);
            sent = transmit(&mut p, now);
        }
        p.handle_response(sent[0].batch, sent[0].attempt, &first_answer, now);
        transmit(&mut p, now).first().map(|again| identity(again) == (1, 0, "[0]"))
    };
    // The server knows seqs of this epoch that we never sent; or the tail did not move: it was not stored.
    assert_eq!(claims(repeat("3", "9"), false), Some(true));
    assert_eq!(claims(repeat("0", "5"), false), Some(true));
    // It may be our own batch, doubled on the way, or sent before: never twice.
    assert_eq!(claims(repeat("0", "9"), false), None);
    assert_eq!(claims(repeat("3", "9"), true), None);
}

#[test]
fn a_batch_follows_only_when_the_body_before_it_was_written() {
    let mut p = producer(single());
    p.append(b"0", T0).unwrap();
    p.append(b"1", T0).unwrap();
    let first = p.poll_transmit(T0).unwrap();
    assert!(p.poll_transmit(T0).is_none());
    p.handle_body_sent(first.batch);
    assert!(p.poll_transmit(T0).is_some());
}

#[test]
fn options_out_of_range_are_named() {
    let name = |options: ProducerOptions| {
        Producer::new("p", "text/plain", options, &RetryPolicy::default(), 1).unwrap_err().to_string()
    };
    assert!(name(ProducerOptions { max_batch_bytes: 0, ..options() }).contains("maxBatchBytes"));
    assert!(name(ProducerOptions { max_batch_items: Some(0), ..options() }).contains("maxBatchItems"));
    assert!(name(ProducerOptions { max_in_flight: 0, ..options() }).contains("maxInFlight"));
    assert!(name(ProducerOptions { epoch: 1 << 53, ..options() }).contains("epoch"));
    let nameless = Producer::new("", "text/plain", options(), &RetryPolicy::default(), 1);
    assert!(nameless.unwrap_err().to_string().contains("producerId"));
}

#[test]
fn a_refused_message_has_an_ordinal_and_harms_no_other() {
    let mut p = producer(options());
    assert_eq!(p.append(b"0", T0).unwrap().message, 0);
    p.refuse(Error::invalid_argument("no JSON"));
    assert_eq!(p.append(b"2", T0).unwrap().message, 2);
    p.flush();
    let sent = transmit(&mut p, T0);
    assert_eq!(sent.iter().map(identity).collect::<Vec<_>>(), [(0, 0, "[0]"), (0, 1, "[2]")]);
    p.handle_response(sent[0].batch, 1, &stored("1"), T0);
    p.handle_response(sent[1].batch, 1, &stored("2"), T0);
    let error = flushed(&mut p).unwrap().unwrap_err();
    let failures: Vec<_> = error.failures().iter().map(|failure| (failure.first_message, failure.messages)).collect();
    assert_eq!(failures, [(1, 1)]);
    p.append(b"3", T0).unwrap();
    p.flush();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &stored("3"), T0);
    assert_eq!(flushed(&mut p).unwrap().unwrap().offset.unwrap().as_str(), "3");
}

#[test]
fn time_limits_without_bound_are_none_and_no_overflow() {
    let forever = Duration::MAX;
    let options = ProducerOptions { linger: forever, request_timeout: forever, delivery_timeout: None, ..options() };
    let mut producer = producer(options);
    let now = Duration::from_secs(1);
    producer.append(b"1", now).unwrap();
    assert!(producer.poll_transmit(now).is_none());
    assert_eq!(producer.poll_timeout(), Some(forever));
    producer.flush();
    assert_eq!(transmit(&mut producer, now).len(), 1);
    assert_eq!(producer.poll_timeout(), Some(forever));
}

#[test]
fn the_last_offset_does_not_go_back_when_answers_come_out_of_order() {
    let mut p = producer(single());
    p.append(b"1", T0).unwrap();
    p.append(b"2", T0).unwrap();
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[1].batch, 1, &stored("0_2"), T0);
    p.handle_response(sent[0].batch, 1, &stored("0_1"), T0);
    assert_eq!(p.last_offset().map(Offset::as_str), Some("0_2"));
}

#[test]
fn an_abort_settles_everything_and_knows_what_may_have_been_stored() {
    let mut p = producer(single());
    for message in ["0", "1"] {
        p.append(message.as_bytes(), T0).unwrap();
    }
    let sent = transmit(&mut p, T0);
    p.handle_response(sent[0].batch, 1, &stored("1"), T0);
    let (in_flight, attempt) = (sent[1].batch, sent[1].attempt);
    events(&mut p);
    p.abort(Error::new(ErrorKind::Cancelled, "stop"));
    assert!(p.is_idle() && p.buffered_bytes() == 0 && !p.is_in_flight(in_flight, attempt));
    let settled: Vec<_> = events(&mut p);
    let [ProducerEvent::Settled { batch, result: Err(error) }] = settled.as_slice() else { panic!("{settled:?}") };
    assert_eq!((*batch, error.kind(), error.outcome_unknown()), (in_flight, &ErrorKind::Cancelled, true));
    assert_eq!(p.append(b"2", T0).unwrap_err().kind(), &ErrorKind::Cancelled);
    p.flush();
    assert_eq!(flushed(&mut p).unwrap().unwrap_err().failures()[0].first_message, 1);

    // What never left was not stored, also where it is all there is.
    let mut p = producer(ProducerOptions { linger: Duration::from_secs(1), ..options() });
    p.append(b"0", T0).unwrap();
    p.abort(Error::new(ErrorKind::Cancelled, "stop"));
    let settled: Vec<_> = events(&mut p);
    assert!(
        matches!(settled.as_slice(), [ProducerEvent::Settled { result: Err(error), .. }] if !error.outcome_unknown())
    );
    assert_eq!(p.pending_messages(), 0);
}
