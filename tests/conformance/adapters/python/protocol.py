"""The adapter side of the client conformance protocol: JSON lines, errors, and what both faces do alike.

A runner writes one JSON object per line to stdin and reads one per line from stdout; one command is open at a time.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar, Union

from everstream import (
    AsyncLease,
    Checkpoint,
    DurableStreamError,
    IdempotentAppendResult,
    InvalidArgumentError,
    Lease,
    LinkedStream,
    RequestTimeoutError,
    Retry,
    StreamEvent,
    Subscription,
    Timeout,
    Wake,
    __version__,
)

Command = dict[str, Any]
Result = dict[str, Any]
Data = Union[bytes, "list[Any]"]
"""What a chunk holds: bytes, or the messages of a JSON batch."""
Value = Union[str, Callable[[], str]]
"""Of a header or parameter."""
P = TypeVar("P")
"""A producer."""

FEATURES = (
    "auto",
    "batching",
    "batchItems",
    "dynamicHeaders",
    "longPoll",
    "retryOptions",
    "sse",
    "streaming",
    "strictZeroValidation",
    "subscriptions",
)

LIMITS = Timeout(connect=5, read=8, total=10)
"""An answer after the runner's 30 s would be taken for that of the next command."""
DELIVERY_TIMEOUT = 20.0

ERROR_CODES = {
    "BAD_REQUEST": "UNEXPECTED_STATUS",
    "CONFLICT_CONTENT_TYPE": "CONFLICT",
    "CONFLICT_EXISTS": "CONFLICT",
    "CONFLICT_SEQ": "SEQUENCE_CONFLICT",
    "INVALID_ARGUMENT": "INVALID_ARGUMENT",
    "INVALID_OFFSET": "INVALID_OFFSET",
    "NETWORK_ERROR": "NETWORK_ERROR",
    "NOT_FOUND": "NOT_FOUND",
    "NOT_SUPPORTED": "NOT_SUPPORTED",
    "PARSE_ERROR": "PARSE_ERROR",
    "PROTOCOL_ERROR": "PARSE_ERROR",
    "SEQUENCE_GAP": "SEQUENCE_CONFLICT",
    "STREAM_CLOSED": "STREAM_CLOSED",
    "TIMEOUT": "TIMEOUT",
}
"""The protocol's code for each of ours; any other is told by its status."""

OPTION_NAMES = {
    "epoch": "epoch",
    "initial_delay": "initialDelayMs",
    "linger_ms": "lingerMs",
    "max_batch_bytes": "maxBatchBytes",
    "max_batch_items": "maxBatchItems",
    "max_delay": "maxDelayMs",
    "max_in_flight": "maxInFlight",
    "max_retries": "maxRetries",
    "multiplier": "multiplier",
}
"""The protocol's name for each option that it validates."""


class NotSupported(Exception):
    """A command that this adapter does not know."""


def parse(line: bytes) -> Command:
    """The command in a line; `ValueError` if there is none."""
    command = json.loads(line)
    if not isinstance(command, dict) or not isinstance(command.get("type"), str):
        raise ValueError("a command is an object with a type")
    return command


def encode(result: Result) -> str:
    """The line for a result. ASCII, so that no reader takes U+2028 for the end of the line; absent values are left
    out."""
    return json.dumps({name: value for name, value in result.items() if value is not None})


def success(command: Command, **values: Any) -> Result:
    return {"type": command["type"], "success": True, **values}


def unparsable(error: Exception) -> Result:
    return _failure("init", "PARSE_ERROR", f"not a command: {error}")


def failure(command: Command, error: Exception) -> Result:
    """What became of a command that raised."""
    kind = command["type"]
    if isinstance(error, NotSupported):
        return _failure(kind, "NOT_SUPPORTED", str(error))
    if not isinstance(error, DurableStreamError):
        return _failure(kind, "INTERNAL_ERROR", f"{type(error).__name__}: {error}")
    if kind == "read" and error.status == 400:
        # The offset is all that a read can have wrong.
        return _failure(kind, "INVALID_OFFSET", str(error), 400)
    return _failure(kind, _code(error), _in_protocol_names(error), error.status, details(error))


