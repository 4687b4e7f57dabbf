"""Headers and parameters: in every request, functions asked anew for each. `on_error` is in `test_on_error.py`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from everstream import (
    AsyncDurableStream,
    DurableStreamError,
    InvalidArgumentError,
)
from everstream.testing import Server
from faces import AsyncFace, Face, SyncFace
from functions import OPERATIONS, PlainFunctions, tokens_of
from scripted import Answer, ScriptedServer
from support import JSON, QUICK, TEXT

Proxy = Callable[..., ScriptedServer]


@pytest.fixture(params=[SyncFace, AsyncFace, PlainFunctions], ids=["sync", "async", "async-plain"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    face = request.param()
    yield face
    face.close()


class Tokens:
    """Gives another token each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        return f"t{self.asked}"


# Static and callable


def test_static_headers_and_params_are_in_every_request(face: Face, proxy: Proxy, url: str) -> None:
    through = proxy()
    address = through.through(url)
    options = {"headers": {"authorization": "Bearer x", "X-Tenant": "a"}, "params": {"tenant": "ä b&c", "none": None}}
    handle = face.create(address, content_type=TEXT, **options)
    handle.append("a")
    handle.head()
    handle.append_stream(["b"])
    with face.producer(handle) as producer:
        producer.append("c")
    with face.stream(address, live="long-poll", **options) as res:
        texts = res.iter_text()
        assert next(texts) == "abc"
        handle.append("d")
        assert next(texts) == "d"
    handle.close_stream()
    handle.delete()
    assert {request.method for request in through.requests} == {"PUT", "POST", "HEAD", "GET", "DELETE"}
    for request in through.requests:
        assert (request.headers["authorization"], request.headers["x-tenant"]) == ("Bearer x", "a"), request
        assert request.query["tenant"] == "ä b&c", request
        assert "none" not in request.query


def test_functions_are_asked_for_each_request(face: Face, proxy: Proxy, url: str) -> None:
    through = proxy()
    header, param = Tokens(), Tokens()
    handle = face.create(
        through.through(url),
        content_type=TEXT,
        headers={"authorization": face.hook(header)},
        params={"key": face.hook(param)},
    )
    handle.append("a")
    handle.head()
    handle.append("b")
    handle.append_stream(["c"])
    handle.close_stream()
    handle.delete()
    count = through.count()
    assert count == 7
    assert tokens_of(through.requests) == [f"t{n}" for n in range(1, count + 1)]
    assert [request.query["key"] for request in through.requests] == [f"t{n}" for n in range(1, count + 1)]
    assert (header.asked, param.asked) == (count, count)


