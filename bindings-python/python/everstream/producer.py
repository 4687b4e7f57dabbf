"""Producers: messages that are stored exactly once, in order, whatever the network does."""

from __future__ import annotations

import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _native
from ._native import Delivery
from .errors import NotSupportedError
from .types import (
    AsyncHeadersLike,
    AsyncParamsLike,
    FlushResult,
    IdempotentAppendResult,
)

if TYPE_CHECKING:
    from .ahandle import AsyncDurableStream
    from .client import AsyncClient
    from .handle import DurableStream, HandleBase

__all__ = ["Delivery", "IdempotentProducer", "Producer"]

DEFAULT_MAX_BATCH_BYTES = 1024 * 1024
DEFAULT_MAX_BUFFERED_BYTES = 32 * 1024 * 1024


_OPTIONS = (
    "epoch",
    "auto_claim",
    "max_batch_bytes",
    "max_batch_items",
    "linger_ms",
    "max_in_flight",
    "max_buffered_bytes",
    "delivery_timeout",
)


def _options(arguments: dict[str, Any], handle: HandleBase) -> dict[str, Any]:
    """Options of a producer as the native module takes them."""
    return {name: arguments[name] for name in _OPTIONS} | {"request_timeout": handle._timeout.read}


class _ProducerBase:
    """What both producers know of themselves."""

    _native: _native.Producer
    _url: str
    _producer_id: str
    _closed = False
    _inherited = False
    """Whether it is the producer of the process that this one was forked from."""

    @property
    def url(self) -> str:
        """The stream's URL."""
        return self._url

    @property
    def producer_id(self) -> str:
        """Who the server knows this producer as."""
        return self._producer_id

    @property
    def epoch(self) -> int:
        """The fencing number in use."""
        return self._native.epoch

    @property
    def next_seq(self) -> int:
        """The number of the next new batch."""
        return self._native.next_seq

    @property
    def pending_count(self) -> int:
        """Messages that are not settled yet."""
        return self._native.pending_count

    @property
    def in_flight_count(self) -> int:
        """Batches under way."""
        return self._native.in_flight_count

    @property
    def buffered_bytes(self) -> int:
        """Bytes of messages that are not settled yet."""
        return self._native.buffered_bytes

    @property
    def last_offset(self) -> str | None:
        """The last offset that an answer named."""
        return self._native.last_offset

    @property
    def closed(self) -> bool:
        """Whether this producer was closed; that closes no stream."""
        return self._closed

    def _let_go(self, error: BaseException) -> bool:
        """Whether this is somebody who does not want to wait: Ctrl-C, a cancelled task. What was appended is sent all
        the same, and the end of the process waits for it."""
        if isinstance(error, Exception):
            return False
        self._closed = True
        _forgotten.append((repr(self), self._native))
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a producer at work cannot be pickled: make one from a pickled stream")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._producer_id!r} of {self._url}>"

    def __del__(self) -> None:
        if self._closed or self._inherited or not hasattr(self, "_native"):
            return
        if self._native.pending_count > 0:
            _forgotten.append((repr(self), self._native))
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)