def described(error: DurableStreamError) -> Result:
    """An error as one of many in a result."""
    result = {
        "ok": False,
        "errorCode": _code(error),
        "message": _in_protocol_names(error),
        "status": error.status,
        "details": details(error),
    }
    return {name: value for name, value in result.items() if value is not None}


def details(error: DurableStreamError) -> Result:
    """What the library says beyond the official protocol."""
    values = {
        "code": error.code,
        "outcomeUnknown": error.outcome_unknown,
        "finalOffset": getattr(error, "final_offset", None),
        "currentEpoch": getattr(error, "current_epoch", None),
        "expectedSeq": getattr(error, "expected_seq", None),
        "receivedSeq": getattr(error, "received_seq", None),
    }
    return {name: value for name, value in values.items() if value is not None}


def receipt(receipt: IdempotentAppendResult) -> Result:
    """A receipt as one of many in a result."""
    told = {"ok": True, "duplicate": receipt.duplicate, "closed": receipt.closed, "offset": receipt.offset}
    return {name: value for name, value in told.items() if value is not None}


def _code(error: DurableStreamError) -> str:
    other = "INTERNAL_ERROR" if error.status is None else "UNEXPECTED_STATUS"
    return ERROR_CODES.get(error.code or "", other)


def _failure(
    kind: str, code: str, message: str, status: int | None = None, details: Result | None = None
) -> Result:
    return {
        "type": "error",
        "success": False,
        "commandType": kind,
        "errorCode": code,
        "message": message,
        "status": None if code == "PARSE_ERROR" else status,
        "details": details,
    }


def _in_protocol_names(error: DurableStreamError) -> str:
    """The message, with the protocol's names for the options where it tells of one."""
    message = str(error)
    if isinstance(error, InvalidArgumentError):
        for name, camel in OPTION_NAMES.items():
            message = message.replace(name, camel)
    return message


