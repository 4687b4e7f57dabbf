"""`everstream.ai`: tokens on their way into a stream, and every way to end that."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import everstream
from ai_support import eventually
from everstream import AsyncDurableStream, StreamNotFoundError, astream
from everstream.ai import Generation, record, tee
from everstream.testing import Server
from scripted import Answer, Request, ScriptedServer
from support import JSON, TEXT

TOKENS = ["Once", " upon", "\r\n", "\n\n", " a", "\r", " 😀", " time", "\u2028", "…", '"', "\\"]


class Source:
    """Tokens that come when the test lets them, and what became of their reader."""

    def __init__(self, *tokens: Any) -> None:
        self.given = 0
        self.cancelled = False
        self.closed = False
        self._tokens: asyncio.Queue[Any] = asyncio.Queue()
        self.give(*tokens)

    def give(self, *tokens: Any) -> Source:
        for token in tokens:
            self._tokens.put_nowait(token)
        return self

    def end(self) -> Source:
        return self.give(StopAsyncIteration())

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Any:
        try:
            token = await self._tokens.get()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if isinstance(token, Exception):
            raise token
        self.given += 1
        return token

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed = True


async def create(url: str, content_type: str = TEXT) -> AsyncDurableStream:
    return await AsyncDurableStream.create(url, content_type=content_type)


async def stored_text(url: str) -> str:
    """The whole of a closed stream; waits for its end."""
    async with astream(url) as response:
        return "".join([text async for text in response.iter_text()])


async def stored_messages(url: str) -> list[Any]:
    async with astream(url) as response:
        return [message async for message in response.iter_json()]


async def is_closed(url: str) -> bool:
    return (await AsyncDurableStream.head_static(url)).stream_closed


# What is stored


async def test_a_text_stream_holds_the_tokens_as_they_are_and_is_closed(url: str) -> None:
    generation = Generation(Source(*TOKENS).end(), await create(url))

    assert await generation == "".join(TOKENS) == generation.text
    assert await stored_text(url) == "".join(TOKENS)
    assert generation.done and not generation.stopped


async def test_a_json_stream_holds_one_message_per_token(url: str) -> None:
    await create(url, JSON)

    # Of a URL the content type is asked for.
    assert await record(Source(*TOKENS).end(), url) == "".join(TOKENS)

    assert await stored_messages(url) == [{"text": token} for token in TOKENS]


async def test_values_that_are_no_str_are_json_messages_as_they_are(url: str) -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"content": "hi"}}]}, {"type": "tool", "id": 2**60}, [1], b'{"raw":1}']

    text = await record(Source(*chunks).end(), await create(url, JSON))

    assert await stored_messages(url) == [*chunks[:3], {"raw": 1}]
    assert text == "hi"


async def test_empty_tokens_are_not_stored(url: str) -> None:
    await record(Source("", "a", "", "b", "").end(), await create(url, JSON))

    assert await stored_messages(url) == [{"text": "a"}, {"text": "b"}]


async def test_an_answer_without_tokens_closes_the_stream(url: str) -> None:
    assert await record(Source().end(), await create(url)) == ""
    assert await is_closed(url)


async def test_bytes_that_cut_a_character_arrive_byte_for_byte(url: str) -> None:
    data = "😀\r\n…ü".encode()

    await record(Source(*[data[i : i + 1] for i in range(len(data))]).end(), await create(url))

    async with astream(url) as response:
        assert b"".join([chunk async for chunk in response]) == data


@pytest.mark.parametrize("content_type", [TEXT, JSON])
async def test_halves_of_an_emoji_are_joined_before_they_are_stored(url: str, content_type: str) -> None:
    text = await record(Source("a\ud83d", "\ude00b").end(), await create(url, content_type))

    assert text == "a😀b"
    if content_type == TEXT:
        assert await stored_text(url) == "a😀b"
    else:
        assert await stored_messages(url) == [{"text": "a"}, {"text": "😀b"}]


async def test_encode_says_what_is_stored_and_none_is_nothing(url: str) -> None:
    def encode(token: str) -> dict[str, int] | None:
        return {"length": len(token)} if token != "skip" else None

    text = await record(Source("one", "skip", "four").end(), await create(url, JSON), encode=encode)

    assert await stored_messages(url) == [{"length": 3}, {"length": 4}]
    assert text == "oneskipfour"


async def test_a_token_can_be_read_before_the_next_one_comes(url: str) -> None:
    source = Source()
    generation = Generation(source, await create(url, JSON))

    async with astream(url) as response:
        messages = response.iter_json()
        for number in range(5):
            source.give(f"token {number}")
            assert await anext(messages) == {"text": f"token {number}"}
    source.end()
    await generation


async def test_several_answers_fit_in_one_stream_that_stays_open(url: str) -> None:
    stream = await create(url, JSON)

    await record(Source("a").end(), stream, close=False)
    with pytest.raises(ZeroDivisionError):
        await record(Source("b", ZeroDivisionError()), stream, close=False)
    await record(Source("c").end(), stream, close=False)

    assert not await is_closed(url)
    async with astream(url, live=False) as response:
        messages = await response.read_json()
    assert messages == [{"text": "a"}, {"text": "b"}, {"error": {"type": "ZeroDivisionError"}}, {"text": "c"}]


async def test_a_broken_network_loses_and_doubles_no_token(server: Server, url: str, path: str) -> None:
    stream = await create(url, JSON)
    source = Source()
    generation = Generation(source, stream)
    expected = []
    for number in range(60):
        if number % 20 == 5:
            server.inject_fault(path, method="POST", drop_connection=True, count=2)
        if number % 20 == 15:
            server.inject_error(path, 503, count=2)
        expected.append({"text": f"{number} "})
        source.give(f"{number} ")
        await eventually(lambda: source.given == len(expected), "the token is taken")
    source.end()

    assert await generation == "".join(message["text"] for message in expected)
    assert await stored_messages(url) == expected


async def test_a_lost_answer_of_the_server_doubles_no_token(proxy: Callable[..., ScriptedServer], url: str) -> None:
    lost: list[bytes] = []

    def script(request: Request) -> Answer | None:
        if request.method == "POST" and len(lost) < 3 and request.body not in lost:
            lost.append(request.body)
            return Answer(drop_after=True)
        return None

    await create(url, JSON)
    source = Source()
    generation = Generation(source, proxy(script).through(url))
    for number in range(20):
        source.give(f"{number} ")
        await eventually(lambda: source.given == number + 1, "the token is taken")
    source.end()

    await generation
    assert await stored_messages(url) == [{"text": f"{number} "} for number in range(20)]
    assert len(lost) == 3


async def test_a_source_that_is_faster_than_the_server_waits_and_loses_nothing(
    server: Server, url: str, path: str
) -> None:
    tokens = [str(number) * (8 << 20) for number in range(6)]
    stream = await create(url)
    server.inject_fault(path, method="POST", delay_ms=300, count=1)

    assert len(await record(Source(*tokens).end(), stream)) == 6 * (8 << 20)
    async with astream(url, live=False) as response:
        assert await response.read_bytes() == "".join(tokens).encode()


# Failures of the source


@pytest.mark.parametrize("content_type", [TEXT, JSON])
async def test_a_failure_of_the_source_closes_the_stream_and_is_raised(url: str, content_type: str) -> None:
    source = Source("so far", RuntimeError("with a secret"))
    generation = Generation(source, await create(url, content_type))

    with pytest.raises(RuntimeError, match="with a secret"):
        await generation

    assert source.closed and generation.text == "so far" and not generation.stopped
    if content_type == TEXT:
        assert await stored_text(url) == "so far"
    else:
        # What kind of error it was, and not its text.
        assert await stored_messages(url) == [{"text": "so far"}, {"error": {"type": "RuntimeError"}}]


async def test_describe_error_makes_the_last_message(url: str) -> None:
    with pytest.raises(RuntimeError):
        await record(Source(RuntimeError("why")), await create(url, JSON), describe_error=lambda error: [str(error)])

    assert await stored_messages(url) == [["why"]]


async def test_describe_error_may_keep_silent(url: str) -> None:
    with pytest.raises(RuntimeError):
        await record(Source("a", RuntimeError()), await create(url, JSON), describe_error=lambda error: None)

    assert await stored_messages(url) == [{"text": "a"}]


async def test_the_failure_of_a_call_that_was_not_awaited_is_told(url: str) -> None:
    async def call() -> AsyncIterator[str]:
        raise PermissionError("no such key")

    with pytest.raises(PermissionError):
        await record(call(), await create(url, JSON))

    assert await stored_messages(url) == [{"error": {"type": "PermissionError"}}]


async def test_a_token_that_cannot_be_stored_ends_the_answer_as_a_failure(url: str) -> None:
    source = Source({"fine": 1}, b"not json", {"never": 1})

    with pytest.raises(everstream.InvalidArgumentError):
        await record(source, await create(url, JSON))

    assert source.closed and source.given == 2
    assert await stored_messages(url) == [{"fine": 1}, {"error": {"type": "InvalidArgumentError"}}]


@pytest.mark.parametrize("tokens", [["a", "b"], "text", iter(["a"]), None])
async def test_what_is_no_async_source_is_refused_at_once(url: str, tokens: Any) -> None:
    with pytest.raises(TypeError, match="async iterable"):
        Generation(tokens, url)


# Failures of the stream


async def test_a_stream_that_does_not_exist_is_told_before_the_model_is_asked(url: str) -> None:
    asked = False

    async def call() -> AsyncIterator[str]:
        nonlocal asked
        asked = True
        return Source()

    with pytest.raises(StreamNotFoundError):
        await record(call(), url)
    source = Source("a")
    with pytest.raises(StreamNotFoundError):
        await record(source, url)

    assert not asked and source.closed and source.given == 0


async def test_a_stream_that_is_deleted_stops_the_source_and_is_raised(url: str) -> None:
    stream = await create(url)
    source = Source("a")
    generation = Generation(source, stream)
    await eventually(lambda: source.given == 1, "the token is taken")
    await stream.delete()
    source.give("b")

    with pytest.raises(StreamNotFoundError):
        await generation
    assert source.closed and not generation.stopped


# Stopping


@pytest.mark.parametrize("content_type", [TEXT, JSON])
async def test_stop_cancels_the_source_and_closes_the_stream_with_what_came_before(
    url: str, content_type: str
) -> None:
    source = Source("a", "b")
    generation = Generation(source, await create(url, content_type))
    await eventually(lambda: source.given == 2, "the tokens are taken")
    assert not generation.done

    await generation.stop()

    assert source.cancelled and source.closed and generation.done and generation.stopped
    assert await generation == "ab"
    if content_type == TEXT:
        assert await stored_text(url) == "ab"
    else:
        assert await stored_messages(url) == [{"text": "a"}, {"text": "b"}]


async def test_stop_right_after_the_start_closes_source_and_stream(url: str) -> None:
    source = Source()
    generation = Generation(source, await create(url))

    await generation.stop()

    assert source.closed and generation.stopped
    assert await stored_text(url) == ""


async def test_stop_cancels_a_call_that_has_not_been_answered(url: str) -> None:
    asked, cancelled = asyncio.Event(), False

    async def call() -> AsyncIterator[str]:
        nonlocal cancelled
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled = True
            raise
        return Source()

    generation = Generation(call(), await create(url))
    await asked.wait()
    await generation.stop()

    assert cancelled and generation.stopped
    assert await stored_text(url) == ""


async def test_stop_can_be_repeated_and_called_by_many_at_once(url: str) -> None:
    source = Source("a")
    generation = Generation(source, await create(url))
    await eventually(lambda: source.given == 1, "the token is taken")

    await asyncio.gather(*(generation.stop() for _ in range(5)))
    await generation.stop()

    assert source.closed and await stored_text(url) == "a"


async def test_stop_of_an_answer_that_is_over_changes_nothing(url: str) -> None:
    generation = Generation(Source("a").end(), await create(url))
    await generation

    await generation.stop()

    assert not generation.stopped


async def test_stop_after_a_failure_raises_nothing(url: str) -> None:
    generation = Generation(Source(RuntimeError()), await create(url))
    with pytest.raises(RuntimeError):
        await generation

    await generation.stop()

    assert not generation.stopped


async def test_a_generator_runs_its_cleanup_when_stopped(url: str) -> None:
    given, cleaned = asyncio.Event(), asyncio.Event()

    async def tokens() -> AsyncIterator[str]:
        try:
            async with asyncio.Lock():
                yield "a"
                given.set()
                await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    generation = Generation(tokens(), await create(url))
    await given.wait()
    await generation.stop()

    assert cleaned.is_set() and await stored_text(url) == "a"


async def test_closing_the_stream_from_outside_stops_the_source_at_its_next_token(url: str) -> None:
    source = Source("a")
    generation = Generation(source, await create(url))
    await eventually(lambda: source.given == 1, "the token is taken")
    async with astream(url) as response:
        assert await anext(response.iter_text()) == "a"

    # As another process would do it.
    await AsyncDurableStream(url).close_stream()
    source.give("b")
    await generation

    assert source.cancelled and source.closed and generation.stopped
    assert await stored_text(url) == "a"


async def test_closing_from_outside_stops_a_source_that_never_lets_the_loop_run(url: str) -> None:
    stream = await create(url)
    given = 0

    async def tokens() -> AsyncIterator[str]:
        nonlocal given
        await AsyncDurableStream(url).close_stream()
        while given < 20_000:
            given += 1
            yield "a"
            time.sleep(0.001)

    generation = Generation(tokens(), stream)
    await generation

    assert generation.stopped and given < 20_000
    assert await stored_text(url) == ""


async def test_closing_from_outside_while_the_source_ends_is_no_error(url: str) -> None:
    source = Source("a")
    generation = Generation(source, await create(url, JSON))
    await eventually(lambda: source.given == 1, "the token is taken")

    await AsyncDurableStream(url).close_stream()
    source.end()
    await generation

    assert generation.stopped


async def test_the_end_of_the_event_loop_stops_the_source_and_closes_the_stream(url: str) -> None:
    sources: list[Source] = []

    async def main() -> None:
        sources.append(Source("a", "b"))
        Generation(sources[0], await create(url))
        await eventually(lambda: sources[0].given == 2, "the tokens are taken")

    await asyncio.to_thread(asyncio.run, main())

    assert sources[0].closed and await stored_text(url) == "ab"


# Nobody needs to listen


async def test_it_goes_on_when_the_task_that_started_it_is_cancelled(url: str) -> None:
    source = Source("a")

    async def request() -> None:
        await Generation(source, await create(url))

    task = asyncio.ensure_future(request())
    await eventually(lambda: source.given == 1, "the token is taken")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    source.give("b").end()

    assert await stored_text(url) == "ab"
    assert not source.cancelled


async def test_it_goes_on_when_nobody_keeps_it(url: str) -> None:
    waits: weakref.WeakSet[asyncio.Future[str]] = weakref.WeakSet()

    async def tokens() -> AsyncIterator[str]:
        wait = asyncio.get_running_loop().create_future()
        waits.add(wait)
        yield await wait

    Generation(tokens(), await create(url))
    await eventually(lambda: waits, "the source waits")
    gc.collect()
    # Nothing but the generation leads to it.
    (wait,) = waits
    wait.set_result("a")

    assert await stored_text(url) == "a"


async def test_record_that_is_cancelled_stops_the_source_and_closes_the_stream(url: str) -> None:
    source = Source("a")
    task = asyncio.ensure_future(record(source, await create(url)))
    await eventually(lambda: source.given == 1, "the token is taken")
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed and await is_closed(url)
    assert await stored_text(url) == "a"


# Tokens at hand


async def test_tee_gives_the_tokens_on_and_stores_them(url: str) -> None:
    chunks = [{"text": token} for token in TOKENS]

    given = [chunk async for chunk in tee(Source(*chunks).end(), await create(url, JSON))]

    # The same objects, and when the loop ends everything is stored.
    assert all(one is other for one, other in zip(given, chunks, strict=True))
    assert await is_closed(url) and await stored_messages(url) == chunks


async def test_tee_gives_each_token_before_the_next_one_comes(url: str) -> None:
    source = Source()
    tokens = tee(source, await create(url))
    for number in range(5):
        source.give(str(number))
        assert await anext(tokens) == str(number)
    source.end()
    assert [token async for token in tokens] == []


async def test_tee_that_is_left_goes_on_storing(url: str) -> None:
    source = Source("a")
    tokens = tee(source, await create(url))
    assert await anext(tokens) == "a"
    await tokens.aclose()  # type: ignore[attr-defined]
    source.give("b").end()

    assert await stored_text(url) == "ab"
    assert not source.cancelled


async def test_tee_raises_the_failure_of_the_source_after_its_tokens(url: str) -> None:
    given = []
    with pytest.raises(RuntimeError):
        async for token in tee(Source("a", "b", RuntimeError()), await create(url)):
            given.append(token)

    assert given == ["a", "b"]


async def test_tee_ends_when_the_stream_is_closed_from_outside(url: str) -> None:
    source = Source("a")
    tokens = tee(source, await create(url))
    assert await anext(tokens) == "a"
    async with astream(url) as response:
        assert await anext(response.iter_text()) == "a"
    await AsyncDurableStream(url).close_stream()
    source.give("b")

    # It came, but too late to be stored.
    assert [token async for token in tokens] == ["b"]
    assert source.closed and await stored_text(url) == "a"


async def test_a_generation_can_be_looped_over_by_several_and_after_its_end(url: str) -> None:
    generation = Generation(Source("a", "b").end(), await create(url))
    one, other = aiter(generation), aiter(generation)

    assert [token async for token in one] == [token async for token in other] == ["a", "b"]
    assert [token async for token in generation] == []
