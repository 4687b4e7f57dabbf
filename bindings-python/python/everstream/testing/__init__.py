"""For tests: a real server in process, with faults on request. The pytest fixtures are in `everstream.testing.plugin`,
and are there as soon as the package is installed."""

from __future__ import annotations

from typing import Any

from ..server import Server as _Server

__all__ = ["Server"]


class Server(_Server):
    """`everstream.Server` with fault injection on, on any free port."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1", **options: Any) -> None:
        options.setdefault("fault_injection", True)
        options.setdefault("shutdown_grace", 2.0)
        super().__init__(port, host, **options)
