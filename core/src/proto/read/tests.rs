use super::*;
use crate::headers::ETAG;
use crate::options::{LiveMode, SseResilience};
use crate::proto::offset::Offset;
use http::{HeaderMap, HeaderName, StatusCode};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

/// A session and a clock that only tests move.
struct Bench {
    session: ReadSession,
    now: Instant,
}

impl Bench {
    fn new(options: ReadOptions) -> Self {
        Self { session: ReadSession::new(options, RetryPolicy::default(), 1), now: Duration::ZERO }
    }

    fn live(live: LiveMode) -> Self {
        Self::new(ReadOptions { live, ..ReadOptions::default() })
    }

    /// The query of the next request, waiting for it if the session does.
    fn request(&mut self) -> String {
        loop {
            if let Some(request) = self.session.poll_request(self.now) {
                let pairs: Vec<String> = request.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
                return pairs.join("&");
            }
            assert!(!self.session.wants_exchange(), "a request is out already");
            self.now = self.session.poll_timeout().expect("neither a request nor a wait");
            self.session.handle_timeout(self.now);
        }
    }

    fn head(&mut self, status: u16, headers: &[(HeaderName, &str)]) {
        let headers: HeaderMap = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        let head = ResponseHead::new(StatusCode::from_u16(status).unwrap(), headers, UNIX_EPOCH);
        self.session.handle_response(&head, self.now);
    }

    fn plain(&mut self, content_type: &str, next: &str, up_to_date: bool, body: &str) {
        let mut headers = vec![(CONTENT_TYPE, content_type), (names::STREAM_NEXT_OFFSET, next)];
        if up_to_date {
            headers.push((names::STREAM_UP_TO_DATE, "true"));
        }
        self.head(200, &headers);
        self.bytes(body);
        self.session.handle_end(self.now);
    }

    fn event_stream(&mut self) {
        self.head(200, &[(CONTENT_TYPE, "text/event-stream")]);
    }

    fn bytes(&mut self, piece: &str) {
        self.session.handle_bytes(Bytes::copy_from_slice(piece.as_bytes()), self.now);
    }

    fn reset(&mut self) {
        let error = Error::new(ErrorKind::Network, "reset");
        self.session.handle_disconnect(Disconnect { not_sent: false, error }, self.now);
    }

    /// What was handed over: data and the place after it.
    fn data(&mut self) -> Vec<(String, String)> {
        let mut data = Vec::new();
        while let Some(event) = self.session.poll_event() {
            if let ReadEvent::Batch(batch) = event {
                let at = batch.checkpoint();
                let place = if at.skip > 0 { format!("{}+{}", at.from, at.skip) } else { at.from.to_string() };
                data.push((String::from_utf8(batch.bytes().to_vec()).unwrap(), place));
            }
        }
        data
    }

    fn ends(&mut self) -> bool {
        while let Some(event) = self.session.poll_event() {
            if matches!(event, ReadEvent::End) {
                return true;
            }
        }
        false
    }

    fn failure(&mut self) -> Option<&'static str> {
        while let Some(event) = self.session.poll_event() {
            if let ReadEvent::Failed(error) = event {
                return Some(error.code());
            }
        }
        None
    }
}

fn pair(data: &str, place: &str) -> (String, String) {
    (data.into(), place.into())
}

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

#[test]
fn catch_up_follows_the_offsets_and_stops_at_the_tail() {
    let mut bench = Bench::live(LiveMode::CatchUp);
    assert_eq!(bench.request(), "offset=-1");
    bench.plain(TEXT, "5", false, "hello");
    assert_eq!(bench.data(), [pair("hello", "5")]);
    assert_eq!(bench.request(), "offset=5");
    bench.plain(TEXT, "6", true, "!");
    assert_eq!(bench.session.poll_event().map(|event| matches!(event, ReadEvent::Batch(_))), Some(true));
    assert!(bench.ends());
    assert!(bench.session.poll_request(bench.now).is_none());
}

