"""Real servers for the tests of `everstream.ai`: a web application under uvicorn, and one that answers as OpenAI does.

And the other end: a reader of server-sent events that does what a browser's `EventSource` does.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from support import until


class WebServer:
    """`with WebServer(app) as url`: an ASGI application under uvicorn, in a thread with a loop of its own."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> str:
        self._thread.start()
        until(lambda: self._server.started, "uvicorn starts")
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *args: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@dataclass
class Call:
    """One request to the model."""

    path: str
    body: dict[str, Any]
    tokens: int = 0
    """Tokens sent so far."""
    hung_up: bool = False
    """Whether the client went away before the end."""
    finished: bool = False


@dataclass
class Model:
    """An ASGI application that streams tokens in the formats of `/v1/chat/completions` and `/v1/responses`."""

    tokens: list[str]
    pause: float = 0.001
    """Seconds between tokens."""
    hold_after: int | None = None
    """After so many tokens it says nothing more, and keeps the connection."""
    fail_after: int | None = None
    """After so many tokens it tells of an error."""
    break_after: int | None = None
    """After so many tokens the connection breaks."""
    refuse: int | None = None
    """The status it answers instead."""
    calls: list[Call] = field(default_factory=list)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            part = await receive()
            body += part["body"]
            if not part["more_body"]:
                break
        call = Call(scope["path"], json.loads(body))
        self.calls.append(call)
        if self.refuse is not None:
            await _answer(send, self.refuse, {"error": {"message": "the secret key sk-1", "type": "refused"}})
            return
        frames = {"/v1/chat/completions": _chat, "/v1/responses": _responses}[call.path]
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        gone = asyncio.ensure_future(receive())
        async for frame in frames(self._speak(call, gone)):
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        gone.cancel()
        if call.hung_up:
            return
        if call.tokens == self.break_after:
            raise ConnectionAbortedError("the test wants it so")
        if call.tokens == self.fail_after:
            error = b'data: {"error": {"message": "the secret key sk-1", "type": "server_error"}}\n\n'
            await send({"type": "http.response.body", "body": error, "more_body": True})
        call.finished = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _speak(self, call: Call, gone: asyncio.Future[Any]) -> AsyncIterator[str | None]:
        """The tokens, then `None` unless something is to go wrong."""
        for token in self.tokens:
            if call.tokens in (self.fail_after, self.break_after):
                return
            timeout = self.pause if call.tokens != self.hold_after else None
            await asyncio.wait([gone], timeout=timeout)
            if gone.done():
                call.hung_up = True
                return
            call.tokens += 1
            yield token
        yield None


async def _answer(send: Any, status: int, value: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def _chat(tokens: AsyncIterator[str | None]) -> AsyncIterator[bytes]:
    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return b"data: " + json.dumps(value).encode() + b"\n\n"

    yield chunk({"role": "assistant", "content": ""})
    async for token in tokens:
        yield chunk({"content": token}) if token is not None else chunk({}, "stop") + b"data: [DONE]\n\n"


async def _responses(tokens: AsyncIterator[str | None]) -> AsyncIterator[bytes]:
    numbers = iter(range(1_000_000))

    def event(kind: str, **facts: Any) -> bytes:
        value = {"type": kind, "sequence_number": next(numbers), **facts}
        return f"event: {kind}\ndata: {json.dumps(value)}\n\n".encode()

    def response(status: str, output: list[Any]) -> dict[str, Any]:
        return {
            "id": "resp_1", "object": "response", "created_at": 1, "status": status, "model": "m", "output": output,
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        }  # fmt: skip

    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    text = ""
    yield event("response.created", response=response("in_progress", []))
    async for token in tokens:
        if token is not None:
            text += token
            yield event("response.output_text.delta", delta=token, logprobs=[], **where)
            continue
        part = {"type": "output_text", "text": text, "annotations": []}
        message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
        yield event("response.output_text.done", text=text, logprobs=[], **where)
        yield event("response.content_part.done", part=part, **where)
        yield event("response.completed", response=response("completed", [message]))


@dataclass(frozen=True)
class Event:
    """A server-sent event as a browser dispatches it."""

    id: str
    name: str
    data: str

    @property
    def value(self) -> Any:
        return json.loads(self.data)


class EventSource:
    """`async with EventSource(url) as source: async for event in source`. Sends `Last-Event-ID` when it has one."""

    def __init__(self, url: str, last_event_id: str | None = None) -> None:
        self._url = url
        self._headers = {"accept": "text/event-stream", **({"last-event-id": last_event_id} if last_event_id else {})}
        self.comments = 0
        self.response: httpx.Response

    async def __aenter__(self) -> EventSource:
        self._client = httpx.AsyncClient(timeout=30)
        request = self._client.build_request("GET", self._url, headers=self._headers)
        self.response = await self._client.send(request, stream=True)
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.response.aclose()
        await self._client.aclose()

    async def __aiter__(self) -> AsyncIterator[Event]:
        id, name, data = "", "message", None
        async for line in self._lines():
            if not line:
                if data is not None:
                    yield Event(id, name, data)
                name, data = "message", None
            elif line.startswith(":"):
                self.comments += 1
            else:
                kind, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if kind == "id":
                    id = value
                elif kind == "event":
                    name = value
                elif kind == "data":
                    data = value if data is None else f"{data}\n{value}"

    async def _lines(self) -> AsyncIterator[str]:
        # Not `aiter_lines`, which takes U+2028 for the end of a line.
        rest = b""
        async for piece in self.response.aiter_bytes():
            *lines, rest = (rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                yield line.decode()
