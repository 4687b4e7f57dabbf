"""What the tests of `everstream.ai` share, without other packages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], object], what: str, limit: float = 20.0) -> None:
    """Waits for a condition, and lets the event loop work meanwhile."""
    end = asyncio.get_running_loop().time() + limit
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"never: {what}"
        await asyncio.sleep(0.002)


class Relay:
    """`async with Relay(port) as relay`: passes TCP connections on, and knows how many there are."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self.open = 0
        self.live_reads = 0

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *args: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        try:
            pumps = [
                asyncio.ensure_future(self._pump(reader, server_writer)),
                asyncio.ensure_future(self._pump(server_reader, writer)),
            ]
            _, other = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in other:
                pump.cancel()
        finally:
            self.open -= 1
            writer.close()
            server_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.live_reads += data.startswith(b"GET ") and b"live=" in data
            writer.write(data)
            await writer.drain()