#[test]
fn r10_the_first_request_is_never_live() {
    for live in [LiveMode::Auto, LiveMode::LongPoll, LiveMode::Sse] {
        assert_eq!(Bench::live(live).request(), "offset=-1");
    }
}

#[test]
fn auto_tails_json_by_sse_and_everything_else_by_long_poll() {
    for (content_type, query) in [(JSON, "offset=1&live=sse"), (TEXT, "offset=1&live=long-poll")] {
        let mut bench = Bench::live(LiveMode::Auto);
        bench.request();
        bench.plain(content_type, "1", true, if content_type == JSON { "[1]" } else { "1" });
        bench.data();
        assert_eq!(bench.request(), query);
    }
}

#[test]
fn the_last_batch_says_so_in_every_mode() {
    for (live, ends_at_the_tail) in
        [(LiveMode::CatchUp, true), (LiveMode::LongPoll, false), (LiveMode::Sse, false), (LiveMode::Auto, false)]
    {
        let mut bench = Bench::live(live);
        bench.request();
        bench.plain(TEXT, "1", false, "a");
        assert!(!batch(&mut bench).expect("there is data").is_last(), "{live:?}: more is there");
        bench.request();
        bench.plain(TEXT, "2", true, "b");
        assert_eq!(batch(&mut bench).expect("there is data").is_last(), ends_at_the_tail, "{live:?}");
        assert_eq!(bench.ends(), ends_at_the_tail, "{live:?}");
    }
    let mut bench = Bench::live(LiveMode::LongPoll);
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, TEXT), (names::STREAM_NEXT_OFFSET, "1"), (names::STREAM_CLOSED, "true")]);
    bench.bytes("a");
    bench.session.handle_end(bench.now);
    assert!(batch(&mut bench).expect("there is data").is_last());
}

#[test]
fn p1_r5_closure_ends_every_mode_after_its_data() {
    let mut bench = Bench::live(LiveMode::LongPoll);
    bench.request();
    bench.plain(TEXT, "1", true, "a");
    bench.data();
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, TEXT), (names::STREAM_NEXT_OFFSET, "2"), (names::STREAM_CLOSED, "TRUE")]);
    bench.bytes("b");
    bench.session.handle_end(bench.now);
    let Some(ReadEvent::Batch(last)) = bench.session.poll_event() else { panic!("no last batch") };
    assert!(last.is_closed() && last.is_up_to_date());
    assert!(bench.ends());

    let mut bench = Bench::live(LiveMode::Sse);
    bench.request();
    bench.plain(JSON, "1", true, "[1]");
    bench.data();
    bench.request();
    bench.event_stream();
    bench.bytes("event: control\ndata:{\"streamNextOffset\":\"1\",\"streamClosed\":true}\n\n");
    assert!(bench.ends());
    assert!(bench.session.poll_request(bench.now).is_none());
}

#[test]
fn a_204_moves_the_offset_and_asks_again_with_the_cursor() {
    let mut bench =
        Bench::new(ReadOptions { from: ReadFrom::Now.into(), live: LiveMode::LongPoll, ..ReadOptions::default() });
    assert_eq!(bench.request(), "offset=now");
    bench.plain(TEXT, "7", true, "");
    assert_eq!(bench.data(), [pair("", "7")]);
    assert_eq!(bench.request(), "offset=7&live=long-poll");
    bench.now += Duration::from_secs(30);
    bench.head(
        204,
        &[(names::STREAM_NEXT_OFFSET, "7"), (names::STREAM_UP_TO_DATE, "true"), (names::STREAM_CURSOR, "9")],
    );
    assert_eq!(bench.data(), []);
    assert_eq!(bench.session.status(), Some(204));
    assert_eq!(bench.request(), "offset=7&live=long-poll&cursor=9");
}

#[test]
fn a_body_that_breaks_off_delivers_nothing_and_is_asked_for_again() {
    let mut bench = Bench::live(LiveMode::CatchUp);
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, JSON), (names::STREAM_NEXT_OFFSET, "9"), (names::STREAM_UP_TO_DATE, "true")]);
    bench.bytes("[1,2");
    bench.reset();
    assert_eq!(bench.data(), []);
    assert_eq!(bench.request(), "offset=-1");
    bench.plain(JSON, "9", true, "[1,2,3]");
    assert_eq!(bench.data(), [pair("[1,2,3]", "9")]);
}

