"""Uses of the package that type checkers have to understand, and misuses that they have to find.

mypy and pyright check this file, strictly: an `ignore` that is not needed is an error, so that each of them is a claim.
`test_types.py` runs it.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from everstream import (
    AppendResult,
    AsyncCallbackCheckpoints,
    AsyncClient,
    AsyncDurableStream,
    AsyncLease,
    AsyncStreamResponse,
    AsyncSubscriptions,
    Checkpoint,
    Client,
    CloseResult,
    CreateResult,
    Delivery,
    DurableStream,
    DurableStreamError,
    FileCheckpoints,
    FlushResult,
    HeadResult,
    IdempotentAppendResult,
    IdempotentProducer,
    Lease,
    Producer,
    Retry,
    StreamEvent,
    StreamResponse,
    Subscription,
    Timeout,
    Wake,
    astream,
    stream,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: object, expected: object) -> object:
        return value


class Order:
    def __init__(self, value: dict[str, Any]) -> None:
        self.number = int(value["order"])


def token() -> str:
    return "t"


async def atoken() -> str:
    return "t"


def renew(error: Exception) -> dict[str, Any] | None:
    return {"headers": {"authorization": "new"}} if isinstance(error, DurableStreamError) else None


async def arenew(error: Exception) -> dict[str, Any] | None:
    return renew(error)


def blocking(url: str, file: str) -> None:
    with Client(headers={"authorization": token}, timeout=Timeout(read=10), retry=Retry(max_retries=3)) as client:
        handle = DurableStream.create(url, content_type="application/json", client=client, on_error=renew)
        assert_type(handle, DurableStream)
        assert_type(handle.create_stream(), CreateResult)
        assert_type(handle.append({"order": 1}), AppendResult)
        assert_type(handle.append_json({"order": 1}), AppendResult)
        assert_type(handle.append_stream(['[{"order"', b":1}]"]), AppendResult)
        assert_type(handle.head(), HeadResult)
        assert_type(handle.head().offset, "str | None")
        with handle.producer("p") as producer:
            assert_type(producer, Producer)
            delivery = producer.append({"order": 2})
            assert_type(delivery, Delivery)
            assert_type(delivery.result(30), IdempotentAppendResult)
            assert_type(producer.flush(), FlushResult)
        assert_type(handle.close_stream(), CloseResult)
    with stream(url, live=False, params={"a": None, "b": token}, store=FileCheckpoints(file, "orders")) as res:
        assert_type(res, StreamResponse[Any])
        assert_type(res.iter_json(Order), Iterator[Order])
        assert_type(res.checkpoint(), Checkpoint)
    with stream(url, live="sse", offset=Checkpoint("-1")) as res:
        assert_type(res.iter_text(), Iterator[str])
    with stream(url) as res:
        assert_type(res.read_json(Order), list[Order])
    for event in stream(url, live="long-poll").iter_events("text"):
        assert_type(event, StreamEvent[Any])
        assert_type(event.next_offset, str)
        break
    for chunk in stream(url):
        assert_type(chunk, bytes)


async def with_asyncio(url: str) -> None:
    async def pieces() -> AsyncIterator[str]:
        yield '[{"order":2}]'

    async def load() -> Checkpoint | None:
        return None

    async def save(checkpoint: Checkpoint) -> None:
        assert_type(checkpoint, Checkpoint)

    async with AsyncClient(headers={"authorization": atoken}, on_error=arenew) as client:
        handle = await AsyncDurableStream.create(url, content_type="application/json", client=client)
        assert_type(handle, AsyncDurableStream)
        assert_type(await handle.append({"order": 1}), AppendResult)
        assert_type(await handle.append_stream(pieces()), AppendResult)
        async with handle.producer("p") as producer:
            assert_type(producer, IdempotentProducer)
            delivery = producer.append({"order": 2})
            assert_type(await delivery, IdempotentAppendResult)
            assert_type(await producer.send({"order": 3}), Delivery)
            assert_type(await producer.flush(), FlushResult)
        assert_type(await handle.close_stream(), CloseResult)
    async with astream(url, params={"key": atoken}, store=AsyncCallbackCheckpoints(load, save)) as res:
        assert_type(res, AsyncStreamResponse[Any])
        assert_type(res.__aiter__(), AsyncIterator[bytes])
    async with astream(url, live=False) as res:
        assert_type(await res.read_text(), str)
    res = await astream(url, live=False)
    assert_type(await res.read_json(Order), list[Order])


def subscribing(root: str, signature: str, body: bytes) -> None:
    subscriptions = Client().subscriptions(root)
    assert_type(subscriptions.create("s", pattern="a/*", wake_stream="w"), Subscription)
    assert_type(subscriptions.list(), list[Subscription])
    wake = subscriptions.webhook_verifier("s", tolerance=60).verify(signature, body)
    assert_type(wake, Wake)
    assert_type(subscriptions.work_of(wake), Lease)
    with subscriptions.worker("s", "one") as worker:
        for lease in worker:
            assert_type(lease, Lease)
            with lease:
                for stream in lease.pending:
                    with lease.read(stream) as response:
                        assert_type(response, StreamResponse[Any])
                    lease.ack({stream.path: response.offset})
            assert_type(lease.finish(), bool)


async def subscribing_with_asyncio(root: str, signature: str, body: bytes) -> None:
    subscriptions = AsyncClient().subscriptions(root)
    assert_type(subscriptions, AsyncSubscriptions)
    assert_type(await subscriptions.get("s"), Subscription)
    assert_type(await subscriptions.webhook_verifier().verify(signature, body), Wake)
    async with await subscriptions.worker("s", "one") as worker:
        async for lease in worker:
            assert_type(lease, AsyncLease)
            async with lease, lease.read("a/b") as response:
                assert_type(response, AsyncStreamResponse[Any])
            assert_type(await lease.ended(), bool)


def misused(url: str) -> None:
    stream(url, live="now")  # type: ignore[arg-type]
    stream(url, headers={"authorization": 7})  # type: ignore[dict-item]
    stream(url, headers={"authorization": atoken})  # type: ignore[dict-item]
    stream(url, client=AsyncClient())  # type: ignore[arg-type]
    astream(url, client=Client())  # type: ignore[arg-type]
    stream(url, timeout="10")  # type: ignore[arg-type]
    Producer(url, "p", linger=5)  # type: ignore[call-arg]
    IdempotentProducer(url, "p", content_typ="text/plain")  # type: ignore[call-arg]
    HeadResult(exists=False)  # type: ignore[arg-type]
    Checkpoint("1").offset = "2"  # type: ignore[misc]
    Client().subscriptions(url).create("s", patern="a/*")  # type: ignore[call-arg]
    Client().subscriptions(url).webhook_verifier().verify("s", 7)  # type: ignore[arg-type]
