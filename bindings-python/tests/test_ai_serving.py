"""`everstream.ai.stream_response`: a stream for browsers, by real FastAPI under uvicorn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="pip install -r tests/requirements.txt")
pytest.importorskip("httpx", reason="pip install -r tests/requirements.txt")
pytest.importorskip("uvicorn", reason="pip install -r tests/requirements.txt")

from fastapi import FastAPI, Request

from ai_servers import Event, EventSource, WebServer
from ai_support import Relay, eventually
from everstream import AsyncDurableStream, Checkpoint
from everstream.ai import Generation, stream_response, text_of
from everstream.testing import Server
from support import JSON, TEXT

TOKENS = [
    "Once", " upon", "\r\n", "\n\n", " a", "\r", " 😀", " time", "\u2028", "…", '"', "\\", "data: x\n\n", ": y"
]  # fmt: skip


@pytest.fixture
def app(url: str) -> Iterator[str]:
    """The URL of an application that serves the stream in several ways."""
    app = FastAPI()

    @app.get("/follow")
    async def follow(request: Request) -> Any:
        return await stream_response(url, request)

    @app.get("/text")
    async def text(request: Request) -> Any:
        return await stream_response(url, request, convert=text_of)

    @app.get("/new")
    async def new() -> Any:
        return await stream_response(url, offset="now", headers={"x-kind": "new", "cache-control": "no-store"})

    @app.get("/by-id")
    async def by_id(id: str | None = None) -> Any:
        return await stream_response(url, last_event_id=id, keep_alive=0.02)

    @app.get("/through")
    async def through(stream: str) -> Any:
        return await stream_response(stream)

    @app.delete("/follow")
    async def stop() -> None:
        await AsyncDurableStream(url).close_stream()

    with WebServer(app) as address:
        yield address


async def create(url: str, content_type: str = TEXT) -> AsyncDurableStream:
    return await AsyncDurableStream.create(url, content_type=content_type)


async def write(stream: AsyncDurableStream, *messages: Any, close: bool = True) -> None:
    for message in messages:
        await stream.append(message)
    if close:
        await stream.close_stream()


async def read(url: str, last_event_id: str | None = None, limit: int | None = None) -> list[Event]:
    """The events up to the end, or the first ones; none if there is nothing more to come."""
    events: list[Event] = []
    async with EventSource(url, last_event_id) as source:
        assert source.response.status_code in (200, 204)
        async for event in source:
            events.append(event)
            if len(events) == limit:
                break
    return events


def text_in(events: list[Event]) -> str:
    return "".join(event.value for event in events if event.name == "message")


async def test_a_text_stream_arrives_byte_for_byte_and_ends_with_close(app: str, url: str) -> None:
    await write(await create(url), *TOKENS)

    *events, close = await read(f"{app}/follow")

    assert text_in(events) == "".join(TOKENS)
    assert (close.name, close.value) == ("close", None)
    assert {event.name for event in events} == {"message"}


async def test_the_response_is_for_event_sources_and_not_to_be_buffered(app: str, url: str) -> None:
    await write(await create(url), "a")
    async with EventSource(f"{app}/follow") as source:
        headers = source.response.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert headers["cache-control"] == "no-cache, no-transform"
        assert headers["x-accel-buffering"] == "no"


async def test_headers_of_the_caller_win(app: str, url: str) -> None:
    await write(await create(url), "a")
    async with EventSource(f"{app}/new") as source:
        assert source.response.headers["x-kind"] == "new"
        assert source.response.headers["cache-control"] == "no-store"


async def test_each_message_of_a_json_stream_is_an_event(app: str, url: str) -> None:
    messages = [{"text": token} for token in TOKENS] + [None, "", 0, [], 2**70, {"deep": [{}]}]
    stream = await create(url, JSON)
    await stream.append(json.dumps(messages))
    await stream.close_stream()

    *events, _ = await read(f"{app}/follow")

    # One append, so one message: an array.
    assert [event.value for event in events] == [messages]

    await stream.delete()
    stream = await create(url, JSON)
    for message in messages:
        await stream.append_json(message)
    await stream.close_stream()
    *events, _ = await read(f"{app}/follow")
    assert [event.value for event in events] == messages


async def test_convert_makes_the_data_and_drops_what_says_nothing(app: str, url: str) -> None:
    chunks = [{"type": "response.created"}, {"text": "a"}, {"type": "response.output_text.delta", "delta": "b"}]
    await write(await create(url, JSON), *chunks, {"usage": 1})

    *events, close = await read(f"{app}/text")

    assert [event.value for event in events] == ["a", "b"] and close.name == "close"


async def test_a_viewer_sees_tokens_live(app: str, url: str) -> None:
    stream = await create(url)
    async with EventSource(f"{app}/follow") as source:
        events = aiter(source)
        for token in TOKENS:
            await stream.append(token)
            assert (await anext(events)).value == token
        await stream.close_stream()
        assert (await anext(events)).name == "close"
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@pytest.mark.parametrize("content_type", [TEXT, JSON])
async def test_a_viewer_that_comes_back_goes_on_exactly_after_any_event(app: str, url: str, content_type: str) -> None:
    tokens: list[Any] = TOKENS if content_type == TEXT else [{"text": token} for token in TOKENS]
    stream = await create(url, content_type)
    seen: list[Event] = []
    async with EventSource(f"{app}/follow") as source:
        events = aiter(source)
        for token in tokens:
            await stream.append(token)
            seen.append(await anext(events))
    await stream.close_stream()
    assert [event.value for event in seen] == tokens

    for number, event in enumerate(seen, 1):
        rest = [event.value for event in await read(f"{app}/follow", event.id) if event.name == "message"]
        left = tokens[number:]
        assert rest == left if content_type == JSON else "".join(rest) == "".join(left)


async def test_every_event_of_a_replayed_batch_has_an_id_of_its_own(app: str, url: str) -> None:
    stream = await create(url, JSON)
    await asyncio.gather(*(stream.append({"n": number}) for number in range(30)))
    await stream.close_stream()

    *events, _ = await read(f"{app}/follow")

    assert [event.value["n"] for event in events] == list(range(30))
    assert len({event.id for event in events}) == 30
    assert all(str(Checkpoint.from_json(event.id)) == event.id for event in events)
    for number in range(28):
        *rest, _ = await read(f"{app}/follow", events[number].id)
        assert [event.value["n"] for event in rest] == list(range(number + 1, 30))
        # Those of a read that began in the middle lead on just as well.
        assert (await read(f"{app}/follow", rest[0].id, limit=1))[0].value == {"n": number + 2}


async def test_a_viewer_that_is_cut_while_the_model_speaks_misses_and_doubles_nothing(app: str, url: str) -> None:
    stream = await create(url)

    async def tokens() -> Any:
        for token in TOKENS * 8:
            await asyncio.sleep(0.001)
            yield token

    generation = Generation(tokens(), stream)
    seen: list[Event] = []
    connections = 0
    while events := await read(f"{app}/follow", seen[-1].id if seen else None, limit=3):
        seen += events
        connections += 1

    assert text_in(seen) == "".join(TOKENS) * 8 == await generation
    assert connections > 1


async def test_two_viewers_see_the_same_wherever_they_begin(app: str, url: str) -> None:
    stream = await create(url, JSON)
    first = asyncio.ensure_future(read(f"{app}/follow"))
    await write(stream, *({"n": number} for number in range(10)), close=False)
    second = asyncio.ensure_future(read(f"{app}/follow"))
    await write(stream, *({"n": number} for number in range(10, 20)))

    one, other = await first, await second

    assert [event.value for event in one[:-1]] == [event.value for event in other[:-1]]
    assert [event.value["n"] for event in one[:-1]] == list(range(20))


async def test_offset_now_gives_only_what_is_new_and_ids_that_resume(app: str, url: str) -> None:
    stream = await create(url, JSON)
    await write(stream, {"n": 0}, close=False)
    async with EventSource(f"{app}/new") as source:
        events = aiter(source)
        await asyncio.gather(*(stream.append({"n": number}) for number in range(1, 4)))
        seen = [await anext(events) for _ in range(3)]
    await stream.close_stream()

    assert [event.value["n"] for event in seen] == [1, 2, 3]
    assert [event.value for event in await read(f"{app}/follow", seen[0].id)] == [{"n": 2}, {"n": 3}, None]


async def test_stopping_from_the_browser_closes_every_view_and_stops_the_source(app: str, url: str) -> None:
    stream = await create(url)
    closed = asyncio.Event()

    async def tokens() -> Any:
        try:
            while True:
                yield "token "
                await asyncio.sleep(0.001)
        finally:
            closed.set()

    generation = Generation(tokens(), stream)
    async with EventSource(f"{app}/follow") as one, EventSource(f"{app}/follow") as other:
        events = aiter(one)
        assert (await anext(events)).value.startswith("token ")
        assert (await other._client.delete(f"{app}/follow")).status_code == 200
        assert [event async for event in events][-1].name == "close"
        assert [event async for event in other][-1].name == "close"
    await closed.wait()
    await generation
    assert generation.stopped


async def test_who_comes_back_after_the_end_gets_204_and_who_starts_anew_gets_everything(app: str, url: str) -> None:
    await write(await create(url), "all")
    event, close = await read(f"{app}/follow")

    for last in (event.id, close.id):
        async with EventSource(f"{app}/follow", last) as source:
            assert source.response.status_code == 204
    assert [event.value for event in await read(f"{app}/follow")] == ["all", None]


async def test_an_empty_closed_stream_is_just_its_end(app: str, url: str) -> None:
    await write(await create(url))

    assert [event.name for event in await read(f"{app}/follow")] == ["close"]


async def test_there_is_no_stream_is_404(app: str) -> None:
    async with EventSource(f"{app}/follow") as source:
        assert source.response.status_code == 404
        # It names neither the server behind nor the stream.
        assert json.loads(await source.response.aread()) == {"detail": "Not Found"}


@pytest.mark.parametrize(
    "last",
    [
        "junk", "{}", "[]", "5", '{"from":"no such offset"}', '{"from":"zzz","skip":0}', '{"from":"../x","skip":0}',
        '{"from":"-1","skip":-1}', '{"from":"-1","skip":1e99}', '{"from":"-1","skip":"x"}', '{"from":{},"skip":0}',
    ],
)  # fmt: skip
async def test_a_last_event_id_that_is_none_of_ours_is_400(app: str, url: str, last: str) -> None:
    await write(await create(url), "a")
    async with EventSource(f"{app}/follow", last) as source:
        assert source.response.status_code == 400


async def test_a_stream_that_was_made_anew_is_410(app: str, url: str) -> None:
    stream = await create(url)
    await write(stream, "the first one")
    events = await read(f"{app}/follow")
    await stream.delete()
    await write(await create(url), "quite another one")

    async with EventSource(f"{app}/follow", events[0].id) as source:
        assert source.response.status_code == 410


async def test_comments_keep_an_idle_connection_alive(app: str, url: str) -> None:
    stream = await create(url)
    async with EventSource(f"{app}/by-id") as source:
        events = aiter(source)
        await stream.append("a")
        assert (await anext(events)).value == "a"
        following = asyncio.ensure_future(anext(events))
        await eventually(lambda: source.comments >= 3, "comments come")
        await stream.append("b")
        assert (await following).value == "b"


async def test_an_id_can_come_without_a_request(app: str, url: str) -> None:
    stream = await create(url, JSON)
    await write(stream, {"n": 1}, {"n": 2})
    first = (await read(f"{app}/by-id", limit=1))[0]

    async with EventSource(f"{app}/by-id") as source:
        response = await source._client.get(f"{app}/by-id", params={"id": first.id})
    assert 'data: {"n":2}' in response.text and 'data: {"n":1}' not in response.text


async def test_a_viewer_that_hangs_up_ends_the_read_behind_it(app: str, server: Server, url: str) -> None:
    stream = await create(url)
    await stream.append("a")
    async with Relay(server.port) as relay:
        through = url.replace(f":{server.port}", f":{relay.port}")
        async with EventSource(f"{app}/through?stream={through}") as source:
            # Kept: a generator that nobody keeps is closed, and hangs up.
            events = aiter(source)
            assert (await anext(events)).value == "a"
            await eventually(lambda: relay.live_reads, "the live read has begun")
            assert relay.open > 0
        await eventually(lambda: relay.open == 0, "the live read is over")
    # It was a viewer only.
    assert not (await stream.head()).stream_closed
