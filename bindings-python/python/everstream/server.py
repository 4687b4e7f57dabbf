"""A server in this process."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

from . import _native
from ._logging import follow_logging


class Server:
    """A Durable Streams server in this process, in threads of its own: `with Server() as server: ...`, or `async with`.

    Args:
        port: 0 is any free port.
        host: IP address to listen at. On one that is not loopback the server starts only with `open_access`.
        open_access: Let everyone who can reach the server read, write and delete. Default false.
        data_dir: The folder where streams are kept, made if it is not there; a later server goes on with them. `None`
            is memory.
        stream_root: Path below which streams live.
        long_poll_timeout: Seconds that a long-poll waits, and between keep-alives of SSE. Default 30.
        sse_lifetime: Seconds after which an SSE connection ends at an event boundary. Default 60.
        max_body_bytes: Larger request bodies are refused. Default 64 MiB.
        max_read_bytes: How much one answer holds. Default 1 MiB.
        compression: Whether answers are compressed for clients that offer it. Default true.
        cors_origin: Whose pages may see answers: `*`, origins separated by spaces, or `none`. Default `*`.
        cursor_interval: Seconds; see the protocol's section on cursors. Default 20.
        shutdown_grace: Seconds that requests under way may take once `stop` was called. Default 10.
        fault_injection: Whether faults can be injected.

    Raises:
        InvalidArgumentError: `start` could not bind the address or use the folder, or an option cannot be used.
    """

    def __init__(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        *,
        data_dir: str | os.PathLike[str] | None = None,
        open_access: bool = False,
        stream_root: str | None = None,
        long_poll_timeout: float | None = None,
        sse_lifetime: float | None = None,
        max_body_bytes: int | None = None,
        max_read_bytes: int | None = None,
        compression: bool | None = None,
        cors_origin: str | None = None,
        cursor_interval: float | None = None,
        shutdown_grace: float | None = None,
        fault_injection: bool = False,
    ) -> None:
        options = {name: value for name, value in locals().items() if name != "self"}
        if data_dir is not None:
            options["data_dir"] = os.fspath(data_dir)
        follow_logging()
        self._native = _native.Server(options)
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The base URL, such as `http://127.0.0.1:4437`. Of a stopped server, the last one."""
        if self._url is None:
            raise RuntimeError("the server was not started: call start(), or use it in a with block")
        return self._url

    @property
    def running(self) -> bool:
        """Whether it serves."""
        return self._native.address is not None

    @property
    def port(self) -> int:
        """The port in use."""
        address = self._native.address
        if address is None:
            raise RuntimeError("the server does not run")
        return address[1]

    def stream_url(self, name: str) -> str:
        """The URL of a stream; its name may contain slashes."""
        url = self._native.stream_url(name)
        if url is None:
            raise RuntimeError("the server does not run")
        return url

    def start(self) -> str:
        """Starts it and gives the base URL."""
        self._url = self._native.start(True)
        return self.url

    def stop(self) -> None:
        """Ends live reads at an event boundary, lets requests under way finish, and stops. Can be repeated."""
        self._native.stop(True)

    async def astart(self) -> str:
        """`start`, for asyncio."""
        self._url = await self._native.start(False)
        return self.url

    async def astop(self) -> None:
        """`stop`, for asyncio."""
        await self._native.stop(False)

    def inject_fault(self, path: str, fault: Mapping[str, Any] | None = None, **facts: Any) -> None:
        """Spoils requests to a path, such as `/v1/stream/a`: one fault per path, a later one replaces it.

        What is to happen is given by keywords, in snake case or as the official server spells them: `count`, `method`,
        `probability`, `delay_ms`, `jitter_ms`, `drop_connection`, `status`, `retry_after`, `truncate_body_bytes`,
        `corrupt_body`, `inject_sse_event={"eventType": ..., "data": ...}`.
        """
        values = {_camel(name): value for name, value in {**(fault or {}), **facts}.items() if value is not None}
        if not self.running:
            raise RuntimeError("the server does not run")
        self._native.inject_fault(json.dumps({**values, "path": path}))

    def inject_error(self, path: str, status: int, count: int = 1, retry_after: int | None = None) -> None:
        """Answers the next `count` requests to a path with a status."""
        self.inject_fault(path, status=status, count=count, retry_after=retry_after)

    def clear_faults(self) -> None:
        """Clears all faults."""
        self._native.clear_faults()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop()

    async def __aenter__(self) -> Server:
        await self.astart()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.astop()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a server cannot be pickled: pickle its url")

    def __del__(self) -> None:
        if getattr(self, "_native", None) is not None and self.running:
            warnings.warn(f"unstopped {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"<Server {self._url or 'not started'}>"


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
