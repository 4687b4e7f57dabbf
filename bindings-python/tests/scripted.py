"""An HTTP server that does what a test tells it to: answers by script, or passes requests on to a real server.

It counts and keeps every request, which the real server does not.
"""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    raw_query: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    """Pieces are sent as they come; the answer then ends with the connection."""
    drop: bool = False
    """Close the connection without an answer."""
    drop_after: bool = False
    """Pass the request on, and close the connection without an answer."""

    def __str__(self) -> str:
        return "dropped" if self.drop else "dropped after" if self.drop_after else str(self.status)


Script = Callable[[Request], "Answer | None"]
"""What to do with a request; `None` passes it on."""


class ScriptedServer:
    """`with ScriptedServer(script, upstream) as server`. Every connection carries one request."""

    def __init__(self, script: Script | None = None, upstream: str | None = None) -> None:
        self.script = script
        self.requests: list[Request] = []
        self._upstream = urlsplit(upstream).netloc if upstream else None
        self._http = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def through(self, url: str) -> str:
        """The same URL by way of this server."""
        return self.url + urlsplit(url).path

    def count(self, method: str | None = None, **query: str) -> int:
        return len(self.of(method, **query))

    def of(self, method: str | None = None, **query: str) -> list[Request]:
        """The requests with a method and with query parameters."""
        return [
            request
            for request in self.requests
            if method in (None, request.method) and query.items() <= request.query.items()
        ]

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    # The client has gone.
                    self.close_connection = True

            def serve(self) -> None:
                self.close_connection = True
                request = _read(self)
                server.requests.append(request)
                answer = server.script(request) if server.script else None
                if answer is None or answer.drop_after:
                    server._pass_on(self, request, silent=answer is not None)
                elif not answer.drop:
                    _send(self, answer)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

            def log_message(self, *args: Any) -> None:
                pass

        return Handler

    def _pass_on(self, handler: BaseHTTPRequestHandler, request: Request, silent: bool) -> None:
        assert self._upstream is not None, f"nothing is scripted for {request}"
        connection = http.client.HTTPConnection(self._upstream)
        try:
            # `connection: close` makes the end of the body plain to see.
            headers = {**dict(handler.headers.items()), "connection": "close"}
            headers.pop("Transfer-Encoding", headers.pop("transfer-encoding", None))
            connection.request(request.method, handler.path, request.body or None, headers)
            response = connection.getresponse()
            if silent:
                response.read()
                return
            handler.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    handler.send_header(name, value)
            handler.send_header("connection", "close")
            handler.end_headers()
            while piece := response.read1(1 << 16):
                handler.wfile.write(piece)
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that go away in the middle are part of the tests.
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            super().handle_error(request, client_address)


def _read(handler: BaseHTTPRequestHandler) -> Request:
    parts = urlsplit(handler.path)
    headers = {name.lower(): value for name, value in handler.headers.items()}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(handler.rfile.readline(), 16):
            body += handler.rfile.read(size)
            handler.rfile.readline()
        handler.rfile.readline()
    else:
        body = handler.rfile.read(int(headers.get("content-length", "0")))
    return Request(handler.command, parts.path, dict(parse_qsl(parts.query)), parts.query, headers, body)


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response(answer.status)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    if isinstance(answer.body, bytes):
        if answer.status not in (204, 304) and "content-length" not in map(str.lower, answer.headers):
            handler.send_header("content-length", str(len(answer.body)))
        handler.send_header("connection", "close")
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(answer.body)
        return
    handler.send_header("connection", "close")
    handler.end_headers()
    for piece in answer.body:
        handler.wfile.write(piece)
        handler.wfile.flush()


def refused_url() -> str:
    """The URL of a stream at a port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1/stream/nobody"