@dataclass
class Dynamic:
    """A header or parameter with a value of its own for each command; or, beyond the official protocol, with a function
    that the library asks for each request."""

    KINDS: ClassVar = ("counter", "failing", "per-request", "timestamp", "token")

    kind: str
    token: str = ""
    count: int = 0

    def next(self) -> Value:
        if self.kind == "per-request":
            return self._count
        if self.kind == "failing":
            return self._fail
        if self.kind == "counter":
            return self._count()
        return str(time.time_ns() // 1_000_000) if self.kind == "timestamp" else self.token


    def _count(self) -> str:
        self.count += 1
        return str(self.count)

    def _fail(self) -> str:
        raise RuntimeError("the function fails on purpose")


@dataclass
class Sent:
    """Headers and parameters of one command."""

    headers: dict[str, Value]
    params: dict[str, Value]
    dynamic: tuple[set[str], set[str]]

    def report(self) -> Result:
        """The dynamic ones, as results tell of them."""
        headers, params = self.dynamic
        return {
            "headersSent": _texts(self.headers, headers) or None,
            "paramsSent": _texts(self.params, params) or None,
        }


def _texts(values: dict[str, Value], names: set[str]) -> dict[str, str]:
    """Those that the adapter itself knows."""
    return {name: value for name, value in values.items() if name in names and isinstance(value, str)}


@dataclass
class Session(Generic[P]):
    """What is remembered between `init` and the next."""

    server_url: str
    content_types: dict[str, str] = field(default_factory=dict)
    """By path. Saves the library its HEAD, which would take a fault that is meant for the request after it."""
    producers: dict[tuple[str, str, int], P] = field(default_factory=dict)
    dynamic_headers: dict[str, Dynamic] = field(default_factory=dict)
    dynamic_params: dict[str, Dynamic] = field(default_factory=dict)
    hooks: dict[Any, Any] = field(default_factory=dict)
    """The verifiers, the worker and the lease."""

    @property
    def stream_root(self) -> str:
        return self.server_url + "/v1/stream"

    def sent(self, command: Command) -> Sent:
        """The headers and parameters for an append or a read. Computed once: a counter counts commands, not retries."""
        headers = {name: value.next() for name, value in self.dynamic_headers.items()}
        params = {name: value.next() for name, value in self.dynamic_params.items()}
        dynamic = set(headers), set(params)
        return Sent({**headers, **command.get("headers", {})}, params, dynamic)

    def url(self, command: Command) -> str:
        path: str = command["path"]
        return self.server_url + path

    def set_dynamic(self, command: Command) -> Result:
        values = self.dynamic_headers if command["type"] == "set-dynamic-header" else self.dynamic_params
        if command["valueType"] not in Dynamic.KINDS:
            raise NotSupported(f"unknown kind of value: {command['valueType']}")
        values[command["name"]] = Dynamic(command["valueType"], command.get("initialValue", ""))
        return success(command)

    def clear_dynamic(self, command: Command) -> Result:
        self.dynamic_headers.clear()
        self.dynamic_params.clear()
        return success(command)


def initialized(command: Command, face: str) -> Result:
    return success(
        command,
        clientName=f"everstream-python-{face}",
        clientVersion=__version__,
        features=dict.fromkeys(FEATURES, True),
    )


def subscription_options(command: Command) -> dict[str, Any]:
    """Options of a new subscription."""
    names = {"pattern": "pattern", "streams": "streams", "wakeStream": "wake_stream", "webhook": "webhook"}
    options = {ours: command[theirs] for theirs, ours in names.items() if theirs in command}
    return options | {"lease": _seconds(command.get("leaseMs"))}


def subscribed(command: Command, made: Subscription) -> Result:
    return success(command, created=made.created, leaseMs=round(made.lease * 1000), streams=_linked(made.streams))


def verifier_options(command: Command) -> tuple[str | None, float | None]:
    return command.get("subscription"), _seconds(command.get("toleranceMs"))


def verified(command: Command, wake: Wake) -> Result:
    told = {
        "subscriptionId": wake.subscription_id,
        "wakeId": wake.wake_id,
        "generation": wake.generation,
        "streams": _linked(wake.streams),
    }
    return success(command, wake=told)


def given(command: Command, lease: Lease | AsyncLease) -> Result:
    told = {
        "subscriptionId": lease.subscription_id,
        "wakeId": lease.wake_id,
        "generation": lease.generation,
        "streams": _linked(lease.streams),
        "pending": [stream.path for stream in lease.pending],
    }
    return success(command, lease=told)


def late(message: str) -> RequestTimeoutError:
    return RequestTimeoutError(message, code="TIMEOUT")


def _linked(streams: Iterable[LinkedStream]) -> list[Result]:
    def told(stream: LinkedStream) -> Result:
        tail = {} if stream.tail_offset is None else {"tailOffset": stream.tail_offset}
        return {"path": stream.path, "ackedOffset": stream.acked_offset, "hasPending": stream.has_pending, **tail}

    return [told(stream) for stream in streams]


def append_data(command: Command) -> str | bytes:
    return base64.b64decode(command["data"]) if command.get("binary") else command["data"]


def retry_for(command: Command) -> dict[str, Any]:
    """The argument for the retries that a command asks for, beyond the official protocol."""
    return {"retry": retry_of(command["retry"])} if "retry" in command else {}


def message(action: Command) -> str | bytes | None:
    """The message of a producer's action, if it has one."""
    return append_data(action) if "data" in action else None


def run_options(command: Command) -> dict[str, Any]:
    """Options of a producer that lives for one command."""
    names = {
        "autoClaim": "auto_claim",
        "epoch": "epoch",
        "lingerMs": "linger_ms",
        "maxBatchBytes": "max_batch_bytes",
        "maxBatchItems": "max_batch_items",
        "maxBufferedBytes": "max_buffered_bytes",
        "maxInFlight": "max_in_flight",
    }
    timeout = command["deliveryTimeoutMs"] / 1000 if "deliveryTimeoutMs" in command else DELIVERY_TIMEOUT
    return {ours: command[theirs] for theirs, ours in names.items() if theirs in command} | {
        "delivery_timeout": timeout
    }


class Hook:
    """An error hook that goes on with other headers, once."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.calls = 0
        self._headers = headers

    def __call__(self, error: Exception) -> dict[str, Any] | None:
        self.calls += 1
        return {"headers": self._headers} if self.calls == 1 else None


def read_arguments(command: Command) -> dict[str, Any]:
    """Arguments of a read that are not in the official protocol."""
    arguments = retry_for(command)
    if "checkpoint" in command:
        arguments["checkpoint"] = Checkpoint.from_json(command["checkpoint"])
    if "onErrorHeaders" in command:
        arguments["on_error"] = Hook(command["onErrorHeaders"])
    if command.get("json"):
        arguments["json"] = True
    return arguments


def on_error_calls(arguments: dict[str, Any]) -> Result:
    """How often the error hook was asked, if there is one."""
    hook = arguments.get("on_error")
    return {} if hook is None else {"onErrorCalls": hook.calls}


def reads_json(command: Command, content_type: str | None) -> bool:
    return bool(command.get("json")) or is_json(content_type)


def producer_key(command: Command) -> tuple[str, str, int]:
    return command["path"], command["producerId"], command.get("epoch", 0)


def producer_options(command: Command) -> dict[str, Any]:
    """Options of the producer that stays: each append goes out at once."""
    return {
        "epoch": command.get("epoch", 0),
        "auto_claim": command.get("autoClaim", False),
        "linger_ms": 0,
        "max_in_flight": 1,
        "delivery_timeout": DELIVERY_TIMEOUT,
    }


def batch_options(command: Command) -> dict[str, Any]:
    """Options of a producer for one batch: all items in one request, or one in each and several under way."""
    in_flight = command.get("maxInFlight", 1)
    shape = {"linger_ms": 0, "max_batch_bytes": 1} if in_flight > 1 else {"linger_ms": 1000}
    return {**producer_options(command), "max_in_flight": in_flight, **shape}


def batch_items(command: Command) -> Iterator[str]:
    for item in command["items"]:
        yield item["data"] if isinstance(item, dict) else item


def retry_of(target: dict[str, Any]) -> Retry:
    """The retry policy to validate."""
    return Retry(
        max_retries=target.get("maxRetries"),
        initial_delay=_seconds(target.get("initialDelayMs")),
        max_delay=_seconds(target.get("maxDelayMs")),
        multiplier=target.get("multiplier"),
    )


def validated_producer_options(target: dict[str, Any]) -> dict[str, Any]:
    """The producer options to validate."""
    return run_options({**target, "deliveryTimeoutMs": 1000})


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def is_json(content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == "application/json"


class Reading:
    """Collects what a live read delivers, and knows when that is enough."""

    def __init__(self, command: Command) -> None:
        self.seconds: float = command.get("timeoutMs", 5000) / 1000
        self.chunks: list[Result] = []
        self.timed_out = True
        self._max_chunks = command.get("maxChunks", 100)
        self._stop_at_tail = command.get("waitForUpToDate", False)

    def is_over(self, event: StreamEvent[Any]) -> bool:
        """Takes an event; whether it was the last one wanted."""
        if event.data is not None:
            self.chunks.append(chunk(event.data, event.next_offset))
        over = (
            event.stream_closed
            or len(self.chunks) >= self._max_chunks
            or (self._stop_at_tail and event.up_to_date)
        )
        self.timed_out = not over
        return over


def chunk(data: Data, offset: str) -> Result:
    """A chunk of a result: text wherever it is text, the array of a JSON batch."""
    if isinstance(data, list):
        return {"data": json.dumps(data, separators=(",", ":"), ensure_ascii=False), "offset": offset}
    try:
        return {"data": data.decode(), "offset": offset}
    except UnicodeDecodeError:
        return {"data": base64.b64encode(data).decode(), "binary": True, "offset": offset}


def read_result(command: Command, response: Any, sent: Sent, chunks: list[Result], timed_out: bool = False) -> Result:
    """The result of a read, from its response. One that waited in vain is at the tail."""
    return success(
        command,
        status=response.status,
        chunks=chunks,
        offset=response.offset,
        upToDate=timed_out or response.up_to_date,
        streamClosed=response.stream_closed,
        cursor=response.cursor,
        checkpoint=response.checkpoint().to_json(),
        **sent.report(),
    )


def head_values(head: Any) -> Result:
    return {
        "status": 200,
        "offset": head.offset,
        "contentType": head.content_type,
        "streamClosed": head.stream_closed,
        "ttlSeconds": head.ttl_seconds,
        "expiresAt": head.expires_at,
        "etag": head.etag,
    }


def measured(command: Command, nanoseconds: int, bytes_transferred: int = 0, messages: int = 0) -> Result:
    """The result of a benchmark."""
    metrics = {"bytesTransferred": bytes_transferred, "messagesProcessed": messages}
    return success(command, iterationId=command["iterationId"], durationNs=str(nanoseconds), metrics=metrics)
