"""Any event loop will do, and a handle belongs to none."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from everstream import AsyncClient, AsyncDurableStream, DurableStream, IdempotentProducer, Server, astream, stream

from . import children
from .children import LIMIT
from .scripted import Scripted, head

pytestmark = pytest.mark.skipif(sys.version_info < (3, 11), reason="written with asyncio.timeout, TaskGroup and Runner")


class Blind(asyncio.SelectorEventLoop):
    """A loop that watches no sockets for others, as the one of Windows."""

    def add_reader(self, fd: Any, callback: Callable[..., Any], *args: Any) -> None:
        raise NotImplementedError


LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop, "no add_reader": Blind}


def run(main: Any, make_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop) -> Any:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(asyncio.wait_for(main, LIMIT))


async def write_and_read(url: str, count: int = 100) -> None:
    """Uses every kind of call once: plain ones, a producer, functions of the caller's, a live read, a cancel."""
    asked = 0

    async def header() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return "value"

    handle = await AsyncDurableStream.create(url, content_type="application/json", headers={"x-asked": header})
    await handle.append_json(0)
    async with handle.producer("p", linger_ms=0) as producer:
        deliveries = [producer.append(number) for number in range(1, count)]
        assert not (await deliveries[-1]).duplicate
    got = []
    async with handle.stream() as response:
        items = response.iter_json()
        while len(got) < count:
            got.append(await anext(items))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(items), 0.02)
        await handle.close_stream(data=count)
        got.extend([item async for item in items])
    assert got == list(range(count + 1))
    assert asked > 0


