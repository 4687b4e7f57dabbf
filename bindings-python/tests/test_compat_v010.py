"""Code written for PyPI durable-streams 0.1.0 does the same with `everstream.compat.v010`: snippets run with both.

Needs the old package: `pip install -r tests/requirements-compat.txt`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

import everstream
from everstream.compat import v010
from everstream.testing import Server
from support import BYTES, JSON, TEXT

old = pytest.importorskip("durable_streams", reason="pip install -r tests/requirements-compat.txt")

Snippet = Callable[[ModuleType, str], Any]
AsyncSnippet = Callable[[ModuleType, str], Awaitable[Any]]


@pytest.fixture(scope="module")
def compat_server() -> Iterator[Server]:
    with Server(long_poll_timeout=0.2) as server:
        yield server


def with_both(server: Server, snippet: Snippet) -> Any:
    """What the snippet gives, which is the same with both packages."""
    was, now = (snippet(package, _url(server)) for package in (old, v010))
    assert now == was
    return now


async def with_both_async(server: Server, snippet: AsyncSnippet) -> Any:
    was, now = [await snippet(package, _url(server)) for package in (old, v010)]
    assert now == was
    return now


def _url(server: Server) -> str:
    return server.stream_url(f"compat-{uuid4()}")


VALUES = [{"message": "hello"}, "text", '{"not": "parsed"}', [1, [2]], [], 42, 1.5, True, None, "", 2**64]


def test_the_names_are_those_of_the_old_package() -> None:
    assert sorted(v010.__all__) == sorted(old.__all__)
    assert v010.__version__ == old.__version__
    assert all(hasattr(v010, name) for name in old.__all__)


def test_classes_are_ours() -> None:
    assert issubclass(v010.DurableStream, everstream.DurableStream)
    assert issubclass(v010.AsyncDurableStream, everstream.AsyncDurableStream)
    assert v010.StreamNotFoundError is everstream.StreamNotFoundError


@pytest.mark.parametrize("batching", [True, False])
def test_every_value_is_one_json_message(compat_server: Server, batching: bool) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=JSON, batching=batching) as handle:
            for value in VALUES:
                handle.append(value)
            with handle.stream(live=False) as response:
                return response.read_json()

    assert with_both(compat_server, snippet) == VALUES


@pytest.mark.parametrize("content_type", [TEXT, BYTES, "text/json"])
def test_elsewhere_values_are_json_text(compat_server: Server, content_type: str) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=content_type) as handle:
            for value in ("text ", b"\x00bytes ", {"é": [1, 2]}, [3], 4, None):
                handle.append(value)
            with handle.stream(live=False) as response:
                return response.read_bytes()

    assert with_both(compat_server, snippet) == b'text \x00bytes {"\\u00e9": [1, 2]}[3]4null'


def test_bytes_are_no_json_value(compat_server: Server) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=JSON) as handle, pytest.raises(TypeError):
            handle.append(b"{}")

    with_both(compat_server, snippet)


def test_content_type_of_a_call_decides(compat_server: Server) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        ds.DurableStream.create(url, content_type=JSON).close()
        with ds.DurableStream(url) as handle:
            handle.append("text", content_type="application/json; charset=utf-8")
        with ds.stream(url, live=False) as response:
            return response.read_json()

    assert with_both(compat_server, snippet) == ["text"]


def test_a_handle_that_knows_no_content_type_asks_for_it(compat_server: Server) -> None:
    """0.1.0 sends none, which servers refuse."""
    url = _url(compat_server)
    v010.DurableStream.create(url, content_type=JSON)
    v010.DurableStream(url).append("text")
    assert v010.stream(url, live=False).read_json() == ["text"]


@pytest.mark.parametrize(
    ("content_type", "body"), [(JSON, [1, {"a": 2}]), (JSON, "[1, 2]"), (JSON, {"a": 1}), (TEXT, "abc"), (TEXT, b"abc")]
)
def test_initial_bodies_are_encoded_the_same(compat_server: Server, content_type: str, body: Any) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=content_type, body=body) as handle:
            with handle.stream(live=False) as response:
                return response.content_type, response.read_text()

    with_both(compat_server, snippet)


def test_results_have_the_same_fields(compat_server: Server) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=TEXT) as handle:
            appended = handle.append("one", seq="1")
            with handle.stream(live=False) as response:
                facts = response.url == url, response.content_type, response.live, response.start_offset, response.ok
                text = response.read_text()
                after = response.offset, response.up_to_date, response.status, response.cursor
            with ds.DurableStream.connect(url) as connected:
                known = connected.content_type
            head = ds.DurableStream.head_static(url)
            return (
                appended.next_offset, facts, text, after, known,
                (head.exists, head.content_type, head.offset, head.cache_control),
            )  # fmt: skip

    with_both(compat_server, snippet)


@pytest.mark.parametrize("mode", ["bytes", "text", "json", "json_batches"])
@pytest.mark.parametrize("values", [[], [1, 2]])
def test_events_are_the_same(compat_server: Server, mode: str, values: list[int]) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        content_type = JSON if mode.startswith("json") else TEXT
        with ds.DurableStream.create(url, content_type=content_type) as handle:
            for value in values:
                handle.append(value)
            with handle.stream(live=False) as response:
                return [(e.data, e.next_offset, e.up_to_date, e.cursor) for e in response.iter_events(mode)]

    with_both(compat_server, snippet)


@pytest.mark.parametrize(
    "consume",
    [
        lambda response: b"".join(response),
        lambda response: "".join(response.iter_text()),
        lambda response: list(response.iter_json()),
        lambda response: list(response.iter_json(decode=str)),
        lambda response: [item for batch in response.iter_json_batches() for item in batch],
        lambda response: response.read_bytes(),
        lambda response: response.read_text("ascii"),
        lambda response: response.read_json(decode=repr),
        lambda response: response.read_json_batches(),
    ],
)
def test_catching_up_is_the_same_in_every_way(compat_server: Server, consume: Callable[[Any], Any]) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=JSON, body=[1, [2], "three"]) as handle:
            with handle.stream(live=False, offset="-1") as response:
                return consume(response)

    with_both(compat_server, snippet)


# Servers want an offset with a live mode, and 0.1.0 sends none by itself.
EXPLICIT = {"offset": "-1"}


@pytest.mark.parametrize(
    "options", [{}, {"live": "auto"}, {"live": "long-poll", **EXPLICIT}, {"live": "sse", **EXPLICIT}]
)
def test_live_reads_go_on(compat_server: Server, options: dict[str, Any]) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        taken = []
        with ds.DurableStream.create(url, content_type=JSON, body=["old"]) as handle:
            with ds.stream(url, **options) as response:
                for item in response.iter_json():
                    taken.append(item)
                    if item == "newer":
                        break
                    # Whoever reads is at the tail, or about to be: the next item comes by the live request.
                    appending = threading.Thread(target=handle.append, args=({"old": "new", "new": "newer"}[item],))
                    appending.start()
                    appending.join()
                return taken, response.live

    taken, live = with_both(compat_server, snippet)
    assert (taken, live) == (["old", "new", "newer"], options.get("live", "auto"))


def test_auto_goes_on_by_long_poll(compat_server: Server) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=TEXT, body="x") as handle, handle.stream() as response:
            chunks = iter(response)
            first = next(chunks)
            handle.append("y")
            return first, next(chunks), response.headers["content-type"]

    assert with_both(compat_server, snippet) == (b"x", b"y", TEXT)


@pytest.mark.parametrize("again", ["iter_text", "read_json"])
def test_a_response_is_consumed_once(compat_server: Server, again: str) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=JSON) as handle, handle.stream(live=False) as response:
            response.read_json()
            with pytest.raises(ds.StreamConsumedError) as raised:
                list(getattr(response, again)())
            return raised.value.code, raised.value.attempted_method, raised.value.consumed_by

    assert with_both(compat_server, snippet) == ("ALREADY_CONSUMED", again, "read_json")


def _raised(ds: ModuleType, call: Callable[[], Any]) -> Any:
    with pytest.raises(ds.DurableStreamError) as raised:
        call()
    error = raised.value
    return type(error).__name__, error.status, error.code


@pytest.mark.parametrize("call", ["connect", "head_static", "delete_static"])
def test_a_missing_stream_raises_the_same(compat_server: Server, call: str) -> None:
    missing = with_both(compat_server, lambda ds, url: _raised(ds, lambda: getattr(ds.DurableStream, call)(url)))
    assert missing == ("StreamNotFoundError", 404, "NOT_FOUND")


def test_reading_a_missing_stream_raises_the_same(compat_server: Server) -> None:
    with_both(compat_server, lambda ds, url: _raised(ds, lambda: ds.stream(url)))


def test_conflicts_raise_the_same(compat_server: Server) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        with ds.DurableStream.create(url, content_type=TEXT) as handle:
            handle.append("a", seq="2")
            return (
                _raised(ds, lambda: handle.append("b", seq="1")),
                _raised(ds, lambda: ds.DurableStream.create(url, content_type=JSON)),
            )

    assert with_both(compat_server, snippet) == (
        ("SeqConflictError", 409, "CONFLICT_SEQ"),
        ("StreamExistsError", 409, "CONFLICT_EXISTS"),
    )


def test_an_error_handler_may_have_a_read_tried_again(compat_server: Server) -> None:
    def snippet(ds: ModuleType, url: str) -> Any:
        asked = []

        def on_error(error: Exception) -> dict[str, Any] | None:
            asked.append(type(error).__name__)
            if len(asked) == 1:
                return None
            ds.DurableStream.create(url, content_type=TEXT, body="abc").close()
            return {"headers": {"x": "y"}}

        with pytest.raises(ds.StreamNotFoundError):
            ds.stream(url, on_error=on_error)
        with ds.stream(url, on_error=on_error, headers={"x": lambda: "z"}, params={"a": None}, live=False) as response:
            return response.read_text(), asked

    assert with_both(compat_server, snippet) == ("abc", ["StreamNotFoundError"] * 2)


def test_network_failures_are_fetch_errors_and_answers_are_not() -> None:
    assert issubclass(everstream.NetworkError, v010.FetchError)
    assert not issubclass(v010.StreamNotFoundError, v010.FetchError)
    assert not issubclass(old.StreamNotFoundError, old.FetchError)


# asyncio


async def test_async_handles_append_and_read_the_same(compat_server: Server) -> None:
    async def snippet(ds: ModuleType, url: str) -> Any:
        async with await ds.AsyncDurableStream.create(url, content_type=JSON) as handle:
            await handle.append(VALUES[0])
            await asyncio.gather(*(handle.append(value) for value in VALUES[1:]))
            async with handle.stream(live=False) as response:
                return await response.read_json()

    assert await with_both_async(compat_server, snippet) == VALUES


async def test_async_values_elsewhere_are_json_text(compat_server: Server) -> None:
    async def snippet(ds: ModuleType, url: str) -> Any:
        async with await ds.AsyncDurableStream.create(url, content_type=TEXT, body={"a": 1}) as handle:
            await handle.append({"b": [2]})
            async with ds.astream(url, live=False) as response:
                return await response.read_text()

    assert await with_both_async(compat_server, snippet) == '{"a": 1}{"b": [2]}'


@pytest.mark.parametrize("mode", ["text", "json"])
@pytest.mark.parametrize("values", [[], [1, 2]])
async def test_async_events_are_the_same(compat_server: Server, mode: str, values: list[int]) -> None:
    async def snippet(ds: ModuleType, url: str) -> Any:
        content_type = JSON if mode == "json" else TEXT
        async with await ds.AsyncDurableStream.create(url, content_type=content_type) as handle:
            for value in values:
                await handle.append(value)
            async with handle.stream(live=False) as response:
                return [(e.data, e.next_offset, e.up_to_date) async for e in response.iter_events(mode)]

    await with_both_async(compat_server, snippet)


@pytest.mark.parametrize("options", [{}, {"live": "sse", **EXPLICIT}])
async def test_async_live_reads_go_on(compat_server: Server, options: dict[str, Any]) -> None:
    async def snippet(ds: ModuleType, url: str) -> Any:
        taken = []
        async with await ds.AsyncDurableStream.create(url, content_type=JSON, body=["old"]) as handle:
            async with ds.astream(url, **options) as response:
                async for item in response.iter_json():
                    taken.append(item)
                    if item == "new":
                        break
                    await handle.append("new")
        return taken

    assert await with_both_async(compat_server, snippet) == ["old", "new"]


async def test_async_events_survive_a_wait_that_is_cancelled(compat_server: Server) -> None:
    url = _url(compat_server)
    handle = await v010.AsyncDurableStream.create(url, content_type=JSON)
    async with handle.stream() as response:
        events = response.iter_events()
        assert (await events.__anext__()).data == []
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(events.__anext__(), 0.01)
        await handle.append(1)
        assert (await events.__anext__()).data == [1]


def test_a_client_of_httpx_is_refused_with_the_way_out() -> None:
    httpx = pytest.importorskip("httpx")
    with httpx.Client() as client, pytest.raises(TypeError, match=r"everstream\.Client"):
        v010.DurableStream("http://127.0.0.1:1/x", client=client)
