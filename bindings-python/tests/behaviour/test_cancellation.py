"""A cancelled task ends at once with CancelledError, its request is aborted, and what it used goes on to be usable."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from collections.abc import Awaitable, Callable, Iterable

import pytest

from everstream import (
    AsyncClient,
    AsyncDurableStream,
    BufferFullError,
    DurableStream,
    IdempotentProducer,
    StreamClosedError,
    StreamNotFoundError,
    astream,
)
from everstream.testing import Server

from .children import LIMIT, eventually
from .scripted import HOLD, Piece, Request, Scripted, answer, head

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="written with asyncio.timeout, TaskGroup and Runner")

Call = Callable[[AsyncDurableStream], Awaitable[object]]

REQUESTS: dict[str, Call] = {
    "append": lambda handle: handle.append("a"),
    "append_stream": lambda handle: handle.append_stream(["a", "b"]),
    "close_stream": lambda handle: handle.close_stream(),
    "create": lambda handle: handle.create_stream(),
    "delete": lambda handle: handle.delete(),
    "head": lambda handle: handle.head(),
    "list": lambda handle: AsyncClient().list(handle.url),
    "open": lambda handle: _open(handle),
}


async def _open(handle: AsyncDurableStream) -> object:
    return await handle.stream()


async def cancel(task: asyncio.Future[object]) -> None:
    # A task that never ran has nothing to abort.
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, LIMIT)


async def reaches(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("name", REQUESTS)
async def test_waiting_for_the_head_of_an_answer(name: str) -> None:
    with Scripted() as server:
        handle = AsyncDurableStream(server.url, content_type="text/plain")
        task = asyncio.ensure_future(REQUESTS[name](handle))
        await reaches(lambda: server.requests)
        await cancel(task)
        await reaches(lambda: server.hangups == 1)


@pytest.mark.parametrize("name", REQUESTS)
async def test_connecting(name: str) -> None:
    # The listener's queue is full and nobody accepts: further connections are never made.
    with socket.socket() as listener, socket.socket() as filler:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler.connect(listener.getsockname())
        port = listener.getsockname()[1]
        handle = AsyncDurableStream(f"http://127.0.0.1:{port}/v1/stream/a", content_type="text/plain")
        task = asyncio.ensure_future(REQUESTS[name](handle))
        done, _ = await asyncio.wait([task], timeout=0.05)
        assert not done
        await cancel(task)


async def test_a_timeout_is_a_timeout_and_aborts_the_request() -> None:
    with Scripted() as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await AsyncDurableStream(server.url).head()
        await reaches(lambda: server.hangups == len(server.requests))


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_handle_is_usable_after_every_kind_of_cancelled_call(durable_stream_server: Server, name: str) -> None:
    path = f"/v1/stream/usable-after-{name}"
    handle = await AsyncDurableStream.create(durable_stream_server.url + path, content_type="text/plain")
    durable_stream_server.inject_fault(path, delay_ms=60_000, count=1)
    await cancel(asyncio.ensure_future(REQUESTS[name](handle)))
    durable_stream_server.clear_faults()
    # What was on its way when it was given up may arrive after that, and be done.
    done = {"close_stream": StreamClosedError, "delete": StreamNotFoundError}.get(name, ())
    try:
        await handle.append("a")
        async with handle.stream(live=False) as response:
            assert b"a" in await response.read_bytes()
    except done:
        pass


@pytest.mark.parametrize("live", [False, "long-poll", "sse"])
async def test_in_the_middle_of_a_body(live: bool | str) -> None:
    """The request is aborted, and made again for the next wait, from the same place."""
    kind = "text/event-stream" if live == "sse" else "text/plain"
    begun = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\nstream-next-offset: 0_4\r\n\r\n"
    with Scripted(lambda request: [begun.encode(), HOLD]) as server:
        async with astream(server.url, live=live) as response:
            chunks = aiter(response)
            async with asyncio.timeout(LIMIT):
                while server.hangups < 3:
                    task = asyncio.ensure_future(anext(chunks))
                    await asyncio.wait([task], timeout=0.02)
                    await cancel(task)
    assert len({(request.path, request.query) for request in server.requests}) == 1


@pytest.mark.parametrize("live", ["long-poll", "sse", True])
async def test_waiting_at_the_tail(live: bool | str, durable_stream_url: str) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url, content_type="text/plain")
    async with handle.stream(live=live) as response:
        chunks = aiter(response)
        for text in (b"a", b"b", b"c"):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(chunks), 0.02)
            await handle.append(text)
            assert await asyncio.wait_for(anext(chunks), LIMIT) == text


@pytest.mark.parametrize("live", ["long-poll", "sse"])
@pytest.mark.parametrize("how", ["iter_json", "iter_text", "iter_events", "iter_json_batches"])
async def test_cancelled_at_any_moment_an_iteration_loses_and_repeats_nothing(
    live: str, how: str, durable_stream_url: str
) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url, content_type="application/json")
    chance = random.Random(f"{live} {how}")
    got: list[int] = []
    cancels = 0

    async def write() -> None:
        async with handle.producer("writer", linger_ms=0, max_batch_items=1) as producer:
            for number in range(500):
                producer.append(number)
                if number % 10 == 0:
                    await asyncio.sleep(chance.uniform(0, 0.01))
        await handle.close_stream()

    def take(item: object) -> None:
        match how:
            case "iter_json":
                got.append(item)  # type: ignore[arg-type]
            case "iter_text":
                import json

                got.extend(json.loads(item))  # type: ignore[arg-type]
            case "iter_json_batches":
                got.extend(item)  # type: ignore[call-overload]
            case _:
                got.extend(item.data or ())  # type: ignore[attr-defined]

    writing = asyncio.create_task(write())
    async with handle.stream(live=live) as response:
        items = aiter(getattr(response, how)())
        while True:
            waiting = asyncio.ensure_future(anext(items))
            if chance.random() < 0.5:
                await asyncio.sleep(chance.choice([0, 0, 0.0001, 0.0005, 0.002]))
                waiting.cancel()
            done, _ = await asyncio.wait([waiting], timeout=LIMIT / 2)
            assert done, f"nothing comes after {len(got)} messages"
            try:
                take(waiting.result())
            except asyncio.CancelledError:
                cancels += 1
            except StopAsyncIteration:
                break
    await writing
    assert got == list(range(500))
    assert cancels > 0


@pytest.mark.parametrize("moment", ["before the loop hears of it", "before the task goes on"])
async def test_a_batch_that_comes_in_together_with_the_cancel_is_kept(moment: str, durable_stream_url: str) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url, content_type="application/json")
    blocking = DurableStream(durable_stream_url, content_type="application/json")
    cancels = 0
    async with handle.stream(live="long-poll") as response, asyncio.timeout(LIMIT):
        items = aiter(response.iter_json())
        got: list[int] = []
        for number in range(100):
            waiting = asyncio.ensure_future(anext(items))
            await asyncio.sleep(0)
            if moment == "before the task goes on":
                operation = waiting._fut_waiter  # type: ignore[attr-defined]
                settle = operation.set_result
                operation.set_result = lambda value, settle=settle, task=waiting: (settle(value), task.cancel())
                await handle.append_json(number)
            else:
                # The loop hears of nothing while these block it.
                tail = blocking.append_json(number).offset
                eventually(lambda tail=tail: response.headers["stream-next-offset"] == tail, "the batch")
                blocking.head()
                waiting.cancel()
            try:
                got.append(await waiting)
            except asyncio.CancelledError:
                cancels += 1
                got.append(await anext(items))
    assert got == list(range(100))
    assert cancels == 100


async def test_waiting_in_a_store_does_not_end_the_iteration(durable_stream_url: str) -> None:
    class SlowStore:
        saved: object = None

        def load(self) -> None:
            return None

        async def save(self, checkpoint: object) -> None:
            await asyncio.sleep(0.2 if self.saved is None else 0)
            self.saved = checkpoint

    store = SlowStore()
    handle = await AsyncDurableStream.create(durable_stream_url, content_type="application/json", body=[1])
    async with handle.stream(live="long-poll", store=store) as response:  # type: ignore[arg-type]
        items = aiter(response.iter_json())
        assert await anext(items) == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.05)
        await handle.append_json(2)
        assert await asyncio.wait_for(anext(items), LIMIT) == 2


@pytest.mark.parametrize("wait", ["flush", "close", "close_stream", "restart", "delivery"])
async def test_messages_stay_on_their_way_when_a_wait_for_them_is_cancelled(
    wait: str, durable_stream_server: Server
) -> None:
    name = f"stay-{wait}"
    url = durable_stream_server.stream_url(name)
    handle = await AsyncDurableStream.create(url, content_type="text/plain")
    durable_stream_server.inject_fault(f"/v1/stream/{name}", delay_ms=300, count=1, method="POST")
    producer = handle.producer("p")
    delivery = producer.append("stored")

    async def settled() -> object:
        return await delivery

    waiting = asyncio.ensure_future(settled() if wait == "delivery" else getattr(producer, wait)())
    await reaches(lambda: producer.in_flight_count == 1)
    await cancel(waiting)
    assert (await asyncio.wait_for(delivery, LIMIT)).offset is not None
    if wait == "close_stream":
        await producer.close_stream()
    else:
        await producer.close()
    async with handle.stream(live=False) as response:
        assert await response.read_text() == "stored"


async def test_a_send_that_is_cancelled_while_it_waits_takes_nothing() -> None:
    with Scripted() as server:
        producer = IdempotentProducer(server.url, "p", content_type="text/plain", max_buffered_bytes=4)
        first = producer.append("full")
        with pytest.raises(BufferFullError):
            producer.append("more")
        for _ in range(20):
            task = asyncio.ensure_future(producer.send("more"))
            await asyncio.sleep(0.001)
            await cancel(task)
        assert (producer.pending_count, producer.buffered_bytes) == (1, 4)
        assert not first.done()
        # Nobody is going to answer: it is given up.
        producer._closed = True


@pytest.mark.parametrize("where", ["in the block", "at its end"])
async def test_a_cancelled_producer_block_waits_for_nothing_and_loses_nothing(where: str) -> None:
    held = True
    stored: list[bytes] = []

    def script(request: Request) -> Iterable[Piece]:
        if held:
            return [HOLD]
        stored.append(request.body)
        return [answer("204 No Content", stream_next_offset="0_1", producer_epoch="0", producer_seq="0")]

    with Scripted(script) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                async with IdempotentProducer(server.url, "p", content_type="text/plain") as producer:
                    delivery = producer.append("a")
                    if where == "in the block":
                        await asyncio.Event().wait()
        assert producer.closed
        held = False
        server.hang_up()
        await asyncio.wait_for(delivery, LIMIT)
        assert stored == [b"a"]


async def test_a_header_coroutine_sees_the_cancel_or_ends_by_itself() -> None:
    begun = asyncio.Event()
    ended = asyncio.Event()
    release = asyncio.Event()

    async def token() -> str:
        begun.set()
        try:
            await release.wait()
        finally:
            ended.set()
        return "secret"

    with Scripted(lambda request: [head()]) as server:
        handle = AsyncDurableStream(server.url, headers={"authorization": token})
        task = asyncio.ensure_future(handle.head())
        await asyncio.wait_for(begun.wait(), LIMIT)
        await cancel(task)
        assert server.requests == []
        release.set()
        await asyncio.wait_for(ended.wait(), LIMIT)
        assert (await asyncio.wait_for(handle.head(), LIMIT)).content_type == "text/plain"
        assert [request.headers["authorization"] for request in server.requests] == ["secret"]


async def test_a_task_group_ends_its_reads_with_the_first_failure(durable_stream_url: str) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url)
    waiting = 0

    async def follow() -> None:
        nonlocal waiting
        async with handle.stream() as response:
            waiting += 1
            async for _ in response:
                pass

    async def fail() -> None:
        await reaches(lambda: waiting == 5)
        raise KeyError("enough")

    with pytest.RaisesGroup(KeyError):
        async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(follow())
            group.create_task(fail())


async def test_cancelling_one_append_of_many_does_not_harm_the_others(durable_stream_url: str) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url, content_type="application/json")
    tasks = [asyncio.create_task(handle.append_json(number)) for number in range(200)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [result for result in results[1::2] if isinstance(result, BaseException)] == []
    async with handle.stream(live=False) as response:
        stored = await response.read_json()
    assert [number for number in stored if number % 2] == list(range(1, 200, 2))
    assert stored == sorted(set(stored))
