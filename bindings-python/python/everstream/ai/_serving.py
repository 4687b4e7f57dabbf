"""A stream as an HTTP response for browsers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..ahandle import AsyncDurableStream
from ..aresponse import AsyncStreamResponse
from ..errors import (
    DurableStreamError,
    InvalidArgumentError,
    InvalidOffsetError,
    RetentionGoneError,
    StreamNotFoundError,
    StreamRecreatedError,
)
from ..types import Checkpoint, Offset, StreamEvent
from ._text import is_json

if TYPE_CHECKING:
    from starlette.responses import Response


class HasHeaders(Protocol):
    """What is asked of a request; Starlette's and FastAPI's have it."""

    @property
    def headers(self) -> Mapping[str, str]: ...


_STATUS: dict[type[DurableStreamError], int] = {
    StreamNotFoundError: 404,
    RetentionGoneError: 410,
    StreamRecreatedError: 410,
    InvalidOffsetError: 400,
    InvalidArgumentError: 400,
}


async def stream_response(
    stream: str | AsyncDurableStream,
    request: HasHeaders | None = None,
    *,
    last_event_id: str | None = None,
    offset: Offset | Checkpoint | None = None,
    convert: Callable[[Any], Any] | None = None,
    keep_alive: float = 15.0,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A response that replays a stream and follows it live, for a browser's `EventSource` or any reader of SSE.

    Each event's `data` is JSON: a message of a JSON stream, a string with the next piece of any other stream. So
    `JSON.parse(event.data)` gives it unchanged, line ends included. Its `id` is the checkpoint after it; browsers send
    that back as `Last-Event-ID` when they connect again, and go on exactly there. The end of the stream is an event
    named `close`; who comes back after it gets a 204, at which browsers give up.

    The read from the stream begins before this returns, and ends when the client hangs up.

    Args:
        stream: The stream: its URL, or a handle.
        request: The request, for its `Last-Event-ID`.
        last_event_id: The same without a request.
        offset: Where to start when there is no `Last-Event-ID`. Default: the beginning.
        convert: Makes of each message, or piece of text, what the browser gets, such as `text_of`. `None` and `""` are
            not sent.
        keep_alive: Seconds without data after which a comment is sent, so that nothing in between hangs up.
        headers: More headers of the response.

    Raises:
        starlette.exceptions.HTTPException: 404 when there is no such stream, 410 when what `Last-Event-ID` names is
            gone, 400 when it is none. FastAPI and Starlette make responses of them, at which browsers give up.
        DurableStreamError: Other reasons why the stream cannot be read. Once the response has begun an error breaks the
            connection, and the browser comes back.
    """
    from starlette.exceptions import HTTPException
    from starlette.responses import Response, StreamingResponse

    handle = AsyncDurableStream(stream) if isinstance(stream, str) else stream
    if last_event_id is None and request is not None:
        last_event_id = request.headers.get("last-event-id")
    try:
        start = Checkpoint.from_json(last_event_id) if last_event_id else offset
        events = await _Events.begin(await handle.stream(offset=start), convert)
    except DurableStreamError as error:
        if type(error) not in _STATUS:
            raise
        raise HTTPException(_STATUS[type(error)]) from error
    except (OverflowError, ValueError) as error:
        raise HTTPException(400) from error
    if last_event_id and events.at_end:
        await events.aclose()
        return Response(status_code=204)
    # Buffering proxies, such as nginx, would hold tokens back.
    all_headers = {"cache-control": "no-cache, no-transform", "x-accel-buffering": "no", **(headers or {})}
    return StreamingResponse(events.frames(keep_alive), media_type="text/event-stream", headers=all_headers)


class _Events:
    """A read as server-sent events. Its first event is there at once, also at the tail of a stream."""

    def __init__(self, response: AsyncStreamResponse[Any], convert: Callable[[Any], Any] | None) -> None:
        self._response = response
        self._convert = convert
        self._is_json = is_json(response.content_type)
        self._events = response.iter_events("json" if self._is_json else "text")
        self._before = response.checkpoint()
        self._event: StreamEvent[Any] | None = None

    @classmethod
    async def begin(cls, response: AsyncStreamResponse[Any], convert: Callable[[Any], Any] | None) -> _Events:
        """Waits for the first event, which tells whether the stream can be read from there."""
        events = cls(response, convert)
        try:
            events._event = await anext(events._events, None)
        except BaseException:
            await response.aclose()
            raise
        return events

    @property
    def at_end(self) -> bool:
        """Whether the stream ends where the read started."""
        return self._event is None or (self._event.stream_closed and not self._event.data)

    async def aclose(self) -> None:
        """Ends the read."""
        await self._response.aclose()

    async def frames(self, keep_alive: float) -> AsyncGenerator[bytes, None]:
        """The body of the response."""
        waiting: asyncio.Future[StreamEvent[Any] | None] | None = None
        try:
            while self._event is not None:
                if frames := self._of(self._event):
                    yield frames
                waiting = asyncio.ensure_future(anext(self._events, None))
                while not waiting.done():
                    await asyncio.wait([waiting], timeout=keep_alive)
                    if not waiting.done():
                        yield b": keep-alive\n\n"
                self._event = waiting.result()
            if self._response.stream_closed:
                yield _frame(self._before, None, b"event: close\n")
        finally:
            # Nothing waits here: the task may be one that is being cancelled.
            if waiting is not None:
                waiting.cancel()
            await self.aclose()

    def _of(self, event: StreamEvent[Any]) -> bytes:
        before, after = self._before, self._response.checkpoint()
        self._before = after
        if not event.data:
            return b""
        messages: list[Any] = event.data if self._is_json else [event.data]
        frames: list[bytes] = []
        for number, message in enumerate(messages, 1):
            if self._convert is not None and (message := self._convert(message)) in (None, ""):
                continue
            at = Checkpoint(before.offset, before.skip + number, after.incarnation)
            frames.append(_frame(after if number == len(messages) else at, message))
        return b"".join(frames)


def _frame(at: Checkpoint, value: Any, name: bytes = b"") -> bytes:
    # JSON has no line ends of its own in this form, so it is one line of data.
    data = json.dumps(value, separators=(",", ":"))
    return b"id: %s\n%sdata: %s\n\n" % (at.to_json().encode(), name, data.encode())
