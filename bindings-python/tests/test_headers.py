"""Headers, parameters and `on_error`: asked anew for each request, in every operation, also in its middle."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from everstream import (
    AsyncDurableStream,
    DurableStreamError,
    ForbiddenError,
    InvalidArgumentError,
    Retry,
    StreamNotFoundError,
    UnauthorizedError,
)
from everstream.testing import Server
from faces import AsyncFace, Face, SyncFace
from scripted import Answer, Request, ScriptedServer
from support import JSON, ONCE, QUICK, TEXT, until

Proxy = Callable[..., ScriptedServer]


class PlainFunctions(AsyncFace):
    """The asyncio face with functions that are not coroutine functions."""

    def hook(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function


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


def tokens_of(requests: list[Request], header: str = "authorization") -> list[str]:
    return [request.headers[header] for request in requests]


def guard(valid: set[str]) -> Callable[[Request], Answer | None]:
    """A server that lets nobody in without one of the tokens."""
    return lambda request: None if request.headers.get("authorization") in valid else Answer(401, body=b"who are you?")


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


OPERATIONS: dict[str, Callable[[Face, str, dict[str, Any]], Any]] = {
    "create": lambda face, url, options: face.create(url, **options),
    "head": lambda face, url, options: face.handle(url, **options).head(),
    "append": lambda face, url, options: face.handle(url, content_type=TEXT, **options).append("x"),
    "append_stream": lambda face, url, options: face.handle(url, content_type=TEXT, **options).append_stream(["x"]),
    "close": lambda face, url, options: face.handle(url, **options).close_stream(),
    "delete": lambda face, url, options: face.handle(url, **options).delete(),
    "stream": lambda face, url, options: face.stream(url, **options),
    "handle.stream": lambda face, url, options: face.handle(url).stream(**options),
}


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


# on_error


class Hook:
    """Gives its answers one after the other, and keeps what it was asked about."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def __call__(self, error: Exception) -> Any:
        self.asked.append(error)
        return self.answers.pop(0)


def test_on_error_can_mend_the_first_request(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON, body=[1])
    through = proxy(guard({"new"}))
    hook = Hook({"headers": {"authorization": "new"}})
    with face.stream(
        through.through(url), live=False, headers={"authorization": "old"}, on_error=face.hook(hook)
    ) as res:
        assert res.read_json() == [1]
    assert tokens_of(through.requests) == ["old", "new"]
    (error,) = hook.asked
    assert isinstance(error, UnauthorizedError)
    assert (error.status, error.body) == (401, "who are you?")


