"""The values that calls take and give: plain, frozen, picklable; and time limits and retries that are obeyed."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import everstream
import typed_usage
from everstream import (
    AppendResult,
    AsyncCallbackCheckpoints,
    Checkpoint,
    CloseResult,
    CreateResult,
    DurableStream,
    DurableStreamError,
    FlushResult,
    HeadResult,
    IdempotentAppendResult,
    InvalidArgumentError,
    ListedStream,
    RequestTimeoutError,
    Retry,
    ServerBusyError,
    StreamEvent,
    Timeout,
    astream,
    types,
)
from everstream.testing import Server
from faces import Face
from scripted import Answer, ScriptedServer
from support import JSON, ONCE, TEXT

VALUES = [
    AppendResult("1", True),
    Checkpoint("1", 2, "x"),
    CloseResult("1"),
    CreateResult(True, "1", TEXT, False),
    FlushResult("1", 3),
    HeadResult(True, TEXT, "1", '"e"', "no-store", True, 60, "2099-01-01T00:00:00Z"),
    IdempotentAppendResult("1", True, True),
    ListedStream("a", TEXT, 1, "1", False, 5),
    Retry(0.1, 60.0, 1.3, 15, 60.0, True),
    StreamEvent([1], "1", True, "c", True),
    Timeout(1, 2, 3, 4),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("copied", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy])
def test_values_are_equal_to_their_copies(value: Any, copied: Callable[[Any], Any]) -> None:
    again = copied(value)
    assert (again, type(again), repr(again)) == (value, type(value), repr(value))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen(value: Any) -> None:
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, field.name, None)


def test_every_value_is_tested_here() -> None:
    assert {type(value) for value in VALUES} == {cls for cls in vars(types).values() if dataclasses.is_dataclass(cls)}


def test_an_append_result_has_both_names_of_its_offset() -> None:
    assert AppendResult("7").offset == AppendResult("7").next_offset == "7"


def test_live_modes_are_the_official_ones_and_two_more() -> None:
    flag, names = typing.get_args(everstream.LiveMode)
    assert flag is bool
    assert set(typing.get_args(names)) == {"long-poll", "sse", "auto", "catch-up"}
    assert everstream.Offset is str
    assert typing.get_args(everstream.SSEEncoding) == ("base64",)


@pytest.mark.parametrize("cls", [*map(type, VALUES), DurableStream, everstream.StreamResponse, everstream.Server])
def test_annotations_can_be_resolved(cls: type) -> None:
    """As validators and dependency injection do it."""
    if dataclasses.is_dataclass(cls):
        assert typing.get_type_hints(cls).keys() == {field.name for field in dataclasses.fields(cls)}
    for name, function in vars(cls).items():
        if callable(function) and not name.startswith("_"):
            assert "return" in typing.get_type_hints(function), name


def test_the_package_says_that_it_is_typed() -> None:
    assert everstream.__file__
    assert (Path(everstream.__file__).parent / "py.typed").exists()


def test_uses_that_are_checked_also_run(url: str, tmp_path: Path) -> None:
    typed_usage.blocking(url, str(tmp_path / "c.json"))


async def test_uses_with_asyncio_that_are_checked_also_run(url: str) -> None:
    await typed_usage.with_asyncio(url)


# Timeout


@pytest.mark.parametrize("timeout", [0.05, Timeout(read=0.05)])
def test_a_number_is_the_limit_of_one_try(face: Face, server: Server, url: str, path: str, timeout: Any) -> None:
    face.create(url)
    server.inject_fault(path, delay_ms=10_000, count=20)
    with pytest.raises(RequestTimeoutError):
        face.handle(url, timeout=timeout, retry=ONCE).head()
    with pytest.raises(RequestTimeoutError):
        face.stream(url, timeout=timeout, retry=ONCE, live=False)


def test_total_ends_all_retries(face: Face) -> None:
    endless = Retry(initial_delay=0.001, max_delay=0.001, max_retries=1_000_000)
    with ScriptedServer(lambda request: Answer(503)) as server:
        with pytest.raises(ServerBusyError):
            face.handle(f"{server.url}/a", timeout=Timeout(total=0.1), retry=endless).head()
    assert server.count() > 1


@pytest.mark.parametrize("timeout", [Timeout(read=-1), Timeout(stall=float("nan")), Timeout(connect=-1), -5])
def test_limits_that_cannot_be_are_refused(face: Face, url: str, timeout: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        face.stream(url, timeout=timeout, live=False)


# Retry


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_so_many_retries_and_no_more(face: Face, retries: int) -> None:
    with ScriptedServer(lambda request: Answer(503)) as server:
        for call in (
            lambda options: face.handle(f"{server.url}/a", **options).head(),
            lambda options: face.stream(f"{server.url}/a", live=False, **options),
            lambda options: face.handle(f"{server.url}/a", client=face.client(**options)).head(),
        ):
            before = server.count()
            with pytest.raises(ServerBusyError):
                call({"retry": Retry(initial_delay=0.001, max_delay=0.001, max_retries=retries)})
            assert server.count() - before == retries + 1


def test_the_handle_wins_over_its_client(face: Face) -> None:
    client = face.client(retry=Retry(initial_delay=0.001, max_delay=0.001, max_retries=9))
    with ScriptedServer(lambda request: Answer(503)) as server:
        with pytest.raises(DurableStreamError):
            face.handle(f"{server.url}/a", client=client, retry=ONCE).head()
    assert server.count() == 1


# Clients and lists


def test_a_base_url_is_before_paths(face: Face, server: Server, url: str, path: str) -> None:
    client = face.client(base_url=server.url)
    client_handle = client.handle(path, content_type=TEXT)
    client_handle.create_stream(body="a")
    with client.stream(path, live=False) as res:
        assert res.read_text() == "a"
    assert face.connect(url).content_type == TEXT
    client.close()


def test_streams_are_listed(face: Face) -> None:
    with Server() as server:
        for name in ("a/one", "a/two", "b"):
            face.create(server.stream_url(name), content_type=JSON)
        face.handle(server.stream_url("a/two")).close_stream()
        client = face.client()
        root = f"{server.url}/v1/stream"
        listed = client.list(root)
        assert [(it.path, it.content_type, it.closed) for it in listed] == [
            ("a/one", JSON, False),
            ("a/two", JSON, True),
            ("b", JSON, False),
        ]
        assert [it.path for it in client.list(root, "a/")] == ["a/one", "a/two"]
        assert all(it.created_at > 0 for it in listed)
        assert [it.bytes for it in listed] == [0, 0, 0]
        face.handle(server.stream_url("b")).append({"four": 4})
        assert client.list(root, "b")[0].bytes >= len('{"four":4}')


def test_a_client_can_be_pickled(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    client = pickle.loads(pickle.dumps(face.Client(headers={"x": "y"}, timeout=5)))
    assert type(client) is face.Client
    assert (client.headers, client.timeout) == ({"x": "y"}, Timeout(read=5.0))
    assert face.handle(url, client=client).head().exists


def test_certificates_cannot_be_left_unchecked(face: Face) -> None:
    with pytest.raises(ValueError, match="verify"):
        face.client(verify=False)


# Stores of asyncio


async def test_stores_of_coroutine_functions(url: str) -> None:
    kept: list[Checkpoint] = []

    async def load() -> Checkpoint | None:
        return kept[-1] if kept else None

    async def save(checkpoint: Checkpoint) -> None:
        kept.append(checkpoint)

    handle = await everstream.AsyncDurableStream.create(url, content_type=JSON, body=[1, 2])
    store = AsyncCallbackCheckpoints(load, save)
    async with astream(url, live=False, store=store) as res:
        async for item in res.iter_json():
            assert item == 1
            break
    async with handle.stream(live=False, store=store) as res:
        assert await res.read_json() == [2]
    assert [checkpoint.skip for checkpoint in kept] == [1, 0]
