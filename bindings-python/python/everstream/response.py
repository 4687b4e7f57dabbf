"""Reading, blocking."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TypeVar, overload

from . import _native
from ._reading import EventMode, Joined, ResponseBase, TextDecoder
from .types import StreamEvent

T = TypeVar("T")
U = TypeVar("U")


class StreamResponse(ResponseBase[T]):
    """A read under way. Consume it once, in one of these ways:

    - `for chunk in res`: bytes
    - `iter_text()`, `iter_json()`, `iter_json_batches()`, `iter_events()`
    - `read_bytes()`, `read_text()`, `read_json()`, `read_json_batches()`: everything up to the tail of the moment

    Iterators end at the end of a closed stream, or at the tail when the read is not live; a live one waits there.
    Leaving the loop, `close()` or the `with` block aborts the request. Waits release the interpreter and end at Ctrl-C.

    Raises everywhere: `StreamNotFoundError`, `RetentionGoneError`, `StreamRecreatedError`, `ParseError`, and other
    `DurableStreamError`s. A read that was live once survives failures that may pass by itself.
    """

    def __iter__(self) -> Iterator[bytes]:
        """Bytes, as they come in."""
        self._consume("__iter__")
        return self._each(lambda batch: self._whole(batch).bytes() if batch.units else None)

    def iter_text(self, encoding: str = "utf-8") -> Iterator[str]:
        """Text, as it comes in; characters are never cut. What cannot be decoded becomes U+FFFD."""
        self._consume("iter_text")
        decoder = TextDecoder(encoding)
        yield from self._each(lambda batch: self._text(batch, decoder) or None)
        if rest := decoder.finish():
            yield rest

    @overload
    def iter_json(self) -> Iterator[Any]: ...
    @overload
    def iter_json(self, decode: Callable[[Any], U]) -> Iterator[U]: ...
    @overload
    def iter_json(self, decode: Callable[[Any], U] | None) -> Iterator[U]: ...
    def iter_json(self, decode: Callable[[Any], Any] | None = None) -> Iterator[Any]:
        """Messages of a JSON stream, one by one; integers are exact. `decode` is applied to each."""
        self._consume("iter_json", json=True)
        parts = chain.from_iterable(self._each(lambda batch: self._items(batch, decode)))
        return chain.from_iterable(parts)

    @overload
    def iter_json_batches(self) -> Iterator[list[Any]]: ...
    @overload
    def iter_json_batches(self, decode: Callable[[Any], U]) -> Iterator[list[U]]: ...
    @overload
    def iter_json_batches(self, decode: Callable[[Any], U] | None) -> Iterator[list[U]]: ...
    def iter_json_batches(self, decode: Callable[[Any], Any] | None = None) -> Iterator[list[Any]]:
        """Messages of a JSON stream in lists, as they come in."""
        self._consume("iter_json_batches", json=True)
        return self._each(lambda batch: self._messages(batch, decode) if batch.units else None)

    def iter_events(
        self, mode: EventMode = "json", *, encoding: str = "utf-8", decode: Callable[[Any], Any] | None = None
    ) -> Iterator[StreamEvent[Any]]:
        """Data with its position, and changes of state without data.

        Args:
            mode: What `data` is: `"bytes"`, `"text"`, or a list of messages (`"json"`, `"json_batches"`).
            encoding: Of text.
            decode: Applied to each message.
        """
        self._check_mode(mode)
        self._consume("iter_events", json=mode in ("json", "json_batches"))
        decoder = TextDecoder(encoding)
        return self._each(lambda batch: self._event_of(batch, mode, decoder, decode))

    def read_bytes(self) -> bytes:
        """Everything up to the tail; of a JSON stream one array."""
        self._consume("read_bytes")
        whole = Joined()
        self._rest(whole.add)
        return whole.value(self._is_json)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Everything up to the tail as text."""
        self._consume("read_text")
        whole = Joined()
        self._rest(whole.add)
        return whole.value(self._is_json).decode(encoding, "replace")

    @overload
    def read_json(self) -> list[Any]: ...
    @overload
    def read_json(self, decode: Callable[[Any], U]) -> list[U]: ...
    @overload
    def read_json(self, decode: Callable[[Any], U] | None) -> list[U]: ...
    def read_json(self, decode: Callable[[Any], Any] | None = None) -> list[Any]:
        """All messages up to the tail."""
        self._consume("read_json", json=True)
        messages: list[Any] = []
        self._rest(lambda batch: messages.extend(self._list(batch, decode)))
        return messages

    @overload
    def read_json_batches(self) -> list[list[Any]]: ...
    @overload
    def read_json_batches(self, decode: Callable[[Any], U]) -> list[list[U]]: ...
    @overload
    def read_json_batches(self, decode: Callable[[Any], U] | None) -> list[list[U]]: ...
    def read_json_batches(self, decode: Callable[[Any], Any] | None = None) -> list[list[Any]]:
        """All messages up to the tail, in lists as they came in."""
        self._consume("read_json_batches", json=True)
        return self._rest(lambda batch: self._list(batch, decode))

    def commit(self) -> None:
        """Saves `checkpoint()` to the store now. Without it that happens when the next batch is asked for, and when a
        `with` block ends without an exception."""
        checkpoint = self._to_save()
        if self._store is not None and checkpoint is not None:
            self._store.save(checkpoint)
            self._saved = checkpoint

    def close(self) -> None:
        """Aborts the request. Can be repeated; does nothing to the stream."""
        self._closed = True
        self._native.close()

    def __enter__(self) -> StreamResponse[T]:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *args: object) -> None:
        self.close()
        if exc_type is None:
            self.commit()

    def __del__(self) -> None:
        if not (getattr(self, "_closed", True) or self._ended):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._native.close()

    def _next(self) -> _native.Batch | None:
        """The next batch, once the one in hand is done with."""
        self.commit()
        if self._closed:
            return None
        batch = self._native.next_now()
        if batch is None:
            batch = self._native.next(True)
        if batch is None:
            self._ended = True
        return batch

    def _each(self, convert: Callable[[_native.Batch], U | None]) -> Iterator[U]:
        try:
            while (batch := self._next()) is not None:
                value = convert(batch)
                if value is not None:
                    yield value
                elif self._batch is not batch:
                    self._whole(batch)
            self._settle()
        finally:
            self.close()

    def _rest(self, convert: Callable[[_native.Batch], U]) -> list[U]:
        """Everything up to the tail of the moment; handed over once it is all there."""
        parts: list[U] = []
        last: _native.Batch | None = None
        try:
            while (batch := self._next()) is not None:
                last = batch
                if batch.units:
                    parts.append(convert(batch))
                if batch.up_to_date:
                    break
            if last is not None:
                self._whole(last)
            self._settle()
            self.commit()
        finally:
            self.close()
        return parts
