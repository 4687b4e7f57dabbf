"""`everstream.ai` with the real `openai` package, against a local server that speaks its HTTP format."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("openai", reason="pip install -r tests/requirements.txt")
pytest.importorskip("uvicorn", reason="pip install -r tests/requirements.txt")

import openai

from ai_servers import Model, WebServer
from ai_support import eventually
from everstream import AsyncDurableStream, astream
from everstream.ai import Generation, record, tee, text_of
from support import JSON, TEXT

TOKENS = ["Once", " upon", "\r\n", "\n\n", " a", "\r", " 😀", " time", "\u2028", "…", '"', "\\"] * 5

Ask = Callable[[], Awaitable[Any]]


@pytest.fixture
def model() -> Iterator[Model]:
    yield Model(TOKENS)


@pytest.fixture
async def client(model: Model) -> AsyncIterator[openai.AsyncOpenAI]:
    with WebServer(model) as url:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            yield client


@pytest.fixture(params=["chat", "responses"])
def ask(request: pytest.FixtureRequest, client: openai.AsyncOpenAI) -> Ask:
    """Makes the call to the model, not awaited."""
    if request.param == "chat":
        messages: Any = [{"role": "user", "content": "Tell me."}]
        return lambda: client.chat.completions.create(model="m", messages=messages, stream=True)
    return lambda: client.responses.create(model="m", input="Tell me.", stream=True)


async def messages(url: str) -> list[Any]:
    async with astream(url) as response:
        return [message async for message in response.iter_json()]


async def text(url: str) -> str:
    async with astream(url) as response:
        return "".join([piece async for piece in response.iter_text()])


async def test_a_text_stream_holds_the_text(ask: Ask, model: Model, url: str) -> None:
    stream = await AsyncDurableStream.create(url, content_type=TEXT)

    assert await record(ask(), stream) == "".join(TOKENS)

    assert await text(url) == "".join(TOKENS)
    await eventually(lambda: model.calls[0].finished, "the model has finished")


async def test_a_json_stream_holds_the_chunks_as_openai_sent_them(ask: Ask, url: str) -> None:
    stream = await AsyncDurableStream.create(url, content_type=JSON)

    given = [chunk async for chunk in tee(await ask(), stream)]

    stored = await messages(url)
    assert stored == [chunk.to_dict(mode="json") for chunk in given]
    assert "".join(map(text_of, stored)) == "".join(map(text_of, given)) == "".join(TOKENS)
    # Nothing but what was on the wire.
    assert stored[1].keys() <= {"id", "object", "created", "model", "choices", "type", "delta", "item_id"} | {
        "sequence_number", "logprobs", "output_index", "content_index"
    }  # fmt: skip


async def test_stop_hangs_up_on_the_model(ask: Ask, model: Model, url: str) -> None:
    model.hold_after = 7
    stream = await AsyncDurableStream.create(url, content_type=TEXT)
    generation = Generation(ask(), stream)
    await eventually(lambda: generation.text == "".join(TOKENS[:7]), "the tokens are there")

    await generation.stop()

    await eventually(lambda: model.calls[0].hung_up, "the model sees that the client has gone")
    assert model.calls[0].tokens == 7
    assert await text(url) == "".join(TOKENS[:7])


async def test_closing_the_stream_hangs_up_on_the_model(ask: Ask, model: Model, url: str) -> None:
    model.tokens = ["token "] * 100_000
    stream = await AsyncDurableStream.create(url, content_type=TEXT)
    generation = Generation(ask(), stream)
    async with astream(url) as response:
        pieces = response.iter_text()
        assert (await anext(pieces)).startswith("token ")

        await AsyncDurableStream(url).close_stream()

        stored = "".join([piece async for piece in pieces])
    assert len(stored) < 6 * 100_000
    await eventually(lambda: model.calls[0].hung_up, "the model sees that the client has gone")
    await generation
    assert generation.stopped and model.calls[0].tokens < 100_000


async def test_a_refusal_of_the_model_is_told_without_its_text(ask: Ask, model: Model, url: str) -> None:
    model.refuse = 429
    stream = await AsyncDurableStream.create(url, content_type=JSON)

    with pytest.raises(openai.RateLimitError, match="secret"):
        await record(ask(), stream)

    assert await messages(url) == [{"error": {"type": "RateLimitError"}}]


async def test_an_error_in_the_middle_is_told_after_what_came_before(ask: Ask, model: Model, url: str) -> None:
    model.fail_after = 4
    stream = await AsyncDurableStream.create(url, content_type=JSON)

    with pytest.raises(openai.APIError, match="secret"):
        await record(ask(), stream)

    *before, last = await messages(url)
    assert "".join(map(text_of, before)) == "".join(TOKENS[:4])
    assert last == {"error": {"type": "APIError"}}


async def test_a_connection_that_breaks_in_the_middle_is_told(ask: Ask, model: Model, url: str) -> None:
    model.break_after = 4
    stream = await AsyncDurableStream.create(url, content_type=JSON)

    with pytest.raises(Exception) as caught:
        await record(ask(), stream)

    *before, last = await messages(url)
    assert "".join(map(text_of, before)) == "".join(TOKENS[:4])
    assert last == {"error": {"type": type(caught.value).__name__}}


def test_the_blocking_client_is_refused_with_a_hint(url: str) -> None:
    with WebServer(Model(TOKENS)) as server, openai.OpenAI(base_url=f"{server}/v1", api_key="none") as client:
        with client.responses.create(model="m", input="Tell me.", stream=True) as answer:
            with pytest.raises(TypeError, match="async iterable"):
                Generation(answer, url)  # type: ignore[arg-type]
