"""Webhooks that are verified, workers and their leases, against a real server and real deliveries."""

from __future__ import annotations

import asyncio
import json
import pickle
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from everstream import (
    AsyncClient,
    AsyncDurableStream,
    AsyncSubscriptions,
    BadRequestError,
    Client,
    DurableStream,
    InvalidArgumentError,
    InvalidOffsetError,
    InvalidSignatureError,
    Lease,
    LeaseLostError,
    StreamExistsError,
    StreamNotFoundError,
    Subscriptions,
)
from everstream.errors import AlreadyClosedError
from everstream.testing import Server
from faces import Face
from receiver import Receiver
from support import JSON, QUICK, until


@pytest.fixture
def name(url: str) -> str:
    """A name of this test's own: of the subscription, and the folder of its streams."""
    return url.rpartition("/")[2]


@pytest.fixture
def root(server: Server) -> str:
    return server.stream_url("").rstrip("/")


@pytest.fixture
def subscriptions(face: Face, root: str) -> Any:
    return face.client(retry=QUICK).subscriptions(root)


def fill(root: str, path: str, *messages: Any) -> str:
    """Appends to a stream, which it creates at need; gives the tail."""
    handle = DurableStream(f"{root}/{path}", content_type=JSON)
    handle.create_stream()
    tail = None
    for message in messages:
        tail = handle.append_json(message).offset
    assert tail is not None
    return tail


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


def acked(subscriptions: Any, name: str) -> dict[str, str]:
    return {stream.path: stream.acked_offset for stream in subscriptions.get(name).streams}


# The control API.


def test_a_subscription_is_created_shown_and_removed(subscriptions: Any, root: str, name: str) -> None:
    made = subscriptions.create(name, streams=[f"{name}/a"], webhook="https://example.com/", lease=1.5, description="d")
    assert (made.created, made.type, made.webhook, made.wake_stream) == (True, "webhook", "https://example.com/", None)
    assert (made.lease, made.status, made.description, made.pattern) == (1.5, "active", "d", None)
    assert [(stream.path, stream.link_type) for stream in made.streams] == [(f"{name}/a", "explicit")]
    again = subscriptions.create(name, streams=[f"{name}/a"], webhook="https://example.com/", lease=1.5, description="d")
    assert again.created is False
    with pytest.raises(StreamExistsError):
        subscriptions.create(name, streams=[f"{name}/b"], webhook="https://example.com/")
    subscriptions.add_streams(name, [f"{name}/b", f"{name}/c"])
    subscriptions.remove_stream(name, f"{name}/a")
    assert sorted(acked(subscriptions, name)) == [f"{name}/b", f"{name}/c"]
    assert name in [it.id for it in subscriptions.list()]
    assert subscriptions.get(name).created is None
    subscriptions.delete(name)
    subscriptions.delete(name)
    with pytest.raises(StreamNotFoundError):
        subscriptions.get(name)


