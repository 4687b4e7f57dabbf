"""The handle to one stream, and reading it, blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import _native
from ._settings import as_retry, as_timeout, limits_of, start_of
from .client import Client, client_for, native_stream
from .producer import Producer
from .response import StreamResponse
from .types import (
    AppendResult,
    Checkpoint,
    CheckpointStore,
    CloseResult,
    CreateResult,
    HeadersLike,
    HeadResult,
    LiveMode,
    Offset,
    OnError,
    ParamsLike,
    Retry,
    Timeout,
)


def stream(
    url: str,
    *,
    offset: Offset | Checkpoint | None = None,
    live: LiveMode = True,
    cursor: str | None = None,
    headers: HeadersLike | None = None,
    params: ParamsLike | None = None,
    on_error: OnError | None = None,
    client: Client | None = None,
    timeout: float | Timeout | None = None,
    checkpoint: Checkpoint | None = None,
    store: CheckpointStore | None = None,
    json: bool = False,
    etag: str | None = None,
    max_batch_bytes: int | None = None,
    retry: Retry | None = None,
) -> StreamResponse[Any]:
    """Reads a stream. Returns once the server has begun to answer.

    Args:
        url: The stream.
        offset: Where to start: `"-1"` (default) for the beginning, `"now"` for the tail, or what an earlier read gave.
        live: `True` goes on at the tail by whatever carries the stream unchanged, `"long-poll"` and `"sse"` by that,
            `False` stops there. SSE gives way to long-poll where it does not get through.
        cursor: Accepted for compatibility; the server gives the cursors of live reads.
        headers: Headers; functions are asked anew for each request.
        params: Query parameters; functions are asked anew for each request.
        on_error: Called when the read is about to fail, also in its middle. Returns `{"headers": ..., "params": ...}`
            (either may be missing) to try again with these, `None` to fail.
        client: An `everstream.Client`; default is one that all share.
        timeout: `everstream.Timeout`, or the limit of one try in seconds. Never ends an idle live read.
        checkpoint: Where to go on exactly, as `StreamResponse.checkpoint()` gave it.
        store: Where checkpoints are kept: the read starts at what it holds, and saves as it goes.
        json: Treat the stream as JSON whatever its content type says.
        etag: The tag of what an earlier catch-up read gave: if it is still current nothing is read, and
            `not_modified` says so.
        max_batch_bytes: A longer answer is handed over in parts. Default 4 MiB.
        retry: When failed requests are tried again.

    Raises:
        StreamNotFoundError, InvalidOffsetError, RetentionGoneError, UnauthorizedError, ForbiddenError, NetworkError and
        other `DurableStreamError`s.
    """
    connections = client_for(client, Client, as_timeout(timeout))
    timeout = limits_of(as_timeout(timeout), connections.timeout)
    policy = as_retry(retry or connections.retry, timeout)
    native = native_stream(
        connections, url, headers=headers, params=params, timeout=timeout, retry=policy, on_error=on_error
    )
    start = start_of(offset, checkpoint, store.load() if store is not None else None)
    reader = native.read(
        True, start.offset, start.skip, start.incarnation, live, read_options(json, etag, max_batch_bytes, timeout)
    )
    return StreamResponse(reader, url=url, live=live, start=start, cursor=cursor, store=store)


def read_options(json: bool, etag: str | None, max_batch_bytes: int | None, timeout: Timeout) -> dict[str, Any]:
    """Options of a read as the native module takes them."""
    return {
        "json": json,
        "etag": etag,
        "max_batch_bytes": max_batch_bytes,
        "read_timeout": timeout.read,
        "stall_timeout": timeout.stall,
    }


class HandleBase:
    """What a handle of either face is: an address and settings. Picklable; a copy makes its own connections unless it
    was given a client."""

    _native: _native.Stream
    _timeout: Timeout
    _arguments: dict[str, Any]
    _created: bool | None = None

    @property
    def url(self) -> str:
        """The URL as it was given."""
        url: str = self._arguments["url"]
        return url

    @property
    def content_type(self) -> str | None:
        """The stream's content type, as far as it is known: given, or learned from the server."""
        return self._native.content_type

    @property
    def created(self) -> bool | None:
        """Whether the last create through this handle made the stream new; `None` before the first."""
        return self._created

    def __reduce__(self) -> tuple[Any, ...]:
        return (_remake, (type(self), self._arguments))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def _remake(cls: type[HandleBase], arguments: dict[str, Any]) -> HandleBase:
    return cls(**arguments)


