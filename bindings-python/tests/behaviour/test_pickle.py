"""Addresses, positions and results travel; what is live stays."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import pytest

import everstream
from everstream import (
    AsyncClient,
    AsyncDurableStream,
    Checkpoint,
    Client,
    DurableStream,
    DurableStreamError,
    FileCheckpoints,
    IdempotentProducer,
    Producer,
    Retry,
    Server,
    StreamNotFoundError,
    Timeout,
    errors,
    stream,
)

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def there_and_back(thing: Any) -> list[Any]:
    return [pickle.loads(pickle.dumps(thing, protocol)) for protocol in PROTOCOLS] + [
        copy.copy(thing),
        copy.deepcopy(thing),
    ]


def token() -> str:
    return "token"


VALUES = [
    Checkpoint("a", 3, "b"),
    Timeout(connect=1, total=2),
    Retry(max_retries=1),
    everstream.AppendResult("a", True),
    everstream.CloseResult("a"),
    everstream.CreateResult(True, "a", "text/plain", False),
    everstream.FlushResult("a", 3),
    everstream.HeadResult(True, "text/plain", "a"),
    everstream.IdempotentAppendResult("a", True, False),
    everstream.LinkedStream("a", "glob", "-1", "1", True),
    everstream.ListedStream("a", "text/plain", 1, "b", False, 5),
    everstream.StreamEvent([1], "a", True, "b", False),
    everstream.Subscription("a", "pull-wake", "w", None, "b/*", (), 30.0, "active"),
    everstream.Wake("a", "w", 1, (), "http://h/c", "t", "{}"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values(value: Any) -> None:
    for other in there_and_back(value):
        assert other == value and type(other) is type(value)


def test_every_value_is_among_the_tested() -> None:
    exported = {getattr(everstream, name) for name in everstream.__all__}
    assert {it for it in exported if dataclasses.is_dataclass(it)} == {type(value) for value in VALUES}


def test_offsets_are_plain_text(durable_stream_url: str) -> None:
    offset = DurableStream.create(durable_stream_url, content_type="application/json", body=[1]).append_json(2).offset
    assert type(offset) is str
    assert there_and_back(offset) == [offset] * (len(PROTOCOLS) + 2)


ERRORS = sorted(
    {it for it in vars(errors).values() if isinstance(it, type) and issubclass(it, DurableStreamError)}, key=str
)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_errors_with_all_they_know(kind: type[DurableStreamError]) -> None:
    error = kind("what happened")
    error.status, error.code, error.details, error.url = 418, "CODE", {"a": 1}, "http://a/b"
    error.headers, error.body, error.retry_after, error.outcome_unknown = {"a": "b"}, "body", 1.5, True
    error.failures = (errors.BatchFailure(1, 2, StreamNotFoundError("one")),)
    error.final_offset = "f"  # type: ignore[attr-defined]
    for other in there_and_back(error):
        assert type(other) is kind
        assert (str(other), repr(other), other.args) == (str(error), repr(error), error.args)
        known = {name: value for name, value in vars(error).items() if name != "failures"}
        assert {name: value for name, value in vars(other).items() if name != "failures"} == known
        (failure,) = other.failures
        assert failure[:2] == (1, 2) and type(failure.error) is StreamNotFoundError and str(failure.error) == "one"


def test_an_error_of_the_server(durable_stream_url: str) -> None:
    with pytest.raises(StreamNotFoundError) as caught:
        DurableStream(durable_stream_url).head()
    for other in there_and_back(caught.value):
        assert vars(other) == vars(caught.value)
        assert (other.status, other.url, other.operation) == (404, durable_stream_url, "head")


def test_an_error_of_a_producer_with_its_failures(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="text/plain")
    producer = handle.producer("p")
    handle.close_stream()
    producer.append("a")
    with pytest.raises(everstream.StreamClosedError) as caught:
        producer.close()
    for other in there_and_back(caught.value):
        (failure,) = other.failures
        assert (failure.first_message, failure.messages) == (0, 1)
        assert type(failure.error) is everstream.StreamClosedError
        assert failure.error.final_offset == caught.value.failures[0].error.final_offset  # type: ignore[attr-defined]


def test_a_handle_and_its_client_work_at_the_other_end(durable_stream_url: str) -> None:
    client = Client(headers={"authorization": token}, timeout=Timeout(connect=3), retry=Retry(max_retries=2))
    handle = DurableStream.create(durable_stream_url, content_type="application/json", client=client, idempotent=True)
    for other in there_and_back(handle):
        assert type(other) is DurableStream and repr(other) == repr(handle)
        other.append_json(1)
        used = other._arguments["client"]
        assert (used.headers, used.timeout, used.retry) == (client.headers, client.timeout, client.retry)
    assert handle.stream(live=False).read_json() == [1] * (len(PROTOCOLS) + 2)


async def test_the_asyncio_ones_too(durable_stream_url: str) -> None:
    handle = await AsyncDurableStream.create(durable_stream_url, content_type="application/json", client=AsyncClient())
    for other in there_and_back(handle):
        await other.append_json(1)
    async with handle.stream(live=False) as response:
        assert len(await response.read_json()) == len(PROTOCOLS) + 2


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client(kind: type[Any]) -> None:
    client = kind(base_url="http://a", http2=True, gzip=True, proxy="http://b:1", trust_env=False, params={"a": "b"})
    for other in there_and_back(client):
        assert type(other) is kind
        assert other._arguments == client._arguments


def test_stores(tmp_path: Any) -> None:
    store = FileCheckpoints(tmp_path / "checkpoint", "name")
    store.save(Checkpoint("a", 1))
    for other in there_and_back(store):
        assert other.load() == Checkpoint("a", 1)


def test_a_function_that_cannot_travel_is_named_by_pickle(durable_stream_url: str) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(DurableStream(durable_stream_url, headers={"a": lambda: "b"}))


async def test_what_is_live_refuses_and_says_what_to_do(durable_stream_url: str) -> None:
    DurableStream.create(durable_stream_url)
    with stream(durable_stream_url) as response, Producer(durable_stream_url, "p") as producer, Server() as server:
        async with (
            AsyncDurableStream(durable_stream_url).stream() as aresponse,
            IdempotentProducer(durable_stream_url, "q") as aproducer,
        ):
            for thing, advice in (
                (response, "pickle its checkpoint"),
                (aresponse, "pickle its checkpoint"),
                (producer, "make one from a pickled stream"),
                (aproducer, "make one from a pickled stream"),
                (server, "pickle its url"),
            ):
                with pytest.raises(TypeError, match=advice):
                    pickle.dumps(thing)
                with pytest.raises(TypeError, match=advice):
                    copy.copy(thing)
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(producer.append(b"a"))


def test_a_checkpoint_goes_on_in_another_process(durable_stream_url: str) -> None:
    handle = DurableStream.create(durable_stream_url, content_type="application/json", body=[1, 2, 3])
    with handle.stream(live=False) as response:
        assert next(response.iter_json()) == 1
        parcel = pickle.dumps((handle, response.checkpoint()))
    from .children import run_clean

    code = """
    import pickle, sys
    handle, checkpoint = pickle.loads(bytes.fromhex(sys.argv[1]))
    print(handle.stream(checkpoint=checkpoint, live=False).read_json())
    """
    assert run_clean(code, parcel.hex()) == "[2, 3]\n"