@pytest.mark.parametrize(
    "options",
    [
        {"wake_stream": "wakes"},
        {"pattern": "a/*"},
        {"pattern": "a/*", "wake_stream": "wakes", "webhook": "https://example.com/"},
        {"pattern": "a/*", "wake_stream": "wakes", "lease": 0},
        {"pattern": "a/*", "wake_stream": "wakes", "lease": 601},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_it_is_sent(subscriptions: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        subscriptions.create("never", **options)
    assert caught.value.status is None


def test_one_path_is_not_taken_for_many(subscriptions: Any) -> None:
    with pytest.raises(TypeError, match="several paths"):
        subscriptions.create("never", streams="abc", wake_stream="wakes")


def test_a_webhook_has_no_workers(subscriptions: Any, name: str) -> None:
    subscriptions.create(name, pattern=f"{name}/*", webhook="https://example.com/")
    with pytest.raises(InvalidArgumentError, match="webhook"):
        subscriptions.worker(name, "one")
    with pytest.raises(BadRequestError):
        subscriptions.claim(name, "one")
    with pytest.raises(StreamNotFoundError):
        subscriptions.worker("not-there", "one")


# Webhooks.


def delivered(subscriptions: Any, root: str, name: str, receiver: Receiver, *messages: Any) -> tuple[str, bytes]:
    subscriptions.create(name, pattern=f"{name}/*", webhook=receiver.url)
    fill(root, f"{name}/a", *messages)
    return receiver.next()


def test_c_hook_1_what_the_server_signed_is_taken_and_nothing_else(subscriptions: Any, root: str, name: str) -> None:
    with Receiver() as receiver:
        signature, body = delivered(subscriptions, root, name, receiver, 1)
        verifier = subscriptions.webhook_verifier(name)
        wake = verifier.verify(signature, body)
        assert (wake.subscription_id, wake.generation) == (name, 1)
        (stream,) = wake.pending
        assert (stream.path, stream.link_type, stream.acked_offset) == (f"{name}/a", "glob", "-1")
        assert wake.callback_token == json.loads(body)["callback_token"]
        assert wake.callback_token not in repr(wake)
        assert wake.body == body.decode()
        assert pickle.loads(pickle.dumps(wake)) == wake
        other_time = signature.replace("t=", "t=1", 1)
        for bad_signature, bad_body in [
            (signature, body + b" "),
            (signature, body.replace(b'"generation":1', b'"generation":2')),
            (other_time, body),
            (signature.replace("kid=", "kid=x", 1), body),
            (None, body),
            ("", body),
        ]:
            with pytest.raises(InvalidSignatureError):
                verifier.verify(bad_signature, bad_body)
        with pytest.raises(InvalidSignatureError, match=name):
            subscriptions.webhook_verifier("another").verify(signature, body)
        # Any age is more than none.
        with pytest.raises(InvalidSignatureError, match="too old"):
            subscriptions.webhook_verifier(tolerance=0).verify(signature, body)


def test_c_hook_1_a_new_key_is_fetched(face: Face, proxy: Any, root: str, name: str) -> None:
    front = proxy()
    subscriptions = face.client().subscriptions(front.through(root))
    direct = face.client().subscriptions(root)
    with Receiver() as receiver:
        signature, body = delivered(direct, root, name, receiver, 1)
        verifier = subscriptions.webhook_verifier()
        before = verifier.verify(signature, body)
        verifier.verify(signature, body)
        assert front.count("GET") == 1
        kid = direct.rotate_key()
        fill(root, f"{name}/a", 2)
        signature, body = receiver.next()
        assert f"kid={kid}," in signature
        assert verifier.verify(signature, body).generation > before.generation
        assert front.count("GET") == 2


def test_keys_that_cannot_be_fetched_are_no_bad_signature(face: Face, proxy: Any, root: str, name: str) -> None:
    from scripted import Answer

    front = proxy(lambda request: Answer(404))
    direct = face.client().subscriptions(root)
    with Receiver() as receiver:
        signature, body = delivered(direct, root, name, receiver, 1)
        with pytest.raises(StreamNotFoundError):
            face.client().subscriptions(front.through(root)).webhook_verifier().verify(signature, body)


def test_c_hook_2_the_work_of_a_webhook_goes_on_after_its_answer(subscriptions: Any, root: str, name: str) -> None:
    with Receiver(202, b"") as receiver:
        signature, body = delivered(subscriptions, root, name, receiver, "a", "b")
        wake = subscriptions.webhook_verifier(name).verify(signature, body)
        # As a queue would carry it.
        lease = subscriptions.work_of(wake.body, 30)
        assert (lease.wake_id, lease.generation) == (wake.wake_id, wake.generation)
        (stream,) = lease.pending
        with lease.read(stream) as response:
            assert response.read_json()[:1] == ["a"]
        lease.ack({stream.path: response.offset})
        assert acked(subscriptions, name) == {stream.path: response.offset}
        lease.finish()
        assert lease.is_over


def test_c_hook_4_whose_lease_is_over_is_told(subscriptions: Any, root: str, name: str) -> None:
    with Receiver(202, b"") as receiver:
        signature, body = delivered(subscriptions, root, name, receiver, 1)
        wake = subscriptions.webhook_verifier().verify(signature, body)
        first, second = subscriptions.work_of(wake), subscriptions.work_of(wake, 0.3)
        (stream,) = wake.pending
        with first.read(stream) as response:
            response.read_json()
        assert first.finish({stream.path: response.offset}) is False
        # Heartbeats are told, unasked.
        until(lambda: second.is_lost, "the second lease is lost")
        for call in (lambda: second.ack({stream.path: response.offset}), second.finish):
            with pytest.raises(LeaseLostError) as caught:
                call()
            assert (caught.value.code, caught.value.status) == ("FENCED", 409)
        # What is lost can be given back without an error, and nobody waits for it.
        second.release()


# Workers.


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


def test_the_control_api_of_the_server_is_what_is_asked(root: str, name: str) -> None:
    """What the client shows is what the server says."""
    subscriptions = Subscriptions(root + "/")
    subscriptions.create(name, pattern=f"{name}/*", webhook="https://example.com/")
    with urllib.request.urlopen(f"{root}/__ds/subscriptions/{name}") as answer:
        told = json.load(answer)
    shown = subscriptions.get(name)
    assert (told["created_at"], told["lease_ttl_ms"]) == (shown.created_at, shown.lease * 1000)
    assert repr(subscriptions) == f"Subscriptions({root + '/'!r})"