class DurableStream(HandleBase):
    """A handle to a stream. Making one does no I/O, dropping one does nothing to the stream.

    Args:
        url: The stream.
        headers: Headers; functions are asked anew for each request.
        params: Query parameters; functions are asked anew for each request.
        content_type: The stream's, if you know it: saves the HEAD that would find out before the first append.
        client: An `everstream.Client`; default is one that all share.
        timeout: `everstream.Timeout`, or the limit of one try in seconds.
        batching: Appends that are made while one is under way go out together in the next request. Default true.
        on_error: See `stream`; asked for every operation.
        idempotent: Gives appends an identity, so that they are sent again after any failure and stored once.
        retry: When failed requests are tried again.
        encode: Makes str or bytes of values that are neither, in place of JSON: `orjson.dumps` for example.

    Errors of all operations are `DurableStreamError`s.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        content_type: str | None = None,
        client: Client | None = None,
        timeout: float | Timeout | None = None,
        batching: bool = True,
        on_error: OnError | None = None,
        idempotent: bool = False,
        retry: Retry | None = None,
        encode: Callable[[Any], str | bytes] | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        connections = client_for(client, Client, as_timeout(timeout))
        self._timeout = limits_of(as_timeout(timeout), connections.timeout)
        self._native = native_stream(
            connections, url, headers=headers, params=params, content_type=content_type, timeout=self._timeout,
            retry=as_retry(retry or connections.retry, self._timeout), on_error=on_error, batching=batching,
            idempotent=idempotent, encode=encode,
        )  # fmt: skip

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: Client | None = None,
        timeout: float | Timeout | None = None,
        **options: Any,
    ) -> DurableStream:
        """A handle to a stream that is there; asks by HEAD. `StreamNotFoundError` if it is not."""
        handle = cls(url, headers=headers, params=params, client=client, timeout=timeout, **options)
        handle.head()
        return handle

    @classmethod
    def create(
        cls,
        url: str,
        *,
        content_type: str | None = None,
        ttl_seconds: int | None = None,
        expires_at: str | None = None,
        body: Any = None,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: Client | None = None,
        timeout: float | Timeout | None = None,
        closed: bool = False,
        fork_from: str | None = None,
        fork_offset: Offset | None = None,
        fork_sub_offset: int | None = None,
        **options: Any,
    ) -> DurableStream:
        """Creates a stream and gives a handle to it; arguments as for `create_stream` and the class."""
        handle = cls(
            url, headers=headers, params=params, content_type=content_type, client=client, timeout=timeout, **options
        )
        handle.create_stream(
            content_type=content_type, ttl_seconds=ttl_seconds, expires_at=expires_at, body=body, closed=closed,
            fork_from=fork_from, fork_offset=fork_offset, fork_sub_offset=fork_sub_offset,
        )  # fmt: skip
        return handle

    @classmethod
    def head_static(
        cls,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: Client | None = None,
        timeout: float | Timeout | None = None,
    ) -> HeadResult:
        """`head` without a handle."""
        return cls(url, headers=headers, params=params, client=client, timeout=timeout).head()

    @classmethod
    def delete_static(
        cls,
        url: str,
        *,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        client: Client | None = None,
        timeout: float | Timeout | None = None,
    ) -> None:
        """`delete` without a handle."""
        cls(url, headers=headers, params=params, client=client, timeout=timeout).delete()

    def head(self) -> HeadResult:
        """What the server knows of the stream. Does not restart its lifetime. `StreamNotFoundError`."""
        return head_result(self._native.head(True))

    def create_stream(
        self,
        *,
        content_type: str | None = None,
        ttl_seconds: int | None = None,
        expires_at: str | None = None,
        body: Any = None,
        closed: bool = False,
        fork_from: str | None = None,
        fork_offset: Offset | None = None,
        fork_sub_offset: int | None = None,
    ) -> CreateResult:
        """Creates the stream, or confirms that it is there with the same configuration.

        Args:
            content_type: Fixed for its life. Default: the handle's, else `application/octet-stream`.
            ttl_seconds: Sliding lifetime, restarted by every read and write.
            expires_at: Fixed deadline, RFC 3339; not together with `ttl_seconds`.
            body: Initial content: text and bytes as they are (a JSON array is several messages), other values as JSON.
            closed: Create it closed: the body is all it will ever hold.
            fork_from: URL path of another stream on the same server, whose data it starts with.
            fork_offset: Up to where. Default: the tail.
            fork_sub_offset: Messages (JSON) or bytes beyond `fork_offset`.

        Raises:
            StreamExistsError: It is there with another configuration.
        """
        options = create_options(
            content_type or self.content_type, ttl_seconds, expires_at, closed, fork_from, fork_offset, fork_sub_offset
        )
        result = CreateResult(*self._native.create(True, body, options))
        self._created = result.created
        return result

    def append(self, data: Any, *, seq: str | None = None, content_type: str | None = None) -> AppendResult:
        """Appends one message.

        Text and bytes (anything with the buffer protocol) go as they are - on a JSON stream they must be one JSON
        document -, any other value as JSON. Not sent again once it may have been stored, unless the handle is
        `idempotent`: then the error has `outcome_unknown`. For data that must not be lost use a `producer`.

        Args:
            data: The message; not empty.
            seq: `Stream-Seq`: greater than the one before, compared bytewise.
            content_type: Default: the stream's.

        Raises:
            StreamClosedError, SeqConflictError, ContentTypeConflictError, InvalidArgumentError (not JSON on a JSON
            stream), NotSupportedError (a value on a stream that is not JSON).
        """
        return AppendResult(*self._native.append(True, data, seq, content_type))

    def append_json(self, value: Any) -> AppendResult:
        """Appends a value as one JSON message, whatever it is: a str becomes a JSON string."""
        return AppendResult(*self._native.append_json(True, value))

    def append_stream(
        self, pieces: Iterable[str | bytes], *, seq: str | None = None, content_type: str | None = None
    ) -> AppendResult:
        """Appends a body that comes in pieces, as one atomic append. Sent once: a failure leaves the outcome unknown. On
        a JSON stream the whole is one JSON text. The pieces are asked for in another thread."""
        source = iter(pieces)
        return AppendResult(*self._native.append_stream(True, lambda: next(source, None), seq, content_type))

    def close_stream(self, *, data: Any = None, content_type: str | None = None) -> CloseResult:
        """Closes the stream for everyone, with a last message in the same step if one is given. Without one it can be
        repeated; with one it raises `StreamClosedError` when the stream is closed already."""
        return CloseResult(self._native.close(True, data, content_type))

    def delete(self) -> None:
        """Deletes the stream. `StreamNotFoundError` when there is none."""
        self._native.delete(True)

    def stream(
        self,
        *,
        offset: Offset | Checkpoint | None = None,
        live: LiveMode = True,
        cursor: str | None = None,
        headers: HeadersLike | None = None,
        params: ParamsLike | None = None,
        checkpoint: Checkpoint | None = None,
        store: CheckpointStore | None = None,
        json: bool = False,
        etag: str | None = None,
        max_batch_bytes: int | None = None,
    ) -> StreamResponse[Any]:
        """Reads the stream; see `everstream.stream`. Headers and parameters given here win."""
        start = start_of(offset, checkpoint, store.load() if store is not None else None)
        reader = self._native.read(
            True, start.offset, start.skip, start.incarnation, live,
            read_options(json, etag, max_batch_bytes, self._timeout), headers, params,
        )  # fmt: skip
        return StreamResponse(reader, url=self.url, live=live, start=start, cursor=cursor, store=store)

    def producer(self, producer_id: str, **options: Any) -> Producer:
        """A producer whose messages are stored exactly once; options as for `Producer`."""
        return Producer(self, producer_id, **options)

    def close(self) -> None:
        """Nothing to do, and nothing done to the stream: see `close_stream`. Here for code that expects it."""

    def __enter__(self) -> DurableStream:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def head_result(row: tuple[Any, ...]) -> HeadResult:
    """What HEAD told, from the native module's tuple."""
    offset, content_type, closed, ttl, expires_at, etag, cache_control = row
    return HeadResult(True, content_type, offset, etag, cache_control, closed, ttl, expires_at)


def create_options(
    content_type: str | None,
    ttl_seconds: int | None,
    expires_at: str | None,
    closed: bool,
    fork_from: str | None,
    fork_offset: Offset | None,
    fork_sub_offset: int | None,
) -> dict[str, Any]:
    """Options of a create as the native module takes them."""
    return {
        "content_type": content_type,
        "ttl_seconds": ttl_seconds,
        "expires_at": expires_at,
        "closed": closed,
        "fork_from": fork_from,
        "fork_offset": fork_offset,
        "fork_sub_offset": fork_sub_offset,
    }