def test_functions_are_asked_for_each_retry(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    left = [Answer(503), Answer(503), Answer(429)]
    through = proxy(lambda request: left.pop(0) if left else None)
    header = Tokens()
    handle = face.handle(through.through(url), headers={"authorization": face.hook(header)}, retry=QUICK)
    handle.head()
    assert tokens_of(through.requests) == ["t1", "t2", "t3", "t4"]
    assert header.asked == 4


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_functions_are_asked_for_each_poll_and_reconnect(face: Face, live: str) -> None:
    with Server(long_poll_timeout=0.05, sse_lifetime=0.05) as server, ScriptedServer(upstream=server.url) as through:
        url = server.stream_url("polled")
        handle = face.create(url, content_type=JSON)
        header, param = Tokens(), Tokens()
        options = {"headers": {"authorization": face.hook(header)}, "params": {"key": face.hook(param)}}
        with face.stream(through.through(url), live=live, **options) as res:
            items = res.iter_json()
            for n in range(3):
                handle.append(n)
                assert next(items) == n
            # Coroutine functions run only while the loop does, so that the read is driven to its end.
            handle.close_stream()
            assert list(items) == []
        count = through.count()
    assert count >= 2
    assert tokens_of(through.requests) == [f"t{n}" for n in range(1, count + 1)]
    assert [request.query["key"] for request in through.requests] == tokens_of(through.requests)


def test_functions_are_asked_for_each_batch_and_its_repeats(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    left = [Answer(500), Answer(drop=True)]
    through = proxy(lambda request: left.pop(0) if left else None)
    header = Tokens()
    handle = face.handle(
        through.through(url), content_type=TEXT, headers={"authorization": face.hook(header)}, retry=QUICK
    )
    with face.producer(handle, max_in_flight=1) as producer:
        for message in "abc":
            producer.append(message)
            producer.flush()
    assert tokens_of(through.of("POST")) == ["t1", "t2", "t3", "t4", "t5"]
    assert header.asked == 5


def test_headers_of_the_producer_over_its_url(proxy: Proxy, url: str) -> None:
    async def run() -> None:
        from everstream import IdempotentProducer

        await AsyncDurableStream.create(url, content_type=TEXT)

        async def key() -> str:
            return "k"

        options: dict[str, Any] = {"headers": {"authorization": lambda: "x"}, "params": {"key": key}}
        async with IdempotentProducer(through.through(url), "p", **options) as producer:
            producer.append("a")

    through = proxy()
    asyncio.run(run())
    assert {(r.headers["authorization"], r.query["key"]) for r in through.requests} == {("x", "k")}


def test_headers_of_client_handle_and_call_are_merged(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    client = face.client(
        headers={"x-a": "client", "x-b": "client", "x-c": face.hook(lambda: "client")}, params={"a": "client"}
    )
    handle = face.handle(through.through(url), client=client, headers={"x-b": "handle", "x-c": "handle"})
    with handle.stream(live=False, headers={"x-c": face.hook(lambda: "call")}) as res:
        res.read_text()
    (request,) = through.requests
    assert [request.headers[f"x-{name}"] for name in "abc"] == ["client", "handle", "call"]
    assert request.query["a"] == "client"


# Protocol headers and parameters win


def test_the_protocol_wins(face: Face, proxy: Proxy, url: str) -> None:
    through = proxy()
    headers = {"Stream-Closed": "true", "Producer-Id": "evil", "Content-Type": "text/evil"}
    params = {"offset": "now", "live": "sse", "cursor": "1"}
    handle = face.create(through.through(url), content_type=JSON, headers=headers, params=params)
    handle.append({"a": 1})
    with face.producer(handle, "real") as producer:
        producer.append({"a": 2})
    with handle.stream(live=False) as res:
        assert res.read_json() == [{"a": 1}, {"a": 2}]
    assert not handle.head().stream_closed
    for request in through.of("POST"):
        assert request.headers["content-type"] == JSON
        assert request.headers.get("stream-closed") is None
    assert [request.headers.get("producer-id") for request in through.of("POST")] == [None, "real"]
    (read,) = through.of("GET")
    assert (read.query["offset"], read.query.get("live")) == ("-1", None)


@pytest.mark.parametrize("headers", [{"bad name": "x"}, {"x": "a\nb"}, {"": "x"}])
def test_headers_that_cannot_be_are_refused(face: Face, url: str, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError):
        face.handle(url, headers=headers)


# Functions that fail


@pytest.mark.parametrize("where", ["headers", "params"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_a_function_raises_comes_out_as_it_is(
    face: Face, proxy: Proxy, url: str, operation: str, where: str
) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    raised = LookupError("no token")

    def failing() -> str:
        raise raised

    with pytest.raises(LookupError) as info:
        OPERATIONS[operation](face, through.through(url), {where: {"key": face.hook(failing)}})
    assert info.value is raised
    assert through.requests == []


def test_what_a_function_raises_in_the_middle_of_a_read(face: Face, proxy: Proxy, url: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    through = proxy()
    numbers = itertools.count()

    def token() -> str:
        if next(numbers) > 0:
            raise LookupError("no more tokens")
        return "t"

    with face.stream(through.through(url), live="long-poll", headers={"authorization": face.hook(token)}) as res:
        items = res.iter_json()
        assert next(items) == 1
        with pytest.raises(LookupError, match="no more tokens"):
            next(items)
    assert through.count() == 1
    assert handle.head().exists


def test_what_a_function_raises_for_a_batch_is_the_failure_of_its_messages(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)

    def failing() -> str:
        raise LookupError("no token")

    handle = face.handle(url, content_type=TEXT, headers={"authorization": face.hook(failing)})
    producer = face.producer(handle)
    delivery = producer.append("a")
    with pytest.raises(LookupError, match="no token"):
        face.receipt(delivery)
    with pytest.raises((LookupError, DurableStreamError)) as raised:
        producer.flush()
    (failure,) = raised.value.failures  # type: ignore[union-attr]
    assert isinstance(failure.error, LookupError)
    producer.close()


def test_a_function_that_gives_no_text_is_a_type_error(face: Face, url: str) -> None:
    face.create(url)
    for value in (None, 7, b"x"):
        with pytest.raises(TypeError):
            face.handle(url, headers={"authorization": face.hook(lambda value=value: value)}).head()  # type: ignore[misc]


def test_a_function_that_gives_what_no_header_can_hold(face: Face, url: str) -> None:
    face.create(url)
    with pytest.raises((InvalidArgumentError, ValueError)):
        face.handle(url, headers={"authorization": face.hook(lambda: "a\nb")}).head()


# asyncio: where functions run


async def test_functions_run_in_the_loop_of_the_caller(url: str) -> None:
    loop = asyncio.get_running_loop()
    seen: list[Any] = []

    async def token() -> str:
        seen.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return "t"

    handle = await AsyncDurableStream.create(url, content_type=TEXT, headers={"authorization": token})
    await asyncio.gather(*[handle.append("a") for _ in range(5)])
    async with handle.producer("p") as producer:
        producer.append("b")
    async with handle.stream(live=False) as res:
        await res.read_text()
    assert len(seen) >= 4
    assert set(seen) == {loop}


async def test_a_slow_function_does_not_hold_up_others(url: str) -> None:
    release = asyncio.Event()

    async def slow() -> str:
        await release.wait()
        return "t"

    await AsyncDurableStream.create(url, content_type=TEXT)
    waiting = asyncio.create_task(AsyncDurableStream(url, headers={"authorization": slow}).head())
    assert (await AsyncDurableStream(url).head()).exists
    assert not waiting.done()
    release.set()
    assert (await waiting).exists
