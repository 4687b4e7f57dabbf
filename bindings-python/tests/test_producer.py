"""Producers of both faces: stored exactly once and in order, whatever happens; and said so when not."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from everstream import (
    AlreadyClosedError,
    AsyncDurableStream,
    BufferFullError,
    Delivery,
    DurableStream,
    DurableStreamError,
    FlushResult,
    IdempotentAppendResult,
    IdempotentProducer,
    InvalidArgumentError,
    NotSupportedError,
    Producer,
    RequestTimeoutError,
    StreamClosedError,
    StreamNotFoundError,
)
from faces import Face
from scripted import Answer, Request, ScriptedServer
from support import BYTES, JSON, QUICK, TEXT, stored

Proxy = Callable[..., ScriptedServer]


class Gate:
    """Holds the POSTs of producers back until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, request: Request) -> Answer | None:
        if request.method == "POST":
            assert self.opened.wait(30)
        return None


@pytest.fixture
def gate(proxy: Proxy, url: str) -> Iterator[tuple[Gate, ScriptedServer, str]]:
    """A gate, the server that has it, and the URL of the stream by way of it."""
    gate = Gate()
    through = proxy(gate)
    yield gate, through, through.through(url)
    gate.opened.set()


# Appending and flushing


def test_messages_are_stored_in_order_and_have_receipts(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    with face.producer(handle) as producer:
        deliveries = [producer.append({"n": n}) for n in range(100)]
        assert all(isinstance(delivery, Delivery) for delivery in deliveries)
        assert [delivery.message for delivery in deliveries] == list(range(100))
        flushed = producer.flush()
        assert flushed == FlushResult(handle.head().offset, 100)
        receipts = [face.receipt(delivery) for delivery in deliveries]
        assert producer.flush().messages == 0
    assert all(delivery.done() for delivery in deliveries)
    assert receipts[-1] == IdempotentAppendResult(flushed.offset, False, False)
    offsets = [receipt.offset for receipt in receipts]
    assert offsets == sorted(offsets)
    assert stored(face, url) == [{"n": n} for n in range(100)]
    assert not handle.head().stream_closed


@pytest.mark.parametrize(("content_type", "message"), [(TEXT, "é"), (BYTES, b"\x00\xff"), (JSON, '{"a":1}')])
def test_the_content_type_is_asked_for(face: Face, url: str, content_type: str, message: Any) -> None:
    face.create(url, content_type=content_type)
    with face.producer(url) as producer:
        producer.append(message)
        producer.append(message)
    with face.stream(url, live=False) as res:
        if content_type == JSON:
            assert res.read_json() == [{"a": 1}, {"a": 1}]
        else:
            assert res.read_bytes() == (message if isinstance(message, bytes) else message.encode()) * 2


def test_what_producers_know_of_themselves(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    producer = face.producer(handle, "shop-1", epoch=3)
    assert (producer.url, producer.producer_id, producer.epoch, producer.next_seq) == (url, "shop-1", 3, 0)
    assert (producer.pending_count, producer.in_flight_count, producer.buffered_bytes) == (0, 0, 0)
    assert (producer.last_offset, producer.closed) == (None, False)
    producer.append("a")
    producer.flush()
    assert (producer.next_seq, producer.pending_count, producer.buffered_bytes) == (1, 0, 0)
    assert producer.last_offset == handle.head().offset
    producer.close()
    assert producer.closed
    raw = getattr(producer, "raw", producer)
    assert "shop-1" in repr(raw)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(raw)


def test_messages_wait_for_others_and_go_together(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON)
    through = proxy()
    producer = face.producer(face.handle(through.through(url), content_type=JSON), linger_ms=10_000)
    for n in range(50):
        producer.append(n)
    assert producer.pending_count == 50
    assert through.count("POST") == 0
    producer.close()
    assert [request.body for request in through.of("POST")] == [b"[%s]" % b",".join(b"%d" % n for n in range(50))]


def test_bounds_of_a_batch_hold(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON)
    through = proxy()
    handle = face.handle(through.through(url), content_type=JSON)
    with face.producer(handle, "bytes", max_batch_bytes=50, linger_ms=1000, max_in_flight=1) as producer:
        for n in range(20):
            producer.append(list(range(n % 7)))
        producer.append(list(range(100)))
    sizes = [len(request.body) for request in through.of("POST")]
    assert len(sizes) > 3
    assert sorted(sizes)[-2] <= 50 < sorted(sizes)[-1]
    before = through.count("POST")
    with face.producer(handle, "items", max_batch_items=4, linger_ms=1000, max_in_flight=1) as producer:
        for n in range(10):
            producer.append(n)
    assert through.count("POST") - before == 3


def test_requests_carry_the_identity(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy()
    with face.producer(face.handle(through.through(url), content_type=TEXT), "p-1", epoch=2) as producer:
        for message in ("a", "b"):
            producer.append(message)
            producer.flush()
    identities = [
        tuple(request.headers[f"producer-{part}"] for part in ("id", "epoch", "seq")) for request in through.of("POST")
    ]
    assert identities == [("p-1", "2", "0"), ("p-1", "2", "1")]


def test_what_cannot_be_a_message_is_refused_at_the_call(face: Face, url: str) -> None:
    handle = face.create(url, content_type=JSON)
    with face.producer(face.handle(url, content_type=JSON)) as producer:
        producer.append(1)
        for bad, error in (("no json", InvalidArgumentError), (object(), TypeError), (float("nan"), ValueError)):
            with pytest.raises(error):
                producer.append(bad)
        for empty in ("", b""):
            with pytest.raises((InvalidArgumentError, DurableStreamError)):
                producer.append(empty)
        producer.append_json("no json")
    assert stored(face, url) == [1, "no json"]
    text = f"{url}-text"
    face.create(text, content_type=TEXT)
    with face.producer(face.handle(text, content_type=TEXT)) as producer:
        for value in ({"a": 1}, [1], 1, None):
            with pytest.raises(NotSupportedError):
                producer.append(value)
        producer.append("a")
    assert stored(face, text) == "a"
    assert handle.head().stream_closed is False


def test_encode_of_the_handle_is_used(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    handle = face.handle(url, content_type=JSON, encode=lambda value: f'{{"encoded":"{value}"}}')
    with face.producer(handle) as producer:
        producer.append(3)
    assert stored(face, url) == [{"encoded": "3"}]


def test_a_stream_that_is_not_there(face: Face, url: str) -> None:
    with pytest.raises(StreamNotFoundError):
        producer = face.producer(url)
        try:
            producer.append("x")
            producer.flush()
        finally:
            with pytest.raises(DurableStreamError):
                producer.close()


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epoch": -1}, "epoch must be >= 0"),
        ({"epoch": 2**53}, "epoch must be >= 0"),
        ({"max_batch_bytes": 0}, "maxBatchBytes must be > 0"),
        ({"max_batch_bytes": -5}, "maxBatchBytes must be > 0"),
        ({"max_in_flight": 0}, "max_in_flight must be > 0"),
        ({"max_in_flight": -1}, "max_in_flight must be > 0"),
        ({"linger_ms": -1}, "linger_ms must be >= 0"),
        ({"max_batch_items": 0}, "must be > 0"),
        ({"max_buffered_bytes": 0}, "must be > 0"),
        ({"delivery_timeout": -1}, "delivery_timeout"),
        ({"epoch": "1"}, "epoch"),
    ],
)
def test_options_out_of_range_are_refused(face: Face, url: str, options: dict[str, Any], message: str) -> None:
    face.create(url, content_type=TEXT)
    with pytest.raises(InvalidArgumentError, match=message) as raised:
        face.producer(face.handle(url, content_type=TEXT), **options)
    assert isinstance(raised.value, ValueError)


def test_an_empty_id_is_refused(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    with pytest.raises(InvalidArgumentError):
        face.producer(face.handle(url, content_type=TEXT), "")


# A full buffer


def test_a_full_buffer_refuses_what_must_not_wait(face: Face, url: str, gate: Any) -> None:
    face.create(url, content_type=TEXT)
    opener, _, through = gate
    producer = face.producer(face.handle(through, content_type=TEXT), max_buffered_bytes=100, linger_ms=0)
    producer.try_append("a" * 80)
    with pytest.raises(BufferFullError) as raised:
        producer.try_append("b" * 40)
    assert (raised.value.retryable, raised.value.outcome_unknown) == (True, False)
    assert 80 <= producer.buffered_bytes <= 100
    producer.try_append("c" * 10)
    opener.opened.set()
    producer.flush()
    assert producer.buffered_bytes == 0
    producer.try_append("d")
    producer.close()
    assert stored(face, url) == "a" * 80 + "c" * 10 + "d"


def test_sync_append_waits_for_space_as_long_as_allowed(url: str, gate: Any) -> None:
    DurableStream.create(url, content_type=TEXT)
    opener, _, through = gate
    with DurableStream(through, content_type=TEXT).producer("p", max_buffered_bytes=10, linger_ms=0) as producer:
        producer.append("a" * 8)
        with pytest.raises(BufferFullError):
            producer.append("b" * 8, timeout=0.02)
        with pytest.raises(BufferFullError):
            producer.append("b" * 8, timeout=0)
        with pytest.raises(InvalidArgumentError, match="timeout"):
            producer.append("b" * 8, timeout=-1)
        waiting = threading.Thread(target=lambda: producer.append("c" * 8))
        waiting.start()
        opener.opened.set()
        waiting.join(30)
        assert not waiting.is_alive()
    with DurableStream(url).stream(live=False) as res:
        assert res.read_text() == "a" * 8 + "c" * 8


async def test_async_append_refuses_and_send_waits(url: str, gate: Any) -> None:
    await AsyncDurableStream.create(url, content_type=TEXT)
    opener, _, through = gate
    handle = AsyncDurableStream(through, content_type=TEXT)
    async with handle.producer("p", max_buffered_bytes=10, linger_ms=0) as producer:
        producer.append("a" * 8)
        with pytest.raises(BufferFullError):
            producer.append("b" * 8)
        sending = asyncio.create_task(producer.send("c" * 8))
        await asyncio.sleep(0)
        assert not sending.done()
        opener.opened.set()
        delivery = await sending
        assert (await delivery).duplicate is False
    async with AsyncDurableStream(url).stream(live=False) as res:
        assert await res.read_text() == "a" * 8 + "c" * 8


async def test_messages_that_wait_keep_their_order(url: str, gate: Any) -> None:
    await AsyncDurableStream.create(url, content_type=JSON)
    opener, _, through = gate
    async with AsyncDurableStream(through, content_type=JSON).producer("p", max_buffered_bytes=20) as producer:
        sending = [asyncio.create_task(producer.send(n)) for n in range(30)]
        await asyncio.sleep(0)
        opener.opened.set()
        deliveries = await asyncio.gather(*sending)
        assert [delivery.message for delivery in deliveries] == list(range(30))
    async with AsyncDurableStream(url).stream(live=False) as res:
        assert await res.read_json() == list(range(30))


def test_a_message_larger_than_the_buffer_is_refused_for_good(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    with face.producer(face.handle(url, content_type=TEXT), max_buffered_bytes=10) as producer:
        with pytest.raises(InvalidArgumentError):
            producer.append("a" * 11)
        producer.append("a" * 3)


def test_a_receipt_can_be_waited_for_only_so_long(url: str, gate: Any) -> None:
    DurableStream.create(url, content_type=TEXT)
    opener, _, through = gate
    with DurableStream(through, content_type=TEXT).producer("p") as producer:
        delivery = producer.append("a")
        assert not delivery.done()
        with pytest.raises(RequestTimeoutError):
            delivery.result(timeout=0.01)
        assert "under way" in repr(delivery)
        opener.opened.set()
        assert delivery.result(timeout=30).duplicate is False
        assert "stored" in repr(delivery)


async def test_receipts_can_be_awaited_many_times_and_by_nobody(url: str) -> None:
    handle = await AsyncDurableStream.create(url, content_type=TEXT)
    async with handle.producer("p") as producer:
        delivery = producer.append("a")
        producer.append("nobody waits for this one")
        first, second = await asyncio.gather(_awaited(delivery), _awaited(delivery))
        assert first == second == await delivery == delivery.result()


async def _awaited(delivery: Delivery) -> IdempotentAppendResult:
    return await delivery


# Closing


def test_close_leaves_the_stream_open_and_ends_the_producer(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    producer = face.producer(handle)
    producer.append("a")
    producer.close()
    producer.close()
    with pytest.raises(AlreadyClosedError):
        producer.append("b")
    assert stored(face, url) == "a"
    assert not handle.head().stream_closed


def test_detach_flushes_and_tells_what_it_flushed(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    producer = face.producer(handle)
    producer.append("a")
    assert producer.detach() == FlushResult(handle.head().offset, 1)
    assert producer.closed
    with pytest.raises(AlreadyClosedError):
        producer.append("b")
    assert not handle.head().stream_closed


@pytest.mark.parametrize("data", [None, "end"])
def test_close_stream_ends_the_stream(face: Face, url: str, data: Any) -> None:
    handle = face.create(url, content_type=TEXT)
    producer = face.producer(handle)
    producer.append("a")
    result = producer.close_stream(data)
    assert (result.closed, result.duplicate, result.offset) == (True, False, handle.head().offset)
    assert producer.close_stream(data) == result
    assert (handle.head().stream_closed, producer.closed) == (True, True)
    with pytest.raises((AlreadyClosedError, StreamClosedError)):
        producer.append("b")
    producer.close()
    assert stored(face, url) == "a" + (data or "")


def test_close_stream_that_is_answered_late_is_done_once(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    left = [Answer(drop_after=True), Answer(502)]
    through = proxy(lambda request: left.pop(0) if request.method == "POST" and left else None)
    producer = face.producer(face.handle(through.through(url), content_type=TEXT, retry=QUICK))
    assert producer.close_stream("end").closed
    assert stored(face, url) == "end"
    assert through.count("POST") == 3


def test_restart_begins_a_new_epoch(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    with face.producer(face.handle(url)) as producer:
        producer.append("a")
        producer.restart()
        assert (producer.epoch, producer.next_seq, producer.closed) == (1, 0, False)
        producer.append("b")
    assert stored(face, url) == "ab"


def test_a_block_that_fails_stores_what_was_appended_and_raises_its_own_error(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    with pytest.raises(LookupError, match="own"), face.producer(face.handle(url)) as producer:
        producer.append("a")
        raise LookupError("own")
    assert stored(face, url) == "a"


async def test_seq_of_the_official_close_stream_is_refused(url: str) -> None:
    handle = await AsyncDurableStream.create(url, content_type=TEXT)
    async with handle.producer("p") as producer:
        with pytest.raises(NotSupportedError, match="seq"):
            await producer.close_stream(seq="1")


# Many at once


def test_threads_share_a_producer(url: str) -> None:
    DurableStream.create(url, content_type=JSON)
    with DurableStream(url).producer("p") as producer:

        def work(name: int) -> None:
            for n in range(50):
                producer.append([name, n])

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with DurableStream(url).stream(live=False) as res:
        items = res.read_json()
    assert len(items) == 200
    for name in range(4):
        assert [n for by, n in items if by == name] == list(range(50))


async def test_many_producers_share_a_stream(url: str) -> None:
    handle = await AsyncDurableStream.create(url, content_type=JSON)

    async def produce(name: int) -> None:
        async with handle.producer(f"p{name}") as producer:
            for n in range(25):
                producer.append([name, n])

    await asyncio.gather(*[produce(name) for name in range(8)])
    async with handle.stream(live=False) as res:
        items = await res.read_json()
    for name in range(8):
        assert [n for by, n in items if by == name] == list(range(25))


def test_handles_make_producers_of_their_face(url: str) -> None:
    DurableStream.create(url, content_type=TEXT)
    with DurableStream(url).producer("p") as producer:
        assert type(producer) is Producer

    async def made() -> None:
        async with AsyncDurableStream(url).producer("p") as producer:
            assert type(producer) is IdempotentProducer

    asyncio.run(made())
