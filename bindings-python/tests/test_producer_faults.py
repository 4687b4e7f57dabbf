"""Producers when things go wrong: others with the same id, failures of every kind, refusals."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from everstream import (
    DurableStreamError,
    StaleEpochError,
    StreamClosedError,
)
from everstream.testing import Server
from faces import Face
from scripted import Answer, Request, ScriptedServer
from support import JSON, QUICK, TEXT, until, stored

Proxy = Callable[..., ScriptedServer]


# Two producers


def test_a_later_epoch_fences_the_earlier_one(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    first = face.producer(face.handle(url), "p")
    first.append("a")
    first.flush()
    second = face.producer(face.handle(url), "p", epoch=4)
    second.append("b")
    second.close()
    delivery = first.append("lost")
    with pytest.raises(StaleEpochError) as raised:
        first.flush()
    assert raised.value.current_epoch == 4
    assert [(f.first_message, f.messages, type(f.error)) for f in raised.value.failures] == [(1, 1, StaleEpochError)]
    with pytest.raises(StaleEpochError):
        face.receipt(delivery)
    with pytest.raises(DurableStreamError):
        first.append("refused")
    first.close()
    assert stored(face, url) == "ab"


def test_auto_claim_takes_over(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    first = face.producer(face.handle(url), "p", epoch=4)
    first.append("a")
    first.close()
    with face.producer(face.handle(url), "p", auto_claim=True) as second:
        second.append("b")
        second.flush()
        assert second.epoch == 5
        second.append("c")
    assert stored(face, url) == "abc"


def test_auto_claim_of_two_takes_turns_and_loses_nothing(face: Face, url: str) -> None:
    face.create(url, content_type=JSON)
    with face.producer(face.handle(url), "p", auto_claim=True) as one:
        one.append(0)
        one.flush()
        with face.producer(face.handle(url), "p", auto_claim=True) as other:
            for n in range(1, 5):
                producer = (one, other)[n % 2]
                producer.append(n)
                producer.flush()
            assert (other.epoch, one.epoch) == (3, 4)
    assert stored(face, url) == [0, 1, 2, 3, 4]


def test_a_program_that_runs_twice_under_one_epoch_stores_nothing_twice(face: Face, url: str) -> None:
    face.create(url, content_type=TEXT)
    for _ in range(2):
        with face.producer(face.handle(url), "job") as producer:
            receipt = face.receipt(producer.append("a"))
    assert receipt.duplicate
    assert stored(face, url) == "a"


# Faults


class Faults:
    """Spoils every other POST in its own way, as long as there is one left."""

    def __init__(self, *answers: Answer) -> None:
        self.left = list(answers)
        self.turn = False
        self.lock = threading.Lock()

    def __call__(self, request: Request) -> Answer | None:
        with self.lock:
            self.turn = request.method == "POST" and not self.turn
            return self.left.pop(0) if self.turn and self.left else None


KINDS = {
    "500": Answer(500),
    "502": Answer(502),
    "503": Answer(503, {"retry-after": "0"}),
    "429": Answer(429, {"retry-after": "0"}),
    "dropped": Answer(drop=True),
    "stored without an answer": Answer(drop_after=True),
}


@pytest.mark.parametrize(("max_batch_items", "max_in_flight"), [(1, 1), (1, 5), (7, 3), (None, 5)])
@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_faults_do_not_lose_double_or_reorder(
    face: Face, proxy: Proxy, url: str, kind: str, max_batch_items: int | None, max_in_flight: int
) -> None:
    face.create(url, content_type=JSON)
    answers = list(KINDS.values()) if kind == "all" else [KINDS[kind]] * 4
    through = proxy(Faults(*answers))
    handle = face.handle(through.through(url), content_type=JSON, retry=QUICK)
    with face.producer(handle, max_batch_items=max_batch_items, max_in_flight=max_in_flight, linger_ms=1) as producer:
        deliveries = []
        for n in range(40):
            deliveries.append(producer.append({"n": n}))
            if n % 10 == 9:
                producer.flush()
    assert stored(face, url) == [{"n": n} for n in range(40)]
    assert all(face.receipt(delivery) for delivery in deliveries)
    sent = [
        (request.headers["producer-seq"], request.headers["producer-epoch"], request.body)
        for request in through.of("POST")
    ]
    assert len({(seq, epoch) for seq, epoch, _ in sent}) == len(set(sent)), "the same number never has another body"


@pytest.mark.parametrize("fault", [{"drop_connection": True}, {"status": 500}, {"delay_ms": 50}, {"status": 503}])
def test_faults_of_the_server_itself(face: Face, server: Server, url: str, path: str, fault: dict[str, Any]) -> None:
    face.create(url, content_type=JSON)
    handle = face.handle(url, content_type=JSON, retry=QUICK)
    with face.producer(handle, max_batch_items=2) as producer:
        server.inject_fault(path, fault, method="POST", count=6)
        for n in range(30):
            producer.append(n)
    assert stored(face, url) == list(range(30))


def test_retry_after_is_waited_for(face: Face, server: Server, url: str, path: str) -> None:
    face.create(url, content_type=TEXT)
    server.inject_error(path, 429, count=1, retry_after=1)
    with face.producer(face.handle(url, content_type=TEXT, retry=QUICK)) as producer:
        begun = time.monotonic()
        producer.append("a")
        producer.flush()
        # The only claim on time of this module: not before the server allowed it.
        assert time.monotonic() - begun >= 1
    assert stored(face, url) == "a"


def test_flush_lists_every_run_of_messages_that_failed(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON)
    refused = threading.Event()

    def script(request: Request) -> Answer | None:
        return Answer(413, body=b"too large") if request.method == "POST" and refused.is_set() else None

    through = proxy(script)
    told: list[Exception] = []
    producer = face.producer(
        face.handle(through.through(url), content_type=JSON), linger_ms=10_000, on_error=told.append
    )
    producer.append(0)
    producer.flush()
    refused.set()
    for n in range(1, 4):
        producer.append(n)
    with pytest.raises(DurableStreamError) as raised:
        producer.flush()
    error = raised.value
    assert (error.code, error.status) == ("PAYLOAD_TOO_LARGE", 413)
    assert [(failure.first_message, failure.messages) for failure in error.failures] == [(1, 3)]
    assert error.failures[0].error.code == "PAYLOAD_TOO_LARGE"
    # Told once, and not again.
    assert producer.flush().messages == 0
    if face.name == "async":
        face.wait(lambda: asyncio.sleep(0))
    until(lambda: len(told) == 1, "on_error is told of the batch")
    assert told[0].code == "PAYLOAD_TOO_LARGE"  # type: ignore[attr-defined]
    # A producer that stopped says so; a restart is the way on.
    with pytest.raises(DurableStreamError):
        producer.append("refused")
    refused.clear()
    producer.restart()
    producer.append(4)
    producer.close()
    assert stored(face, url) == [0, 4]


def test_failures_before_the_flush_are_not_forgotten(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=JSON)
    through = proxy(lambda request: Answer(400) if request.method == "POST" else None)
    producer = face.producer(face.handle(through.through(url), content_type=JSON))
    delivery = producer.append(1)
    with pytest.raises(DurableStreamError):
        face.receipt(delivery)
    with pytest.raises(DurableStreamError) as raised:
        producer.close()
    assert raised.value.failures[0].messages == 1
    producer.close()


def test_a_producer_gives_up_when_its_time_is_over(face: Face, proxy: Proxy, url: str) -> None:
    face.create(url, content_type=TEXT)
    through = proxy(lambda request: Answer(503) if request.method == "POST" else None)
    handle = face.handle(through.through(url), content_type=TEXT, retry=QUICK)
    producer = face.producer(handle, delivery_timeout=0.05)
    producer.append("a")
    with pytest.raises(DurableStreamError) as raised:
        producer.flush()
    assert raised.value.failures[0].messages == 1
    assert through.count("POST") > 1
    producer.close()


def test_a_stream_closed_by_someone_else_stops_the_producer(face: Face, url: str) -> None:
    handle = face.create(url, content_type=TEXT)
    producer = face.producer(face.handle(url))
    producer.append("a")
    producer.flush()
    handle.close_stream()
    producer.append("lost")
    with pytest.raises(StreamClosedError) as raised:
        producer.flush()
    assert raised.value.final_offset == handle.head().offset
    producer.close()