#[test]
fn a_piece_of_bytes_that_is_larger_than_a_part_is_cut() {
    let options = ReadOptions { max_batch_bytes: 3, live: LiveMode::CatchUp, ..ReadOptions::default() };
    let mut bench = Bench::new(options);
    bench.request();
    bench.plain("text/plain", "8", true, "abcdefgh");
    assert_eq!(bench.data(), [pair("abc", "-1+3"), pair("def", "-1+6"), pair("gh", "8")]);
}

#[test]
fn a_long_answer_is_handed_over_in_parts_that_can_be_resumed_exactly() {
    let options = ReadOptions { max_batch_bytes: 8, live: LiveMode::CatchUp, ..ReadOptions::default() };
    let mut bench = Bench::new(options.clone());
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, JSON), (names::STREAM_NEXT_OFFSET, "9"), (names::STREAM_UP_TO_DATE, "true")]);
    for piece in ["[\"aé\",", "\"b\",", "\"c\"", ",\"d\"]"] {
        bench.bytes(piece);
    }
    assert_eq!(bench.data(), [pair("[\"aé\"]", "-1+1"), pair("[\"b\",\"c\"]", "-1+3")]);
    bench.reset();
    bench.data();
    assert_eq!(bench.request(), "offset=-1");
    bench.plain(JSON, "9", true, "[\"aé\",\"b\",\"c\",\"d\"]");
    assert_eq!(bench.data(), [pair("[\"d\"]", "9")]);

    // The same from a stored checkpoint, over answers that are cut elsewhere.
    let from = Checkpoint { from: ReadFrom::Beginning, skip: 3, incarnation: None };
    let mut bench = Bench::new(ReadOptions { from, ..options });
    bench.request();
    bench.plain(JSON, "5", false, "[\"aé\",\"b\"]");
    assert_eq!(bench.data(), [pair("[]", "5+1")]);
    assert_eq!(bench.request(), "offset=5");
    bench.plain(JSON, "9", true, "[\"c\",\"d\"]");
    assert_eq!(bench.data(), [pair("[\"d\"]", "9")]);
}

#[test]
fn bytes_are_skipped_to_the_byte() {
    let from = Checkpoint { from: Offset::new("3").unwrap().into(), skip: 2, incarnation: None };
    let mut bench = Bench::new(ReadOptions { from, live: LiveMode::CatchUp, ..ReadOptions::default() });
    assert_eq!(bench.request(), "offset=3");
    bench.head(200, &[(CONTENT_TYPE, TEXT), (names::STREAM_NEXT_OFFSET, "9"), (names::STREAM_UP_TO_DATE, "true")]);
    for piece in ["a", "bc", "d"] {
        bench.bytes(piece);
    }
    bench.session.handle_end(bench.now);
    assert_eq!(bench.data(), [pair("cd", "9")]);
}

/// Up to date on a JSON stream, with an SSE request out.
fn at_sse() -> Bench {
    let mut bench = Bench::live(LiveMode::Sse);
    bench.request();
    bench.plain(JSON, "1", true, "[1]");
    bench.data();
    assert_eq!(bench.request(), "offset=1&live=sse");
    bench.event_stream();
    bench
}

const CONTROL_5: &str =
    "event: control\ndata:{\"streamNextOffset\":\"5\",\"streamCursor\":\"8\",\"upToDate\":true}\n\n";

#[test]
fn c17_r11_sse_data_is_held_back_until_its_control_event_names_the_offset() {
    let mut bench = at_sse();
    bench.bytes("event: data\ndata:[2]\n\nevent: data\ndata:[3,4]\n\n");
    assert_eq!(bench.data(), []);
    bench.bytes(CONTROL_5);
    assert_eq!(bench.data(), [pair("[2,3,4]", "5")]);
    bench.bytes("event: data\ndata:[5]\n\n");
    bench.now += Duration::from_secs(2);
    bench.reset();
    assert_eq!(bench.data(), []);
    assert_eq!(bench.request(), "offset=5&live=sse&cursor=8");
}

