"""What holds a connection or messages, and was forgotten, warns. What holds nothing does not."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from everstream import (
    AsyncClient,
    AsyncDurableStream,
    Client,
    DurableStream,
    IdempotentProducer,
    Producer,
    Retry,
    Server,
    stream,
)


@pytest.fixture
def url(durable_stream_url: str) -> str:
    DurableStream.create(durable_stream_url, content_type="application/json", body=[1, 2])
    return durable_stream_url


@pytest.fixture
def collected() -> Iterator[list[warnings.WarningMessage]]:
    """Warnings of what a test dropped."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def texts(caught: list[warnings.WarningMessage]) -> list[str]:
    gc.collect()
    assert {warning.category for warning in caught} <= {ResourceWarning}
    said = [str(warning.message) for warning in caught]
    # They hold on to what they warn of.
    caught.clear()
    gc.collect()
    return said


def test_a_forgotten_response_warns(url: str, collected: list[warnings.WarningMessage]) -> None:
    stream(url)
    (text,) = texts(collected)
    assert text == f"unclosed <StreamResponse {url} at -1, open>"


def test_a_forgotten_iteration_does_not_warn_as_its_end_closes(
    url: str, collected: list[warnings.WarningMessage]
) -> None:
    for _ in stream(url).iter_json():
        break
    assert texts(collected) == []


async def test_a_forgotten_async_response_warns(url: str, collected: list[warnings.WarningMessage]) -> None:
    await AsyncDurableStream(url).stream()
    (text,) = texts(collected)
    assert text.startswith("unclosed <AsyncStreamResponse")


def test_a_forgotten_producer_warns_and_what_it_took_is_stored(
    url: str, collected: list[warnings.WarningMessage]
) -> None:
    delivery = Producer(url, "p").append(3)
    (text,) = texts(collected)
    assert text == f"unclosed <Producer 'p' of {url}>"
    assert not delivery.result(30).duplicate


async def test_a_forgotten_async_producer_warns(url: str, collected: list[warnings.WarningMessage]) -> None:
    IdempotentProducer(url, "p")
    (text,) = texts(collected)
    assert text == f"unclosed <IdempotentProducer 'p' of {url}>"


def test_a_forgotten_server_warns_and_stops(collected: list[warnings.WarningMessage]) -> None:
    server = Server()
    address = server.start()
    handle = DurableStream.create(server.stream_url("a"))
    del server
    (text,) = texts(collected)
    assert text == f"unstopped <Server {address}>"
    with pytest.raises(ConnectionError):
        DurableStream(handle.url, retry=Retry(max_retries=0)).head()


def test_the_warning_says_where_it_was_made_when_memory_is_traced(url: str) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            stream(url)
            gc.collect()
        assert [warning.source is not None for warning in caught] == [True]
    finally:
        tracemalloc.stop()


def test_what_was_closed_does_not_warn(url: str, collected: list[warnings.WarningMessage]) -> None:
    with stream(url) as response:
        next(response.iter_json())
    stream(url).close()
    stream(url, live=False).read_json()
    assert list(stream(url, live=False).iter_json()) == [1, 2]
    with Producer(url, "p") as producer:
        producer.append(3)
    Producer(url, "q").detach()
    with Server():
        pass
    Server()
    del response, producer
    assert texts(collected) == []


async def test_what_was_closed_in_asyncio_does_not_warn(url: str, collected: list[warnings.WarningMessage]) -> None:
    handle = AsyncDurableStream(url)
    async with handle.stream() as response:
        await anext(aiter(response.iter_json()))
    await (await handle.stream()).aclose()
    await (await handle.stream(live=False)).read_json()
    async with handle.producer("p") as producer:
        producer.append(3)
    async with Server():
        pass
    del response, producer
    assert texts(collected) == []


def test_a_producer_whose_stream_was_closed_by_it_does_not_warn(
    url: str, collected: list[warnings.WarningMessage]
) -> None:
    Producer(url, "p").close_stream()
    assert texts(collected) == []


def test_handles_and_clients_hold_nothing(url: str, collected: list[warnings.WarningMessage]) -> None:
    DurableStream(url).head()
    Client().handle(url).head()
    AsyncDurableStream(url)
    AsyncClient().stream(url)
    assert texts(collected) == []


def test_objects_whose_making_failed_do_not_warn(url: str, collected: list[warnings.WarningMessage]) -> None:
    for make in (
        lambda: Producer(url, "p", epoch=-1),
        lambda: Server(host="nowhere").start(),
        lambda: stream(url, live="sometimes"),  # type: ignore[arg-type]
        lambda: Client(proxy="no proxy"),
    ):
        with pytest.raises(ValueError):
            make()
    assert texts(collected) == []
