"""What both faces do with their arguments before they reach the native module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from .errors import InvalidArgumentError
from .types import Checkpoint, Retry, Timeout


def as_timeout(timeout: float | Timeout | None) -> Timeout:
    """A number is the limit of one try, as it always was; it does not end idle live reads."""
    if timeout is None:
        return Timeout()
    if isinstance(timeout, Timeout):
        return timeout
    check_type("timeout", timeout, int, float)
    return Timeout(read=float(timeout))


def limits_of(timeout: Timeout, client: Timeout) -> Timeout:
    """The limits of one stream: its own, and its client's where it has none."""
    return Timeout(**{name: getattr(client, name) if own is None else own for name, own in vars(timeout).items()})


def as_retry(retry: Retry | None, timeout: Timeout) -> dict[str, Any] | None:
    """The retry policy as the native module takes it."""
    if retry is not None:
        check_type("retry", retry, Retry)
    values = dict(vars(retry)) if retry is not None else {}
    if values.get("total") is None:
        values["total"] = timeout.total
    given = {name: value for name, value in values.items() if value is not None}
    return given or None


def check_type(name: str, value: object, *types: type) -> None:
    """A clear error where a wrong type would fail deep inside."""
    if not isinstance(value, types) or isinstance(value, bool):
        expected = " or ".join(it.__name__ for it in types)
        raise TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def merge(base: Mapping[str, Any] | None, over: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Both, where the second wins."""
    if not base and not over:
        return None
    return {**(base or {}), **(over or {})}


def start_of(
    offset: str | Checkpoint | None, checkpoint: Checkpoint | None, stored: Checkpoint | None
) -> Checkpoint:
    """Where a read starts: what a store held, else the checkpoint, else the offset, else the beginning."""
    start = stored if stored is not None else checkpoint
    if start is None:
        start = offset if isinstance(offset, Checkpoint) else Checkpoint("-1" if offset is None else offset)
    if not 0 <= start.skip < 2**63:
        raise InvalidArgumentError(f"checkpoint: skip must be >= 0 and < 2^63, not {start.skip}")
    return start


def refuse_foreign_client(client: object, expected: str) -> NoReturn:
    """Says what to do when an HTTP library's client is given."""
    module = type(client).__module__.split(".")[0]
    raise TypeError(
        f"client= takes an everstream.{expected}, not {module}.{type(client).__name__}: requests are made by the Rust "
        f"core. everstream.{expected}(...) has timeouts, TLS, proxies, trust_env and HTTP/2"
    )
