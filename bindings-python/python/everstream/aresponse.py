"""Reading, with asyncio."""

from __future__ import annotations

import inspect
import warnings
from asyncio import CancelledError, Future
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar, overload

from . import _native
from ._reading import EventMode, Joined, ResponseBase, TextDecoder
from .types import StreamEvent

T = TypeVar("T")
U = TypeVar("U")


class AsyncStreamResponse(ResponseBase[T]):
    """A read under way. Consume it once, in one of these ways:

    - `async for chunk in res`: bytes
    - `iter_text()`, `iter_json()`, `iter_json_batches()`, `iter_events()`
    - `await` one of `read_bytes()`, `read_text()`, `read_json()`, `read_json_batches()`: everything up to the tail

    Iterators end at the end of a closed stream, or at the tail when the read is not live; a live one waits there.
    Cancelling a task that waits aborts the request and loses nothing. `aclose()` or the end of the `async with` block
    ends the read. Errors as for `StreamResponse`.
    """

    _interrupted = False
    """Whether the wait of an iteration was cancelled."""
    _interrupt: Callable[[], None]
    """Makes the iteration go on with the next call."""
    _kept: Future[_native.Batch | None] | None = None
    """What came in before the task went on, and the task was cancelled."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Bytes, as they come in."""
        self._consume("__aiter__")
        return self._each(lambda batch: self._whole(batch).bytes() if batch.units else None)

    def iter_text(self, encoding: str = "utf-8") -> AsyncIterator[str]:
        """Text, as it comes in; characters are never cut. What cannot be decoded becomes U+FFFD."""
        self._consume("iter_text")
        decoder = TextDecoder(encoding)
        return self._each(lambda batch: self._text(batch, decoder) or None, lambda: decoder.finish() or None)

    @overload
    def iter_json(self) -> AsyncIterator[Any]: ...
    @overload
    def iter_json(self, decode: Callable[[Any], U]) -> AsyncIterator[U]: ...
    @overload
    def iter_json(self, decode: Callable[[Any], U] | None) -> AsyncIterator[U]: ...
    def iter_json(self, decode: Callable[[Any], Any] | None = None) -> AsyncIterator[Any]:
        """Messages of a JSON stream, one by one; integers are exact. `decode` is applied to each."""
        self._consume("iter_json", json=True)
        return _Messages(self, decode)

    @overload
    def iter_json_batches(self) -> AsyncIterator[list[Any]]: ...
    @overload
    def iter_json_batches(self, decode: Callable[[Any], U]) -> AsyncIterator[list[U]]: ...
    @overload
    def iter_json_batches(self, decode: Callable[[Any], U] | None) -> AsyncIterator[list[U]]: ...
    def iter_json_batches(self, decode: Callable[[Any], Any] | None = None) -> AsyncIterator[list[Any]]:
        """Messages of a JSON stream in lists, as they come in."""
        self._consume("iter_json_batches", json=True)
        return self._each(lambda batch: self._messages(batch, decode) if batch.units else None)

    def iter_events(
        self, mode: EventMode = "json", *, encoding: str = "utf-8", decode: Callable[[Any], Any] | None = None
    ) -> AsyncIterator[StreamEvent[Any]]:
        """Data with its position, and changes of state without data. Arguments as for `StreamResponse.iter_events`."""
        self._check_mode(mode)
        self._consume("iter_events", json=mode in ("json", "json_batches"))
        decoder = TextDecoder(encoding)
        return self._each(lambda batch: self._event_of(batch, mode, decoder, decode))

    async def read_bytes(self) -> bytes:
        """Everything up to the tail; of a JSON stream one array."""
        self._consume("read_bytes")
        whole = Joined()
        await self._rest(whole.add)
        return whole.value(self._is_json)

    async def read_text(self, encoding: str = "utf-8") -> str:
        """Everything up to the tail as text."""
        self._consume("read_text")
        whole = Joined()
        await self._rest(whole.add)
        return whole.value(self._is_json).decode(encoding, "replace")

    @overload
    async def read_json(self) -> list[Any]: ...
    @overload
    async def read_json(self, decode: Callable[[Any], U]) -> list[U]: ...
    @overload
    async def read_json(self, decode: Callable[[Any], U] | None) -> list[U]: ...
    async def read_json(self, decode: Callable[[Any], Any] | None = None) -> list[Any]:
        """All messages up to the tail."""
        self._consume("read_json", json=True)
        messages: list[Any] = []
        await self._rest(lambda batch: messages.extend(self._list(batch, decode)))
        return messages

    @overload
    async def read_json_batches(self) -> list[list[Any]]: ...
    @overload
    async def read_json_batches(self, decode: Callable[[Any], U]) -> list[list[U]]: ...
    @overload
    async def read_json_batches(self, decode: Callable[[Any], U] | None) -> list[list[U]]: ...
    async def read_json_batches(self, decode: Callable[[Any], Any] | None = None) -> list[list[Any]]:
        """All messages up to the tail, in lists as they came in."""
        self._consume("read_json_batches", json=True)
        return await self._rest(lambda batch: self._list(batch, decode))

    async def commit(self) -> None:
        """Saves `checkpoint()` to the store now; its `save` may be a coroutine function. Without it that happens when
        the next batch is asked for, and when an `async with` block ends without an exception."""
        checkpoint = self._to_save()
        if self._store is not None and checkpoint is not None:
            saved = self._store.save(checkpoint)
            if inspect.isawaitable(saved):
                await saved
            self._saved = checkpoint

    async def aclose(self) -> None:
        """Aborts the request. Can be repeated; does nothing to the stream."""
        self._release()

    async def __aenter__(self) -> AsyncStreamResponse[T]:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *args: object) -> None:
        self._release()
        if exc_type is None:
            await self.commit()

    def __del__(self) -> None:
        if not (getattr(self, "_closed", True) or self._ended):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._native.close()

    def _release(self) -> None:
        self._closed = True
        self._native.close()

    async def _next(self) -> _native.Batch | None:
        """The next batch, once the one in hand is done with."""
        if self._closed:
            return None
        waiting, self._kept = self._kept, None
        batch = None if waiting else self._native.next_now()
        if batch is None:
            waiting = waiting or self._native.next(False)
            try:
                batch = await waiting
            except CancelledError:
                if waiting.done() and not waiting.cancelled():
                    self._kept = waiting
                raise
        if batch is None:
            self._ended = True
            self._settle()
        return batch

    def _leave(self) -> None:
        """An iteration is over, unless it was only interrupted."""
        if self._interrupted:
            self._interrupted = False
            self._interrupt()
        else:
            self._release()

    def _each(
        self, convert: Callable[[_native.Batch], U | None], rest: Callable[[], U | None] = lambda: None
    ) -> AsyncIterator[U]:
        async def values() -> AsyncGenerator[U, None]:
            try:
                while (batch := await self._next()) is not None:
                    value = convert(batch)
                    if value is not None:
                        yield value
                    elif self._batch is not batch:
                        self._whole(batch)
                    await self.commit()
                if self._ended and (value := rest()) is not None:
                    yield value
            except CancelledError:
                self._interrupted = True
                raise
            finally:
                self._leave()

        return _Iterator(self, values)

    async def _rest(self, convert: Callable[[_native.Batch], U]) -> list[U]:
        """Everything up to the tail of the moment; handed over once it is all there."""
        parts: list[U] = []
        last: _native.Batch | None = None
        try:
            while (batch := await self._next()) is not None:
                last = batch
                if batch.units:
                    parts.append(convert(batch))
                if batch.up_to_date:
                    break
            if last is not None:
                self._whole(last)
            self._settle()
            await self.commit()
        finally:
            self._release()
        return parts


