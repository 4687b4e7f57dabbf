"""What subscriptions, verifiers, workers and leases are in both faces."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from . import _native
from ._logging import follow_logging
from ._settings import as_retry, as_timeout, check_type, limits_of
from .client import AsyncClient, Client, client_for, manner
from .subscription_types import LinkedStream, Wake, linked
from .types import Timeout


class SubscriptionsBase:
    """Addresses and settings. Picklable; a copy makes its own connections unless it was given a client."""

    _native: _native.Subscriptions
    _timeout: Timeout
    _arguments: dict[str, Any]

    def _open(self, arguments: dict[str, Any], kind: type[Client] | type[AsyncClient]) -> None:
        self._arguments = given = {name: it for name, it in arguments.items() if name not in ("self", "__class__")}
        check_type("root", given["root"], str)
        follow_logging()
        limits = as_timeout(given["timeout"])
        client = client_for(given["client"], kind, limits)
        self._timeout = limits_of(limits, client.timeout)
        retry = as_retry(given["retry"] or client.retry, self._timeout)
        settings = manner(
            client, headers=given["headers"], params=given["params"], timeout=self._timeout, retry=retry,
            on_error=given["on_error"],
        )  # fmt: skip
        self._native = _native.Subscriptions(client._native, given["root"], settings)

    @property
    def root(self) -> str:
        """The stream root, as it was given."""
        root: str = self._arguments["root"]
        return root

    def __reduce__(self) -> tuple[Any, ...]:
        return (_remake, (type(self), self._arguments))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r})"


def _remake(cls: type[SubscriptionsBase], arguments: dict[str, Any]) -> SubscriptionsBase:
    return cls(**arguments)


def new_subscription(
    pattern: str | None,
    streams: Iterable[str],
    wake_stream: str | None,
    webhook: str | None,
    lease: float | None,
    description: str | None,
) -> dict[str, Any]:
    """Options of a create as the native module takes them."""
    return {
        "pattern": pattern,
        "streams": list_of(streams),
        "wake_stream": wake_stream,
        "webhook": webhook,
        "lease": lease,
        "description": description,
    }


def list_of(paths: Iterable[str]) -> list[str]:
    """Paths; one alone would be taken for many of one letter."""
    if isinstance(paths, str):
        raise TypeError(f"several paths are expected, not the str {paths!r}")
    return list(paths)


def body_of(wake: Wake | str) -> str:
    """The body of a webhook."""
    return wake if isinstance(wake, str) else wake.body


class WorkerBase:
    """A worker of either face."""

    _closed = True

    def __init__(self, native: _native.Worker, owner: SubscriptionsBase, id: str, name: str) -> None:
        self._native = native
        self._owner = owner
        self._id = id
        self._name = name
        self._closed = False

    @property
    def subscription_id(self) -> str:
        """The subscription."""
        return self._id

    @property
    def name(self) -> str:
        """The worker's name."""
        return self._name

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a worker cannot be pickled: make one from pickled subscriptions")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r} of {self._id!r}>"

    def __del__(self) -> None:
        if not self._closed:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)


class LeaseBase:
    """A lease of either face."""

    def __init__(self, native: _native.Lease) -> None:
        self._native = native
        self._subscription_id, self._wake_id, self._generation, streams = native.facts()
        self._streams = linked(streams)

    @property
    def subscription_id(self) -> str:
        """The subscription."""
        return self._subscription_id

    @property
    def wake_id(self) -> str:
        """Names the wake."""
        return self._wake_id

    @property
    def generation(self) -> int:
        """The fencing number: give it to what must not take the writes of a late worker."""
        return self._generation

    @property
    def streams(self) -> tuple[LinkedStream, ...]:
        """The streams, with cursors and tails; those with something new first. At most 1,000: what does not fit comes
        with the next wake."""
        return self._streams

    @property
    def pending(self) -> tuple[LinkedStream, ...]:
        """The streams that have something new."""
        return tuple(stream for stream in self._streams if stream.has_pending)

    @property
    def is_lost(self) -> bool:
        """Whether the server said that the lease is over, as heartbeats are told: stop working."""
        return self._native.is_lost

    @property
    def is_over(self) -> bool:
        """Whether it was finished or released."""
        return self._native.is_over

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a lease cannot be pickled: it belongs to the process that sends its heartbeats")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._subscription_id!r}, generation {self._generation}>"
