"""Threads share everything, and an idle read can stay idle for ever."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from everstream import (
    AsyncDurableStream,
    BufferFullError,
    Client,
    DurableStream,
    LiveMode,
    Retry,
    Server,
    StreamConsumedError,
    Timeout,
    stream,
)

from .children import LIMIT, eventually
from .scripted import HOLD, Scripted, answer

THREADS = 8
EACH = 2500


def together(works: list[Callable[[], Any]]) -> list[Any]:
    """Runs them in threads that begin at once; gives their results in order, raises the first failure."""
    begin = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)
    failures: list[BaseException] = []

    def run(place: int) -> None:
        try:
            begin.wait(LIMIT)
            results[place] = works[place]()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive()
    if failures:
        raise failures[0]
    return results


def assert_each_in_order(rows: list[list[int]], each: int = EACH) -> None:
    """All of every thread's messages are there once, in the order of that thread."""
    assert len(rows) == THREADS * each
    for who in range(THREADS):
        assert [number for thread, number in rows if thread == who] == list(range(each))


@pytest.fixture
def handle(durable_stream_url: str) -> DurableStream:
    return DurableStream.create(durable_stream_url, content_type="application/json")


def waiting(append: Callable[[Any], Any], item: list[int]) -> None:
    append(item)


def trying(append: Callable[[Any], Any], item: list[int]) -> None:
    while True:
        try:
            append(item)
            return
        except BufferFullError:
            threading.Event().wait(0.001)


@pytest.mark.parametrize(
    ("method", "patience", "options"),
    [
        ("append", waiting, {}),
        ("append", waiting, {"max_buffered_bytes": 2000, "max_batch_items": 50, "linger_ms": 0}),
        ("append_json", waiting, {"max_batch_bytes": 300, "max_in_flight": 2}),
        ("try_append", trying, {"max_buffered_bytes": 20_000}),
    ],
)
def test_threads_hammer_one_producer(
    handle: DurableStream, method: str, patience: Callable[..., None], options: dict[str, Any]
) -> None:
    with handle.producer("shared", **options) as producer:
        append = getattr(producer, method)

        def work(who: int) -> Callable[[], None]:
            return lambda: [patience(append, [who, number]) for number in range(EACH)] and None

        together([work(who) for who in range(THREADS)])
        assert producer.flush().messages == THREADS * EACH
    assert_each_in_order(handle.stream(live=False).read_json())


def test_threads_flush_and_wait_for_receipts_while_others_append(handle: DurableStream) -> None:
    with handle.producer("shared", linger_ms=1) as producer:

        def work(who: int) -> Callable[[], None]:
            def run() -> None:
                for number in range(200):
                    delivery = producer.append([who, number])
                    if number % 50 == who:
                        producer.flush()
                        assert delivery.done()
                    if number % 50 == 10 + who:
                        assert not delivery.result(LIMIT).duplicate

            return run

        together([work(who) for who in range(THREADS)])
    assert_each_in_order(handle.stream(live=False).read_json(), 200)


def test_threads_append_over_one_handle(handle: DurableStream) -> None:
    """Appends of one handle share requests; each thread's own order holds."""
    together([lambda who=who: [handle.append_json([who, number]) for number in range(100)] for who in range(THREADS)])
    assert_each_in_order(handle.stream(live=False).read_json(), 100)


def test_many_threads_read_one_stream(handle: DurableStream) -> None:
    def read() -> list[int]:
        return list(stream(handle.url).iter_json())

    def write() -> None:
        with handle.producer("writer") as producer:
            for number in range(2000):
                producer.append(number)
        handle.close_stream()

    *results, _ = together([read] * THREADS + [write])
    assert results == [list(range(2000))] * THREADS


def test_threads_that_want_the_same_response_get_it_once(handle: DurableStream) -> None:
    handle.append_json(1)

    def consume(response: Any) -> Any:
        try:
            return response.read_json()
        except StreamConsumedError as error:
            return type(error)

    for _ in range(20):
        with handle.stream(live=False) as response:
            results = together([lambda response=response: consume(response)] * 4)
        assert [result for result in results if result != StreamConsumedError] == [[1]]


