"""What reading is in both faces: where the reader is, what it knows, and one consumption per response."""

from __future__ import annotations

import codecs
import io
import operator
from collections.abc import Callable, Iterator
from typing import Any, Generic, Literal, TypeVar

from . import _native
from .errors import StreamConsumedError
from .types import AsyncCheckpointStore, Checkpoint, LiveMode, Offset, StreamEvent

T = TypeVar("T")
EventMode = Literal["bytes", "text", "json", "json_batches"]


class ResponseBase(Generic[T]):
    """State of a read. `offset` and `checkpoint()` are those after the last item handed over, never after what was
    only fetched."""

    def __init__(
        self,
        native: _native.Reader,
        *,
        url: str,
        live: LiveMode,
        start: Checkpoint,
        cursor: str | None,
        store: AsyncCheckpointStore | None,
    ) -> None:
        self._native = native
        self._url = url
        self._live: LiveMode = live
        self._start_offset = start.offset
        self._position: Checkpoint | None = start
        """After everything before the batch in hand; `None` where that is the start of the batch."""
        self._cursor = cursor
        self._store = store
        self._saved = start
        self._batch: _native.Batch | None = None
        self._handed: Callable[[], int] = int
        """How many units of the batch in hand were handed over."""
        self._up_to_date = False
        self._stream_closed = False
        self._etag: str | None = None
        self._is_json = False
        self._consumed_by: str | None = None
        self._closed = False
        self._ended = False

    @property
    def url(self) -> str:
        """The stream's URL."""
        return self._url

    @property
    def content_type(self) -> str | None:
        """The stream's content type."""
        return self._native.content_type

    @property
    def live(self) -> LiveMode:
        """The live mode that was asked for."""
        return self._live

    @property
    def start_offset(self) -> Offset:
        """Where the read started."""
        return self._start_offset

    @property
    def offset(self) -> Offset:
        """The last offset before which everything was handed over. In the middle of a batch `checkpoint()` is exact."""
        return self.checkpoint().offset

    @property
    def cursor(self) -> str | None:
        """The cursor of the last batch, for caches."""
        return (self._batch and self._batch.cursor) or self._cursor

    @property
    def up_to_date(self) -> bool:
        """Whether everything that existed when it was sent was handed over."""
        if self._batch is None:
            return self._up_to_date
        return self._batch.up_to_date and self._handed() >= self._batch.units

    @property
    def stream_closed(self) -> bool:
        """Whether the end of the stream was handed over."""
        if self._batch is None:
            return self._stream_closed
        return self._batch.closed and self._handed() >= self._batch.units

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the last HTTP response, names in lower case."""
        return self._native.headers

    @property
    def status(self) -> int:
        """Status of the last HTTP response."""
        return self._native.status or 0

    @property
    def status_text(self) -> str:
        """Reason of the last HTTP response."""
        return self._native.status_text or ""

    @property
    def ok(self) -> bool:
        """Whether the last HTTP response was a success."""
        return 200 <= self.status < 300

    @property
    def etag(self) -> str | None:
        """The tag of the last answer that had one, for `etag=` of a later catch-up read."""
        return self._etag

    @property
    def not_modified(self) -> bool:
        """Whether the tag given as `etag=` is still current, so that nothing was read."""
        return self._native.not_modified

    @property
    def closed(self) -> bool:
        """Whether this response was closed; for the end of the stream see `stream_closed`."""
        return self._closed

    def checkpoint(self) -> Checkpoint:
        """Where to go on after the last item handed over: exact, also in the middle of a batch."""
        batch = self._batch
        handed = self._handed() if batch is not None else 0
        # What an earlier batch left undecoded is before this one's start.
        if self._position is not None and (batch is None or (handed == 0 and batch.units > 0)):
            return self._position
        assert batch is not None, "there is a position where there is no batch"
        return Checkpoint(*batch.checkpoint(handed))

    def _consume(self, method: str, *, json: bool = False) -> None:
        if self._consumed_by is not None:
            raise StreamConsumedError(attempted_method=method, consumed_by=self._consumed_by)
        self._consumed_by = method
        if json:
            self._native.expect_json()

    def _take(self, batch: _native.Batch, handed: Callable[[], int]) -> None:
        """The batch in hand is another one; what `handed` tells of it counts."""
        before = self._batch
        if before is not None:
            # Most are handed over whole, and few are asked for their checkpoint.
            self._position = None if self._handed() >= before.units else self.checkpoint()
        self._batch = batch
        self._handed = handed
        self._etag = batch.etag or self._etag
        self._is_json = batch.is_json

    def _settle(self) -> None:
        """Nothing more is handed over of the batch in hand."""
        if self._batch is None:
            return
        self._position = self.checkpoint()
        self._cursor = self._batch.cursor or self._cursor
        self._up_to_date, self._stream_closed = self._batch.up_to_date, self._batch.closed
        self._batch = None

    def _items(self, batch: _native.Batch, decode: Callable[[Any], T] | None) -> Iterator[Iterator[Any]]:
        """The messages of a batch in some iterators, one after the other; counted as they are taken from them."""
        done = 0
        part: list[Any] = []
        taken = iter(part)
        self._take(batch, lambda: done + len(part) - operator.length_hint(taken))

        def decoded(items: list[Any], decode: Callable[[Any], T]) -> Iterator[T]:
            # One that `decode` fails on is not handed over.
            nonlocal done
            for item in items:
                value = decode(item)
                done += 1
                yield value

        for messages in batch.json_parts():
            if decode is None:
                part, taken = messages, iter(messages)
                yield taken
                done, part = done + len(messages), []
            else:
                yield decoded(messages, decode)
        done = batch.units

    def _whole(self, batch: _native.Batch) -> _native.Batch:
        """The batch is handed over as one item."""
        self._take(batch, lambda: batch.units)
        return batch

    def _messages(self, batch: _native.Batch, decode: Callable[[Any], Any] | None) -> list[Any]:
        """The batch is handed over as one list; not if `decode` fails."""
        messages = self._list(batch, decode)
        self._whole(batch)
        return messages

    def _text(self, batch: _native.Batch, decoder: TextDecoder) -> str:
        """The text of a batch; what waits for the rest of a character was not handed over."""
        text = decoder.decode(batch.bytes())
        handed = max(batch.units - decoder.pending(), 0)
        self._take(batch, lambda: handed)
        return text

    def _event(self, batch: _native.Batch, data: Any) -> StreamEvent[Any]:
        offset, _, _ = batch.checkpoint(batch.units)
        return StreamEvent(data, offset, batch.up_to_date, batch.cursor, batch.closed)

    def _event_of(
        self, batch: _native.Batch, mode: EventMode, decoder: TextDecoder, decode: Callable[[Any], Any] | None
    ) -> StreamEvent[Any]:
        if mode == "text" and batch.units > 0:
            return self._event(batch, self._text(batch, decoder))
        data = None
        if batch.units > 0:
            data = batch.bytes() if mode == "bytes" else self._list(batch, decode)
        return self._event(self._whole(batch), data)

    def _list(self, batch: _native.Batch, decode: Callable[[Any], Any] | None) -> list[Any]:
        items = batch.json()
        return items if decode is None else [decode(item) for item in items]

    def _to_save(self) -> Checkpoint | None:
        """What the store does not have yet."""
        if self._store is None:
            return None
        checkpoint = self.checkpoint()
        return checkpoint if checkpoint != self._saved else None

    def _check_mode(self, mode: str) -> None:
        if mode not in ("bytes", "text", "json", "json_batches"):
            raise ValueError(f'mode must be "bytes", "text", "json" or "json_batches", not {mode!r}')

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a read under way cannot be pickled: pickle its checkpoint()")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ended" if self._ended else "open"
        return f"<{type(self).__name__} {self._url} at {self.offset}, {state}>"


class Joined:
    """Batches as one piece: the arrays of a JSON stream as one array. It grows in place, so nothing is held twice."""

    def __init__(self) -> None:
        self._whole = io.BytesIO()

    def add(self, batch: _native.Batch) -> None:
        """The next batch."""
        data = batch.bytes()
        if batch.is_json:
            self._whole.write(b"," if self._whole.tell() else b"[")
            data = data.strip()[1:-1]
        self._whole.write(data)

    def value(self, is_json: bool) -> bytes:
        """All of it, once it is complete."""
        if is_json:
            self._whole.write(b"]" if self._whole.tell() else b"[]")
        return self._whole.getvalue()


class TextDecoder:
    """Text out of bytes in any split: a character cut in two waits for its other half. What cannot be decoded becomes
    U+FFFD."""

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def decode(self, data: bytes) -> str:
        """The text of the next piece."""
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What is left at the end."""
        return self._decoder.decode(b"", True)

    def pending(self) -> int:
        """Bytes that wait for more."""
        return len(self._decoder.getstate()[0])