#[test]
fn p2_an_sse_connection_that_the_server_ends_is_made_again_at_once() {
    let mut bench = at_sse();
    bench.bytes(CONTROL_5);
    bench.data();
    let before = bench.now + Duration::from_secs(60);
    bench.now = before;
    bench.session.handle_end(bench.now);
    assert_eq!(bench.request(), "offset=5&live=sse&cursor=8");
    assert_eq!(bench.now, before);
}

#[test]
fn c3_falling_back_to_long_poll_goes_on_with_the_session() {
    let mut bench = at_sse();
    for _ in 0..2 {
        bench.session.handle_end(bench.now);
        assert!(!bench.ends());
        assert_eq!(bench.request(), "offset=1&live=sse");
        bench.event_stream();
    }
    bench.session.handle_end(bench.now);
    assert_eq!(bench.request(), "offset=1&live=long-poll");
    bench.plain(JSON, "2", true, "[2]");
    assert_eq!(bench.data(), [pair("[2]", "2")]);
}

#[test]
fn an_answer_that_is_no_event_stream_is_taken_as_it_is_and_long_poll_goes_on() {
    let mut bench = Bench::live(LiveMode::Sse);
    bench.request();
    bench.plain(JSON, "1", true, "[1]");
    bench.data();
    bench.request();
    bench.plain(JSON, "2", true, "[2]");
    assert_eq!(bench.data(), [pair("[2]", "2")]);
    assert_eq!(bench.request(), "offset=2&live=long-poll");
}

#[test]
fn a_page_in_place_of_an_event_stream_makes_the_session_use_long_poll() {
    let mut bench = Bench::live(LiveMode::Sse);
    bench.request();
    bench.plain(JSON, "1", true, "[1]");
    bench.data();
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, "text/html")]);
    assert!(!bench.ends());
    assert_eq!(bench.request(), "offset=1&live=long-poll");
    bench.head(200, &[(CONTENT_TYPE, "text/html")]);
    assert_eq!(bench.failure(), Some("PROTOCOL_ERROR"), "where long-poll does not get through either it is an error");
}

#[test]
fn an_event_stream_that_shows_no_byte_goes_through_something_that_buffers() {
    let mut bench = at_sse();
    bench.now = bench.session.poll_timeout().unwrap();
    bench.session.handle_timeout(bench.now);
    assert_eq!(bench.now, Duration::from_secs(10));
    bench.data();
    assert_eq!(bench.request(), "offset=1&live=long-poll");
}

#[test]
fn a_broken_control_event_is_a_parse_error_and_not_retried() {
    for control in ["", "{", "{}"] {
        let mut bench = at_sse();
        bench.bytes(&format!("event: control\ndata:{control}\n\n"));
        assert_eq!(bench.failure(), Some("PARSE_ERROR"), "{control:?}");
    }
}

#[test]
fn broken_json_is_a_parse_error_and_the_offset_stays() {
    let mut bench = Bench::live(LiveMode::CatchUp);
    bench.request();
    bench.plain(JSON, "9", true, "XY1,2]");
    assert_eq!(bench.failure(), Some("PARSE_ERROR"));
    bench.session.resume();
    assert_eq!(bench.request(), "offset=-1");
}

#[test]
fn p3_g8_reads_are_retried_and_give_up_in_the_end() {
    let mut bench = Bench::live(LiveMode::Auto);
    let mut requests = 0;
    let code = loop {
        bench.request();
        requests += 1;
        bench.head(503, &[]);
        if let Some(code) = bench.failure() {
            break code;
        }
    };
    assert_eq!((code, requests), ("BUSY", 16));
}

#[test]
fn a_read_that_was_live_once_is_retried_without_end() {
    let mut bench = at_sse();
    bench.now += Duration::from_secs(2);
    bench.reset();
    for _ in 0..200 {
        bench.data();
        bench.request();
        bench.reset();
    }
    assert_eq!(bench.failure(), None);
}