def test_closing_a_read_wakes_the_thread_that_waits_in_it(handle: DurableStream) -> None:
    response = handle.stream()
    got: list[Any] = []

    def follow() -> None:
        for item in response.iter_json():
            got.append(item)
        got.append("the end")

    thread = threading.Thread(target=follow)
    thread.start()
    handle.append_json(1)
    eventually(lambda: got == [1], "the message")
    response.close()
    thread.join(LIMIT)
    assert got == [1, "the end"]


def test_clients_are_made_and_used_in_many_threads(handle: DurableStream) -> None:
    def work() -> None:
        for _ in range(20):
            with Client() as client:
                assert client.handle(handle.url).head().exists

    together([work] * THREADS)


def held_by_the_process() -> tuple[int, int]:
    """Open files and threads."""
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


IMPATIENT = Timeout(read=0.2, stall=0.05)
RETRY = Retry(initial_delay=0.0001, max_delay=0.001)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="written with asyncio.timeout")
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("live", ["long-poll", "sse"])
async def test_an_hour_of_idle_waiting_costs_nothing_and_ends_with_the_message(live: LiveMode) -> None:
    """As many rounds as an hour has: 120 long-polls of 30 s, or 60 connections of 60 s with keep-alives in between."""
    rounds = 0

    async def count() -> str:
        nonlocal rounds
        rounds += 1
        return "idle"

    async with Server(long_poll_timeout=0.005, sse_lifetime=0.02) as server:
        handle = await AsyncDurableStream.create(server.stream_url("idle"), content_type="application/json")
        idle = AsyncDurableStream(handle.url, timeout=IMPATIENT, retry=RETRY, headers={"x-count": count})
        async with idle.stream(live=live) as response, asyncio.timeout(LIMIT):
            message = asyncio.ensure_future(anext(response.iter_json()))

            async def pass_by(hour: int) -> None:
                while rounds < hour:
                    assert not message.done()
                    await asyncio.sleep(0.01)

            await pass_by(10)
            before, tasks = held_by_the_process(), len(asyncio.all_tasks())
            await pass_by(120 if live == "long-poll" else 60)
            after = held_by_the_process()
            # A connection may be on its way out while the next one is made, and threads of the pool come and go.
            assert after[0] <= before[0] + 4 and after[1] <= before[1] + 4
            assert abs(len(asyncio.all_tasks()) - tasks) <= 1
            await handle.append_json("at last")
            assert await message == "at last"


def test_thousands_of_rounds_that_give_nothing_are_no_failure() -> None:
    """Empty long-polls, refusals and answers that break off, and the message after all of them."""
    rounds = 0

    def script(request: Any) -> Any:
        nonlocal rounds
        if "live" not in request.query:
            yield answer(content_type="text/plain", stream_next_offset="0_0", stream_up_to_date="true")
            return
        rounds += 1
        if rounds > 2000:
            yield answer(body=b"at last", content_type="text/plain", stream_next_offset="0_7")
        elif rounds % 50 == 0:
            yield answer("503 Busy")
        elif rounds % 70 == 0:
            raise OSError("the connection ends")
        else:
            yield answer(
                "204 No Content", stream_next_offset="0_0", stream_up_to_date="true", stream_cursor=str(rounds)
            )

    with Scripted(script) as server:
        with stream(server.url, live="long-poll", timeout=IMPATIENT, retry=RETRY) as response:
            assert next(iter(response)) == b"at last"
    assert rounds > 2000


def test_a_live_read_outlives_connections_that_fall_silent() -> None:
    """Nothing comes, not even a keep-alive, and no end either: after `stall` seconds the request is made again."""
    rounds = 0

    def script(request: Any) -> Any:
        nonlocal rounds
        if "live" not in request.query:
            yield answer(content_type="text/plain", stream_next_offset="0_0", stream_up_to_date="true")
            return
        rounds += 1
        if rounds <= 20:
            yield HOLD
        yield answer(body=b"at last", content_type="text/plain", stream_next_offset="0_7")

    with Scripted(script) as server:
        with stream(server.url, live="long-poll", timeout=IMPATIENT, retry=RETRY) as response:
            assert next(iter(response)) == b"at last"
        server.wait_for_hangups(20)
