"""The defects that were found in the official clients, one test each: none of them is here.

A test is named after its defect: P is the Python client, C the TypeScript one, R the Rust one, G the Go one.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

import everstream
from everstream import (
    AlreadyClosedError,
    AsyncDurableStream,
    BufferFullError,
    ContentTypeConflictError,
    DurableStream,
    DurableStreamError,
    ForbiddenError,
    InvalidArgumentError,
    NetworkError,
    Producer,
    Retry,
    SeqConflictError,
    ServerError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
)
from everstream.testing import Server
from faces import Face
from scripted import Answer, Request, ScriptedServer, refused_url
from support import BYTES, JSON, QUICK, TEXT, until, stored

Proxy = Callable[..., ScriptedServer]


def posts(answer: Answer) -> Callable[[Request], Answer | None]:
    return lambda request: answer if request.method == "POST" else None


# Python


@pytest.mark.parametrize("live", [True, "long-poll", "sse"])
@pytest.mark.parametrize("content_type", [JSON, TEXT])
def test_p1_r5_g7_a_live_read_of_a_closed_stream_ends_and_does_not_spin(
    face: Face, proxy: Proxy, url: str, content_type: str, live: Any
) -> None:
    face.create(url, content_type=content_type, body="[1]", closed=True)
    through = proxy()
    with face.stream(through.through(url), live=live) as res:
        assert b"".join(res) == b"[1]"
        assert res.stream_closed
    assert through.count() == 1


def test_p2_sse_goes_on_when_the_server_ends_the_connection(face: Face) -> None:
    with Server(sse_lifetime=0.05) as server, ScriptedServer(upstream=server.url) as through:
        url = server.stream_url("p2")
        handle = face.create(url, content_type=JSON)
        with face.stream(through.through(url), live="sse") as res:
            items = res.iter_json()
            handle.append(1)
            assert next(items) == 1
            until(lambda: through.count("GET", live="sse") >= 2, "a second connection")
            handle.append(2)
            assert next(items) == 2


def test_p3_g8_reads_and_other_requests_are_retried(face: Face, server: Server, url: str, path: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1], retry=QUICK)
    for fault in ({"status": 503}, {"drop_connection": True}, {"status": 500}):
        server.inject_fault(path, fault, count=2)
        assert handle.head().exists
        server.inject_fault(path, fault, count=2)
        with face.stream(url, live=False, retry=QUICK) as res:
            assert res.read_json() == [1]


@pytest.mark.parametrize("batching", [True, False])
def test_p4_json_is_encoded_once(face: Face, url: str, batching: bool) -> None:
    handle = face.create(url, content_type=JSON, batching=batching)
    handle.append('{"a":1}')
    handle.append({"a": 2})
    assert stored(face, url) == [{"a": 1}, {"a": 2}]


def test_p5_a_time_limit_does_not_end_an_idle_live_read(face: Face) -> None:
    with Server(long_poll_timeout=0.4) as server, ScriptedServer(upstream=server.url) as through:
        url = server.stream_url("p5")
        handle = face.create(url, content_type=TEXT)
        with face.stream(through.through(url), live="long-poll", timeout=0.1) as res:
            texts = res.iter_text()
            handle.append("a")
            assert next(texts) == "a"
            until(lambda: through.count("GET", live="long-poll") >= 3, "a poll that came back without news")
            handle.append("b")
            assert next(texts) == "b"


def test_p6_there_is_a_sync_producer_with_headers_and_nothing_leaks(proxy: Proxy, url: str) -> None:
    DurableStream.create(url, content_type=TEXT)
    through = proxy()
    handle = DurableStream(through.through(url), headers={"authorization": lambda: "t"})
    with Producer(handle, "p") as producer:
        producer.append("a")
    assert {request.headers["authorization"] for request in through.requests} == {"t"}
    # What is not closed warns, and warnings are errors here.
    del producer, handle
    gc.collect()


def test_p7_events_over_sse_go_on_after_the_tail(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    with face.stream(url, live="sse") as res:
        events = (event for event in res.iter_events() if event.data)
        for n in range(1, 5):
            event = next(events)
            assert (event.data, event.up_to_date) == ([n], True)
            handle.append(n + 1)


def test_p8_every_error_is_a_durable_stream_error(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(lambda request: Answer(418))
    failing: list[Callable[[], Any]] = [
        lambda: face.handle(refused_url(), retry=Retry(max_retries=0)).head(),
        lambda: face.handle("http://host.invalid/a", retry=Retry(max_retries=0)).head(),
        lambda: face.handle(through.through(url)).head(),
        lambda: face.handle(f"{url}-none").head(),
        lambda: face.handle("nonsense").head(),
    ]
    for call in failing:
        with pytest.raises(DurableStreamError):
            call()
    for cls in (everstream.FetchError, everstream.StaleEpochError, everstream.SequenceGapError):
        assert issubclass(cls, DurableStreamError)


def test_p9_close_is_of_the_handle_and_close_stream_of_the_stream(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    producer = face.producer(handle)
    producer.append("a")
    producer.close()
    handle.close()
    assert not handle.head().stream_closed
    handle.close_stream()
    assert handle.head().stream_closed


# TypeScript


def test_c1_g2_one_failed_batch_is_told_of_and_loses_no_other(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON)
    left = [Answer(400)]
    appended = threading.Event()

    def script(request: Request) -> Answer | None:
        assert appended.wait(30)
        return left.pop(0) if request.method == "POST" and left else None

    through = proxy(script)
    producer = face.producer(face.handle(through.through(url), content_type=JSON), max_batch_items=1, max_in_flight=1)
    for n in range(4):
        producer.append(n)
    appended.set()
    with pytest.raises(DurableStreamError) as raised:
        producer.flush()
    # Nothing after it was stored, as the order would be another; and all of it is listed.
    failed = sorted(n for f in raised.value.failures for n in range(f.first_message, f.first_message + f.messages))
    assert failed == [0, 1, 2, 3]
    producer.restart()
    for n in failed:
        producer.append(n)
    producer.close()
    assert stored(face, url) == [0, 1, 2, 3]


def test_c2_auto_claim_does_not_fight_an_authorisation(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(posts(Answer(403)))
    producer = face.producer(face.handle(through.through(url), content_type=TEXT), auto_claim=True)
    producer.append("a")
    with pytest.raises(ForbiddenError):
        producer.flush()
    producer.close()
    assert through.count("POST") == 1
    assert producer.epoch == 0


def test_c3_long_poll_in_place_of_sse_does_not_end_the_read(face: Face, proxy: Proxy, url: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    events = Answer(200, {"content-type": "text/event-stream"}, b"")
    through = proxy(lambda request: events if request.query.get("live") == "sse" else None)
    with face.stream(through.through(url), live="sse") as res:
        items = res.iter_json()
        assert next(items) == 1
        handle.append(2)
        assert next(items) == 2
        handle.close_stream()
        assert list(items) == []
        assert res.stream_closed
    assert through.count("GET", live="sse") >= 3
    assert through.count("GET", live="long-poll") >= 1


def test_c4_an_append_that_a_gateway_swallowed_is_not_stored_twice(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    plain = proxy(posts(Answer(502)))
    with pytest.raises(ServerError) as raised:
        face.handle(plain.through(url), content_type=TEXT).append("a")
    assert (raised.value.outcome_unknown, plain.count("POST")) == (True, 1)
    left = [Answer(drop_after=True), Answer(502)]
    through = proxy(lambda request: left.pop(0) if request.method == "POST" and left else None)
    face.handle(through.through(url), content_type=TEXT, idempotent=True, retry=QUICK).append("b")
    assert stored(face, url) == "b"


def test_c5_retries_give_up(face: Face) -> None:
    quick = Retry(initial_delay=0.001, max_delay=0.002)
    with pytest.raises(NetworkError):
        face.handle(refused_url(), retry=quick).head()
    with ScriptedServer(lambda request: Answer(503)) as server:
        with pytest.raises(everstream.ServerBusyError):
            face.stream(f"{server.url}/a", retry=quick)
    assert server.count() == 16


def test_c6_the_offset_does_not_run_ahead_of_the_reader(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, body=[0])
    offsets = [handle.head().offset] + [handle.append(n).next_offset for n in range(1, 4)]
    with face.stream(url, live="long-poll", offset=offsets[0]) as res:
        items = res.iter_json()
        assert next(items) == 1
        until(lambda: res.headers.get("stream-next-offset") == offsets[-1], "everything was fetched")
        assert res.offset == offsets[0]
        checkpoint = res.checkpoint()
    with face.stream(url, live=False, checkpoint=checkpoint) as res:
        assert res.read_json() == [2, 3]


def test_c7_characters_are_not_cut(face: Face, url: str) -> None:
    text = "aé€😀" * 100
    face.create(url, content_type=TEXT, body=text)
    for size in (1, 7, 100):
        with face.stream(url, live=False, max_batch_bytes=size) as res:
            assert "".join(res.iter_text()) == text


def test_c8_integers_are_exact(face: Face, url: str) -> None:
    face.create(url, content_type=JSON).append({"id": 2**53 + 1})
    assert stored(face, url) == [{"id": 2**53 + 1}]


async def test_c9_what_is_cancelled_ends_also_while_it_waits_to_try_again(url: str) -> None:
    with ScriptedServer(lambda request: Answer(503, {"retry-after": "50"})) as server:
        waiting = asyncio.create_task(AsyncDurableStream(f"{server.url}/a").head())
        while server.count() == 0:
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        at_once = asyncio.create_task(AsyncDurableStream(f"{server.url}/a").head())
        at_once.cancel()
        with pytest.raises(asyncio.CancelledError):
            await at_once
        assert server.count() == 1


async def test_c10_one_cancelled_append_does_not_fail_the_others(proxy: Proxy, url: str) -> None:
    await AsyncDurableStream.create(url, content_type=JSON)
    opened = threading.Event()
    through = proxy(lambda request: None if request.method != "POST" or opened.wait(30) else None)
    handle = AsyncDurableStream(through.through(url), content_type=JSON)
    appends = [asyncio.ensure_future(handle.append(n)) for n in range(6)]
    while through.count("POST") == 0:
        await asyncio.sleep(0.001)
    appends[3].cancel()
    opened.set()
    results = await asyncio.gather(*appends, return_exceptions=True)
    assert [n for n, result in enumerate(results) if isinstance(result, BaseException)] == [3]
    async with AsyncDurableStream(url).stream(live=False) as res:
        assert [n for n in await res.read_json() if n != 3] == [0, 1, 2, 4, 5]


def test_c11_producers_send_params_and_use_the_client(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    client = face.client(base_url=through.url, headers={"x-client": "mine"})
    path = url.split("/", 3)[3]
    handle = face.handle(f"/{path}", client=client, content_type=TEXT, params={"tenant": "a"})
    with face.producer(handle) as producer:
        producer.append("a")
    (request,) = through.of("POST")
    assert (request.query, request.headers["x-client"]) == ({"tenant": "a"}, "mine")


def test_c12_typed_errors_are_reached(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    handle.close_stream()
    with pytest.raises(StreamClosedError):
        handle.append("a")
    with pytest.raises(StreamExistsError):
        face.create(url, content_type=JSON)
    with pytest.raises(StreamNotFoundError):
        face.handle(f"{url}-none").append("a")


def test_c13_connect_fails_when_there_is_no_stream(face: Face, url: str) -> None:
    with pytest.raises(StreamNotFoundError):
        face.connect(url)


def test_c14_g4_what_is_not_answered_yet_is_bounded(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=BYTES)
    opened = threading.Event()
    through = proxy(lambda request: None if request.method != "POST" or opened.wait(30) else None)
    with face.producer(face.handle(through.through(url), content_type=BYTES), max_buffered_bytes=10_000) as producer:
        taken = 0
        with pytest.raises(BufferFullError):
            for _ in range(1000):
                producer.try_append(b"x" * 100)
                taken += 1
        assert 0 < taken <= 100
        assert producer.buffered_bytes <= 10_000
        opened.set()
    with face.stream(url, live=False) as res:
        assert res.read_bytes() == b"x" * 100 * taken


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_c15_on_error_is_asked_in_the_middle_of_a_read(face: Face, proxy: Proxy, url: str, live: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    through = proxy(
        lambda request: Answer(401) if "live" in request.query and "authorization" not in request.headers else None
    )
    asked: list[Exception] = []

    def renew(error: Exception) -> dict[str, Any]:
        asked.append(error)
        return {"headers": {"authorization": "t"}}

    with face.stream(through.through(url), live=live, on_error=face.hook(renew)) as res:
        items = res.iter_json()
        assert next(items) == 1
        handle.append(2)
        assert next(items) == 2
    assert len(asked) == 1


def test_c16_the_server_lets_browsers_see_how_sse_is_encoded(server: Server, url: str) -> None:
    DurableStream.create(url, content_type=BYTES)
    request = urllib.request.Request(url, headers={"origin": "https://elsewhere.example"})
    with urllib.request.urlopen(request) as response:
        exposed = response.headers["access-control-expose-headers"].lower()
    assert "stream-sse-data-encoding" in exposed


def test_c17_sse_data_before_a_drop_comes_once(face: Face) -> None:
    control = 'event: control\ndata: {"streamNextOffset":"2","streamClosed":true}\n\n'
    connections = ["event: data\ndata: [1]\n\n", f"event: data\ndata: [1]\n\n{control}"]

    def script(request: Request) -> Answer:
        if "live" not in request.query:
            return Answer(200, {"content-type": JSON, "stream-next-offset": "1", "stream-up-to-date": "true"}, b"[]")
        return Answer(200, {"content-type": "text/event-stream"}, [connections.pop(0).encode()])

    with ScriptedServer(script) as server, face.stream(f"{server.url}/a", live="sse") as res:
        assert list(res.iter_json()) == [1]
    assert [request.query["offset"] for request in server.requests] == ["-1", "1", "1"]


# Rust


def test_r1_g6_producers_send_the_headers_of_client_and_handle(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    client = face.client(headers={"authorization": face.hook(lambda: "t")})
    handle = face.handle(through.through(url), client=client, headers={"x-a": "b"})
    with face.producer(handle) as producer:
        producer.append("a")
    assert {(request.headers["authorization"], request.headers["x-a"]) for request in through.requests} == {("t", "b")}


def test_r2_a_flush_that_waits_does_not_use_the_processor(proxy: Proxy, url: str) -> None:
    DurableStream.create(url, content_type=TEXT)
    opened = threading.Event()
    through = proxy(lambda request: None if request.method != "POST" or opened.wait(30) else None)
    with DurableStream(through.through(url), content_type=TEXT).producer("p") as producer:
        producer.append("a")
        flushing = threading.Thread(target=producer.flush)
        flushing.start()
        until(lambda: through.count("POST") == 1, "the batch is under way")
        begun = time.process_time()
        opened.wait(0.5)
        used = time.process_time() - begun
        opened.set()
        flushing.join()
    # One that spins uses all of it.
    assert used < 0.4


def test_r3_text_appended_to_a_json_stream_is_framed(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON)
    through = proxy()
    with face.producer(face.handle(through.through(url), content_type=JSON), linger_ms=1000) as producer:
        for text in ('{"a":1}', "2", '"three"'):
            producer.append(text)
    assert [request.body for request in through.of("POST")] == [b'[{"a":1},2,"three"]']
    assert stored(face, url) == [{"a": 1}, 2, "three"]


def test_r4_nothing_is_dropped_silently(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    producer = face.producer(face.handle(url, content_type=JSON))
    with pytest.raises(TypeError):
        producer.append(object())
    with pytest.raises(InvalidArgumentError):
        producer.append("no json")
    producer.close()
    with pytest.raises(AlreadyClosedError):
        producer.append(1)
    assert stored(face, url) == []


def test_r6_sse_is_decoded_across_pieces(face: Face) -> None:
    body = (
        'event: data\ndata: ["é€😀"]\n\nevent: control\ndata: {"streamNextOffset":"2","streamClosed":true}\n\n'
    ).encode()

    def script(request: Request) -> Answer:
        if "live" not in request.query:
            return Answer(200, {"content-type": JSON, "stream-next-offset": "1", "stream-up-to-date": "true"}, b"[]")
        return Answer(200, {"content-type": "text/event-stream"}, [bytes([byte]) for byte in body])

    with ScriptedServer(script) as server, face.stream(f"{server.url}/a", live="sse") as res:
        assert list(res.iter_json()) == ["é€😀"]


def test_r7_offsets_and_cursors_are_encoded(face: Face) -> None:
    head = {"content-type": TEXT, "stream-next-offset": "b+c%d", "stream-up-to-date": "true"}
    cursor = {"stream-cursor": "x&offset=9 #"}
    left = [Answer(200, {**head, **cursor}, b"a"), Answer(200, {**head, "stream-closed": "true"}, b"")]
    with ScriptedServer(lambda request: left.pop(0)) as server:
        with face.stream(f"{server.url}/a", offset="a+b%c", live="long-poll") as res:
            assert "".join(res.iter_text()) == "a"
    first, second = server.requests
    assert first.query == {"offset": "a+b%c"}
    assert second.query == {"offset": "b+c%d", "cursor": "x&offset=9 #", "live": "long-poll"}


def test_r8_a_producer_needs_no_close_to_send_what_it_took(url: str) -> None:
    DurableStream.create(url, content_type=TEXT)
    producer = Producer(DurableStream(url, content_type=TEXT), "p", linger_ms=20)
    producer.append("a")
    with pytest.warns(ResourceWarning, match="unclosed"):
        del producer
        gc.collect()

    def text() -> str:
        with DurableStream(url).stream(live=False) as res:
            return res.read_text()

    until(lambda: text() == "a", "the message is stored")


def test_r9_refusals_are_told_apart_and_not_repeated(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    handle = face.handle(through.through(url), content_type=TEXT)
    handle.append("a", seq="2")
    for refused, error in (
        (lambda: handle.append("b", seq="1"), SeqConflictError),
        (lambda: handle.append("{}", content_type=JSON), ContentTypeConflictError),
        (lambda: handle.create_stream(content_type=JSON), StreamExistsError),
    ):
        before = through.count()
        with pytest.raises(error):
            refused()
        assert through.count() == before + 1
    handle.close_stream()
    before = through.count()
    with pytest.raises(StreamClosedError):
        handle.append("c")
    assert through.count() == before + 1


def test_r10_the_first_request_is_one_that_caches_can_answer(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON, body=[1])
    through = proxy()
    for live in (True, "long-poll", "sse"):
        with face.stream(through.through(url), live=live) as res:
            assert next(res.iter_json()) == 1
    firsts = [request.query for request in through.requests if request.query["offset"] == "-1"]
    assert firsts == [{"offset": "-1"}] * 3


def test_r11_the_offset_of_data_is_the_one_after_it_and_the_end_is_told(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    with face.stream(url, live="sse") as res:
        events = (event for event in res.iter_events() if event.data)
        for n in range(3):
            handle.append(n)
            event = next(events)
            with face.stream(url, live=False, offset=event.next_offset) as again:
                assert again.read_json() == []
    handle.close_stream(data=3)
    with face.stream(url, live="sse") as res:
        assert [event.stream_closed for event in res.iter_events() if event.data][-1] is True


def test_r12_a_broken_event_stream_is_replaced(face: Face) -> None:
    def events(data: str, offset: str, closed: str) -> bytes:
        control = f'{{"streamNextOffset":"{offset}","streamClosed":{closed}}}'
        return f"event: data\ndata: {data}\n\nevent: control\ndata: {control}\n\n".encode()

    head = {"content-type": "text/event-stream"}
    left = [
        Answer(200, {**head, "content-length": "9999"}, events("[1]", "2", "false")),
        Answer(200, head, [events("[2]", "3", "true")]),
    ]

    def script(request: Request) -> Answer:
        if "live" not in request.query:
            return Answer(200, {"content-type": JSON, "stream-next-offset": "1", "stream-up-to-date": "true"}, b"[]")
        return left.pop(0)

    with ScriptedServer(script) as server, face.stream(f"{server.url}/a", live="sse") as res:
        assert list(res.iter_json()) == [1, 2]


# Go


def test_g1_a_batch_goes_out_as_soon_as_there_is_room(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    with face.producer(face.handle(url), max_in_flight=1, max_batch_items=1, linger_ms=0) as producer:
        deliveries = [producer.append(n) for n in range(5)]
        # No other append, no flush.
        assert [face.receipt(delivery).duplicate for delivery in deliveries] == [False] * 5


async def test_g3_a_caller_that_gives_up_is_not_held(proxy: Proxy, url: str) -> None:
    await AsyncDurableStream.create(url, content_type=TEXT)
    opened = threading.Event()
    through = proxy(lambda request: None if request.method != "POST" or opened.wait(30) else None)
    handle = AsyncDurableStream(through.through(url), content_type=TEXT)
    async with handle.producer("p") as producer:
        delivery = producer.append("a")
        for waiting in (asyncio.ensure_future(producer.flush()), asyncio.ensure_future(handle.append("b"))):
            while through.count("POST") == 0:
                await asyncio.sleep(0.001)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert not delivery.done()
        opened.set()
        assert (await delivery).duplicate is False


@pytest.mark.parametrize("answer", [Answer(503), Answer(500), Answer(429), Answer(drop=True)], ids=str)
def test_g5_batches_are_sent_again(face: Face, proxy: Proxy, url: str, answer: Answer) -> None:
    face.create(url, content_type=TEXT)
    left = [answer, answer]
    through = proxy(lambda request: left.pop(0) if request.method == "POST" and left else None)
    with face.producer(face.handle(through.through(url), content_type=TEXT, retry=QUICK)) as producer:
        producer.append("a")
    assert stored(face, url) == "a"
    assert through.count("POST") == 3


# Not here, since they cannot be: C9's signal that is aborted before the call (asyncio has no signals: a task is
# cancelled, see above); R2's loop itself and G3's `context.Background()` (no such things), tested by what they did;
# the reading side of C16 (browsers only).
