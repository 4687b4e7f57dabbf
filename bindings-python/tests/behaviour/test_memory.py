"""Memory does not grow with what has passed through."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import textwrap

import pytest

from everstream import AsyncDurableStream, DurableStream
from everstream._operation import Operation

from .children import LIMIT, run_clean

PRELUDE = """
import asyncio, gc, os, sys
from everstream import AsyncDurableStream, DurableStream, IdempotentProducer, stream
url = sys.argv[1]
handle = DurableStream(url, content_type="application/json")

def resident():
    '''Bytes of memory in use now.'''
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def grows_less_than(limit, work, rounds):
    '''What the first round leaves behind is not growth.'''
    work()
    before = resident()
    for _ in range(rounds):
        work()
    grown = resident() - before
    assert grown < limit, f"grew by {grown / 1e6:.1f} MB"

MB = 1_000_000
"""

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")


def measured(code: str, url: str) -> None:
    run_clean(PRELUDE + textwrap.dedent(code), url)


def test_a_hundred_thousand_messages_through_a_producer_and_a_read(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    with handle.producer("p") as producer, stream(url) as response:
        items = response.iter_json()
        def work():
            for number in range(10_000):
                producer.append([number, "x" * 20])
            producer.flush()
            for number in range(10_000):
                assert next(items)[0] == number
        grows_less_than(15 * MB, work, 10)
    """
    measured(code, durable_stream_url)


def test_a_hundred_thousand_messages_through_asyncio(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    async def main():
        reader = AsyncDurableStream(url)
        async with IdempotentProducer(url, "p") as producer, reader.stream() as response:
            items = aiter(response.iter_json())
            async def work():
                deliveries = [producer.append([number, "x" * 20]) for number in range(10_000)]
                await deliveries[-1]
                for number in range(10_000):
                    assert (await anext(items))[0] == number
            await work()
            before = resident()
            for _ in range(10):
                await work()
            grown = resident() - before
            assert grown < 15 * MB, f"grew by {grown / 1e6:.1f} MB"
    asyncio.run(main())
    """
    measured(code, durable_stream_url)


def test_single_calls(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    def work():
        for _ in range(300):
            handle.append_json(1)
            handle.head()
            stream(url, live=False, offset="now").close()
            DurableStream(url, headers={"x": lambda: "y"}).head()
    grows_less_than(8 * MB, work, 5)
    """
    measured(code, durable_stream_url)


def test_errors(durable_stream_url: str) -> None:
    code = """
    from everstream import StreamNotFoundError
    def work():
        for _ in range(500):
            try:
                handle.head()
            except StreamNotFoundError:
                pass
    grows_less_than(8 * MB, work, 5)
    """
    measured(code, durable_stream_url)


def test_event_loops_and_cancelled_calls(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    code = """
    async def main():
        reader = AsyncDurableStream(url)
        async with reader.stream() as response:
            items = aiter(response.iter_json())
            for _ in range(20):
                task = asyncio.ensure_future(anext(items))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
    def work():
        for _ in range(20):
            asyncio.run(main())
    grows_less_than(8 * MB, work, 5)
    held = len(os.listdir("/proc/self/fd"))
    work()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= held + 2
    """
    measured(code, durable_stream_url)


@pytest.mark.parametrize("live", [False, True])
def test_reading_128_mb_takes_a_few_chunks_of_4_mb(live: bool, durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/octet-stream")
    chunk = bytes(4_000_000)
    for _ in range(32):
        handle.append(chunk)
    handle.close_stream()
    # Three or four chunks are on their way; what the allocator keeps beside them varies: 27 to 39 MB
    # in all. One that kept what it has read would take 128.
    code = f"""
    handle.head()
    before = resident()
    most = total = 0
    for chunk in stream(url, live={live}):
        total += len(chunk)
        most = max(most, resident() - before)
    assert total == 128 * MB, total
    assert most < 64 * MB, f"grew by {{most / 1e6:.1f}} MB"
    """
    measured(code, durable_stream_url)


def test_a_reader_that_does_not_read_is_not_sent_everything(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/octet-stream")
    for _ in range(16):
        handle.append(bytes(4_000_000))
    code = """
    import time
    with stream(url) as response:
        next(iter(response))
        before = resident()
        # Long enough for a reader that reads ahead without bound.
        for _ in range(20):
            handle.head()
            time.sleep(0.01)
        grown = resident() - before
        assert grown < 20 * MB, f"grew by {grown / 1e6:.1f} MB"
    """
    measured(code, durable_stream_url)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="written with asyncio.timeout")
async def test_futures_that_were_cancelled_are_not_kept(durable_stream_url: str) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url)

    def kept() -> int:
        gc.collect()
        return sum(isinstance(it, Operation) for it in gc.get_objects())

    async with handle.stream() as response, asyncio.timeout(LIMIT):
        chunks = aiter(response)
        for _ in range(50):
            task = asyncio.ensure_future(anext(chunks))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        del task
        while kept() > 1:
            await asyncio.sleep(0.01)
