"""Subscriptions, webhooks and workers, blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from . import _native
from ._subscribing import LeaseBase, SubscriptionsBase, WorkerBase, body_of, list_of, new_subscription
from .client import Client
from .errors import DurableStreamError
from .response import StreamResponse
from .subscription_types import LinkedStream, Offsets, Subscription, Wake, path_of, subscription, wake
from .types import Checkpoint, HeadersLike, OnError, ParamsLike, Retry, Timeout


class Subscriptions(SubscriptionsBase):
    """The subscriptions of a server, and the way to their work. Making it does no I/O.

    Args:
        root: The stream root, such as `http://127.0.0.1:4437/v1/stream`.
        headers: Headers; functions are asked anew for each request.
        params: Query parameters; functions are asked anew for each request.
        client: An `everstream.Client`; default is one that all share.
        timeout: `everstream.Timeout`, or the limit of one try in seconds.
        retry: When failed requests are tried again.
        on_error: See `everstream.stream`.

    Errors of all operations are `DurableStreamError`s.
    """

    def __init__(
        self,
        root: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: Client | None = None,
        timeout: float | Timeout | None = None,
        retry: Retry | None = None,
        on_error: OnError | None = None,
    ) -> None:
        self._open(locals(), Client)

    def create(
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
        return subscription(self._native.create(True, id, options))

    def get(self, id: str) -> Subscription:
        """A subscription, with the cursor of each of its streams. `StreamNotFoundError`."""
        return subscription(self._native.get(True, id))

    def list(self) -> list[Subscription]:
        """All subscriptions, without their streams, by id. Our servers can, others not."""
        return [subscription(row) for row in self._native.list(True)]

    def delete(self, id: str) -> None:
        """Removes a subscription; one that is not there is no error. Its workers are told with their next call."""
        self._native.delete(True, id)

    def add_streams(self, id: str, paths: Iterable[str]) -> None:
        """Adds streams by path, from their tails on."""
        self._native.add_streams(True, id, list_of(paths))

    def remove_stream(self, id: str, path: str) -> None:
        """Removes a stream that was added by path; one that is not there is no error."""
        self._native.remove_stream(True, id, path)

    def rotate_key(self, overlap: float | None = None) -> str:
        """Has the server sign webhooks with a new key, and gives its name. Keys before it are good for `overlap` seconds,
        by default a day; 0 ends a key that has leaked at once. Our servers can, others not."""
        return self._native.rotate_key(True, overlap)

    def claim(self, id: str, name: str) -> Lease | None:
        """Takes the work of a pull-wake subscription, under a name for people to see; `None` when there is none, or
        another worker has it. `worker` waits for it."""
        lease = self._native.claim(True, id, name)
        return None if lease is None else Lease(lease)

    def worker(self, id: str, name: str) -> Worker:
        """A worker of a pull-wake subscription: `with subscriptions.worker(id, name) as worker`.

        Args:
            id: The subscription.
            name: The worker's name, for people to see.

        Raises:
            StreamNotFoundError: The subscription or its wake stream is not there.
            InvalidArgumentError: It is a webhook.
        """
        return Worker(self._native.worker(True, id, name), self, id, name)

    def work_of(self, wake: Wake | str, lease: float = 30.0) -> Lease:
        """The work of a webhook that was verified, to read, ack and finish it after it was answered with a 2xx that is not
        `{"done":true}`.

        Args:
            wake: What the verifier gave, or its `body`.
            lease: The subscription's, in seconds, which the webhook does not say.
        """
        return Lease(self._native.work_of(body_of(wake), lease))

    def webhook_verifier(self, subscription: str | None = None, *, tolerance: float | None = None) -> WebhookVerifier:
        """Checks webhooks of this server.

        Args:
            subscription: Takes webhooks of this one only. Default: any of the server's.
            tolerance: How old or how far ahead a signature may be, in seconds. Default 300.
        """
        return WebhookVerifier(self, subscription, tolerance)


class WebhookVerifier:
    """Tells whether a webhook is from the server. Made by `Subscriptions.webhook_verifier`; share one among all
    requests, also of forked children.

    The keys are those of the server that the program names, whatever the webhook says.
    """

    def __init__(self, subscriptions: Subscriptions, subscription: str | None, tolerance: float | None) -> None:
        self._arguments = (subscriptions, subscription, tolerance)
        self._native = _native.WebhookVerifier(subscriptions._native, subscription, tolerance)

    def verify(self, signature: str | None, body: str | bytes) -> Wake:
        """The content of a webhook, if it is genuine.

        Args:
            signature: The header `Webhook-Signature`; `None` when there is none.
            body: The raw body.

        Raises:
            InvalidSignatureError: Answer 401.
            DurableStreamError: The keys cannot be fetched. Answer 503, and the server tries again.
        """
        return wake(self._native.verify(True, signature or "", body))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self._arguments)


class Worker(WorkerBase):
    """Waits for the work of a pull-wake subscription: `for lease in worker`. Made by `Subscriptions.worker`.

    Any number of workers may share a subscription; each wake goes to one of them. Asking for the next work gives the
    one before back, unless it was finished or released. Waits release the interpreter and end at Ctrl-C.
    """

    def next(self) -> Lease | None:
        """The next work, as soon as there is some; `None` once the worker is closed. An error does not end the worker:
        the next call goes on. `StreamNotFoundError` when the subscription or its wake stream is gone."""
        lease = self._native.next(True)
        return None if lease is None else Lease(lease)

    def __iter__(self) -> Iterator[Lease]:
        return self

    def __next__(self) -> Lease:
        lease = self.next()
        if lease is None:
            raise StopIteration
        return lease

    def close(self) -> None:
        """Takes no more work, and ends the wait for it, also that of another thread. Can be repeated. A lease that was
        handed over goes on."""
        self._closed = True
        self._native.close(True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


class Lease(LeaseBase):
    """The right to work on what a subscription has pending. No other worker has it until this one is silent for the
    time of the lease: heartbeats in the background tell the server that it is not, as long as this object lives.

    As a context manager it is finished at the end of the block, and given back when the block raises. Work is given at
    least once: what was done and not acked, because the worker died or its lease ended, is given again.
    """

    def read(self, stream: LinkedStream | str) -> StreamResponse[Any]:
        """Reads one of the streams, from its cursor to the tail. The response's `offset` is what to ack."""
        path = path_of(stream)
        reader = self._native.read(True, path)
        start = Checkpoint(next(it.acked_offset for it in self._streams if it.path == path))
        return StreamResponse(
            reader, url=self._native.stream_url(path), live=False, start=start, cursor=None, store=None
        )

    def ack(self, offsets: Offsets) -> None:
        """Stores how far streams are processed - offsets of reads, by path - and begins the lease anew.

        Raises:
            LeaseLostError: The lease is over: stop, and discard what was done where that is possible.
            InvalidOffsetError: An offset before the cursor or beyond the tail; none of them was stored.
        """
        self._native.ack(True, dict(offsets))

    def finish(self, offsets: Offsets | None = None) -> bool:
        """Stores the last offsets and gives the lease back, in one step; whether there is more to do. What is not acked
        stays pending, and is given again. Errors as for `ack`; after a `LeaseLostError` with `outcome_unknown` the
        offsets may be stored."""
        return self._native.finish(True, dict(offsets or {}))

    def release(self) -> None:
        """Gives the work back undone, so that another worker can have it at once. A lease that is over is no error. That
        of a webhook ends by itself."""
        self._native.release(True)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *args: object) -> None:
        if self.is_over:
            return
        if exc_type is None:
            self.finish()
        elif issubclass(exc_type, Exception):
            with suppress(DurableStreamError):
                self.release()
        else:
            self._native.abandon()
