"""What several test modules use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from everstream import Retry
from faces import Face

QUICK = Retry(initial_delay=0.001, max_delay=0.002, max_retries=3)
"""Retries that a test can wait for."""

ONCE = Retry(max_retries=0)

JSON = "application/json"
TEXT = "text/plain"
BYTES = "application/octet-stream"


def until(condition: Callable[[], object], what: str, limit: float = 20.0) -> None:
    """Waits for a condition that another thread will make true."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.002)


def stored(face: Face, url: str) -> Any:
    """All that a stream holds: messages, text or bytes."""
    with face.stream(url, live=False) as res:
        if res.content_type == JSON:
            return res.read_json()
        return res.read_text() if res.content_type == TEXT else res.read_bytes()