#[test]
fn p5_an_idle_long_poll_outlives_the_servers_wait() {
    let mut bench = Bench::live(LiveMode::LongPoll);
    bench.request();
    bench.plain(TEXT, "1", true, "a");
    bench.data();
    bench.request();
    assert!(bench.session.poll_timeout().unwrap() - bench.now > Duration::from_secs(60));
}

#[test]
fn a_recreated_stream_is_noticed_by_its_incarnation_its_offsets_and_its_tags() {
    let headers = |incarnation: &'static str| {
        [(CONTENT_TYPE, TEXT), (names::STREAM_NEXT_OFFSET, "5"), (names::STREAM_INCARNATION, incarnation)]
    };
    let mut bench = Bench::live(LiveMode::CatchUp);
    bench.request();
    bench.head(200, &headers("a"));
    bench.bytes("hello");
    bench.session.handle_end(bench.now);
    assert_eq!(bench.data(), [pair("hello", "5")]);
    bench.request();
    bench.head(200, &headers("b"));
    assert_eq!(bench.failure(), Some("STREAM_RECREATED"));

    let mut bench = Bench::new(ReadOptions { from: Offset::new("7").unwrap().into(), ..ReadOptions::default() });
    bench.request();
    bench.plain(TEXT, "3", true, "");
    assert_eq!(bench.failure(), Some("STREAM_RECREATED"));

    let tags =
        |next: &'static str, tag: &'static str| [(CONTENT_TYPE, TEXT), (names::STREAM_NEXT_OFFSET, next), (ETAG, tag)];
    let mut bench = Bench::live(LiveMode::CatchUp);
    bench.request();
    bench.head(200, &tags("5", "\"x:-1:5\""));
    bench.bytes("hello");
    bench.session.handle_end(bench.now);
    bench.data();
    bench.request();
    bench.head(200, &tags("5", "\"anything else\""));
    assert_eq!(bench.failure(), None);
    bench.reset();
    bench.data();
    bench.request();
    bench.head(200, &tags("6", "W/\"y:5:6:c\""));
    assert_eq!(bench.failure(), Some("STREAM_RECREATED"));
}

#[test]
fn a_stream_whose_offsets_have_no_leading_zeros_is_not_taken_for_another_one() {
    let mut bench = Bench::new(ReadOptions { from: Offset::new("9").unwrap().into(), ..ReadOptions::default() });
    bench.request();
    bench.plain(TEXT, "10", true, "a");
    assert_eq!(bench.data(), [pair("a", "10")]);
    bench.request();
    bench.plain(TEXT, "1", true, "");
    assert_eq!(bench.failure(), Some("STREAM_RECREATED"));
}

#[test]
fn events_that_nobody_asked_for_are_events_only_where_the_stream_is_known_to_be_json() {
    let answer = "event: data\ndata:[1]\n\nevent: control\ndata:{\"streamNextOffset\":\"5\",\"upToDate\":true}\n\n";
    let mut bench = Bench::new(ReadOptions { live: LiveMode::Sse, json: true, ..ReadOptions::default() });
    bench.request();
    bench.event_stream();
    bench.bytes(answer);
    assert_eq!(bench.data(), [pair("[1]", "5")]);

    // Anything else may be the content of a stream.
    for live in [LiveMode::Sse, LiveMode::Auto] {
        let mut bench = Bench::live(live);
        bench.request();
        bench.plain("text/event-stream", "5", true, answer);
        assert_eq!(bench.data(), [pair(answer, "5")]);
    }
}

#[test]
fn refusals_end_the_session_with_their_own_errors() {
    for (status, code) in [
        (400, "INVALID_OFFSET"),
        (401, "UNAUTHORIZED"),
        (403, "FORBIDDEN"),
        (404, "NOT_FOUND"),
        (410, "RETENTION_GONE"),
    ] {
        let mut bench = Bench::live(LiveMode::Auto);
        bench.request();
        bench.head(status, &[]);
        assert_eq!(bench.failure(), Some(code));
    }
}

