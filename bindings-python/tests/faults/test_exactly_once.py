"""Through a bad network nothing is lost, doubled or reordered, whoever writes and however it is read."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

import everstream
from everstream import (
    AsyncDurableStream,
    BufferFullError,
    Checkpoint,
    DurableStream,
    DurableStreamError,
    LiveMode,
    Retry,
    Timeout,
    astream,
)
from everstream.testing import Server
from support import JSON

from .proxy import Fault, FaultProxy

PATIENT = Retry(initial_delay=0.002, max_delay=0.05, max_retries=1000)
LIMITS = Timeout(read=0.4, stall=0.5)
"""More than the server's long-poll, which is short here."""

MODES: list[LiveMode] = [True, "long-poll", "sse"]
PAUSES = 5
"""How many times a reader is thrown away."""
MINUTE = 60.0

Write = Callable[[str, int], None]


@pytest.fixture(scope="module")
def small_steps() -> Iterator[Server]:
    """A server with short answers, so that much can happen between them."""
    with Server(long_poll_timeout=0.2, sse_lifetime=0.3, max_read_bytes=4096) as server:
        yield server


def write_with_producer(url: str, count: int) -> None:
    stream = DurableStream(url, retry=PATIENT, timeout=LIMITS)
    with stream.producer("writer", max_batch_items=100, linger_ms=1, max_buffered_bytes=4096) as producer:
        for number in range(count):
            producer.append(number)
    assert producer.pending_count == 0


def write_with_asyncio_producer(url: str, count: int) -> None:
    async def write() -> None:
        stream = AsyncDurableStream(url, retry=PATIENT, timeout=LIMITS)
        async with stream.producer("writer", max_batch_items=100, linger_ms=1, max_buffered_bytes=4096) as producer:
            deliveries = []
            for number in range(count):
                try:
                    deliveries.append(producer.append(number))
                except BufferFullError:
                    deliveries.append(await producer.send(number))
            await producer.flush()
        assert all(delivery.done() for delivery in deliveries)

    asyncio.run(write())


def write_with_idempotent_handle(url: str, count: int) -> None:
    stream = DurableStream(url, retry=PATIENT, timeout=LIMITS, idempotent=True)
    for number in range(count):
        stream.append(number)


def write_with_idempotent_asyncio_handle(url: str, count: int) -> None:
    async def write() -> None:
        stream = AsyncDurableStream(url, retry=PATIENT, timeout=LIMITS, idempotent=True)
        numbers = iter(range(count))
        # Those that are under way together share requests, in the order of the calls.
        while together := list(itertools.islice(numbers, 5)):
            await asyncio.gather(*(stream.append(number) for number in together))

    asyncio.run(write())


def read(url: str, live: LiveMode, pauses: list[int]) -> list[int]:
    """What a reader takes that is thrown away after so many messages, and followed by another one."""
    taken: list[int] = []
    checkpoint = Checkpoint()
    while True:
        with everstream.stream(url, live=live, checkpoint=checkpoint, retry=PATIENT, timeout=LIMITS) as response:
            for number in response.iter_json():
                taken.append(number)
                if pauses and len(taken) == pauses[0]:
                    pauses.pop(0)
                    break
            else:
                assert response.stream_closed
                return taken
            checkpoint = Checkpoint.from_json(response.checkpoint().to_json())


def read_with_asyncio(url: str, live: LiveMode, pauses: list[int]) -> list[int]:
    """As `read`."""

    async def read() -> list[int]:
        taken: list[int] = []
        checkpoint = Checkpoint()
        while True:
            async with astream(url, live=live, checkpoint=checkpoint, retry=PATIENT, timeout=LIMITS) as response:
                async for number in response.iter_json():
                    taken.append(number)
                    if pauses and len(taken) == pauses[0]:
                        pauses.pop(0)
                        break
                else:
                    assert response.stream_closed
                    return taken
                checkpoint = Checkpoint.from_json(response.checkpoint().to_json())

    return asyncio.run(read())


def follow(pool: ThreadPoolExecutor, url: str, count: int, seed: int) -> dict[Any, Future[list[int]]]:
    """A reader of each kind in each mode, each with pauses of its own."""
    places = random.Random(seed)
    return {
        (reader.__name__, live): pool.submit(reader, url, live, sorted(places.sample(range(1, count), PAUSES)))
        for reader in (read, read_with_asyncio)
        for live in MODES
    }


def faults_of(stored: list[int], count: int) -> dict[str, int]:
    """How many of the numbers are lost, doubled and out of order."""
    ascending = sum(1 for before, after in itertools.pairwise(stored) if before > after)
    return {"lost": count - len(set(stored)), "doubled": len(stored) - len(set(stored)), "reordered": ascending}


NONE = {"lost": 0, "doubled": 0, "reordered": 0}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("write", "count"),
    [
        (write_with_producer, 20_000),
        (write_with_asyncio_producer, 20_000),
        (write_with_idempotent_handle, 500),
        (write_with_idempotent_asyncio_handle, 500),
    ],
)
def test_every_message_is_stored_and_read_once_and_in_order(
    small_steps: Server, write: Write, count: int, seed: int
) -> None:
    url = small_steps.stream_url(f"faults-{uuid4()}")
    direct = DurableStream.create(url, content_type=JSON)
    with FaultProxy(small_steps.url, seed=seed) as proxy, ThreadPoolExecutor() as pool:
        readers = follow(pool, proxy.through(url), count, seed)
        try:
            write(proxy.through(url), count)
        finally:
            # Readers end with the stream, whatever became of the writer.
            direct.close_stream()
        taken = {name: reader.result(MINUTE) for name, reader in readers.items()}
    with direct.stream(live=False) as response:
        stored = response.read_json()
    assert faults_of(stored, count) == NONE
    assert stored == list(range(count))
    assert {name: faults_of(numbers, count) for name, numbers in taken.items()} == dict.fromkeys(taken, NONE)
    assert all(numbers == stored for numbers in taken.values())
    assert set(proxy.counts) == set(Fault), "not every fault happened"
    # An SSE answer that does not begin has a limit of its own, of 10 s.
    assert [request for request in proxy.waited_out if "live=sse" not in request] == [], "a time limit was not kept"


def test_plain_appends_do_not_survive_this_network(small_steps: Server) -> None:
    """What the others survive is bad enough to matter."""
    url = small_steps.stream_url(f"faults-{uuid4()}")
    direct = DurableStream.create(url, content_type=JSON)
    failed = 0
    with FaultProxy(small_steps.url, seed=3) as proxy:
        stream = DurableStream(proxy.through(url), retry=PATIENT, timeout=LIMITS)
        for number in range(200):
            try:
                stream.append(number)
            except DurableStreamError as error:
                assert error.outcome_unknown
                failed += 1
    with direct.stream(live=False) as response:
        faults = faults_of(response.read_json(), 200)
    assert failed > 0 and faults["doubled"] > 0 and faults["lost"] > 0
