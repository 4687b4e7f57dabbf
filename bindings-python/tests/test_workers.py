"""Workers of pull-wake subscriptions and their leases, against a real server."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from everstream import (
    AsyncClient,
    AsyncDurableStream,
    AsyncSubscriptions,
    Client,
    DurableStream,
    InvalidArgumentError,
    InvalidOffsetError,
    Lease,
    Subscriptions,
)
from everstream.errors import AlreadyClosedError
from faces import Face
from subscribing import acked, fill
from support import JSON


@pytest.fixture
def pull_wake(subscriptions: Any, root: str, name: str) -> str:
    """A pull-wake subscription to the streams of a folder."""
    DurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    assert subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes").created
    return name


@pytest.fixture
def worker(subscriptions: Any, pull_wake: str) -> Iterator[Any]:
    worker = subscriptions.worker(pull_wake, "one")
    yield worker
    worker.close()


def test_c_hook_5_a_worker_takes_reads_acks_and_finishes(
    subscriptions: Any, worker: Any, root: str, name: str
) -> None:
    fill(root, f"{name}/a", 1, 2)
    tail = fill(root, f"{name}/b", "x")
    lease = worker.next()
    assert (lease.subscription_id, lease.generation, lease.is_lost, lease.is_over) == (name, 1, False, False)
    offsets = {}
    read = {}
    for stream in lease.pending:
        with lease.read(stream) as response:
            assert response.url == f"{root}/{stream.path}"
            read[stream.path] = response.read_json()
        offsets[stream.path] = response.offset
    assert f"{name}/a" in read
    lease.ack(offsets)
    assert lease.finish() is (f"{name}/b" not in read)
    while f"{name}/b" not in read:
        lease = worker.next()
        with lease.read(f"{name}/b") as response:
            read[f"{name}/b"] = response.read_json()
        offsets[f"{name}/b"] = response.offset
        lease.finish({f"{name}/b": response.offset})
    assert read[f"{name}/b"] == ["x"]
    assert acked(subscriptions, name)[f"{name}/b"] == tail
    assert subscriptions.claim(name, "two") is None, "there is nothing more to do"


def test_c_hook_3_a_reader_that_stops_in_the_middle_acks_nothing_that_it_did_not_give(
    subscriptions: Any, worker: Any, root: str, name: str
) -> None:
    handle = DurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1, 2, 3])
    lease = worker.next()
    (stream,) = lease.pending
    response = lease.read(stream)
    assert next(iter(response.iter_json())) == 1
    offset = response.offset
    response.close()
    assert offset == "-1"
    lease.ack({stream.path: offset})
    assert lease.finish({stream.path: offset}) is True, "all of it is still to do"
    assert acked(subscriptions, name) == {stream.path: "-1"}
    lease = worker.next()
    with lease.read(stream.path) as response:
        assert response.read_json() == [1, 2, 3]
    lease.finish({stream.path: response.offset})
    assert response.offset == handle.head().offset


def test_an_ack_beyond_the_tail_is_refused_and_the_work_goes_on(worker: Any, root: str, name: str) -> None:
    fill(root, f"{name}/a", 1)
    lease = worker.next()
    with pytest.raises(InvalidOffsetError):
        lease.ack({f"{name}/a": "9999999999999999_9999999999999999"})
    with pytest.raises(InvalidArgumentError, match="now"):
        lease.ack({f"{name}/a": "now"})
    with pytest.raises(InvalidArgumentError, match="none of the streams"):
        lease.read("another")
    assert not lease.is_lost
    lease.release()


def test_what_is_over_is_over(worker: Any, root: str, name: str) -> None:
    fill(root, f"{name}/a", 1)
    lease = worker.next()
    lease.finish()
    assert lease.is_over
    for call in (lambda: lease.ack({}), lease.finish):
        with pytest.raises(AlreadyClosedError):
            call()
    lease.release()


def test_a_block_finishes_its_lease_and_gives_it_back_when_it_raises(
    subscriptions: Any, worker: Any, root: str, name: str
) -> None:
    fill(root, f"{name}/a", 1)
    lease = worker.next()
    with pytest.raises(ZeroDivisionError), lease:
        1 / 0  # noqa: B018
    assert lease.is_over
    # At once, and not when the lease would have ended.
    other = subscriptions.claim(name, "two")
    assert other.generation == lease.generation + 1
    (stream,) = other.pending
    with other:
        with other.read(stream) as response:
            response.read_json()
        other.ack({stream.path: response.offset})
    assert other.is_over
    assert subscriptions.claim(name, "two") is None


def test_the_next_work_gives_the_one_before_back(worker: Any, root: str, name: str) -> None:
    fill(root, f"{name}/a", 1)
    first = worker.next()
    second = worker.next()
    assert first.is_over
    assert second.generation == first.generation + 1
    second.release()


def test_a_worker_waits_for_work_and_close_ends_it(subscriptions: Any, worker: Any, root: str, name: str) -> None:
    timer = threading.Timer(0.05, fill, (root, f"{name}/a", 1))
    timer.start()
    worker.next().finish()
    timer.join()
    worker.close()
    assert worker.closed
    assert worker.next() is None
    worker.close()


def test_what_belongs_to_a_process_is_not_pickled(subscriptions: Any, worker: Any, root: str, name: str) -> None:
    fill(root, f"{name}/a", 1)
    lease = worker.next()
    for thing in (worker, lease):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(getattr(thing, "raw", thing))
    lease.release()
    for thing in (subscriptions, subscriptions.webhook_verifier(name, tolerance=5)):
        thing = getattr(thing, "raw", thing)
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)


def test_headers_are_asked_for_each_request(face: Face, proxy: Any, root: str, name: str) -> None:
    front = proxy()
    count = iter(range(100))
    client = face.client(headers={"x-request": face.hook(lambda: str(next(count)))})
    subscriptions = client.subscriptions(front.through(root), params={"tenant": "a"})
    subscriptions.create(name, pattern=f"{name}/*", webhook="https://example.com/")
    subscriptions.get(name)
    assert [request.headers["x-request"] for request in front.requests] == ["0", "1"]
    assert all(request.query == {"tenant": "a"} for request in front.requests)


# What only one of the faces has.


def test_work_is_iterated_over(root: str, name: str) -> None:
    subscriptions = Client().subscriptions(root)
    DurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes")
    seen: list[Any] = []
    with subscriptions.worker(name, "one") as worker:
        fill(root, f"{name}/a", 1)
        for lease in worker:
            with lease:
                for stream in lease.pending:
                    with lease.read(stream) as response:
                        seen.extend(response.iter_json())
                    lease.ack({stream.path: response.offset})
            if len(seen) == 1:
                fill(root, f"{name}/b", 2)
            if len(seen) == 2:
                # As a handler of a signal would.
                worker.close()
    assert seen == [1, 2]


def test_another_thread_ends_the_wait(root: str, name: str) -> None:
    subscriptions = Subscriptions(root)
    DurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes")
    worker = subscriptions.worker(name, "one")
    given: list[Lease | None] = []
    waiting = threading.Thread(target=lambda: given.append(worker.next()))
    waiting.start()
    worker.close()
    waiting.join(20)
    assert given == [None]


async def test_work_is_iterated_over_with_asyncio(root: str, name: str) -> None:
    subscriptions = AsyncClient().subscriptions(root)
    await AsyncDurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    await subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes")
    seen: list[Any] = []
    async with await subscriptions.worker(name, "one") as worker:
        await AsyncDurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1, 2])
        async for lease in worker:
            async with lease:
                for stream in lease.pending:
                    async with lease.read(stream) as response:
                        async for message in response.iter_json():
                            seen.append(message)
                    await lease.ack({stream.path: response.offset})
            await worker.aclose()
    assert seen == [1, 2]


async def test_a_cancelled_wait_loses_no_work(root: str, name: str) -> None:
    subscriptions = AsyncSubscriptions(root)
    await AsyncDurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    await subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes", lease=1)
    async with await subscriptions.worker(name, "one") as worker:
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(anext(worker), 0.02)
        await AsyncDurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1])
        lease = await asyncio.wait_for(anext(worker), 20)
        assert lease.generation == 1
        await lease.release()
        # Cancelled at any moment of a claim, also after its answer: the work comes, from here or anew.
        for moment in range(5):
            waiting = asyncio.ensure_future(worker.next())
            for _ in range(moment * 20):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            lease = (None if waiting.cancelled() else waiting.result()) or await asyncio.wait_for(anext(worker), 20)
            await lease.release()


async def test_a_task_that_is_cancelled_gives_its_work_back(root: str, name: str) -> None:
    subscriptions = AsyncSubscriptions(root)
    await AsyncDurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    await subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes")
    await AsyncDurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1])
    begun = asyncio.Event()

    async def work() -> None:
        lease = await subscriptions.claim(name, "one")
        assert lease is not None
        async with lease:
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    while (lease := await subscriptions.claim(name, "two")) is None:
        await asyncio.sleep(0.005)
    assert lease.generation == 2
    await lease.release()


async def test_the_end_of_a_lease_can_be_waited_for(root: str, name: str) -> None:
    subscriptions = AsyncSubscriptions(root)
    await AsyncDurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    await subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes", lease=1)
    await AsyncDurableStream.create(f"{root}/{name}/a", content_type=JSON, body=[1])
    lease = await subscriptions.claim(name, "one")
    assert lease is not None
    ended = asyncio.ensure_future(lease.ended())
    await lease.finish()
    assert await asyncio.wait_for(ended, 20) is False
    lease = await subscriptions.claim(name, "one")
    assert lease is not None
    await subscriptions.delete(name)
    assert await asyncio.wait_for(lease.ended(), 20) is True
    assert lease.is_lost


def test_workers_that_nobody_closes_are_warned_of(root: str, name: str) -> None:
    subscriptions = Subscriptions(root)
    DurableStream.create(f"{root}/{name}-wakes", content_type=JSON)
    subscriptions.create(name, pattern=f"{name}/*", wake_stream=f"{name}-wakes")
    worker = subscriptions.worker(name, "one")
    with pytest.warns(ResourceWarning, match="unclosed <Worker 'one'"):
        del worker