#[test]
fn an_answer_without_an_offset_is_a_protocol_error() {
    let mut bench = Bench::live(LiveMode::CatchUp);
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, TEXT)]);
    assert_eq!(bench.failure(), Some("PROTOCOL_ERROR"));
}

#[test]
fn answers_that_say_nothing_new_slow_the_session_down() {
    let mut bench = Bench::live(LiveMode::LongPoll);
    bench.request();
    bench.plain(TEXT, "1", true, "a");
    for _ in 0..20 {
        bench.data();
        bench.request();
        bench.head(204, &[(names::STREAM_NEXT_OFFSET, "1"), (names::STREAM_UP_TO_DATE, "true")]);
    }
    assert!(bench.now > Duration::from_secs(1), "{:?}", bench.now);
}

#[test]
fn a_tag_that_is_still_current_ends_the_read_and_goes_with_the_first_request_only() {
    let options =
        ReadOptions { live: LiveMode::CatchUp, if_none_match: Some("\"a:-1:5\"".into()), ..ReadOptions::default() };
    let mut bench = Bench::new(options.clone());
    let request = bench.session.poll_request(bench.now).unwrap();
    assert_eq!(request.headers["if-none-match"], "\"a:-1:5\"");
    bench.head(304, &[]);
    assert!(matches!(bench.session.poll_event(), Some(ReadEvent::NotModified)));
    assert!(bench.ends());

    let mut bench = Bench::new(options);
    bench.request();
    bench.plain(TEXT, "5", false, "hello");
    bench.data();
    assert!(bench.session.poll_request(bench.now).unwrap().headers.is_empty());
}

#[test]
fn nothing_of_one_answer_is_left_in_the_next() {
    let mut bench = Bench::new(ReadOptions { max_batch_bytes: 4, live: LiveMode::CatchUp, ..ReadOptions::default() });
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, JSON), (names::STREAM_NEXT_OFFSET, "5")]);
    for piece in ["[10,", "20 ", " ]"] {
        bench.bytes(piece);
    }
    bench.session.handle_end(bench.now);
    assert_eq!(bench.data(), [pair("[10]", "-1+1"), pair("[20]", "-1+2"), pair("[]", "5")]);
    bench.request();
    bench.plain(JSON, "9", true, "[30]");
    assert_eq!(bench.data(), [pair("[30]", "9")]);
}

#[test]
fn time_limits_without_bound_are_none_and_no_overflow() {
    let forever = Duration::MAX;
    let sse =
        SseResilience { min_connection: forever, backoff_base: forever, backoff_max: forever, ..Default::default() };
    let mut bench = Bench::new(ReadOptions {
        live: LiveMode::Sse,
        request_timeout: forever,
        stall_timeout: forever,
        sse_first_byte_timeout: forever,
        sse,
        ..ReadOptions::default()
    });
    bench.now = Duration::from_secs(1);
    bench.request();
    bench.plain(JSON, "1", true, "[1]");
    bench.data();
    bench.request();
    bench.event_stream();
    bench.bytes(":\n");
    assert_eq!(bench.session.poll_timeout(), Some(forever));
    bench.reset();
    assert!(bench.session.poll_timeout().is_some(), "it waits, for ages");
}

