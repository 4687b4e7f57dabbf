"""Reading: every way to consume a response, in every live mode, of every format, from every start."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from everstream import Checkpoint, InvalidOffsetError, NotSupportedError, StreamConsumedError, StreamEvent
from everstream.testing import Server
from faces import Face
from scripted import Answer, ScriptedServer
from support import BYTES, JSON, TEXT

Proxy = Callable[..., ScriptedServer]

LIVE = [False, True, "catch-up", "auto", "long-poll", "sse"]

FORMATS: dict[str, list[Any]] = {
    JSON: [{"a": 1}, "zwei", [3], 2**64 + 1],
    TEXT: ["one\n", "zwei é\n", "three\n", "4\n"],
    BYTES: [b"\x00\xff", b"\xfe", b"\r\n\r", b"4"],
}


def raw(content_type: str, messages: list[Any]) -> bytes:
    if content_type == JSON:
        return b"[" + b",".join(json.dumps(message).encode() for message in messages) + b"]"
    return b"".join(message.encode() if isinstance(message, str) else message for message in messages)


def fill(face: Face, url: str, content_type: str, closed: bool) -> list[str]:
    """Writes the messages of the format, and gives the offset after each."""
    handle = face.create(url, content_type=content_type)
    append = handle.append_json if content_type == JSON else handle.append
    offsets = [append(message).next_offset for message in FORMATS[content_type]]
    if closed:
        handle.close_stream()
    return offsets


def joined_json(chunks: list[bytes]) -> list[Any]:
    return [message for chunk in chunks for message in json.loads(chunk)]


def text_of(res: Any) -> str:
    return "".join(res.iter_text())


def bytes_of_events(res: Any) -> bytes:
    return b"".join(event.data for event in res.iter_events("bytes") if event.data is not None)


def text_of_events(res: Any) -> str:
    return "".join(event.data for event in res.iter_events("text") if event.data is not None)


def items_of_events(res: Any) -> list[Any]:
    return [item for event in res.iter_events() for item in event.data or []]


def items_of_batches(res: Any) -> list[Any]:
    return [item for batch in res.iter_json_batches() for item in batch]


# How to consume all of a response, and what that gives of a list of messages.
PLAIN: dict[str, tuple[Callable[[Any], Any], Callable[[bytes], Any]]] = {
    "iteration": (lambda res: b"".join(res), lambda data: data),
    "read_bytes": (lambda res: res.read_bytes(), lambda data: data),
    "events of bytes": (bytes_of_events, lambda data: data),
    "iter_text": (text_of, lambda data: data.decode("utf-8", "replace")),
    "read_text": (lambda res: res.read_text(), lambda data: data.decode("utf-8", "replace")),
    "events of text": (text_of_events, lambda data: data.decode("utf-8", "replace")),
}
OF_JSON: dict[str, Callable[[Any], Any]] = {
    "iteration": lambda res: joined_json(list(res)),
    "read_bytes": lambda res: json.loads(res.read_bytes()),
    "events of bytes": lambda res: joined_json([event.data for event in res.iter_events("bytes") if event.data]),
    "read_text": lambda res: json.loads(res.read_text()),
    "iter_json": lambda res: list(res.iter_json()),
    "iter_json_batches": items_of_batches,
    "read_json": lambda res: res.read_json(),
    "read_json_batches": lambda res: [item for batch in res.read_json_batches() for item in batch],
    "events of json": items_of_events,
}


@pytest.mark.parametrize("start", ["beginning", "offset", "checkpoint", "now"])
@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize("method", OF_JSON)
def test_json_stream_to_its_end(face: Face, url: str, method: str, live: Any, start: str) -> None:
    offsets = fill(face, url, JSON, closed=True)
    given = {"beginning": {}, "offset": {"offset": offsets[1]}, "now": {"offset": "now"}}.get(
        start, {"checkpoint": Checkpoint(offsets[0], 1)}
    )
    with face.stream(url, live=live, **given) as res:
        if start == "now" and method in ("read_bytes", "read_text"):
            assert res.read_bytes() == b"[]"
        else:
            expected = {"beginning": FORMATS[JSON], "now": []}.get(start, FORMATS[JSON][2:])
            assert OF_JSON[method](res) == expected
        assert (res.stream_closed, res.up_to_date, res.offset) == (True, True, offsets[-1])


@pytest.mark.parametrize("start", ["beginning", "offset", "checkpoint", "now"])
@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize("content_type", [TEXT, BYTES])
@pytest.mark.parametrize("method", PLAIN)
def test_plain_stream_to_its_end(face: Face, url: str, method: str, content_type: str, live: Any, start: str) -> None:
    offsets = fill(face, url, content_type, closed=True)
    whole = raw(content_type, FORMATS[content_type])
    given = {"beginning": {}, "offset": {"offset": offsets[0]}, "now": {"offset": "now"}}.get(
        start, {"checkpoint": Checkpoint(offsets[0], 2)}
    )
    first = len(raw(content_type, FORMATS[content_type][:1]))
    expected = {"beginning": whole, "offset": whole[first:], "now": b""}.get(start, whole[first + 2 :])
    consume, shape = PLAIN[method]
    with face.stream(url, live=live, **given) as res:
        assert consume(res) == shape(expected)
        assert (res.stream_closed, res.up_to_date, res.offset) == (True, True, offsets[-1])


@pytest.mark.parametrize("live", LIVE)
@pytest.mark.parametrize(
    ("content_type", "read"),
    [(JSON, "read_json"), (JSON, "read_json_batches"), (TEXT, "read_text"), (BYTES, "read_bytes")],
)
def test_read_stops_at_the_tail_of_an_open_stream_in_every_mode(
    face: Face, url: str, content_type: str, read: str, live: Any
) -> None:
    offsets = fill(face, url, content_type, closed=False)
    with face.stream(url, live=live) as res:
        value = getattr(res, read)()
    messages = FORMATS[content_type]
    expected = {
        "read_json": messages,
        "read_json_batches": [messages],
        "read_text": "".join(map(str, messages)),
        "read_bytes": raw(content_type, messages),
    }
    assert value == expected[read]
    assert (res.offset, res.up_to_date, res.stream_closed, res.closed) == (offsets[-1], True, False, True)


@pytest.mark.parametrize("live", [False, True, "long-poll", "sse"])
@pytest.mark.parametrize("content_type", [JSON, TEXT, BYTES])
def test_empty_stream(face: Face, url: str, content_type: str, live: Any) -> None:
    handle = face.create(url, content_type=content_type)
    with face.stream(url, live=live) as res:
        assert res.read_json() == [] if content_type == JSON else res.read_bytes() == b""
        assert (res.up_to_date, res.stream_closed, res.offset) == (True, False, handle.head().offset)
    handle.close_stream()
    with face.stream(url, live=live) as res:
        assert list(res) == []
        assert res.stream_closed


# Batches


@pytest.fixture(scope="module")
def small_server() -> Iterator[Server]:
    """One whose answers hold little, so that a read takes many."""
    with Server(max_read_bytes=64) as server:
        yield server


@pytest.fixture
def small_url(small_server: Server, url: str) -> str:
    return small_server.stream_url(url.rsplit("/", 1)[1])


def test_many_answers_are_one_stream(face: Face, small_url: str) -> None:
    handle = face.create(small_url, content_type=JSON)
    messages = [{"number": n, "text": "x" * 20} for n in range(20)]
    for message in messages:
        handle.append(message)

    def read(**options: Any) -> Any:
        return face.stream(small_url, live=False, **options)

    assert read().read_json() == messages
    assert json.loads(read().read_bytes()) == messages
    assert json.loads(read().read_text()) == messages
    assert list(read().iter_json()) == messages
    batches = list(read().iter_json_batches())
    assert len(batches) > 1
    assert [message for batch in batches for message in batch] == messages
    assert read().read_json_batches() == batches
    events = list(read().iter_events())
    assert [event.data for event in events if event.data is not None] == batches
    offsets = [event.next_offset for event in events]
    assert offsets == sorted(set(offsets)) and offsets[-1] == handle.head().offset
    assert [event.up_to_date for event in events] == [False] * (len(events) - 1) + [True]


def test_max_batch_bytes_splits_an_answer(face: Face, url: str) -> None:
    handle = face.create(url, content_type=BYTES)
    data = bytes(range(256)) * 4096
    handle.append(data)
    with face.stream(url, live=False, max_batch_bytes=64 * 1024) as res:
        chunks = list(res)
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= 64 * 1024


def test_max_batch_bytes_splits_json_between_messages(face: Face, url: str) -> None:
    messages = [{"number": n, "text": "x" * 1000} for n in range(3000)]
    face.create(url, content_type=JSON, body=messages)
    with face.stream(url, live=False, max_batch_bytes=64 * 1024) as res:
        batches = list(res.iter_json_batches())
    assert [message for batch in batches for message in batch] == messages
    assert len(batches) > 1


def test_events_of_a_read_that_stops(face: Face, url: str) -> None:
    offsets = fill(face, url, JSON, closed=False)
    with face.stream(url, live=False) as res:
        assert list(res.iter_events("json_batches")) == [StreamEvent(FORMATS[JSON], offsets[-1], True)]


def test_unknown_event_mode_is_refused_before_anything_is_consumed(face: Face, url: str) -> None:
    fill(face, url, JSON, closed=False)
    with face.stream(url, live=False) as res:
        with pytest.raises(ValueError, match="mode"):
            res.iter_events("lines")
        assert len(list(res.iter_events())) == 1


# One consumption per response


METHODS = ["__iter__", "iter_text", "iter_json", "iter_json_batches", "iter_events"]
METHODS += ["read_bytes", "read_text", "read_json", "read_json_batches"]


@pytest.mark.parametrize("second", METHODS)
@pytest.mark.parametrize("first", ["iter_json", "read_json", "__iter__"])
def test_a_response_is_consumed_once(face: Face, url: str, first: str, second: str) -> None:
    fill(face, url, JSON, closed=False)

    def consume(res: Any, method: str) -> Any:
        value = iter(res) if method == "__iter__" else getattr(res, method)()
        return value if method.startswith("read") else list(value)

    with face.stream(url, live=False) as res:
        consume(res, first)
        with pytest.raises(StreamConsumedError) as raised:
            consume(res, second)
    error = raised.value
    assert (error.code, error.status) == ("ALREADY_CONSUMED", None)
    names = {"__iter__": {"__iter__", "__aiter__"}}
    assert error.consumed_by in names.get(first, {first})
    assert error.attempted_method in names.get(second, {second})


# decode


def test_decode_is_applied_to_each_message(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    for number in (1, 2, 3):
        handle.append({"n": number})

    def decode(message: Any) -> int:
        return int(message["n"])

    def read() -> Any:
        return face.stream(url, live=False)

    assert list(read().iter_json(decode)) == [1, 2, 3]
    assert list(read().iter_json_batches(decode)) == [[1, 2, 3]]
    assert read().read_json(decode) == [1, 2, 3]
    assert read().read_json_batches(decode) == [[1, 2, 3]]
    assert [event.data for event in read().iter_events(decode=decode)] == [[1, 2, 3]]
    assert [event.data for event in read().iter_events("json_batches", decode=decode)] == [[1, 2, 3]]


@pytest.mark.parametrize("live", [False, "sse"])
def test_decode_that_raises_stops_before_that_message(face: Face, url: str, live: Any) -> None:
    face.create(url, content_type=JSON, body="[1, 2, 3, 4]")

    def decode(message: int) -> int:
        if message == 3:
            raise LookupError("three is not known")
        return message

    got = []
    res = face.stream(url, live=live)
    with pytest.raises(LookupError, match="three is not known"):
        for item in res.iter_json(decode):
            got.append(item)
    assert got == [1, 2]
    assert res.closed
    checkpoint = res.checkpoint()
    with face.stream(url, checkpoint=checkpoint, live=False) as res:
        assert list(res.iter_json()) == [3, 4]


@pytest.mark.parametrize("consume", ["read_json", "iter_json_batches"])
def test_decode_that_raises_in_a_batch_hands_none_of_it_over(face: Face, url: str, consume: str) -> None:
    face.create(url, content_type=JSON, body="[1, 2, 3]")

    def decode(message: int) -> int:
        return 1 // (message - 2)

    res = face.stream(url, live=False)
    with pytest.raises(ZeroDivisionError):
        list(getattr(res, consume)(decode))
    with face.stream(url, checkpoint=res.checkpoint(), live=False) as again:
        assert again.read_json() == [1, 2, 3]


# Text


# Not over SSE: its events are text, and a server cannot send half a character as text.
@pytest.mark.parametrize("live", [True, "long-poll"])
def test_a_character_split_over_two_appends_comes_out_whole(face: Face, url: str, live: Any) -> None:
    handle = face.create(url, content_type=TEXT)
    with face.stream(url, live=live) as res:
        texts = res.iter_text()
        handle.append(b"caf\xc3")
        assert next(texts) == "caf"
        handle.append(b"\xa9!")
        assert next(texts) == "é!"
        handle.close_stream()
        assert list(texts) == []


def test_a_character_that_never_ends_is_replaced(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT, body=b"caf\xc3", closed=True)
    with face.stream(url) as res:
        assert "".join(res.iter_text()) == "caf\ufffd"
    with face.stream(url) as res:
        assert res.read_text() == "caf\ufffd"


def test_other_encodings(face: Face, url: str) -> None:
    face.create(url, content_type="text/plain; charset=latin-1", body="é".encode("latin-1"), closed=True)
    assert "".join(face.stream(url).iter_text("latin-1")) == "é"
    assert face.stream(url).read_text("latin-1") == "é"
    assert [event.data for event in face.stream(url).iter_events("text", encoding="latin-1")] == ["é"]


# State


def test_what_a_response_knows(face: Face, url: str) -> None:
    offsets = fill(face, url, JSON, closed=False)
    with face.stream(url, live=False, offset=offsets[0]) as res:
        assert (res.url, res.content_type, res.live, res.start_offset) == (url, JSON, False, offsets[0])
        assert (res.status, res.status_text, res.ok, res.closed) == (200, "OK", True, False)
        assert res.headers["content-type"] == JSON
        assert res.headers["stream-next-offset"] == offsets[-1]
        assert (res.offset, res.up_to_date, res.stream_closed) == (offsets[0], False, False)
        items = res.iter_json()
        next(items)
        assert res.up_to_date is False
        assert list(items) == FORMATS[JSON][2:]
        assert (res.offset, res.up_to_date, res.not_modified) == (offsets[-1], True, False)
        assert res.etag
        assert url in repr(getattr(res, "raw", res))
    assert res.closed


def test_a_cursor_given_is_kept_until_the_server_gives_one(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    with face.stream(url, cursor="17", live="long-poll") as res:
        assert res.cursor == "17"
        handle.append("a")
        assert next(res.iter_text()) == "a"


def test_a_closed_response_ends_and_can_be_closed_again(face: Face, url: str) -> None:
    fill(face, url, JSON, closed=False)
    res = face.stream(url, live="long-poll")
    items = res.iter_json()
    assert next(items) == FORMATS[JSON][0]
    res.close()
    res.close()
    assert res.closed
    # What was fetched before is still there.
    assert list(items) == FORMATS[JSON][1:]


def test_leaving_the_loop_closes_the_response(face: Face, url: str) -> None:
    fill(face, url, TEXT, closed=False)
    with face.stream(url) as res:
        for _ in res:
            break
    assert res.closed


def test_offset_of_another_kind_is_refused_by_the_server(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    with pytest.raises(InvalidOffsetError) as raised:
        face.stream(url, offset="nonsense", live=False).read_text()
    assert (raised.value.code, raised.value.status) == ("INVALID_OFFSET", 400)


# Not JSON, and JSON by decree


@pytest.mark.parametrize("consume", ["iter_json", "iter_json_batches", "read_json", "read_json_batches", "iter_events"])
def test_json_methods_of_text_that_is_not_json_are_a_typed_error(face: Face, url: str, consume: str) -> None:
    face.create(url, content_type=TEXT, body="hello")
    with face.stream(url, live=False) as res, pytest.raises(NotSupportedError) as raised:
        list(getattr(res, consume)())
    assert raised.value.code == "NOT_SUPPORTED"


def test_json_true_reads_any_content_type_as_json(face: Face, url: str) -> None:
    headers = {"content-type": "application/vnd.other", "stream-next-offset": "1", "stream-up-to-date": "true"}
    with ScriptedServer(lambda request: Answer(200, headers, b'[{"a":1},2]')) as server:
        with face.stream(f"{server.url}/a", live=False, json=True) as res:
            assert res.read_json() == [{"a": 1}, 2]


# ETag


def test_a_tag_that_is_current_reads_nothing(face: Face, proxy: Proxy, url: str) -> None:
    offsets = fill(face, url, JSON, closed=False)
    through = proxy()
    with face.stream(through.through(url), live=False) as res:
        assert res.read_json() == FORMATS[JSON]
        etag = res.etag
    with face.stream(through.through(url), live=False, etag=etag) as res:
        assert res.read_json() == []
        assert (res.not_modified, res.status, res.ok) == (True, 304, False)
    assert [request.headers.get("if-none-match") for request in through.requests] == [None, etag]
    face.handle(url).append({"new": 1})
    with face.stream(through.through(url), live=False, etag=etag) as res:
        assert res.read_json() == [*FORMATS[JSON], {"new": 1}]
        assert not res.not_modified
        assert res.etag != etag and res.offset > offsets[-1]


def test_handles_read_with_their_own_settings(face: Face, proxy: Proxy, url: str) -> None:
    fill(face, url, JSON, closed=True)
    through = proxy()
    handle = face.handle(through.through(url), headers={"x-a": "handle", "x-b": "handle"}, params={"p": "handle"})
    with handle.stream(headers={"x-b": "read"}, params={"q": "read"}) as res:
        assert res.read_json() == FORMATS[JSON]
    (request,) = through.requests
    assert (request.headers["x-a"], request.headers["x-b"]) == ("handle", "read")
    assert (request.query["p"], request.query["q"], request.query["offset"]) == ("handle", "read", "-1")
