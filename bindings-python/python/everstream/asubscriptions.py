"""Subscriptions, webhooks and workers, with asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

from . import _native
from ._subscribing import LeaseBase, SubscriptionsBase, WorkerBase, body_of, list_of, new_subscription
from .ahandle import AsyncStreamSession
from .aresponse import AsyncStreamResponse
from .client import AsyncClient
from .errors import DurableStreamError
from .subscription_types import LinkedStream, Offsets, Subscription, Wake, path_of, subscription, wake
from .types import AsyncHeadersLike, AsyncOnError, AsyncParamsLike, Checkpoint, Retry, Timeout


class AsyncSubscriptions(SubscriptionsBase):
    """The subscriptions of a server, for asyncio. Arguments, operations and errors as for `Subscriptions`; functions among
    the arguments may be coroutine functions. Cancelling an operation aborts its request at once."""

    def __init__(
        self,
        root: str,
        *,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        client: AsyncClient | None = None,
        timeout: float | Timeout | None = None,
        retry: Retry | None = None,
        on_error: AsyncOnError | None = None,
    ) -> None:
        self._open(locals(), AsyncClient)

    async def create(
        self,
        id: str,
        *,
        pattern: str | None = None,
        streams: Iterable[str] = (),
        wake_stream: str | None = None,
        webhook: str | None = None,
        lease: float | None = None,
        description: str | None = None,
    ) -> Subscription:
        """Creates a subscription, or confirms that it is there. What its streams hold already is not replayed.

        Args:
            id: Its name.
            pattern: Streams by pattern: `*` is one segment, `**` any number of them. It or `streams` must be there.
            streams: Streams by path below the stream root.
            wake_stream: Makes it pull-wake: the stream that gets an event for each wake. You create it, as JSON.
            webhook: Makes it a webhook: where the server sends its POSTs.
            lease: How long a worker may be silent: 1 to 600 seconds. Default is the server's, 30.
            description: Text for people.

        Raises:
            StreamExistsError: The id has another configuration.
            InvalidArgumentError, BadRequestError: Options that cannot be used.
        """
        options = new_subscription(pattern, streams, wake_stream, webhook, lease, description)
        return subscription(await self._native.create(False, id, options))

    async def get(self, id: str) -> Subscription:
        """A subscription, with the cursor of each of its streams. `StreamNotFoundError`."""
        return subscription(await self._native.get(False, id))

    async def list(self) -> list[Subscription]:
        """All subscriptions, without their streams, by id. Our servers can, others not."""
        return [subscription(row) for row in await self._native.list(False)]

    async def delete(self, id: str) -> None:
        """Removes a subscription; one that is not there is no error. Its workers are told with their next call."""
        await self._native.delete(False, id)

    async def add_streams(self, id: str, paths: Iterable[str]) -> None:
        """Adds streams by path, from their tails on."""
        await self._native.add_streams(False, id, list_of(paths))

    async def remove_stream(self, id: str, path: str) -> None:
        """Removes a stream that was added by path; one that is not there is no error."""
        await self._native.remove_stream(False, id, path)

    async def rotate_key(self, overlap: float | None = None) -> str:
        """Has the server sign webhooks with a new key, and gives its name. Keys before it are good for `overlap` seconds,
        by default a day; 0 ends a key that has leaked at once. Our servers can, others not."""
        return await self._native.rotate_key(False, overlap)

    async def claim(self, id: str, name: str) -> AsyncLease | None:
        """Takes the work of a pull-wake subscription, under a name for people to see; `None` when there is none, or
        another worker has it. `worker` waits for it."""
        lease = await self._native.claim(False, id, name)
        return None if lease is None else AsyncLease(lease)

    async def worker(self, id: str, name: str) -> AsyncWorker:
        """A worker of a pull-wake subscription: `async with await subscriptions.worker(id, name) as worker`. Arguments
        and errors as for `Subscriptions.worker`."""
        return AsyncWorker(await self._native.worker(False, id, name), self, id, name)

    def work_of(self, wake: Wake | str, lease: float = 30.0) -> AsyncLease:
        """The work of a webhook that was verified; arguments as for `Subscriptions.work_of`."""
        return AsyncLease(self._native.work_of(body_of(wake), lease))

    def webhook_verifier(
        self, subscription: str | None = None, *, tolerance: float | None = None
    ) -> AsyncWebhookVerifier:
        """Checks webhooks of this server; arguments as for `Subscriptions.webhook_verifier`."""
        return AsyncWebhookVerifier(self, subscription, tolerance)


class AsyncWebhookVerifier:
    """Tells whether a webhook is from the server. Made by `AsyncSubscriptions.webhook_verifier`; share one among all
    requests, also of forked children.

    The keys are those of the server that the program names, whatever the webhook says.
    """

    def __init__(self, subscriptions: AsyncSubscriptions, subscription: str | None, tolerance: float | None) -> None:
        self._arguments = (subscriptions, subscription, tolerance)
        self._native = _native.WebhookVerifier(subscriptions._native, subscription, tolerance)

    async def verify(self, signature: str | None, body: str | bytes) -> Wake:
        """The content of a webhook, if it is genuine.

        Args:
            signature: The header `Webhook-Signature`; `None` when there is none.
            body: The raw body.

        Raises:
            InvalidSignatureError: Answer 401.
            DurableStreamError: The keys cannot be fetched. Answer 503, and the server tries again.
        """
        return wake(await self._native.verify(False, signature or "", body))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self._arguments)


class AsyncWorker(WorkerBase):
    """Waits for the work of a pull-wake subscription: `async for lease in worker`. Made by `AsyncSubscriptions.worker`.

    As `Worker`. Cancelling a task that waits loses no wake, and the next call goes on.
    """

    async def next(self) -> AsyncLease | None:
        """The next work, as soon as there is some; `None` once the worker is closed. See `Worker.next`."""
        lease = await self._native.next(False)
        return None if lease is None else AsyncLease(lease)

    def __aiter__(self) -> AsyncIterator[AsyncLease]:
        return self

    async def __anext__(self) -> AsyncLease:
        lease = await self.next()
        if lease is None:
            raise StopAsyncIteration
        return lease

    async def aclose(self) -> None:
        """Takes no more work, and ends the wait for it, also that of another task. Can be repeated. A lease that was
        handed over goes on."""
        self._closed = True
        await self._native.close(False)

    async def __aenter__(self) -> AsyncWorker:
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.aclose()


class AsyncLease(LeaseBase):
    """The right to work on what a subscription has pending; see `Lease`. `async with lease` finishes it at the end of
    the block, and gives it back when the block raises or is cancelled."""

    def read(self, stream: LinkedStream | str) -> AsyncStreamSession:
        """Reads one of the streams, from its cursor to the tail: `async with lease.read(stream) as response`. The
        response's `offset` is what to ack."""
        path = path_of(stream)

        async def open_() -> AsyncStreamResponse[Any]:
            reader = await self._native.read(False, path)
            start = Checkpoint(next(it.acked_offset for it in self._streams if it.path == path))
            url = self._native.stream_url(path)
            return AsyncStreamResponse(reader, url=url, live=False, start=start, cursor=None, store=None)

        return AsyncStreamSession(open_)

    async def ack(self, offsets: Offsets) -> None:
        """Stores how far streams are processed; see `Lease.ack`."""
        await self._native.ack(False, dict(offsets))

    async def finish(self, offsets: Offsets | None = None) -> bool:
        """Stores the last offsets and gives the lease back, in one step; see `Lease.finish`."""
        return await self._native.finish(False, dict(offsets or {}))

    async def release(self) -> None:
        """Gives the work back undone; see `Lease.release`."""
        await self._native.release(False)

    async def ended(self) -> bool:
        """Done when the lease is lost, or was finished or released; whether it was lost. Wait for it beside the work."""
        return await self._native.ended(False)

    async def __aenter__(self) -> AsyncLease:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *args: object) -> None:
        if self.is_over:
            return
        if exc_type is None:
            await self.finish()
        elif issubclass(exc_type, Exception):
            with suppress(DurableStreamError):
                await self.release()
        else:
            self._native.abandon()