#[test]
fn the_request_after_a_head_is_foreseen_where_the_answer_leads_on() {
    let mut bench = Bench::new(ReadOptions { prefetch: true, ..ReadOptions::default() });
    let foreseen = |bench: &Bench| bench.session.prefetch().map(|request| request.query[0].1.clone());
    bench.request();
    assert_eq!(foreseen(&bench), None, "nothing is known yet");
    bench.head(200, &[(CONTENT_TYPE, "text/plain"), (names::STREAM_NEXT_OFFSET, "5")]);
    let request = bench.session.prefetch().expect("the head names what follows");
    assert_eq!(bench.session.poll_request(bench.now), None, "it is not due yet");
    bench.bytes("hello");
    bench.session.handle_end(bench.now);
    assert_eq!(bench.data(), [("hello".to_owned(), "5".to_owned())]);
    assert_eq!(bench.session.poll_request(bench.now), Some(request));

    // Neither an answer that leads nowhere (C-READ-8) nor the tail is followed at once.
    bench.head(200, &[(CONTENT_TYPE, "text/plain"), (names::STREAM_NEXT_OFFSET, "5")]);
    assert_eq!(foreseen(&bench), None);
    bench.session.handle_end(bench.now);
    bench.request();
    bench.head(
        200,
        &[(CONTENT_TYPE, "text/plain"), (names::STREAM_NEXT_OFFSET, "6"), (names::STREAM_UP_TO_DATE, "true")],
    );
    assert_eq!(foreseen(&bench), None);
}

/// A host that parses arrays of one-digit numbers.
#[derive(Debug, Default)]
struct Digits(Mutex<String>);

