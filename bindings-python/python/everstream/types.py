"""What calls take and give: plain, frozen, picklable values."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar, Union

from . import _native

T = TypeVar("T")

Offset = str
"""A position in a stream: an opaque token of the server's, `"-1"` for the beginning, `"now"` for the tail."""

LiveMode = Union[bool, Literal["auto", "catch-up", "long-poll", "sse"]]
"""How a read goes on at the tail: `False` or `"catch-up"` stops there, `True` or `"auto"` goes on by whatever
carries the stream unchanged."""

SSEEncoding = Literal["base64"]

HeadersLike = Mapping[str, Union[str, Callable[[], str]]]
"""Headers; a function is asked anew for each request."""
ParamsLike = Mapping[str, Union[str, Callable[[], str], None]]
"""Query parameters; a function is asked anew for each request, `None` is left out."""
AsyncHeadersLike = Mapping[str, Union[str, Callable[[], Union[str, Awaitable[str]]]]]
"""As `HeadersLike`; functions may be coroutine functions."""
AsyncParamsLike = Mapping[str, Union[str, Callable[[], Union[str, Awaitable[str]]], None]]
"""As `ParamsLike`; functions may be coroutine functions."""


class RetryOptions(TypedDict, total=False):
    """What `on_error` returns to have the failed request tried once more."""

    headers: Mapping[str, str]
    params: Mapping[str, str]


OnError = Callable[[Exception], Union[RetryOptions, "dict[str, Any]", None]]
AsyncOnError = Callable[
    [Exception], Union[RetryOptions, "dict[str, Any]", None, Awaitable[Union[RetryOptions, "dict[str, Any]", None]]]
]


@dataclass(frozen=True)
class Checkpoint:
    """Where to go on reading: exact, also in the middle of a batch. Store it; `str()` is its JSON form."""

    offset: Offset = "-1"
    skip: int = 0
    """Messages (JSON) or bytes after `offset` that were handed over already."""
    incarnation: str | None = None
    """Tells a stream from one that was deleted and created anew under its name, where the server says."""

    def to_json(self) -> str:
        """The JSON form, the same in every language and for the command line."""
        return _native.checkpoint_to_json(self.offset, self.skip, self.incarnation)

    @classmethod
    def from_json(cls, text: str | bytes) -> Checkpoint:
        """Reads the JSON form; `InvalidArgumentError`, which is a `ValueError`, for anything else."""
        return cls(*_native.checkpoint_from_json(text if isinstance(text, str) else text.decode()))

    def __str__(self) -> str:
        return self.to_json()


class CheckpointStore(Protocol):
    """Where a reader's checkpoints are kept. See `FileCheckpoints` and `CallbackCheckpoints`."""

    def load(self) -> Checkpoint | None:
        """The last one saved; `None` before the first."""
        ...

    def save(self, checkpoint: Checkpoint) -> None:
        """Keeps it; when this returns it is safe."""
        ...


class AsyncCheckpointStore(Protocol):
    """As `CheckpointStore`, for asyncio: both may be coroutine functions."""

    def load(self) -> Checkpoint | None | Awaitable[Checkpoint | None]:
        """The last one saved; `None` before the first."""
        ...

    def save(self, checkpoint: Checkpoint) -> Awaitable[None] | None:
        """Keeps it; when this is done it is safe."""
        ...


@dataclass(frozen=True)
class StreamEvent(Generic[T]):
    """Data with where it leaves the reader."""

    data: T | None
    """`None` when only the position or the state is news."""
    next_offset: Offset
    up_to_date: bool
    """Whether everything that existed when it was sent is delivered with it."""
    cursor: str | None = None
    stream_closed: bool = False
    """Whether the stream ends with it."""


@dataclass(frozen=True)
class HeadResult:
    """What the server knows of a stream."""

    exists: Literal[True]
    content_type: str | None = None
    offset: Offset | None = None
    """The tail."""
    etag: str | None = None
    cache_control: str | None = None
    stream_closed: bool = False
    ttl_seconds: int | None = None
    """The sliding lifetime, restarted by every read and write."""
    expires_at: str | None = None
    """The fixed deadline, RFC 3339."""


@dataclass(frozen=True)
class CreateResult:
    """What became of a create."""

    created: bool
    """`False` when a stream with the same configuration was there already."""
    offset: Offset | None
    content_type: str | None = None
    stream_closed: bool = False


@dataclass(frozen=True)
class AppendResult:
    """What became of an append."""

    next_offset: Offset | None
    """The tail after it."""
    duplicate: bool = False
    """Whether it was stored by an earlier try; only of idempotent appends."""

    @property
    def offset(self) -> Offset | None:
        """The same as `next_offset`."""
        return self.next_offset


@dataclass(frozen=True)
class CloseResult:
    """What became of closing a stream."""

    final_offset: Offset | None


@dataclass(frozen=True)
class IdempotentAppendResult:
    """The receipt of a producer's message."""

    offset: Offset | None
    """The tail after its batch; `None` when the server did not say, as for duplicates."""
    duplicate: bool = False
    """Whether the server had it already, from an earlier try or an earlier run."""
    closed: bool = False
    """Whether the stream is closed with it."""


@dataclass(frozen=True)
class FlushResult:
    """What a flush found stored."""

    offset: Offset | None
    """The last offset that the server named."""
    messages: int
    """Messages stored since the flush before."""
    duplicates: int = 0
    """Messages that the server took for repeats of an earlier run under the same id and epoch, and dropped. Raise the
    epoch, or use `auto_claim`, when a producer starts anew under its old id."""


@dataclass(frozen=True)
class ListedStream:
    """A stream in a listing."""

    path: str
    content_type: str
    created_at: int
    """Milliseconds since 1970."""
    offset: Offset
    closed: bool
    bytes: int
    """How many bytes are stored before the offset, those that a fork shares with its source included."""


@dataclass(frozen=True)
class Timeout:
    """Time limits in seconds. None of them ends an idle live read."""

    connect: float | None = None
    """For making a connection. Default 10."""
    read: float | None = None
    """For one try of a request, and for the next byte of a catch-up read; then it is tried again. Default 30."""
    stall: float | None = None
    """For the next byte of a live read; above the server's own wait of 30 s, then it is made again. Default 75."""
    total: float | None = None
    """For a request through all its retries. Default 60."""


@dataclass(frozen=True)
class Retry:
    """When a failed request is tried again. Live reads and producers go on beyond these limits."""

    initial_delay: float | None = None
    """Upper bound of the first wait, in seconds; waits are random below the bound. Default 0.1."""
    max_delay: float | None = None
    """Upper bound of every wait, in seconds. Default 60."""
    multiplier: float | None = None
    """Growth of the bound. Default 1.3."""
    max_retries: int | None = None
    """Default 15."""
    total: float | None = None
    """Seconds from the first try to the start of the last. Default 60."""
    retry_appends_on_5xx: bool | None = None
    """Whether a plain append is sent again after an explicit 500, which may store it twice. Default true."""
