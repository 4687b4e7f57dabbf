"""What subscriptions and their workers are told: plain, frozen, picklable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union

from .types import Offset

Offsets = Mapping[str, Offset]
"""How far streams are processed: an offset that a read gave, by path."""


@dataclass(frozen=True)
class LinkedStream:
    """A stream of a subscription."""

    path: str
    """Below the stream root."""
    link_type: Literal["explicit", "glob"]
    """Whether it was named, or fits the pattern."""
    acked_offset: Offset
    """Up to where it is processed; `"-1"` is the beginning."""
    tail_offset: Offset | None = None
    """Its tail, where the server says it."""
    has_pending: bool = False
    """Whether there is something after `acked_offset`."""


@dataclass(frozen=True)
class Subscription:
    """A subscription, as the server shows it."""

    id: str
    type: Literal["pull-wake", "webhook"]
    wake_stream: str | None
    """Of a pull-wake subscription: the stream that gets an event for each wake."""
    webhook: str | None
    """Of a webhook: its URL."""
    pattern: str | None
    streams: tuple[LinkedStream, ...]
    lease: float
    """How long a worker may be silent, in seconds."""
    status: Literal["active", "failed"]
    """`failed` while a webhook that failed waits for its next try."""
    created_at: str | None = None
    """RFC 3339."""
    description: str | None = None
    created: bool | None = None
    """Of `create`: whether it is new; `False` when one with the same configuration was there already."""


@dataclass(frozen=True)
class Wake:
    """The content of a webhook that was verified."""

    subscription_id: str
    wake_id: str
    generation: int
    """The fencing number: a later wake has a higher one."""
    streams: tuple[LinkedStream, ...]
    callback_url: str
    """Where acks and heartbeats go."""
    callback_token: str = field(repr=False)
    """What they show: a secret for the time of the wake."""
    body: str = field(repr=False)
    """The body as it came. `work_of` takes it too: a queue can carry it to whoever does the work."""

    @property
    def pending(self) -> tuple[LinkedStream, ...]:
        """The streams that have something new."""
        return tuple(stream for stream in self.streams if stream.has_pending)


_Link = tuple[str, bool, str, Union[str, None], bool]


def linked(rows: list[_Link]) -> tuple[LinkedStream, ...]:
    """Streams, from the native module's tuples."""
    return tuple(
        LinkedStream(path, "explicit" if explicit else "glob", acked, tail, pending)
        for path, explicit, acked, tail, pending in rows
    )


def subscription(row: tuple[Any, ...]) -> Subscription:
    """A subscription, from the native module's tuple."""
    id, wake_stream, url, pattern, streams, lease, has_failed, created_at, description, created = row
    return Subscription(
        id=id,
        type="webhook" if wake_stream is None else "pull-wake",
        wake_stream=wake_stream,
        webhook=url,
        pattern=pattern,
        streams=linked(streams),
        lease=lease,
        status="failed" if has_failed else "active",
        created_at=created_at,
        description=description,
        created=created,
    )


def wake(row: tuple[Any, ...]) -> Wake:
    """A wake, from the native module's tuple."""
    subscription_id, wake_id, generation, streams, callback_url, callback_token, body = row
    return Wake(subscription_id, wake_id, generation, linked(streams), callback_url, callback_token, body)


def path_of(stream: LinkedStream | str) -> str:
    """The path of a stream of a lease."""
    return stream if isinstance(stream, str) else stream.path