impl HostBody for Digits {
    fn held(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn bytes(&self) -> Bytes {
        self.0.lock().unwrap().clone().into()
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }

    fn parse(&self) -> Option<ParsedArray> {
        let text = self.0.lock().unwrap();
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        let elements: Vec<_> = inner.split(',').filter(|it| !it.is_empty()).collect();
        let only_digits = elements.iter().all(|it| it.len() == 1 && it.as_bytes()[0].is_ascii_digit());
        only_digits.then(|| ParsedArray { len: elements.len() as u64, value: Arc::new(inner.to_owned()) })
    }
}

/// A session whose host has a body; gives how many bytes the host has at the end.
fn hosted(bench: &mut Bench, content_type: &str, next: &str, up_to_date: bool, pieces: &[&str]) -> usize {
    let mut headers = vec![(CONTENT_TYPE, content_type), (names::STREAM_NEXT_OFFSET, next)];
    headers.extend(up_to_date.then_some((names::STREAM_UP_TO_DATE, "true")));
    bench.request();
    bench.head(200, &headers);
    let host = Arc::new(Digits::default());
    for piece in pieces {
        host.0.lock().unwrap().push_str(piece);
        bench.session.handle_piece(Piece::Host(host.clone()), bench.now);
    }
    bench.session.handle_end(bench.now);
    host.held()
}

fn parsing(max_batch_bytes: usize) -> Bench {
    Bench::new(ReadOptions { parsed_by_host: true, max_batch_bytes, ..ReadOptions::default() })
}

fn batch(bench: &mut Bench) -> Option<Batch> {
    match bench.session.poll_event() {
        Some(ReadEvent::Batch(batch)) => Some(batch),
        _ => None,
    }
}

#[test]
fn a_whole_array_is_what_the_host_made_of_it() {
    let mut bench = parsing(1 << 20);
    assert_eq!(hosted(&mut bench, JSON, "5", false, &["[1,2", ",3]"]), 7, "nobody had to look at it");
    let mut whole = batch(&mut bench).expect("there is data");
    let parsed = whole.parsed().expect("the host takes it");
    assert_eq!(parsed.value.downcast_ref::<String>().map(String::as_str), Some("1,2,3"));
    assert_eq!((whole.units(), whole.len(), whole.is_json(), whole.is_empty()), (3, 3, true, false));
    assert_eq!(whole.bytes(), "[1,2,3]");
    assert_eq!(whole.json::<u8>().expect("they are numbers"), [1, 2, 3]);
    assert_eq!(whole.messages().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(whole.checkpoint_at(2).skip, 2);

    assert_eq!(whole.take_bytes(), "[1,2,3]");
    assert!(whole.parsed().is_none() && whole.bytes().is_empty());
    assert_eq!((whole.len(), whole.messages().len()), (0, 0));
    assert_eq!((whole.units(), whole.is_json(), whole.is_empty(), whole.checkpoint_at(2).skip), (3, true, false, 2));

    hosted(&mut bench, JSON, "6", true, &["[]"]);
    let empty = batch(&mut bench).expect("the position moved");
    assert!(empty.is_empty() && empty.is_up_to_date());
}

#[test]
fn what_the_host_does_not_take_is_scanned() {
    // One value that is no array, numbers that the host does not know, and nothing.
    for (body, messages) in [("7", vec!["7"]), ("[10,2]", vec!["10", "2"]), ("", vec![])] {
        let mut bench = parsing(1 << 20);
        assert_eq!(hosted(&mut bench, JSON, "5", true, &[body]), 0, "{body} was looked at here");
        let scanned = batch(&mut bench).expect("the position moved");
        assert!(scanned.parsed().is_none(), "{body}");
        assert_eq!(scanned.messages().collect::<Vec<_>>(), messages, "{body}");
    }
    // Broken JSON is refused in the words of the scanner.
    for pieces in [["[1", ","], ["[1]", "x"]] {
        let [mut left, mut scanned] = [parsing(1 << 20), Bench::new(ReadOptions::default())];
        hosted(&mut left, JSON, "5", true, &pieces);
        scanned.request();
        scanned.plain(JSON, "5", true, &pieces.concat());
        let [left, scanned] = [left, scanned].map(|mut bench| match bench.session.poll_event() {
            Some(ReadEvent::Failed(error)) => (error.code(), error.to_string()),
            other => panic!("{other:?} for {pieces:?}"),
        });
        assert_eq!((left.0, &left), ("PARSE_ERROR", &scanned));
    }
}

#[test]
fn parts_of_an_answer_and_its_rest_are_scanned() {
    let mut bench = parsing(4);
    bench.request();
    bench.head(200, &[(CONTENT_TYPE, JSON), (names::STREAM_NEXT_OFFSET, "5")]);
    let host = Arc::new(Digits::default());
    for piece in ["[1,2", ",3]"] {
        host.0.lock().unwrap().push_str(piece);
        bench.session.handle_piece(Piece::Host(host.clone()), bench.now);
    }
    assert_eq!(host.held(), 0, "it was looked at here");
    let first = batch(&mut bench).expect("it is longer than a batch may be");
    assert!(first.parsed().is_none());
    assert_eq!((first.bytes(), first.checkpoint().skip), (Bytes::from("[1]"), 1));
    bench.reset();
    assert!(bench.data().is_empty(), "a part is handed over once");
    hosted(&mut bench, JSON, "5", false, &["[1,2,3]"]);
    while let Some(event) = bench.session.poll_event() {
        if let ReadEvent::Batch(rest) = event {
            assert!(rest.parsed().is_none());
            assert_eq!((rest.bytes(), rest.units()), (Bytes::from("[2,3]"), 2));
            return;
        }
    }
    panic!("the rest was handed over");
}

#[test]
fn a_small_piece_does_not_keep_what_was_read_with_it() {
    for (len, is_taken) in [(100, false), (64 << 10, true)] {
        let mut bench = Bench::live(LiveMode::CatchUp);
        bench.request();
        bench.head(200, &[(CONTENT_TYPE, TEXT), (names::STREAM_NEXT_OFFSET, "1"), (names::STREAM_UP_TO_DATE, "true")]);
        let mut read = BytesMut::with_capacity(len.max(8 << 10));
        read.resize(len, b'x');
        let start = read.as_ptr();
        bench.session.handle_bytes(read.freeze(), bench.now);
        bench.session.handle_end(bench.now);
        let Some(ReadEvent::Batch(batch)) = bench.session.poll_event() else { panic!("there is no batch") };
        assert_eq!(batch.bytes().len(), len);
        assert_eq!(batch.bytes().as_ptr() == start, is_taken, "{len} bytes");
        assert!(bench.ends());
        assert_eq!(bench.session.events.capacity(), 0, "room for what comes later");
    }
}

#[test]
fn what_is_no_json_leaves_the_host_at_once() {
    let mut bench = parsing(1 << 20);
    assert_eq!(hosted(&mut bench, TEXT, "5", true, &["[1", "]"]), 0);
    assert_eq!(bench.data(), [pair("[1]", "5")]);
}
