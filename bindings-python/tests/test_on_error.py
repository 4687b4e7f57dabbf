"""`on_error`: asked about every failure, also in the middle; it can mend requests of every kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from everstream import (
    DurableStreamError,
    ForbiddenError,
    InvalidArgumentError,
    Retry,
    StreamNotFoundError,
    UnauthorizedError,
)
from faces import AsyncFace, Face, SyncFace
from functions import OPERATIONS, PlainFunctions, tokens_of
from scripted import Answer, Request, ScriptedServer
from support import JSON, ONCE, QUICK, TEXT, until

Proxy = Callable[..., ScriptedServer]


@pytest.fixture(params=[SyncFace, AsyncFace, PlainFunctions], ids=["sync", "async", "async-plain"])
def face(request: pytest.FixtureRequest) -> Iterator[Face]:
    face = request.param()
    yield face
    face.close()


def guard(valid: set[str]) -> Callable[[Request], Answer | None]:
    """A server that lets nobody in without one of the tokens."""
    return lambda request: None if request.headers.get("authorization") in valid else Answer(401, body=b"who are you?")


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
