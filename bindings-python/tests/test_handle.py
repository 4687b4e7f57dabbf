"""Operations of a handle: create, connect, head, close, delete, fork. Appends are in `test_appends.py`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from everstream import (
    CloseResult,
    DurableStreamError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
)
from everstream.testing import Server
from faces import Face
from scripted import ScriptedServer
from support import BYTES, JSON, TEXT, stored

Proxy = Callable[..., ScriptedServer]


# Create, connect, head, delete


def test_create_makes_the_stream_and_says_so(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    assert (handle.url, handle.content_type, handle.created) == (url, JSON, True)
    assert face.create(url, content_type=JSON).created is False
    assert face.handle(url).created is None


def test_create_stream_gives_a_result(face: Face, url: str) -> None:
    result = face.handle(url).create_stream(content_type=TEXT, body="hello")
    assert (result.created, result.content_type, result.stream_closed) == (True, TEXT, False)
    assert result.offset == face.handle(url).head().offset


def test_create_with_another_configuration_is_a_conflict(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    with pytest.raises(StreamExistsError) as raised:
        face.create(url, content_type=TEXT)
    assert (raised.value.status, raised.value.operation) == (409, "create")


def test_default_content_type_is_binary(face: Face, url: str) -> None:
    face.create(url)
    assert face.connect(url).content_type == BYTES


def test_content_type_of_the_handle_is_that_of_the_stream_it_creates(face: Face, url: str) -> None:
    face.handle(url, content_type=JSON).create_stream()
    assert face.connect(url).content_type == JSON


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        (TEXT, "hé", "hé"),
        (BYTES, b"\x00\xff", b"\x00\xff"),
        (JSON, '[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        (JSON, {"a": 1}, [{"a": 1}]),
        (JSON, b"[]", []),
    ],
)
def test_create_with_a_body(face: Face, url: str, content_type: str, body: Any, expected: Any) -> None:
    face.create(url, content_type=content_type, body=body)
    assert stored(face, url) == expected


def test_create_closed(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT, body="all there is", closed=True)
    assert handle.head().stream_closed
    with pytest.raises(StreamClosedError):
        handle.append("more")
    assert stored(face, url) == "all there is"


def test_lifetimes_are_in_head(face: Face, server: Server, url: str) -> None:
    face.create(url, ttl_seconds=3600)
    assert (face.handle(url).head().ttl_seconds, face.handle(url).head().expires_at) == (3600, None)
    other = f"{url}-deadline"
    face.create(other, expires_at="2099-01-01T00:00:00Z")
    head = face.handle(other).head()
    assert head.ttl_seconds is None
    assert head.expires_at is not None and head.expires_at.startswith("2099-01-01T00:00:00")


def test_connect_finds_out_the_content_type(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    handle = face.handle(url)
    assert handle.content_type is None
    assert face.connect(url).content_type == JSON
    handle.head()
    assert handle.content_type == JSON


def test_head_tells_all(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    appended = handle.append({"a": 1})
    head = handle.head()
    assert (head.exists, head.content_type, head.stream_closed) == (True, JSON, False)
    assert head.offset == appended.next_offset
    assert head.etag
    assert handle.close_stream().final_offset == head.offset
    assert handle.head().stream_closed


def test_static_head_and_delete(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    assert face.wait(lambda: face.Handle.head_static(url)).content_type == TEXT
    assert face.wait(lambda: face.Handle.delete_static(url)) is None
    with pytest.raises(StreamNotFoundError):
        face.wait(lambda: face.Handle.head_static(url))
    with pytest.raises(StreamNotFoundError):
        face.wait(lambda: face.Handle.delete_static(url))


@pytest.mark.parametrize(
    "call",
    [
        lambda face, url: face.connect(url),
        lambda face, url: face.handle(url).head(),
        lambda face, url: face.handle(url).delete(),
        lambda face, url: face.handle(url).append("x"),
        lambda face, url: face.handle(url, content_type=TEXT).append("x"),
        lambda face, url: face.handle(url).close_stream(),
        lambda face, url: face.stream(url, live=False),
        lambda face, url: face.handle(url).stream(),
    ],
)
def test_nothing_works_on_a_stream_that_is_not_there(face: Face, url: str, call: Any) -> None:
    with pytest.raises(StreamNotFoundError) as raised:
        call(face, url)
    assert (raised.value.status, raised.value.url) == (404, url)


def test_handles_are_context_managers_that_leave_the_stream_open(face: Face, url: str) -> None:
    with face.create(url, content_type=TEXT) as handle:
        handle.append("a")
    handle.close()
    handle.append("b")
    assert not handle.head().stream_closed


def test_a_pickled_handle_is_the_same_handle(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, headers={"authorization": "Bearer x"}, idempotent=True)
    raw = getattr(handle, "raw", handle)
    again = pickle.loads(pickle.dumps(raw))
    assert (type(again), again.url, again.content_type) == (type(raw), url, JSON)
    face.wait(lambda: again.append({"a": 1}))
    assert stored(face, url) == [{"a": 1}]
    assert url in repr(again)


def test_url_keeps_repeated_query_parameters(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url)
    through = proxy()
    face.handle(f"{through.through(url)}?tag=a&tag=b", params={"z": "1"}).head()
    assert through.requests[0].raw_query == "tag=a&tag=b&z=1"


# Fork


def test_a_fork_starts_with_what_its_source_holds(face: Face, url: str, path: str) -> None:
    source = face.create(url, content_type=JSON)
    first = source.append(1)
    source.append(2)
    whole = face.create(f"{url}-whole", fork_from=path)
    part = face.create(f"{url}-part", fork_from=path, fork_offset=first.next_offset)
    source.append(3)
    part.append({"else": True})
    assert stored(face, f"{url}-whole") == [1, 2]
    assert stored(face, f"{url}-part") == [1, {"else": True}]
    assert stored(face, url) == [1, 2, 3]
    assert whole.created and whole.head().content_type == JSON


def test_a_fork_can_begin_in_the_middle_of_an_append(face: Face, url: str, path: str) -> None:
    source = face.create(url, content_type=TEXT)
    beginning = source.head().offset
    source.append("hello")
    face.create(f"{url}-fork", fork_from=path, fork_offset=beginning, fork_sub_offset=2)
    assert stored(face, f"{url}-fork") == "he"


# Close


def test_close_stream_ends_it_for_everyone(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    appended = handle.append("a")
    closed = handle.close_stream()
    assert closed == CloseResult(appended.next_offset)
    assert handle.close_stream() == closed
    with pytest.raises(StreamClosedError) as raised:
        face.handle(url).append("b")
    assert raised.value.final_offset == closed.final_offset
    assert handle.head().stream_closed


@pytest.mark.parametrize(
    ("content_type", "data", "expected"), [(TEXT, "end", "end"), (JSON, {"end": 1}, [{"end": 1}]), (JSON, "2", [2])]
)
def test_close_stream_with_data_stores_it_in_the_same_step(
    face: Face, proxy: Proxy, url: str, content_type: str, data: Any, expected: Any
) -> None:
    face.create(url, content_type=content_type)
    through = proxy()
    handle = face.handle(through.through(url), content_type=content_type)
    closed = handle.close_stream(data=data)
    assert through.count("POST") == 1
    assert stored(face, url) == expected
    assert closed.final_offset == handle.head().offset
    with pytest.raises(StreamClosedError):
        handle.close_stream(data=data)
    assert stored(face, url) == expected


def test_close_stream_with_bad_data_leaves_it_open(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    with pytest.raises(DurableStreamError):
        handle.close_stream(data="not json")
    assert not handle.head().stream_closed
