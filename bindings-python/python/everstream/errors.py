"""Exceptions. All of them are `DurableStreamError`s; `code` is the same in every language.

Which code becomes which class is said once, in the table at the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

E = TypeVar("E", bound="DurableStreamError")


class BatchFailure(NamedTuple):
    """A run of a producer's messages that was not stored, or may not have been (`error.outcome_unknown`)."""

    first_message: int
    """Number of the first one, counted from 0 in the order of `append`."""
    messages: int
    """How many in a row."""
    error: DurableStreamError
    """Why."""


class DurableStreamError(Exception):
    """What every error of this package is.

    `str()` says what happened, to which stream, and what is not known.
    """

    message: str
    status: int | None
    """HTTP status, if the server answered."""
    code: str | None
    """Stable name of what went wrong, such as `NOT_FOUND`."""
    details: Any
    """The body of the server's answer, where it was text."""
    url: str | None = None
    """The stream, without credentials and query."""
    operation: str | None = None
    """What was tried, such as `append`."""
    retryable: bool = False
    """Whether the same call may succeed later."""
    outcome_unknown: bool = False
    """Whether a write may have been stored although it failed: the request left, and no answer came."""
    retry_after: float | None = None
    """How long the server asked to wait, in seconds."""
    headers: dict[str, str]
    """Headers of the server's answer, names in lower case."""
    body: str | None = None
    failures: tuple[BatchFailure, ...] = ()
    """Of a producer: every run of messages that was not stored."""

    _code: str | None = None

    def __init__(
        self, message: str = "", status: int | None = None, code: str | None = None, details: Any = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code if code is not None else self._code
        self.details = details
        self.headers = {}

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, status={self.status!r}, code={self.code!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self), self.message, dict(self.__dict__)))


class FetchError(DurableStreamError):
    """A request failed: no answer, or one that is a failure."""

    def __init__(
        self,
        message: str = "",
        status: int | None = None,
        url: str | None = None,
        headers: dict[str, str] | None = None,
        body: str | None = None,
        details: Any = None,
    ) -> None:
        super().__init__(message, status, details=body if details is None else details)
        self.url = url
        self.headers = headers or {}
        self.body = body


class AlreadyClosedError(DurableStreamError):
    """The handle, reader or producer was closed before the call, or the lease finished or released."""


class BadRequestError(FetchError):
    """400: the server did not understand the request, or an append was empty."""


class BufferFullError(DurableStreamError):
    """A producer's buffer is full and the call was not to wait; the message was not taken."""


class OperationCancelledError(DurableStreamError):
    """The operation was given up: what it needs is gone."""


class ContentTypeConflictError(FetchError):
    """409 on an append: its content type is not the stream's."""


class StreamExistsError(FetchError):
    """409 on create: the stream exists with another configuration."""

    def __init__(
        self, message: str = "Stream already exists with different configuration", url: str | None = None
    ) -> None:
        super().__init__(f"Stream already exists: {url}" if url else message, 409, url)


class ForbiddenError(FetchError):
    """403."""


class RetentionGoneError(FetchError):
    """410: the stream is soft-deleted, or the offset was dropped by retention."""

    def __init__(
        self, message: str = "Offset is before the earliest retained position", details: Any = None
    ) -> None:
        super().__init__(message, 410, details=details)


class InternalError(DurableStreamError):
    """A defect of this library."""


class InvalidArgumentError(DurableStreamError, ValueError):
    """An argument was refused before anything was sent; the message names it."""


class InvalidOffsetError(FetchError, ValueError):
    """The server does not know the offset, or it cannot be one."""


class InvalidSignatureError(DurableStreamError):
    """A webhook is not known to be from the server: answer 401."""


class LeaseLostError(FetchError):
    """409: the wake of a subscription is over, or another worker has it. Stop working on it."""


class NetworkError(FetchError, ConnectionError):
    """No answer: the connection could not be made, or broke."""


class StreamNotFoundError(FetchError):
    """404: there is no such stream."""

    def __init__(self, message: str = "Stream not found", url: str | None = None) -> None:
        super().__init__(f"Stream not found: {url}" if url else message, 404, url)


class NotSupportedError(DurableStreamError):
    """The server or this library lacks the feature, or the stream is not of the type for it."""


class ParseError(DurableStreamError, ValueError):
    """A body or an event could not be parsed."""


class PayloadTooLargeError(FetchError):
    """413: more than the server takes in one request."""


class StaleEpochError(FetchError):
    """403: another producer has taken over with this or a later epoch."""

    current_epoch: int | None = None
    """The epoch that the server holds."""

    def __init__(self, current_epoch: int | None = None) -> None:
        advice = "Call restart() or create a new producer with a higher epoch."
        super().__init__(f"Producer epoch is stale. Current server epoch: {current_epoch}. {advice}", 403)
        self.current_epoch = current_epoch


class ProtocolError(DurableStreamError):
    """The server's answer breaks the protocol."""


class RateLimitedError(FetchError):
    """429 after the last retry."""


class SeqConflictError(FetchError):
    """409: `seq` is not greater than the last one."""

    def __init__(
        self, message: str = "Sequence conflict: seq is lower than or equal to last appended", details: Any = None
    ) -> None:
        super().__init__(message, 409, details=details)


class SequenceGapError(FetchError):
    """409: batches before this one are missing on the server, and this producer does not have them."""

    expected_seq: int | None = None
    """The number that the server waits for."""
    received_seq: int | None = None
    """The number that it received."""

    def __init__(self, expected_seq: int | None = None, received_seq: int | None = None) -> None:
        super().__init__(f"Producer sequence gap: expected {expected_seq}, received {received_seq}", 409)
        self.expected_seq = expected_seq
        self.received_seq = received_seq


