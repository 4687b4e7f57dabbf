"""Live reads: they follow, survive, end at the end of the stream, and notice a stream made anew."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from everstream import (
    AsyncDurableStream,
    RetentionGoneError,
    Retry,
    StreamNotFoundError,
    StreamRecreatedError,
    Timeout,
    astream,
)
from everstream.testing import Server
from faces import Face
from scripted import Answer, Request, ScriptedServer
from support import BYTES, JSON, QUICK, TEXT, until

Proxy = Callable[..., ScriptedServer]

LIVE = [True, "auto", "long-poll", "sse"]

MESSAGES: dict[str, list[Any]] = {JSON: [{"n": 1}, "é", [3]], TEXT: ["a\n", "é", "c"], BYTES: [b"\x00", b"\xff", b"\r"]}


def messages_of(face: Face, res: Any, content_type: str) -> Iterator[Any]:
    if content_type == JSON:
        return iter(res.iter_json())
    return iter(res.iter_text() if content_type == TEXT else res)


@pytest.mark.parametrize("start", ["-1", "now"])
@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize("content_type", MESSAGES)
def test_a_live_read_follows_to_the_end(face: Face, url: str, content_type: str, live: Any, start: str) -> None:
    handle = face.create(url, content_type=content_type)
    append = handle.append_json if content_type == JSON else handle.append
    before = MESSAGES[content_type][:1]
    append(before[0])
    with face.stream(url, live=live, offset=start) as res:
        items = messages_of(face, res, content_type)
        if start == "-1":
            assert next(items) == before[0]
        else:
            # It is at the tail once that was answered, and sees what comes after.
            assert res.status == 200
        for message in MESSAGES[content_type][1:]:
            offset = append(message).next_offset
            assert next(items) == message
            assert res.offset == offset
            assert not res.stream_closed
        handle.close_stream()
        assert list(items) == []
        assert (res.stream_closed, res.up_to_date) == (True, True)


@pytest.mark.parametrize("live", LIVE)
def test_a_last_message_and_the_end_arrive_together(face: Face, url: str, live: Any) -> None:
    handle = face.create(url, content_type=JSON)
    with face.stream(url, live=live) as res:
        items = res.iter_json()
        handle.append(1)
        assert next(items) == 1
        handle.close_stream(data=2)
        assert list(items) == [2]
        assert res.stream_closed


@pytest.mark.parametrize("mode", ["bytes", "text", "json", "json_batches"])
@pytest.mark.parametrize("live", LIVE)
def test_events_go_on_beyond_the_tail_and_tell_of_it(face: Face, url: str, live: Any, mode: str) -> None:
    shape: dict[str, Callable[[int], Any]] = {
        "bytes": lambda n: b"[%d]" % n,
        "text": lambda n: f"[{n}]",
        "json": lambda n: [n],
        "json_batches": lambda n: [n],
    }
    handle = face.create(url, content_type=JSON)
    first = handle.append(1)
    with face.stream(url, live=live) as res:
        events = (event for event in res.iter_events(mode) if event.data is not None or event.stream_closed)
        event = next(events)
        assert (event.data, event.next_offset, event.stream_closed) == (shape[mode](1), first.next_offset, False)
        second = handle.append(2)
        event = next(events)
        assert (event.data, event.next_offset, event.up_to_date) == (shape[mode](2), second.next_offset, True)
        assert res.offset == second.next_offset
        handle.close_stream()
        (last,) = events
        assert (last.data, last.next_offset, last.stream_closed) == (None, second.next_offset, True)


@pytest.mark.parametrize(
    ("live", "asked"), [(True, "sse"), ("auto", "sse"), ("sse", "sse"), ("long-poll", "long-poll")]
)
def test_the_first_request_is_a_plain_one_and_the_next_live(
    face: Face, proxy: Proxy, url: str, live: Any, asked: str
) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    through = proxy()
    with face.stream(through.through(url), live=live) as res:
        items = res.iter_json()
        assert next(items) == 1
        handle.append(2)
        assert next(items) == 2
    first, second = through.requests[:2]
    assert first.query == {"offset": "-1"}
    assert second.query["live"] == asked
    assert second.query["offset"] != "-1"


@pytest.mark.parametrize("content_type", [TEXT, BYTES])
def test_auto_takes_long_poll_for_what_sse_would_change(face: Face, proxy: Proxy, url: str, content_type: str) -> None:
    handle = face.create(url, content_type=content_type)
    through = proxy()
    with face.stream(through.through(url)) as res:
        items = iter(res)
        handle.append(b"\r\n")
        assert next(items) == b"\r\n"
        handle.append(b"\r")
        assert next(items) == b"\r"
    assert {request.query.get("live") for request in through.requests[1:]} == {"long-poll"}


def test_cursors_of_the_server_are_sent_back(face: Face, proxy: Proxy, url: str) -> None:
    handle = face.create(url, content_type=TEXT, body="a")
    through = proxy()
    with face.stream(through.through(url), live="long-poll") as res:
        items = res.iter_text()
        assert next(items) == "a"
        handle.append("b")
        assert next(items) == "b"
        cursor = res.cursor
        assert cursor
        handle.append("c")
        assert next(items) == "c"
    asked = [request.query.get("cursor") for request in through.of("GET", live="long-poll")]
    assert cursor in asked


def test_changing_the_means_does_not_change_what_is_read(face: Face, proxy: Proxy, url: str) -> None:
    """SSE that a proxy refuses gives way to long-poll within the session."""
    handle = face.create(url, content_type=JSON, body=[1])
    through = proxy(lambda request: Answer(406) if request.query.get("live") == "sse" else None)
    with face.stream(through.through(url), live="sse") as res:
        items = res.iter_json()
        assert next(items) == 1
        handle.append(2)
        assert next(items) == 2
        handle.close_stream()
        assert list(items) == []
    assert through.count("GET", live="sse") == 1
    assert through.count("GET", live="long-poll") >= 1


# Failures in the middle


class Sometimes:
    """Spoils every second live request."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.numbers = itertools.count()

    def __call__(self, request: Request) -> Answer | None:
        if "live" in request.query and next(self.numbers) % 2 == 0:
            return self.answer
        return None


