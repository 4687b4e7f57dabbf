"""The handle to one stream, and reading it, with asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable
from inspect import isawaitable
from typing import Any

from ._settings import as_retry, as_timeout, limits_of, start_of
from .aresponse import AsyncStreamResponse
from .client import AsyncClient, client_for, native_stream
from .handle import HandleBase, create_options, head_result, read_options
from .producer import IdempotentProducer
from .types import (
    AppendResult,
    AsyncCheckpointStore,
    AsyncHeadersLike,
    AsyncOnError,
    AsyncParamsLike,
    Checkpoint,
    CloseResult,
    CreateResult,
    HeadResult,
    LiveMode,
    Offset,
    Retry,
    Timeout,
)


class AsyncStreamSession:
    """A read about to begin: `async with session as res`, or `res = await session`."""

    def __init__(self, open_: Callable[[], Coroutine[Any, Any, AsyncStreamResponse[Any]]]) -> None:
        self._open = open_
        self._response: AsyncStreamResponse[Any] | None = None

    def __await__(self) -> Generator[Any, None, AsyncStreamResponse[Any]]:
        return self._open().__await__()

    async def __aenter__(self) -> AsyncStreamResponse[Any]:
        self._response = response = await self._open()
        return response

    async def __aexit__(self, *args: Any) -> None:
        if self._response is not None:
            await self._response.__aexit__(*args)


def astream(
    url: str,
    *,
    offset: Offset | Checkpoint | None = None,
    live: LiveMode = True,
    cursor: str | None = None,
    headers: AsyncHeadersLike | None = None,
    params: AsyncParamsLike | None = None,
    on_error: AsyncOnError | None = None,
    client: AsyncClient | None = None,
    timeout: float | Timeout | None = None,
    checkpoint: Checkpoint | None = None,
    store: AsyncCheckpointStore | None = None,
    json: bool = False,
    etag: str | None = None,
    max_batch_bytes: int | None = None,
    retry: Retry | None = None,
) -> AsyncStreamSession:
    """Reads a stream: `async with astream(url) as res`. Arguments and errors as for `everstream.stream`; functions among
    them may be coroutine functions, and run in the event loop."""
    connections = client_for(client, AsyncClient, as_timeout(timeout))
    limits = limits_of(as_timeout(timeout), connections.timeout)
    policy = as_retry(retry or connections.retry, limits)
    native = native_stream(
        connections, url, headers=headers, params=params, timeout=limits, retry=policy, on_error=on_error
    )

    async def open_() -> AsyncStreamResponse[Any]:
        start = start_of(offset, checkpoint, await _loaded(store))
        options = read_options(json, etag, max_batch_bytes, limits)
        reader = await native.read(False, start.offset, start.skip, start.incarnation, live, options)
        return AsyncStreamResponse(reader, url=url, live=live, start=start, cursor=cursor, store=store)

    return AsyncStreamSession(open_)


async def _loaded(store: AsyncCheckpointStore | None) -> Checkpoint | None:
    stored = store.load() if store is not None else None
    return await stored if isawaitable(stored) else stored


class AsyncDurableStream(HandleBase):
    """A handle to a stream, for asyncio. Arguments, operations and errors as for `DurableStream`; functions among the
    arguments may be coroutine functions. Cancelling an operation aborts its request at once.

    A handle is bound to no event loop.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        content_type: str | None = None,
        client: AsyncClient | None = None,
        timeout: float | Timeout | None = None,
        batching: bool = True,
        on_error: AsyncOnError | None = None,
        idempotent: bool = False,
        retry: Retry | None = None,
        encode: Callable[[Any], str | bytes] | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        connections = client_for(client, AsyncClient, as_timeout(timeout))
        self._timeout = limits_of(as_timeout(timeout), connections.timeout)
        self._native = native_stream(
            connections, url, headers=headers, params=params, content_type=content_type, timeout=self._timeout,
            retry=as_retry(retry or connections.retry, self._timeout), on_error=on_error, batching=batching,
            idempotent=idempotent, encode=encode,
        )  # fmt: skip

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        client: AsyncClient | None = None,
        timeout: float | Timeout | None = None,
        **options: Any,
    ) -> AsyncDurableStream:
        """A handle to a stream that is there; asks by HEAD. `StreamNotFoundError` if it is not."""
        handle = cls(url, headers=headers, params=params, client=client, timeout=timeout, **options)
        await handle.head()
        return handle

    @classmethod
    async def create(
        cls,
        url: str,
        *,
        content_type: str | None = None,
        ttl_seconds: int | None = None,
        expires_at: str | None = None,
        body: Any = None,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        client: AsyncClient | None = None,
        timeout: float | Timeout | None = None,
        closed: bool = False,
        fork_from: str | None = None,
        fork_offset: Offset | None = None,
        fork_sub_offset: int | None = None,
        **options: Any,
    ) -> AsyncDurableStream:
        """Creates a stream and gives a handle to it; arguments as for `create_stream` and the class."""
        handle = cls(
            url, headers=headers, params=params, content_type=content_type, client=client, timeout=timeout, **options
        )
        await handle.create_stream(
            content_type=content_type, ttl_seconds=ttl_seconds, expires_at=expires_at, body=body, closed=closed,
            fork_from=fork_from, fork_offset=fork_offset, fork_sub_offset=fork_sub_offset,
        )  # fmt: skip
        return handle

    @classmethod
    async def head_static(
        cls,
        url: str,
        *,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        client: AsyncClient | None = None,
        timeout: float | Timeout | None = None,
    ) -> HeadResult:
        """`head` without a handle."""
        return await cls(url, headers=headers, params=params, client=client, timeout=timeout).head()

    @classmethod
    async def delete_static(
        cls,
        url: str,
        *,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        client: AsyncClient | None = None,
        timeout: float | Timeout | None = None,
    ) -> None:
        """`delete` without a handle."""
        await cls(url, headers=headers, params=params, client=client, timeout=timeout).delete()

    async def head(self) -> HeadResult:
        """What the server knows of the stream."""
        return head_result(await self._native.head(False))

    async def create_stream(
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
        """Creates the stream, or confirms that it is there with the same configuration."""
        options = create_options(
            content_type or self.content_type, ttl_seconds, expires_at, closed, fork_from, fork_offset, fork_sub_offset
        )
        result = CreateResult(*await self._native.create(False, body, options))
        self._created = result.created
        return result

    async def append(self, data: Any, *, seq: str | None = None, content_type: str | None = None) -> AppendResult:
        """Appends one message."""
        return AppendResult(*await self._native.append(False, data, seq, content_type))

    async def append_json(self, value: Any) -> AppendResult:
        """Appends a value as one JSON message, whatever it is."""
        return AppendResult(*await self._native.append_json(False, value))

    async def append_stream(
        self,
        pieces: Iterable[str | bytes] | AsyncIterable[str | bytes],
        *,
        seq: str | None = None,
        content_type: str | None = None,
    ) -> AppendResult:
        """Appends a body that comes in pieces, as one atomic append. Sent once."""
        if isinstance(pieces, AsyncIterable):
            asource = pieces.__aiter__()

            async def piece() -> str | bytes | None:
                try:
                    return await asource.__anext__()
                except StopAsyncIteration:
                    return None

            next_piece: Callable[[], Any] = piece
        else:
            source = iter(pieces)
            next_piece = lambda: next(source, None)  # noqa: E731
        return AppendResult(*await self._native.append_stream(False, next_piece, seq, content_type))

    async def close_stream(self, *, data: Any = None, content_type: str | None = None) -> CloseResult:
        """Closes the stream for everyone, with a last message in the same step if one is given."""
        return CloseResult(await self._native.close(False, data, content_type))

    async def delete(self) -> None:
        """Deletes the stream."""
        await self._native.delete(False)

    def stream(
        self,
        *,
        offset: Offset | Checkpoint | None = None,
        live: LiveMode = True,
        cursor: str | None = None,
        headers: AsyncHeadersLike | None = None,
        params: AsyncParamsLike | None = None,
        checkpoint: Checkpoint | None = None,
        store: AsyncCheckpointStore | None = None,
        json: bool = False,
        etag: str | None = None,
        max_batch_bytes: int | None = None,
    ) -> AsyncStreamSession:
        """Reads the stream: `async with handle.stream() as res`; see `everstream.astream`."""

        async def open_() -> AsyncStreamResponse[Any]:
            start = start_of(offset, checkpoint, await _loaded(store))
            options = read_options(json, etag, max_batch_bytes, self._timeout)
            reader = await self._native.read(
                False, start.offset, start.skip, start.incarnation, live, options, headers, params
            )
            return AsyncStreamResponse(reader, url=self.url, live=live, start=start, cursor=cursor, store=store)

        return AsyncStreamSession(open_)

    def producer(self, producer_id: str, **options: Any) -> IdempotentProducer:
        """A producer whose messages are stored exactly once; options as for `IdempotentProducer`."""
        return IdempotentProducer(self, producer_id, **options)

    async def aclose(self) -> None:
        """Nothing to do, and nothing done to the stream: see `close_stream`. Here for code that expects it."""

    async def __aenter__(self) -> AsyncDurableStream:
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.aclose()