def test_what_on_error_gave_stays(face: Face, proxy: Proxy, url: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    through = proxy(guard({"new"}))
    hook = Hook({"headers": {"authorization": "new"}, "params": {"key": "k"}})
    with face.stream(through.through(url), live="long-poll", on_error=face.hook(hook)) as res:
        items = res.iter_json()
        assert next(items) == 1
        handle.append(2)
        assert next(items) == 2
    assert [request.query.get("key") for request in through.requests][:3] == [None, "k", "k"]
    assert len(hook.asked) == 1


def test_on_error_with_params_alone(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(lambda request: None if request.query.get("key") == "k" else Answer(403))
    hook = Hook({"params": {"key": "k"}})
    assert face.handle(through.through(url), on_error=face.hook(hook)).head().exists
    assert isinstance(hook.asked[0], ForbiddenError)


def test_on_error_with_an_empty_dict_tries_again_as_it_was(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    left = [Answer(401), Answer(403)]
    through = proxy(lambda request: left.pop(0) if left else None)
    hook = Hook({}, {"headers": None})
    face.handle(through.through(url), on_error=face.hook(hook)).append("a")
    assert [type(error) for error in hook.asked] == [UnauthorizedError, ForbiddenError]


@pytest.mark.parametrize("operation", ["create", "head", "append", "close", "delete", "stream"])
def test_on_error_that_gives_none_fails(face: Face, proxy: Proxy, url: str, operation: str) -> None:
    through = proxy(lambda request: Answer(403))
    hook = Hook(None)
    with pytest.raises(ForbiddenError):
        OPERATIONS[operation](face, through.through(url), {"on_error": face.hook(hook)})
    assert [type(error) for error in hook.asked] == [ForbiddenError]
    assert through.count() == 1


def test_on_error_is_asked_once_retries_are_over(face: Face, proxy: Proxy, url: str) -> None:
    through = proxy(lambda request: Answer(503))
    hook = Hook({}, None)
    with pytest.raises(DurableStreamError):
        face.handle(through.through(url), on_error=face.hook(hook), retry=QUICK).head()
    assert len(hook.asked) == 2
    assert through.count() == 2 * 4


@pytest.mark.parametrize("live", ["long-poll", "sse"])
def test_on_error_is_asked_in_the_middle_of_a_read(face: Face, proxy: Proxy, url: str, live: str) -> None:
    handle = face.create(url, content_type=JSON, body=[1])
    valid = {"first"}
    through = proxy(guard(valid))
    hook = Hook({"headers": {"authorization": "second"}})
    with face.stream(
        through.through(url), live=live, headers={"authorization": "first"}, on_error=face.hook(hook)
    ) as res:
        items = res.iter_json()
        assert next(items) == 1
        # The request under way was let in; the one after it is not.
        until(lambda: through.count() == 2, "the read waits at the tail")
        valid.clear()
        valid.add("second")
        handle.append(2)
        assert next(items) == 2
        if live == "sse":
            handle.close_stream()
        else:
            handle.append(3)
            assert next(items) == 3
            handle.close_stream()
        assert list(items) == []
    if live == "long-poll":
        assert [type(error) for error in hook.asked] == [UnauthorizedError]


def test_on_error_that_gives_up_in_the_middle_ends_the_read(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON, body=[1])
    through = proxy(lambda request: Answer(403) if "live" in request.query else None)
    hook = Hook({}, None)
    with face.stream(through.through(url), live="long-poll", on_error=face.hook(hook)) as res:
        items = res.iter_json()
        assert next(items) == 1
        with pytest.raises(ForbiddenError):
            next(items)
    assert len(hook.asked) == 2


def test_on_error_renews_the_credentials_of_a_producer(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON)
    valid = {"first"}
    through = proxy(guard(valid))
    hook = Hook({"headers": {"authorization": "second"}})
    handle = face.handle(
        through.through(url), content_type=JSON, headers={"authorization": "first"}, on_error=face.hook(hook)
    )
    with face.producer(handle, max_batch_items=1, linger_ms=0) as producer:
        producer.append(0)
        producer.flush()
        valid.clear()
        valid.add("second")
        for n in range(1, 20):
            producer.append(n)
    with face.stream(url, live=False) as res:
        assert res.read_json() == list(range(20))
    # Batches that were under way together share one renewal.
    assert [type(error) for error in hook.asked] == [UnauthorizedError]


def test_on_error_of_the_client_is_that_of_its_handles(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(guard({"new"}))
    hook = Hook({"headers": {"authorization": "new"}})
    client = face.client(on_error=face.hook(hook))
    assert face.handle(through.through(url), client=client).head().exists


@pytest.mark.parametrize("operation", ["head", "append", "stream"])
def test_what_on_error_raises_comes_out_as_it_is(face: Face, proxy: Proxy, url: str, operation: str) -> None:
    through = proxy(lambda request: Answer(403))
    mine = LookupError("cannot renew")

    def failing(error: Exception) -> None:
        raise mine

    with pytest.raises(LookupError) as raised:
        OPERATIONS[operation](face, through.through(url), {"on_error": face.hook(failing)})
    assert raised.value is mine


def test_on_error_that_gives_something_else_is_a_type_error(face: Face, proxy: Proxy, url: str) -> None:
    through = proxy(lambda request: Answer(403))
    with pytest.raises(TypeError, match="on_error"):
        face.handle(through.through(url), on_error=face.hook(lambda error: "again")).head()


def test_on_error_is_not_asked_about_what_was_never_sent(face: Face, url: str) -> None:
    hook = Hook()
    face.create(url, content_type=JSON)
    with pytest.raises(InvalidArgumentError):
        face.handle(url, content_type=JSON, on_error=face.hook(hook)).append("not json")
    assert hook.asked == []


def test_on_error_cannot_repeat_a_write_that_may_have_been_stored(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(lambda request: Answer(drop_after=True) if request.method == "POST" else None)
    hook = Hook({})
    with pytest.raises(DurableStreamError) as raised:
        face.handle(through.through(url), content_type=TEXT, on_error=face.hook(hook), retry=ONCE).append("a")
    assert raised.value.outcome_unknown
    assert (hook.asked, through.count("POST")) == ([], 1)


def test_a_missing_stream_can_be_made_by_on_error(face: Face, url: str) -> None:
    def make(error: Exception) -> dict[str, Any] | None:
        if not isinstance(error, StreamNotFoundError):
            return None
        # Blocking here is allowed: the calls run in a thread, or in the loop of their own.
        from everstream import DurableStream

        DurableStream.create(url, content_type=TEXT)
        return {}

    face.handle(url, on_error=face.hook(make), retry=Retry(max_retries=0)).append("a")
    with face.stream(url, live=False) as res:
        assert res.read_text() == "a"


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