class Producer(_ProducerBase):
    """An idempotent producer, blocking: `with stream.producer("id") as p: p.append(x)`.

    Messages are batched and pipelined in the background, and sent again under the same identity until the server has
    answered for them. `flush` and the end of the `with` block raise when any message was not stored; Ctrl-C in the
    block does not wait for that. Threads may share a producer. Closing it leaves the stream open. What was appended
    and not flushed is sent at the end of the process, if the server answers within some seconds.

    Args:
        stream: The stream: a handle, or a URL.
        producer_id: Who the server knows it as. One at a time may use it.
        epoch: Fencing number. Raise it when a producer starts anew under its old id.
        auto_claim: Take over with a higher epoch when fenced, instead of failing.
        max_batch_bytes: Upper bound of a batch's body; only a single larger message exceeds it.
        max_batch_items: Messages in a batch; `None` is no limit.
        linger_ms: How long a message waits for others before its batch goes out.
        max_in_flight: Batches under way at once.
        max_buffered_bytes: Bytes of messages that are not answered yet; beyond it `append` waits.
        delivery_timeout: Seconds that a batch may be tried without an answer before the producer gives up on it and
            stops; `None` is for ever.
        on_error: Called with the error of each batch that was not stored, in another thread.

    Raises:
        InvalidArgumentError: An option is out of range.
        StreamNotFoundError: There is no such stream, which is asked for its content type if that is not known.
    """

    def __init__(
        self,
        stream: DurableStream | str,
        producer_id: str,
        *,
        epoch: int = 0,
        auto_claim: bool = False,
        max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
        max_batch_items: int | None = None,
        linger_ms: float = 5,
        max_in_flight: int = 5,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
        delivery_timeout: float | None = 120.0,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        arguments = locals()
        from .handle import DurableStream

        handle = DurableStream(stream) if isinstance(stream, str) else stream
        self._url, self._producer_id = handle.url, producer_id
        options = _options(arguments, handle)
        self._native = handle._native.producer(True, producer_id, options, on_error)
        _open.add(self)

    def append(self, data: Any, *, timeout: float | None = None) -> Delivery:
        """Takes a message; waits while the buffer is full.

        Text and bytes go as they are - on a JSON stream they must be one JSON document -, any other value as JSON.

        Args:
            data: The message; not empty.
            timeout: Seconds to wait at most; then `BufferFullError`, and the message is not taken.

        Raises:
            InvalidArgumentError: It cannot be a message of this stream; it is not taken.
            AlreadyClosedError, or the error that stopped the producer.
        """
        return self._native.append(data, timeout)

    def append_json(self, value: Any, *, timeout: float | None = None) -> Delivery:
        """As `append`, of a value as JSON whatever it is: a str becomes a JSON string."""
        return self._native.append_json(value, timeout)

    def try_append(self, data: Any) -> Delivery:
        """As `append`, but `BufferFullError` at once when it would have to wait."""
        return self._native.try_append(data)

    def flush(self) -> FlushResult:
        """Sends what is there and waits until every message is settled. Raises when any message since the flush before
        was not stored; `failures` of the error lists them all."""
        return FlushResult(*self._native.flush(True))

    def detach(self) -> FlushResult:
        """Flushes and takes no more messages. The stream stays open."""
        self._closed = True
        try:
            return FlushResult(*self._native.detach(True))
        except BaseException as error:
            self._let_go(error)
            raise

    def close(self) -> None:
        """Flushes and takes no more messages. The stream stays open: see `close_stream`. Can be repeated; raises what
        `flush` would."""
        if not self._closed:
            self.detach()

    def close_stream(self, data: Any = None) -> IdempotentAppendResult:
        """Sends what is there, then closes the stream for everyone, with a last message in the same step if one is
        given. A second call gives the first result."""
        result: IdempotentAppendResult = self._native.close_stream(True, data)
        self._closed = True
        return result

    def restart(self) -> None:
        """Flushes, then starts anew under the next epoch; also the way on after a batch failed for good."""
        self._native.restart(True)
        self._closed = False

    def __enter__(self) -> Producer:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, *args: object
    ) -> None:
        if error is None:
            self.close()
            return
        if self._let_go(error):
            return
        # What was appended is sent, but the exception on its way is the one to tell of.
        try:
            self.close()
        except Exception as failure:
            warnings.warn(f"{self!r} could not store everything: {failure}", ResourceWarning, stacklevel=2)


