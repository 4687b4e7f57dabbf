"""What tests of subscriptions use."""

from __future__ import annotations

from typing import Any

from everstream import DurableStream
from support import JSON


def fill(root: str, path: str, *messages: Any) -> str:
    """Appends to a stream, which it creates at need; gives the tail."""
    handle = DurableStream(f"{root}/{path}", content_type=JSON)
    handle.create_stream()
    tail = None
    for message in messages:
        tail = handle.append_json(message).offset
    assert tail is not None
    return tail


def acked(subscriptions: Any, name: str) -> dict[str, str]:
    return {stream.path: stream.acked_offset for stream in subscriptions.get(name).streams}