@pytest.mark.parametrize(
    "answer", [Answer(500), Answer(503, {"retry-after": "0"}), Answer(429), Answer(drop=True)], ids=str
)
@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_live_read_outlives_failures(face: Face, proxy: Proxy, url: str, live: str, answer: Answer) -> None:
    handle = face.create(url, content_type=JSON)
    through = proxy(Sometimes(answer))
    retry = Retry(initial_delay=0.001, max_delay=0.001, max_retries=1)
    with face.stream(through.through(url), live=live, retry=retry) as res:
        items = res.iter_json()
        for n in range(8):
            handle.append(n)
            assert next(items) == n
        handle.close_stream()
        assert list(items) == []


@pytest.mark.parametrize("live", ["long-poll", "sse"])
@pytest.mark.parametrize("fault", [{"drop_connection": True}, {"status": 502}])
def test_nothing_is_lost_or_doubled_by_a_failed_answer(
    face: Face, server: Server, url: str, path: str, live: str, fault: dict[str, Any]
) -> None:
    handle = face.create(url, content_type=JSON)
    with face.stream(url, live=live, retry=QUICK) as res:
        items = res.iter_json()
        for n in range(4):
            server.inject_fault(path, fault, method="GET", count=1)
            handle.append({"number": n, "text": "x" * 30})
            assert next(items)["number"] == n
        server.clear_faults()
        handle.close_stream()
        assert list(items) == []


@pytest.mark.parametrize("live", [False, True])
def test_an_answer_that_breaks_off_is_asked_for_again(face: Face, live: bool) -> None:
    head = {"content-type": TEXT, "stream-next-offset": "5", "stream-up-to-date": "true", "stream-closed": "true"}
    answers = [Answer(200, {**head, "content-length": "5"}, b"he"), Answer(200, head, b"hello")]
    with ScriptedServer(lambda request: answers.pop(0)) as server:
        with face.stream(f"{server.url}/a", live=live, retry=QUICK) as res:
            assert "".join(res.iter_text()) == "hello"
    assert [request.query["offset"] for request in server.requests] == ["-1", "-1"]


def test_a_read_that_is_not_live_gives_up(face: Face, server: Server, url: str, path: str) -> None:
    face.create(url, content_type=JSON)
    server.inject_error(path, 503, count=50)
    with pytest.raises(Exception, match="not available") as raised:
        face.stream(url, live=False, retry=QUICK)
    assert type(raised.value).__name__ == "ServerBusyError"


def test_the_limit_of_one_try_does_not_end_an_idle_live_read(face: Face) -> None:
    with Server(long_poll_timeout=0.5) as server, ScriptedServer(upstream=server.url) as through:
        url = server.stream_url("idle")
        handle = face.create(url, content_type=TEXT)
        with face.stream(through.through(url), live="long-poll", timeout=Timeout(read=0.1, stall=30)) as res:
            texts = res.iter_text()
            handle.append("a")
            assert next(texts) == "a"
            # Each poll takes five times the limit; the second shows that the first was not cut off.
            until(lambda: through.count("GET", live="long-poll") >= 3, "the poll after an idle one")
            handle.append("b")
            assert next(texts) == "b"


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_connection_that_the_server_ends_is_made_again(face: Face, live: str) -> None:
    with Server(long_poll_timeout=0.05, sse_lifetime=0.05) as server, ScriptedServer(upstream=server.url) as through:
        url = server.stream_url("short")
        handle = face.create(url, content_type=JSON)
        with face.stream(through.through(url), live=live) as res:
            items = res.iter_json()
            for n in range(5):
                seen = through.count("GET")
                until(lambda seen=seen: through.count("GET") >= seen + 2, "two more requests")  # type: ignore[misc]
                handle.append(n)
                assert next(items) == n
            handle.close_stream()
            assert list(items) == []


