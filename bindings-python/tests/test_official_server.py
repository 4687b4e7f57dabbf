"""The main paths of both faces against the official server of npm, pinned in `official/package-lock.json`.

They run always, for which node and npm are needed; `EVERSTREAM_SKIP_OFFICIAL=1` leaves them out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from everstream import (
    AppendResult,
    ContentTypeConflictError,
    InvalidOffsetError,
    NotSupportedError,
    Retry,
    SeqConflictError,
    StaleEpochError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
    StreamRecreatedError,
)
from faces import Face
from support import BYTES, JSON, QUICK, TEXT

FOLDER = Path(__file__).parent / "official"

pytestmark = [
    pytest.mark.official,
    pytest.mark.skipif(
        os.environ.get("EVERSTREAM_SKIP_OFFICIAL") == "1",
        reason="EVERSTREAM_SKIP_OFFICIAL leaves the official server out",
    ),
]


@pytest.fixture(scope="module")
def official() -> Iterator[str]:
    """The official server's base URL."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail("the official server needs node and npm; EVERSTREAM_SKIP_OFFICIAL=1 leaves its tests out")
    if not (FOLDER / "node_modules").exists():
        # Not `npm ci`, which refuses a lock file that lacks the optional packages of other platforms.
        subprocess.run([npm, "install", "--no-save", "--no-audit", "--no-fund"], cwd=FOLDER, check=True)
    process = subprocess.Popen(
        [node, "serve.mjs"], cwd=FOLDER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://"), url
        yield url
        process.communicate("", timeout=30)


@pytest.fixture
def url(official: str) -> str:
    """The URL of a stream of the official server that is not there yet."""
    return f"{official}/v1/stream/test-{uuid.uuid4()}"


@pytest.fixture
def fault(official: str, url: str) -> Callable[..., None]:
    """Has the official server spoil requests to the stream."""

    def inject(**fault: Any) -> None:
        body = json.dumps({"path": urlsplit(url).path, **fault}).encode()
        request = urllib.request.Request(f"{official}/_test/inject-error", body, {"content-type": JSON}, method="POST")
        with urllib.request.urlopen(request) as response:
            assert response.status == 200

    return inject


def test_create_connect_head_and_delete(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    assert handle.created is True
    assert face.create(url, content_type=JSON).created is False
    with pytest.raises(StreamExistsError):
        face.create(url, content_type=TEXT)
    assert face.connect(url).content_type == JSON
    head = handle.head()
    assert (head.exists, head.content_type, head.stream_closed) == (True, JSON, False)
    handle.delete()
    with pytest.raises(StreamNotFoundError):
        face.connect(url)


def test_lifetimes(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT, ttl_seconds=3600)
    assert face.create(url, content_type=TEXT, ttl_seconds=3600).created is False
    with pytest.raises(StreamExistsError):
        face.create(url, content_type=TEXT, ttl_seconds=60)


def test_a_fork(face: Face, url: str) -> None:
    source = face.create(url, content_type=JSON)
    first = source.append(1)
    source.append(2)
    fork = face.create(f"{url}-fork", fork_from=urlsplit(url).path, fork_offset=first.next_offset)
    fork.append(3)
    assert face.stream(fork.url, live=False).read_json() == [1, 3]
    assert face.stream(url, live=False).read_json() == [1, 2]


@pytest.mark.parametrize(
    ("content_type", "messages"),
    [(JSON, [{"a": 1}, "é", [1, [2]], 2**53 - 1]), (TEXT, ["a", "é", "\n"]), (BYTES, [b"\x00\xff", b"\r\n"])],
)
@pytest.mark.parametrize("live", [False, True, "long-poll", "sse"])
def test_what_is_appended_is_read(face: Face, url: str, content_type: str, messages: list[Any], live: Any) -> None:
    handle = face.create(url, content_type=content_type)
    append = handle.append_json if content_type == JSON else handle.append
    offsets = [append(message).next_offset for message in messages[:1]]
    with face.stream(url, live=live or "long-poll") as res:
        items = iter(res.iter_json() if content_type == JSON else res.iter_text() if content_type == TEXT else res)
        assert next(items) == messages[0]
        for message in messages[1:]:
            offsets.append(append(message).next_offset)
            assert next(items) == message
            assert res.offset == offsets[-1]
        closed = handle.close_stream()
        assert list(items) == []
        assert (res.stream_closed, res.offset) == (True, closed.final_offset)
    assert offsets == sorted(offsets)
    with face.stream(url, live=live, offset=offsets[0]) as res:
        if content_type == JSON:
            assert res.read_json() == messages[1:]
        elif content_type == TEXT:
            assert res.read_text() == "".join(messages[1:])
        else:
            assert res.read_bytes() == b"".join(messages[1:])


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_read_from_now(face: Face, url: str, live: str) -> None:
    handle = face.create(url, content_type=JSON, body="[1, 2]")
    with face.stream(url, offset="now", live=live) as res:
        items = res.iter_json()
        handle.append(3)
        handle.close_stream(data=4)
        assert list(items) == [3, 4]


def test_events_go_on_over_sse(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON, body="[1, 2]")
    with face.stream(url, live="sse") as res:
        events = (event for event in res.iter_events() if event.data)
        assert next(events).data == [1, 2]
        appended = handle.append(3)
        event = next(events)
        assert (event.data, event.next_offset, event.up_to_date) == ([3], appended.next_offset, True)


def test_a_checkpoint_in_the_middle_of_a_batch(face: Face, url: str) -> None:
    face.create(url, content_type=JSON, body="[1, 2, 3, 4]")
    with face.stream(url, live=False) as res:
        items = res.iter_json()
        assert [next(items), next(items)] == [1, 2]
    with face.stream(url, live=False, checkpoint=res.checkpoint()) as res:
        assert res.read_json() == [3, 4]


def test_a_tag_that_is_current_reads_nothing(face: Face, url: str) -> None:
    face.create(url, content_type=JSON, body="[1]")
    with face.stream(url, live=False) as res:
        assert res.read_json() == [1]
    assert res.etag
    with face.stream(url, live=False, etag=res.etag) as res:
        assert (res.read_json(), res.not_modified) == ([], True)


def test_a_stream_made_anew_that_is_shorter_is_noticed(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT, body="hello")
    with face.stream(url, live="long-poll") as res:
        texts = res.iter_text()
        assert next(texts) == "hello"
        checkpoint = res.checkpoint()
    handle.delete()
    face.create(url, content_type=TEXT, body="a")
    with pytest.raises((StreamRecreatedError, InvalidOffsetError)):
        with face.stream(url, live=False, checkpoint=checkpoint) as res:
            assert res.read_text() == "not an empty read"


def test_refusals_are_typed(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    handle.append("a", seq="2")
    with pytest.raises(SeqConflictError):
        handle.append("b", seq="1")
    with pytest.raises(ContentTypeConflictError):
        handle.append("{}", content_type=JSON)
    with pytest.raises(NotSupportedError):
        handle.append({"a": 1})
    with pytest.raises(InvalidOffsetError):
        face.stream(url, offset="nonsense", live=False).read_text()
    closed = handle.close_stream(data="z")
    assert handle.close_stream() == closed
    with pytest.raises(StreamClosedError) as raised:
        handle.append("c")
    assert raised.value.final_offset == closed.final_offset
    assert face.stream(url).read_text() == "az"


def test_append_stream(face: Face, url: str) -> None:
    result = face.create(url, content_type=TEXT).append_stream(["a", b"b", "é"])
    assert isinstance(result, AppendResult)
    assert face.stream(url, live=False).read_text() == "abé"


@pytest.mark.parametrize("fault_of", [{"status": 500}, {"status": 503}, {"dropConnection": True}], ids=str)
def test_idempotent_appends_are_stored_once(
    face: Face, url: str, fault: Callable[..., None], fault_of: dict[str, Any]
) -> None:
    handle = face.create(url, content_type=JSON, idempotent=True, retry=Retry(initial_delay=0.001, max_delay=0.002))
    fault(**fault_of, count=3, method="POST")
    handle.append({"n": 1})
    handle.append({"n": 2})
    assert face.stream(url, live=False).read_json() == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    "fault_of",
    [{}, {"status": 500}, {"status": 429, "retryAfter": 0}, {"dropConnection": True}, {"delayMs": 20}],
    ids=str,
)
@pytest.mark.parametrize("max_batch_items", [1, 7, None])
def test_producers_store_once_and_in_order(
    face: Face, url: str, fault: Callable[..., None], fault_of: dict[str, Any], max_batch_items: int | None
) -> None:
    handle = face.create(url, content_type=JSON, retry=QUICK)
    if fault_of:
        fault(**fault_of, count=4, method="POST")
    with face.producer(handle, max_batch_items=max_batch_items) as producer:
        deliveries = [producer.append({"n": n}) for n in range(40)]
    assert all(face.receipt(delivery).offset for delivery in deliveries if not face.receipt(delivery).duplicate)
    assert face.stream(url, live=False).read_json() == [{"n": n} for n in range(40)]


def test_producers_are_fenced_and_claim(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    with face.producer(url, "p", epoch=2) as producer:
        producer.append("a")
    stale = face.producer(url, "p", epoch=1)
    stale.append("lost")
    with pytest.raises(StaleEpochError) as raised:
        stale.flush()
    assert raised.value.current_epoch == 2
    stale.close()
    with face.producer(url, "p", auto_claim=True) as producer:
        producer.append("b")
    assert producer.epoch == 3
    assert face.stream(url, live=False).read_text() == "ab"


def test_a_producer_closes_the_stream(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    producer = face.producer(handle)
    producer.append(1)
    assert producer.close_stream(2).closed
    assert handle.head().stream_closed
    assert face.stream(url).read_json() == [1, 2]


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_a_live_read_outlives_failures(face: Face, url: str, fault: Callable[..., None], live: str) -> None:
    handle = face.create(url, content_type=JSON)
    with face.stream(url, live=live, retry=QUICK) as res:
        items = res.iter_json()
        for n in range(4):
            fault(status=503, count=1, method="GET")
            handle.append(n)
            assert next(items) == n
        handle.close_stream()
        assert list(items) == []
