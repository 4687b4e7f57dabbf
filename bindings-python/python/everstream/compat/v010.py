"""The names of PyPI `durable-streams` 0.1.0 with the meanings they had: `from everstream.compat import v010 as
durable_streams`, and code written for it goes on as it is.

What is different from `everstream` itself:

- `live` is `"auto"` by default, which goes on by long-poll.
- `append` takes values: on a JSON stream each becomes one JSON message, a str a JSON string; elsewhere text and bytes
  go as they are, and any other value as JSON text. The `body` of a create goes like that on every stream.
- `iter_events` has data in every event, in the JSON modes perhaps an empty list.
- `FetchError` is a failure of the network, and no answer of the server.

What 0.1.0 could not do is not brought back: reads survive failures and end with a closed stream, SSE carries bytes,
`read_*` work over it, and `offset` never runs ahead of what was handed over. `client` is an `everstream.Client`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import everstream

from .._reading import EventMode, ResponseBase
from ..ahandle import AsyncStreamSession
from ..client import AsyncClient, Client
from ..errors import (
    DurableStreamError,
    RetentionGoneError,
    SeqConflictError,
    SSEBytesIterationError,
    SSENotSupportedError,
    SSEReadAllError,
    StreamConsumedError,
    StreamExistsError,
    StreamNotFoundError,
)
from ..errors import NetworkError as FetchError
from ..types import (
    AppendResult,
    AsyncHeadersLike,
    AsyncOnError,
    AsyncParamsLike,
    CreateResult,
    HeadersLike,
    HeadResult,
    LiveMode,
    Offset,
    OnError,
    ParamsLike,
    StreamEvent,
    Timeout,
)

__all__ = [
    "AppendResult",
    "AsyncDurableStream",
    "DurableStream",
    "DurableStreamError",
    "FetchError",
    "HeadResult",
    "HeadersLike",
    "LiveMode",
    "Offset",
    "ParamsLike",
    "RetentionGoneError",
    "SSEBytesIterationError",
    "SSENotSupportedError",
    "SSEReadAllError",
    "SeqConflictError",
    "StreamConsumedError",
    "StreamEvent",
    "StreamExistsError",
    "StreamNotFoundError",
    "astream",
    "stream",
]

__version__ = "0.1.0"

T = TypeVar("T")
R = TypeVar("R", bound=ResponseBase[Any])


class StreamResponse(everstream.StreamResponse[T]):
    """`everstream.StreamResponse`, with data in every event."""

    def iter_events(
        self, mode: EventMode = "json", *, encoding: str = "utf-8", decode: Callable[[Any], Any] | None = None
    ) -> Iterator[StreamEvent[Any]]:
        events = super().iter_events(mode, encoding=encoding, decode=decode)
        return (with_data for event in events if (with_data := _with_data(event, mode)) is not None)


class AsyncStreamResponse(everstream.AsyncStreamResponse[T]):
    """`everstream.AsyncStreamResponse`, with data in every event."""

    def iter_events(
        self, mode: EventMode = "json", *, encoding: str = "utf-8", decode: Callable[[Any], Any] | None = None
    ) -> AsyncIterator[StreamEvent[Any]]:
        return _EventsWithData(super().iter_events(mode, encoding=encoding, decode=decode), mode)


def stream(
    url: str,
    *,
    offset: Offset | None = None,
    live: LiveMode = "auto",
    cursor: str | None = None,
    headers: HeadersLike | None = None,
    params: ParamsLike | None = None,
    on_error: OnError | None = None,
    client: Client | None = None,
    timeout: float | Timeout | None = None,
    **options: Any,
) -> StreamResponse[Any]:
    """Reads a stream: `everstream.stream`, going on by long-poll unless told otherwise."""
    response = everstream.stream(
        url, offset=offset, live=_mode(live), cursor=cursor, headers=headers, params=params, on_error=on_error,
        client=client, timeout=timeout, **options,
    )  # fmt: skip
    return _moved(response, StreamResponse[Any], live)


def astream(
    url: str,
    *,
    offset: Offset | None = None,
    live: LiveMode = "auto",
    cursor: str | None = None,
    headers: AsyncHeadersLike | None = None,
    params: AsyncParamsLike | None = None,
    on_error: AsyncOnError | None = None,
    client: AsyncClient | None = None,
    timeout: float | Timeout | None = None,
    **options: Any,
) -> AsyncStreamSession:
    """Reads a stream: `everstream.astream`, going on by long-poll unless told otherwise."""
    session = everstream.astream(
        url, offset=offset, live=_mode(live), cursor=cursor, headers=headers, params=params, on_error=on_error,
        client=client, timeout=timeout, **options,
    )  # fmt: skip
    return _moved_session(session, live)


class DurableStream(everstream.DurableStream):
    """`everstream.DurableStream`, whose `append` and `body` take values and which reads by long-poll."""

    def append(self, data: Any, *, seq: str | None = None, content_type: str | None = None) -> AppendResult:
        """Appends a value as one message: on a JSON stream as JSON, whatever it is."""
        message = _message(data, content_type or self.content_type or self.head().content_type)
        return super().append(message, seq=seq, content_type=content_type)

    def create_stream(self, *, body: Any = None, **options: Any) -> CreateResult:
        """`everstream.DurableStream.create_stream`; a `body` that is neither text nor bytes goes as JSON text."""
        return super().create_stream(body=_body(body), **options)

    def stream(self, *, live: LiveMode = "auto", **options: Any) -> StreamResponse[Any]:
        """Reads the stream, going on by long-poll unless told otherwise."""
        return _moved(super().stream(live=_mode(live), **options), StreamResponse[Any], live)


class AsyncDurableStream(everstream.AsyncDurableStream):
    """`everstream.AsyncDurableStream`, whose `append` and `body` take values and which reads by long-poll."""

    async def append(self, data: Any, *, seq: str | None = None, content_type: str | None = None) -> AppendResult:
        """Appends a value as one message: on a JSON stream as JSON, whatever it is."""
        message = _message(data, content_type or self.content_type or (await self.head()).content_type)
        return await super().append(message, seq=seq, content_type=content_type)

    async def create_stream(self, *, body: Any = None, **options: Any) -> CreateResult:
        """`everstream.DurableStream.create_stream`; a `body` that is neither text nor bytes goes as JSON text."""
        return await super().create_stream(body=_body(body), **options)

    def stream(self, *, live: LiveMode = "auto", **options: Any) -> AsyncStreamSession:
        """Reads the stream, going on by long-poll unless told otherwise."""
        return _moved_session(super().stream(live=_mode(live), **options), live)


_TEXT: tuple[type[Any], ...] = (str, bytes, bytearray, memoryview)


def _mode(live: LiveMode) -> LiveMode:
    return "long-poll" if live == "auto" else live


def _message(data: Any, content_type: str | None) -> Any:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    return json.dumps(data) if media_type == "application/json" else _text(data)


def _body(body: Any) -> Any:
    return None if body is None else _text(body)


def _text(data: Any) -> Any:
    return data if isinstance(data, _TEXT) else json.dumps(data)


def _moved(response: ResponseBase[Any], kind: type[R], live: LiveMode) -> R:
    """The read under way as another kind of response, which is the one to close from here on."""
    response._ended = True
    return kind(
        response._native, url=response.url, live=live, start=response.checkpoint(), cursor=response.cursor,
        store=response._store,
    )  # fmt: skip


def _moved_session(session: AsyncStreamSession, live: LiveMode) -> AsyncStreamSession:
    async def open_() -> AsyncStreamResponse[Any]:
        return _moved(await session, AsyncStreamResponse[Any], live)

    return AsyncStreamSession(open_)


def _with_data(event: StreamEvent[Any], mode: EventMode) -> StreamEvent[Any] | None:
    """The event, or one with an empty list; `None` where there is no such thing as empty data."""
    if event.data is not None:
        return event
    return replace(event, data=[]) if mode in ("json", "json_batches") else None


class _EventsWithData(AsyncIterator[StreamEvent[Any]]):
    """Not a generator, which a cancelled wait would end."""

    def __init__(self, events: AsyncIterator[StreamEvent[Any]], mode: EventMode) -> None:
        self._events = events
        self._mode: EventMode = mode

    async def __anext__(self) -> StreamEvent[Any]:
        while True:
            event = _with_data(await self._events.__anext__(), self._mode)
            if event is not None:
                return event
