"""What the tests of functions that the package calls have in common: the faces, and all operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from faces import AsyncFace, Face
from scripted import Request
from support import TEXT


class PlainFunctions(AsyncFace):
    """The asyncio face with functions that are not coroutine functions."""

    def hook(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return function


OPERATIONS: dict[str, Callable[[Face, str, dict[str, Any]], Any]] = {
    "create": lambda face, url, options: face.create(url, **options),
    "head": lambda face, url, options: face.handle(url, **options).head(),
    "append": lambda face, url, options: face.handle(url, content_type=TEXT, **options).append("x"),
    "append_stream": lambda face, url, options: face.handle(url, content_type=TEXT, **options).append_stream(["x"]),
    "close": lambda face, url, options: face.handle(url, **options).close_stream(),
    "delete": lambda face, url, options: face.handle(url, **options).delete(),
    "stream": lambda face, url, options: face.stream(url, **options),
    "handle.stream": lambda face, url, options: face.handle(url).stream(**options),
}


def tokens_of(requests: list[Request], header: str = "authorization") -> list[str]:
    return [request.headers[header] for request in requests]
