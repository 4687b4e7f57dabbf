"""Both faces of the package behind one, so that a test is written once.

The asyncio face runs in an event loop of the test, which goes on only while a call waits.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import everstream
from everstream import (
    AsyncClient,
    AsyncDurableStream,
    AsyncLease,
    AsyncStreamResponse,
    AsyncSubscriptions,
    AsyncWebhookVerifier,
    AsyncWorker,
    Client,
    Delivery,
    DurableStream,
    IdempotentProducer,
    Producer,
)


class SyncFace:
    """The blocking face as it is."""

    name = "sync"
    Handle = DurableStream
    Producer = Producer
    Client = Client

    def handle(self, url: str, **options: Any) -> Any:
        return DurableStream(url, **options)

    def create(self, url: str, **options: Any) -> Any:
        return DurableStream.create(url, **options)

    def connect(self, url: str, **options: Any) -> Any:
        return DurableStream.connect(url, **options)

    def stream(self, url: str, **options: Any) -> Any:
        return everstream.stream(url, **options)

    def producer(self, stream: Any, producer_id: str = "p", **options: Any) -> Any:
        return Producer(stream, producer_id, **options)

    def client(self, **options: Any) -> Any:
        return Client(**options)

    def receipt(self, delivery: Delivery) -> Any:
        return delivery.result(30)

    def hook(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that the package calls, in the form of this face."""
        return function

    def wait(self, call: Callable[[], Any]) -> Any:
        return call()

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """The results of calls that are made at once, from as many threads, begun in order; or their exceptions."""
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(calls)) as threads:
            running = [threads.submit(call) for call in calls]
        return [call.exception() or call.result() for call in running]

    def close(self) -> None:
        pass


class AsyncFace:
    """The asyncio face, used as if it were blocking."""

    name = "async"
    Handle = AsyncDurableStream
    Producer = IdempotentProducer
    Client = AsyncClient

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def handle(self, url: str, **options: Any) -> Any:
        return self.wait(lambda: AsyncDurableStream(url, **_plain(options)))

    def create(self, url: str, **options: Any) -> Any:
        return self.wait(lambda: AsyncDurableStream.create(url, **_plain(options)))

    def connect(self, url: str, **options: Any) -> Any:
        return self.wait(lambda: AsyncDurableStream.connect(url, **_plain(options)))

    def stream(self, url: str, **options: Any) -> Any:
        return self.wait(lambda: everstream.astream(url, **_plain(options)))

    def producer(self, stream: Any, producer_id: str = "p", **options: Any) -> Any:
        return self.wait(lambda: IdempotentProducer(_unwrapped(stream), producer_id, **_plain(options)))

    def client(self, **options: Any) -> Any:
        return self.wait(lambda: AsyncClient(**options))

    def receipt(self, delivery: Delivery) -> Any:
        async def received() -> Any:
            return await delivery

        return self.wait(received)

    def hook(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def coroutine_function(*args: Any) -> Any:
            await asyncio.sleep(0)
            return function(*args)

        return coroutine_function

    def wait(self, call: Callable[[], Any]) -> Any:
        async def called() -> Any:
            value = call()
            # A receipt is awaited by whoever wants it.
            return await value if inspect.isawaitable(value) and not isinstance(value, Delivery) else value

        return self._wrapped(self.loop.run_until_complete(called()))

    def together(self, *calls: Callable[[], Any]) -> list[Any]:
        """The results of calls that are made at once, in order; or their exceptions. Each gives an awaitable."""

        async def gathered() -> list[Any]:
            return await asyncio.gather(*[call() for call in calls], return_exceptions=True)

        return self.loop.run_until_complete(gathered())

    def close(self) -> None:
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, WRAPPED):
            return Blocking(self, value)
        if isinstance(value, AsyncIterator):
            return self._iterated(value)
        return value

    def _iterated(self, iterator: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    item = self.wait(iterator.__anext__)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            # Not when the collector comes across it within a call.
            if not (self.loop.is_closed() or self.loop.is_running()):
                self.wait(iterator.aclose)


WRAPPED = (
    AsyncClient,
    AsyncDurableStream,
    AsyncLease,
    AsyncStreamResponse,
    AsyncSubscriptions,
    AsyncWebhookVerifier,
    AsyncWorker,
    IdempotentProducer,
)

Face = SyncFace | AsyncFace


class Blocking:
    """An object of the asyncio face, used like one of the blocking face; `raw` is the object itself."""

    def __init__(self, face: AsyncFace, raw: Any) -> None:
        self.raw = raw
        self._face = face

    def __getattr__(self, name: str) -> Any:
        if name == "close" and not hasattr(self.raw, "close"):
            name = "aclose"
        value = getattr(self.raw, name)
        if not callable(value):
            return value
        return lambda *args, **options: self._face.wait(lambda: value(*map(_unwrapped, args), **_plain(options)))

    def __enter__(self) -> Blocking:
        self._face.wait(self.raw.__aenter__)
        return self

    def __exit__(self, *args: Any) -> None:
        self._face.wait(lambda: self.raw.__aexit__(*args))

    def __iter__(self) -> Iterator[Any]:
        return iter(self._face.wait(self.raw.__aiter__))


def _unwrapped(value: Any) -> Any:
    return value.raw if isinstance(value, Blocking) else value


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {name: _unwrapped(value) for name, value in options.items()}