# Streams that go away


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_deleted_stream_ends_the_read_with_an_error(face: Face, url: str, live: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    with face.stream(url, live=live) as res:
        items = res.iter_json()
        assert next(items) == 1
        handle.delete()
        with pytest.raises((StreamNotFoundError, RetentionGoneError)):
            next(items)
        assert res.closed


@pytest.mark.parametrize("live", [False, "long-poll", "sse"])
def test_a_stream_made_anew_is_noticed_by_a_checkpoint(face: Face, url: str, live: Any) -> None:
    face.create(url, content_type=JSON, body=[1, 2])
    with face.stream(url, live=False) as res:
        res.read_json()
        checkpoint = res.checkpoint()
    assert checkpoint.incarnation
    face.handle(url).delete()
    face.create(url, content_type=JSON, body=[3, 4])
    with pytest.raises(StreamRecreatedError) as raised:
        face.stream(url, checkpoint=checkpoint, live=live).read_json()
    assert (raised.value.code, raised.value.url) == ("STREAM_RECREATED", url)
    with face.stream(url, live=False) as res:
        assert res.read_json() == [3, 4]


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_stream_made_anew_is_noticed_in_the_middle_of_a_read(face: Face, proxy: Proxy, url: str, live: str) -> None:
    face.create(url, content_type=JSON, body=[1, 2])
    anew = Answer(200, {"content-type": JSON, "stream-next-offset": "0", "stream-up-to-date": "true"}, b"[]")
    through = proxy(lambda request: anew if "live" in request.query else None)
    with face.stream(through.through(url), live=live) as res:
        items = res.iter_json()
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(StreamRecreatedError):
            next(items)


# SSE in particular


def sse(*events: tuple[str, Any]) -> bytes:
    texts = [data if isinstance(data, str) else json.dumps(data) for _, data in events]
    return b"".join(f"event: {kind}\ndata: {text}\n\n".encode() for (kind, _), text in zip(events, texts, strict=True))


def event_stream(head: dict[str, str], *connections: bytes) -> Callable[[Request], Answer]:
    """Answers the first request with nothing new, and each of the next with one of the connections."""
    left = list(connections)

    def respond(request: Request) -> Answer:
        if "live" not in request.query:
            return Answer(200, {"content-type": JSON, "stream-next-offset": "1", "stream-up-to-date": "true"}, b"[]")
        return Answer(200, {"content-type": "text/event-stream", **head}, [left.pop(0)])

    return respond


def test_sse_data_without_its_control_event_is_not_handed_over(face: Face) -> None:
    control = {"streamNextOffset": "2", "upToDate": True}
    end = {"streamNextOffset": "3", "upToDate": True, "streamClosed": True}
    script = event_stream(
        {},
        sse(("data", "[1]"), ("control", control), ("data", "[2]")),
        sse(("data", "[2]"), ("control", end)),
    )
    with ScriptedServer(script) as server, face.stream(f"{server.url}/a", live="sse") as res:
        assert list(res.iter_json()) == [1, 2]
    assert [request.query["offset"] for request in server.requests] == ["-1", "1", "2"]


def test_unknown_sse_events_and_comments_are_ignored(face: Face) -> None:
    end = {"streamNextOffset": "2", "streamClosed": True}
    body = b": hello\n\nevent: ping\ndata: {\n\n" + sse(("data", "[1]"), ("control", end))
    with ScriptedServer(event_stream({}, body)) as server, face.stream(f"{server.url}/a", live="sse") as res:
        assert list(res.iter_json()) == [1]


def test_injected_sse_events_do_not_disturb(face: Face, server: Server, url: str, path: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    with face.stream(url, live="sse") as res:
        items = res.iter_json()
        server.inject_fault(path, inject_sse_event={"eventType": "strange", "data": "{"}, count=3)
        assert next(items) == 1
        handle.append(2)
        assert next(items) == 2


# asyncio in particular


async def test_many_readers_share_a_loop(url: str) -> None:
    handle = await AsyncDurableStream.create(url, content_type=JSON)

    async def read(live: Any) -> list[Any]:
        async with handle.stream(live=live) as res:
            return [item async for item in res.iter_json()]

    readers = [asyncio.create_task(read(live)) for live in (True, "long-poll", "sse") for _ in range(3)]
    for n in range(20):
        await handle.append(n)
    await handle.close_stream()
    assert await asyncio.gather(*readers) == [list(range(20))] * 9


async def test_both_forms_of_astream(url: str) -> None:
    await AsyncDurableStream.create(url, content_type=JSON, body=[1, 2])
    async with astream(url, live=False) as res:
        assert await res.read_json() == [1, 2]
    res = await astream(url, live=False)
    assert await res.read_json() == [1, 2]
    async with res:
        pass