class ServerError(FetchError):
    """500, 502 or 504 after the last retry."""


class StreamClosedError(FetchError):
    """409: the stream is closed and takes no more data."""

    final_offset: str | None = None
    """Where it ends."""

    def __init__(
        self,
        message: str = "Cannot append to closed stream",
        url: str | None = None,
        final_offset: str | None = None,
    ) -> None:
        super().__init__(f"Cannot append to closed stream: {url}" if url else message, 409, url)
        self.final_offset = final_offset


class StreamRecreatedError(DurableStreamError):
    """The stream was deleted and created anew, or lost data: the offset means nothing any more."""


class RequestTimeoutError(FetchError, TimeoutError):
    """A time limit passed."""


class UnauthorizedError(FetchError):
    """401."""


class ServerBusyError(FetchError):
    """503 after the last retry."""


class UnexpectedStatusError(FetchError):
    """Any other status."""


class ForkedError(DurableStreamError):
    """A live session or producer was used in a forked child; it belongs to the parent."""

    _code = "FORKED"


class StreamConsumedError(DurableStreamError):
    """A response can be consumed once, in one way."""

    _code = "ALREADY_CONSUMED"
    attempted_method: str | None = None
    consumed_by: str | None = None

    def __init__(
        self,
        message: str = "the response has been consumed already",
        attempted_method: str | None = None,
        consumed_by: str | None = None,
    ) -> None:
        if attempted_method and consumed_by:
            message = f"cannot call {attempted_method}(): the response was consumed by {consumed_by}() already"
        super().__init__(message)
        self.attempted_method = attempted_method
        self.consumed_by = consumed_by


class SSENotSupportedError(DurableStreamError):
    """Never raised here: SSE carries every content type. Kept for code that catches it."""

    _code = "SSE_NOT_SUPPORTED"
    content_type: str | None = None

    def __init__(
        self, message: str = "SSE mode is not supported for this content type", content_type: str | None = None
    ) -> None:
        if content_type:
            message = f"SSE mode is not supported for content type: {content_type}"
        super().__init__(message, 400)
        self.content_type = content_type


class SSEBytesIterationError(DurableStreamError):
    """Never raised here: bytes can be iterated over SSE. Kept for code that catches it."""

    _code = "SSE_BYTES_NOT_SUPPORTED"

    def __init__(
        self, message: str = "Cannot iterate bytes in SSE mode. Use iter_text() or iter_json() instead."
    ) -> None:
        super().__init__(message)


class SSEReadAllError(DurableStreamError):
    """Never raised here: `read_*` work over SSE. Kept for code that catches it."""

    _code = "SSE_READ_ALL_NOT_SUPPORTED"
    method: str | None = None

    def __init__(self, method: str | None = None) -> None:
        super().__init__(f"Cannot use {method}() in SSE mode. Use iteration methods, or live=False.")
        self.method = method


class SSEEncodingError(DurableStreamError):
    """Never raised here: broken events are a `ParseError`. Kept for code that catches it."""

    _code = "SSE_ENCODING_ERROR"


BY_CODE: dict[str, type[DurableStreamError]] = {
    "ALREADY_CLOSED": AlreadyClosedError,
    "BAD_REQUEST": BadRequestError,
    "BUFFER_FULL": BufferFullError,
    "BUSY": ServerBusyError,
    "CANCELLED": OperationCancelledError,
    "CONFLICT_CONTENT_TYPE": ContentTypeConflictError,
    "CONFLICT_EXISTS": StreamExistsError,
    "CONFLICT_SEQ": SeqConflictError,
    "FENCED": LeaseLostError,
    "FORBIDDEN": ForbiddenError,
    "INTERNAL_ERROR": InternalError,
    "INVALID_ARGUMENT": InvalidArgumentError,
    "INVALID_OFFSET": InvalidOffsetError,
    "INVALID_SIGNATURE": InvalidSignatureError,
    "NETWORK_ERROR": NetworkError,
    "NOT_FOUND": StreamNotFoundError,
    "NOT_SUPPORTED": NotSupportedError,
    "PARSE_ERROR": ParseError,
    "PAYLOAD_TOO_LARGE": PayloadTooLargeError,
    "PROTOCOL_ERROR": ProtocolError,
    "RATE_LIMITED": RateLimitedError,
    "RETENTION_GONE": RetentionGoneError,
    "SEQUENCE_GAP": SequenceGapError,
    "SERVER_ERROR": ServerError,
    "STALE_EPOCH": StaleEpochError,
    "STREAM_CLOSED": StreamClosedError,
    "STREAM_RECREATED": StreamRecreatedError,
    "TIMEOUT": RequestTimeoutError,
    "UNAUTHORIZED": UnauthorizedError,
    "UNEXPECTED_STATUS": UnexpectedStatusError,
}
"""The class of each of the core's error codes."""

for _of_class, _class in BY_CODE.items():
    _class._code = _of_class


def from_native(code: str, message: str, facts: dict[str, Any]) -> DurableStreamError:
    """Builds the exception for an error of the core; called by the native module."""
    error = _bare(BY_CODE.get(code, DurableStreamError), message)
    error.code = code
    failures = facts.pop("failures", None)
    if failures is not None:
        error.failures = tuple(BatchFailure(*failure) for failure in failures)
    for name, value in facts.items():
        setattr(error, name, value)
    error.details = error.body
    return error


def _restore(cls: type[DurableStreamError], message: str, state: dict[str, Any]) -> DurableStreamError:
    error = _bare(cls, message)
    error.__dict__.update(state)
    return error


def _bare(cls: type[E], message: str) -> E:
    """An error past the constructor of its class: those are the official client's, and each takes something else."""
    error = cls.__new__(cls, message)
    DurableStreamError.__init__(error, message)
    return error