class IdempotentProducer(_ProducerBase):
    """An idempotent producer for asyncio.

    `append` is an ordinary call: it takes the message at once and gives a receipt that nobody has to await. Messages
    are batched and pipelined in the background, and sent again under the same identity until the server has answered
    for them. `await flush()` raises when any message was not stored. Closing it leaves the stream open.
    A cancel in an `async with` block does not wait for messages on their way; they are sent all the same.

    Args:
        url: The stream: its URL, or a handle.
        producer_id: Who the server knows it as. One at a time may use it.
        client: An `everstream.AsyncClient`; default is one that all share.
        content_type: The stream's. Default: it is asked for in the background, and messages wait for the answer.
        on_error: Called with the error of each batch that was not stored, in the event loop.
        headers: Headers; functions are asked anew for each request.
        params: Query parameters; functions are asked anew for each request.
        encode: Makes str or bytes of values that are neither, in place of JSON.

    The other arguments are those of `Producer`.
    """

    def __init__(
        self,
        url: str | AsyncDurableStream,
        producer_id: str,
        *,
        client: AsyncClient | None = None,
        epoch: int = 0,
        auto_claim: bool = False,
        max_batch_bytes: int = DEFAULT_MAX_BATCH_BYTES,
        linger_ms: float = 5,
        max_in_flight: int = 5,
        content_type: str | None = None,
        on_error: Callable[[Exception], object] | None = None,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        max_batch_items: int | None = None,
        max_buffered_bytes: int = DEFAULT_MAX_BUFFERED_BYTES,
        delivery_timeout: float | None = 120.0,
        encode: Callable[[Any], str | bytes] | None = None,
    ) -> None:
        arguments = locals()
        from .ahandle import AsyncDurableStream

        own: dict[str, Any] = {
            "client": client, "content_type": content_type, "headers": headers, "params": params, "encode": encode,
        }  # fmt: skip
        if isinstance(url, str):
            handle = AsyncDurableStream(url, **own)
        elif given := [name for name, value in own.items() if value is not None]:
            raise TypeError(f"{', '.join(given)}: the handle that was given has its own; give them to the handle")
        else:
            handle = url
        self._url, self._producer_id = handle.url, producer_id
        options = _options(arguments, handle)
        self._native = handle._native.producer(False, producer_id, options, on_error)
        self._append = self._native.try_append
        _open.add(self)

    def append(self, body: Any) -> Delivery:
        """Takes a message at once; `await` what it gives for the receipt, or do not.

        Text and bytes go as they are - on a JSON stream they must be one JSON document -, any other value as JSON.

        Raises:
            BufferFullError: More than `max_buffered_bytes` are not answered yet; the message is not taken. `await
                send(body)` waits for space instead.
            InvalidArgumentError: It cannot be a message of this stream; it is not taken.
            AlreadyClosedError, or the error that stopped the producer.
        """
        return self._append(body)

    def append_json(self, value: Any) -> Delivery:
        """As `append`, of a value as JSON whatever it is: a str becomes a JSON string."""
        return self._native.try_append_json(value)

    def try_append(self, data: Any) -> Delivery:
        """The same as `append`, under its name in the other languages."""
        return self._append(data)

    async def send(self, data: Any) -> Delivery:
        """As `append`, but waits while the buffer is full. Cancelled, the message may have been taken or not; one that
        was taken is sent."""
        return await self._native.send(data, False)

    async def send_json(self, value: Any) -> Delivery:
        """As `append_json`, but waits while the buffer is full."""
        return await self._native.send(value, True)

    async def flush(self) -> FlushResult:
        """Sends what is there and waits until every message is settled. Raises when any message since the flush before
        was not stored; `failures` of the error lists them all. Cancelled, the messages stay on their way."""
        return FlushResult(*await self._native.flush(False))

    async def detach(self) -> FlushResult:
        """Flushes and takes no more messages. The stream stays open."""
        self._closed = True
        try:
            return FlushResult(*await self._native.detach(False))
        except BaseException as error:
            self._let_go(error)
            raise

    async def close(self) -> None:
        """Flushes and takes no more messages. The stream stays open: see `close_stream`. Can be repeated; raises what
        `flush` would."""
        if not self._closed:
            await self.detach()

    async def aclose(self) -> None:
        """The same as `close`."""
        await self.close()

    async def close_stream(self, data: Any = None, *, seq: str | None = None) -> IdempotentAppendResult:
        """Sends what is there, then closes the stream for everyone, with a last message in the same step if one is
        given. A second call gives the first result.

        `seq` is in the signature for compatibility; the batches of a producer have their own numbers, so that one
        given is a `NotSupportedError`.
        """
        if seq is not None:
            raise NotSupportedError("seq: the batches of a producer have numbers of their own")
        result: IdempotentAppendResult = await self._native.close_stream(False, data)
        self._closed = True
        return result

    async def restart(self) -> None:
        """Flushes, then starts anew under the next epoch; also the way on after a batch failed for good."""
        await self._native.restart(False)
        self._closed = False

    async def __aenter__(self) -> IdempotentProducer:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, *args: object
    ) -> None:
        if error is None:
            await self.close()
            return
        if self._let_go(error):
            return
        # What was appended is sent, but the exception on its way is the one to tell of.
        try:
            await self.close()
        except Exception as failure:
            warnings.warn(f"{self!r} could not store everything: {failure}", ResourceWarning, stacklevel=2)


_open: weakref.WeakSet[_ProducerBase] = weakref.WeakSet()
_forgotten: deque[tuple[str, _native.Producer]] = deque(maxlen=100)
"""Not waited for, with messages on their way."""


def flush_all() -> None:
    """At exit: what was appended is sent, unless the server does not answer for some seconds."""
    still_open = [(repr(it), it._native) for it in _open if not it._closed]
    for name, native in (*_forgotten, *still_open):
        try:
            pending = native.flush_within(5.0)
        except Exception as error:
            warnings.warn(f"{name} could not store everything: {error}", ResourceWarning, stacklevel=1)
        else:
            if pending:
                text = f"{name} was not closed, and {pending} messages may not be stored"
                warnings.warn(text, ResourceWarning, stacklevel=1)


def disown_all() -> None:
    """In a forked child: the open producers are the parent's."""
    for producer in _open:
        producer._inherited = True
    _open.clear()
    _forgotten.clear()