class _Iterator(AsyncIterator[U]):
    """An async generator that survives being cancelled while it waits, as in `asyncio.wait_for(anext(it), 1)`: the
    next call goes on where it was. A generator alone would then look like one at its end."""

    def __init__(self, response: AsyncStreamResponse[Any], make: Callable[[], AsyncGenerator[U, None]]) -> None:
        self._response = response
        self._make = make
        self._generator = make()
        response._interrupt = self._renew

    def _renew(self) -> None:
        self._generator = self._make()

    def __anext__(self) -> Awaitable[U]:
        return self._generator.__anext__()

    async def aclose(self) -> None:
        """Ends the read."""
        await self._generator.aclose()
        self._response._release()


class _Messages(AsyncIterator[Any]):
    """Messages one by one. Survives being cancelled while it waits by not being a generator, which would take longer
    for a message, too."""

    def __init__(self, response: AsyncStreamResponse[Any], decode: Callable[[Any], Any] | None) -> None:
        self._response = response
        self._decode = decode
        self._parts: Iterator[Iterator[Any]] = iter(())
        self._taken: Iterator[Any] = iter(())
        self._busy = False

    async def __anext__(self) -> Any:
        try:
            for item in self._taken:
                return item
            return await self._more()
        except CancelledError:
            raise
        except BaseException:
            self._response._release()
            raise

    async def _more(self) -> Any:
        """The first message of the next part."""
        if self._busy:
            raise RuntimeError("another task is waiting for the next message of this iterator")
        self._busy = True
        response = self._response
        try:
            while True:
                for self._taken in self._parts:
                    for item in self._taken:
                        return item
                if response._store is not None:
                    await response.commit()
                batch = await response._next()
                if batch is None:
                    raise StopAsyncIteration
                self._parts = response._items(batch, self._decode)
        finally:
            self._busy = False

    async def aclose(self) -> None:
        """Ends the read."""
        self._response._release()

    def __del__(self) -> None:
        self._response._release()
