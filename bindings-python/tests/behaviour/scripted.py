"""A small HTTP server on threads, for answers that no real server gives, and to see that a request was aborted."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from .children import eventually


class Hold:
    """In place of a further piece of an answer: nothing is sent until the client hangs up."""


HOLD: Final = Hold()
Piece = bytes | Hold


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @classmethod
    def read(cls, source: BinaryIO) -> Request | None:
        line = source.readline().decode()
        if not line:
            return None
        method, target, _ = line.split(" ")
        headers: dict[str, str] = {}
        while (header := source.readline().decode().rstrip("\r\n")) != "":
            name, value = header.split(":", 1)
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(lambda: _chunk(source), b""))
        else:
            body = source.read(int(headers.get("content-length", "0")))
        path, _, query = target.partition("?")
        return cls(method, path, query, headers, body)


def _chunk(source: BinaryIO) -> bytes:
    data = source.read(int(source.readline(), 16))
    source.readline()
    return data


def answer(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    """A whole answer; `stream_next_offset="0_0"` is the header `stream-next-offset`."""
    lines = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def silent(request: Request) -> Iterable[Piece]:
    """Never answers."""
    return [HOLD]


def head(**headers: str) -> bytes:
    """What a stream of text without content tells of itself."""
    return answer(content_type="text/plain", stream_next_offset="0_0", **headers)


class Scripted:
    """Answers each request with what a function gives for it: pieces that are sent one after the other."""

    def __init__(
        self, script: Callable[[Request], Iterable[Piece]] = silent, tls: ssl.SSLContext | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self.hangups = 0
        """How many clients hung up on an answer that was held."""
        self._script = script
        self.tls = tls
        self._open: set[socket.socket] = set()
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    @property
    def origin(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Of some stream."""
        return f"{self.origin}/v1/stream/scripted"

    def wait_for_requests(self, count: int = 1) -> None:
        eventually(lambda: len(self.requests) >= count, f"{count} requests")

    def wait_for_hangups(self, count: int = 1) -> None:
        eventually(lambda: self.hangups >= count, f"{count} hang-ups")

    def hang_up(self) -> None:
        """Ends all connections."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._closing = True
        # Closing the socket alone would leave `accept` waiting.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            self._start(lambda connection=connection: self._serve(connection))  # type: ignore[misc]

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            connection = self._wrap(plain, self.tls) if self.tls else plain
            self._open.add(connection)
            with connection, connection.makefile("rb") as source:
                while (request := Request.read(source)) is not None:
                    self.requests.append(request)
                    for piece in self._script(request):
                        if isinstance(piece, Hold):
                            self._hold(source)
                            return
                        connection.sendall(piece)
            self._open.discard(connection)
        self._open.discard(plain)

    def _wrap(self, plain: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        connection = tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        self._open.add(connection)
        try:
            connection.do_handshake()
        except ssl.SSLError:
            # Closed with something unread, it would be reset, and why may not arrive.
            with connection:
                socket.socket.shutdown(connection, socket.SHUT_WR)
                while socket.socket.recv(connection, 4096):
                    pass
            raise
        return connection

    def _hold(self, source: BinaryIO) -> None:
        with contextlib.suppress(OSError):
            while source.read(1):
                pass
        if not self._closing:
            self.hangups += 1