@pytest.fixture(params=LOOPS)
def make_loop(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    return LOOPS[request.param]


def test_all_kinds_of_calls_work_on(
    make_loop: Callable[[], asyncio.AbstractEventLoop], durable_stream_url: str
) -> None:
    run(write_and_read(durable_stream_url), make_loop)


def test_a_server_starts_and_stops_on(make_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        async with Server() as server:
            await write_and_read(server.stream_url("a"))
        assert not server.running

    run(main(), make_loop)


def test_many_calls_at_once_on(make_loop: Callable[[], asyncio.AbstractEventLoop], durable_stream_url: str) -> None:
    async def main() -> None:
        handle = await AsyncDurableStream.create(durable_stream_url)
        heads = await asyncio.gather(*[handle.head() for _ in range(500)])
        assert all(head.exists for head in heads)

    run(main(), make_loop)


def test_one_loop_after_the_other_with_the_same_objects(
    make_loop: Callable[[], asyncio.AbstractEventLoop], durable_stream_url: str
) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    client = AsyncClient()
    handle = AsyncDurableStream(durable_stream_url, client=client)
    producer: IdempotentProducer | None = None

    async def turn(number: int) -> None:
        nonlocal producer
        await handle.append_json(number)
        if producer is None:
            producer = handle.producer("p")
        producer.append(number)
        await producer.flush()

    for number in range(5):
        run(turn(number), make_loop)
    assert producer is not None
    run(producer.close(), make_loop)
    assert stream(durable_stream_url, live=False).read_json() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_a_read_goes_on_in_another_loop(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/json", body=[1, 2])
    reader = AsyncDurableStream(durable_stream_url)

    async def begin() -> Any:
        response = await reader.stream(max_batch_bytes=1)
        items = response.iter_json()
        assert await anext(items) == 1
        return response, items

    async def go_on() -> None:
        assert await anext(items) == 2
        handle.append_json(3)
        assert await anext(items) == 3
        await response.aclose()

    # `asyncio.run` would end the iteration together with the loop.
    one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
    response, items = one.run_until_complete(begin())
    two.run_until_complete(asyncio.wait_for(go_on(), LIMIT))
    one.close()
    two.close()


def test_two_loops_in_two_threads_share_a_handle(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")
    asked: dict[str, set[int]] = {"one": set(), "two": set()}
    handle = AsyncDurableStream(durable_stream_url)
    failures: list[BaseException] = []

    def work(name: str) -> None:
        async def main() -> None:
            await asyncio.gather(*[handle.append_json([name, number]) for number in range(100)])
            asked[name].add(threading.get_ident())

        try:
            run(main())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert failures == []
    stored = stream(durable_stream_url, live=False).read_json()
    for name in asked:
        assert [number for who, number in stored if who == name] == list(range(100))


def test_a_producer_of_one_loop_is_fed_from_another_thread(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url, content_type="application/json")

    async def main() -> None:
        async with IdempotentProducer(durable_stream_url, "p") as producer:
            await asyncio.to_thread(lambda: [producer.append(number) for number in range(100)])

    run(main())
    assert stream(durable_stream_url, live=False).read_json() == list(range(100))


@pytest.mark.parametrize("call", ["head", "next", "flush", "delivery"])
def test_what_comes_in_for_a_closed_loop_is_dropped(call: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The loop is closed with a call under way; the answer comes later."""
    answered = threading.Event()

    def late(request: Any) -> Any:
        if request.method == "GET" and "live" not in request.query:
            yield head(stream_up_to_date="true")
            return
        answered.wait(LIMIT)
        yield head(stream_up_to_date="true")

    with Scripted(late) as server:
        loop = asyncio.SelectorEventLoop()
        kept: list[Any] = []

        async def begin() -> None:
            handle = AsyncDurableStream(server.url, content_type="text/plain")
            if call == "head":
                kept.append(handle._native.head(False))
            elif call == "next":
                response = await handle.stream(live="long-poll")
                kept.append(response)
                kept.append(response._native.next(False))
            else:
                producer = handle.producer("p")
                delivery = producer.append("a")
                kept.append(producer)
                kept.append(producer._native.flush(False) if call == "flush" else delivery.__await__())
            count = len(server.requests)
            while len(server.requests) == count and count < (2 if call == "next" else 1):
                await asyncio.sleep(0.001)

        loop.run_until_complete(begin())
        loop.close()
        answered.set()
        # The next loop in this thread hears of its own calls, and of nothing else.
        run(AsyncDurableStream(server.url).head())
        for thing in kept:
            if hasattr(thing, "_closed"):
                thing._closed = True
        kept.clear()
        gc.collect()
    assert capfd.readouterr().err == ""


def test_a_call_without_a_loop_says_so(durable_stream_url: str) -> None:
    coroutine = AsyncDurableStream(durable_stream_url).head()
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)


async def test_the_blocking_api_works_inside_a_running_loop(durable_stream_url: str) -> None:
    """It holds the loop up, as any blocking call does, but it neither hangs nor refuses."""
    handle = DurableStream.create(durable_stream_url, content_type="application/json", headers={"x-asked": lambda: "a"})
    with handle.producer("p") as producer:
        delivery = producer.append(1)
        assert not delivery.result(LIMIT).duplicate
    with handle.stream(live=False) as response:
        assert response.read_json() == [1]
    async with astream(durable_stream_url, live=False) as aresponse:
        assert await aresponse.read_json() == [1]


async def test_a_delivery_of_the_blocking_producer_can_be_awaited(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url)
    with handle.producer("p") as producer:
        deliveries = [producer.append(b"a") for _ in range(10)]
        results = await asyncio.gather(*deliveries)
    assert {result.duplicate for result in results} == {False}


def test_asyncio_debug_mode_has_nothing_to_complain_of(durable_stream_server: Server) -> None:
    url = durable_stream_server.stream_url("debug-mode")
    code = """
    import asyncio, sys
    from everstream import AsyncDurableStream
    async def main():
        handle = await AsyncDurableStream.create(sys.argv[1], content_type="application/json")
        async with handle.producer("p") as producer:
            producer.append(1)
        async with handle.stream() as response:
            items = response.iter_json()
            assert await anext(items) == 1
            try:
                await asyncio.wait_for(anext(items), 0.01)
            except TimeoutError:
                pass
    asyncio.run(main())
    """
    children.run_clean(code, url, options=("-X", "dev", "-W", "error"))


def test_eager_functions_of_a_later_loop_are_asked_in_that_loop(durable_stream_url: str) -> None:
    """A producer's batch of the first loop, whose header function could not run any more, does not hold up the next."""
    DurableStream.create(durable_stream_url, content_type="application/json")
    loops: list[asyncio.AbstractEventLoop] = []

    async def header() -> str:
        loops.append(asyncio.get_running_loop())
        return "value"

    handle = AsyncDurableStream(durable_stream_url, headers={"x-asked": header})

    async def turn() -> asyncio.AbstractEventLoop:
        await handle.append_json(1)
        return asyncio.get_running_loop()

    first, second = run(turn()), run(turn())
    assert first is not second
    assert set(loops) == {first, second}
    assert stream(durable_stream_url, live=False).read_json() == [1, 1]
