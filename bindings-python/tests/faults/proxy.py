"""A bad network: an HTTP/1.1 proxy that breaks a share of the exchanges, drawn from a seed, in a thread of its own."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit


class Fault(Enum):
    RESET_BEFORE = "the connection breaks before the server sees the request"
    RESET_AFTER = "the server acts, and the connection breaks before its answer"
    STATUS_BEFORE = "a 429, 500 or 503 in place of the server"
    STATUS_AFTER = "the server acts, and the client is told 429, 500 or 503"
    CUT = "the answer breaks off"
    STALL = "the answer stops, and the connection stays"
    DUPLICATE = "the server gets the request twice"
    DELAY = "the request is late"


DECK = [fault for fault in Fault for _ in range(1 if fault is Fault.STALL else 3)]
"""How often each comes; a stall costs the client its time limit."""

STALL_SECONDS = 3.0
"""More than clients are to wait."""


@dataclass
class _Request:
    method: str
    head: bytes
    body: bytes

    def __bytes__(self) -> bytes:
        return self.head + self.body


class FaultProxy:
    """`with FaultProxy(server.url, seed=1) as proxy: stream(proxy.through(url))`.

    Args:
        upstream: Base URL of the server.
        seed: The same seed draws the same faults, request by request.
        rate: The share of exchanges that are broken.
    """

    def __init__(self, upstream: str, *, seed: int, rate: float = 0.2) -> None:
        self.counts: Counter[Fault] = Counter()
        self.waited_out: list[str] = []
        """Requests whose client was still there when the stall ended."""
        self._upstream = urlsplit(upstream)
        self._random = random.Random(seed)
        self._rate = rate
        self._decks: dict[str, list[Fault]] = {}
        self._port = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def through(self, url: str) -> str:
        """The same URL by way of the proxy."""
        return f"http://127.0.0.1:{self._port}{urlsplit(url).path}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *args: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        exchanges: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            exchange = asyncio.ensure_future(self._connection(reader, writer))
            exchanges.add(exchange)
            exchange.add_done_callback(exchanges.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for exchange in exchanges:
            exchange.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)
        await server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One exchange; the answer says that the connection ends with it."""
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                request = await _read_request(reader)
                await self._exchange(request, reader, writer)
        finally:
            await _close(writer)

    def _draw(self, method: str) -> Fault | None:
        if self._random.random() >= self._rate:
            return None
        # Drawn without putting back, so that none stays out for long. Only writes are harmed by being sent twice.
        deck = self._decks.setdefault(method, [])
        if not deck:
            deck += self._random.sample(DECK, len(DECK))
            if method != "POST":
                deck[:] = [fault for fault in deck if fault is not Fault.DUPLICATE]
        fault = deck.pop()
        self.counts[fault] += 1
        return fault

    async def _exchange(
        self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        fault = self._draw(request.method)
        if fault is Fault.RESET_BEFORE:
            _reset(writer)
        elif fault is Fault.STATUS_BEFORE:
            await self._refuse(writer)
        elif fault is Fault.RESET_AFTER:
            await self._pass_on(request)
            _reset(writer)
        elif fault is Fault.STATUS_AFTER:
            await self._pass_on(request)
            await self._refuse(writer)
        elif fault in (Fault.CUT, Fault.STALL):
            await self._pass_on(request, writer, self._random.randrange(1500))
            if fault is Fault.STALL:
                await self._wait_for_the_client_to_leave(request, reader)
            _reset(writer)
        else:
            if fault is Fault.DUPLICATE:
                await self._pass_on(request)
            if fault is Fault.DELAY:
                await asyncio.sleep(self._random.uniform(0, 0.03))
            await self._pass_on(request, writer, None)

    async def _pass_on(
        self, request: _Request, writer: asyncio.StreamWriter | None = None, limit: int | None = 1
    ) -> None:
        """Sends the request to the server, and so many bytes of the answer back, or all; without a writer nobody hears
        of it. With the first byte of its answer the server has acted."""
        upstream, sending = await asyncio.open_connection(self._upstream.hostname, self._upstream.port)
        try:
            sending.write(bytes(request))
            while (limit is None or limit > 0) and (piece := await upstream.read(1 << 16)):
                if limit is not None:
                    piece = piece[:limit]
                    limit -= len(piece)
                if writer is not None:
                    writer.write(piece)
                    await writer.drain()
        finally:
            await _close(sending)

    async def _wait_for_the_client_to_leave(self, request: _Request, reader: asyncio.StreamReader) -> None:
        try:
            await asyncio.wait_for(reader.read(), STALL_SECONDS)
        except asyncio.TimeoutError:
            self.waited_out.append(request.head.partition(b"\r\n")[0].decode())

    async def _refuse(self, writer: asyncio.StreamWriter) -> None:
        status = self._random.choice((b"429 Too Many Requests", b"500 Internal Server Error", b"503 Unavailable"))
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()


async def _read_request(reader: asyncio.StreamReader) -> _Request:
    head = await reader.readuntil(b"\r\n\r\n")
    start, *lines = head[:-4].split(b"\r\n")
    headers = {line.partition(b":")[0].lower(): line for line in lines}
    headers[b"connection"] = b"connection: close"
    length = int(headers.get(b"content-length", b":0").partition(b":")[2])
    body = await reader.readexactly(length)
    return _Request(start.split()[0].decode(), b"\r\n".join([start, *headers.values()]) + b"\r\n\r\n", body)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Breaks the connection in a way that the client cannot take for an end."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
