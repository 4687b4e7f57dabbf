"""Durable Streams you can trust: resumable, exactly-once streams over plain HTTP.

    from everstream import DurableStream, stream

    orders = DurableStream.create("http://127.0.0.1:4437/v1/stream/orders", content_type="application/json")
    with orders.producer("shop-1") as producer:
        producer.append({"order": 1})

    with stream(orders.url) as response:
        for order in response.iter_json():
            print(order)

The asyncio face has the same names: `astream`, `AsyncDurableStream`, `IdempotentProducer`, `AsyncClient`,
`AsyncSubscriptions`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _start as _start
from ._native import VERSION as __version__
from .checkpoints import AsyncCallbackCheckpoints, CallbackCheckpoints, FileCheckpoints
from .client import AsyncClient, Client
from .errors import (
    AlreadyClosedError,
    BadRequestError,
    BatchFailure,
    BufferFullError,
    ContentTypeConflictError,
    DurableStreamError,
    FetchError,
    ForbiddenError,
    ForkedError,
    InternalError,
    InvalidArgumentError,
    InvalidOffsetError,
    InvalidSignatureError,
    LeaseLostError,
    NetworkError,
    NotSupportedError,
    OperationCancelledError,
    ParseError,
    PayloadTooLargeError,
    ProtocolError,
    RateLimitedError,
    RequestTimeoutError,
    RetentionGoneError,
    SeqConflictError,
    SequenceGapError,
    ServerBusyError,
    ServerError,
    SSEBytesIterationError,
    SSEEncodingError,
    SSENotSupportedError,
    SSEReadAllError,
    StaleEpochError,
    StreamClosedError,
    StreamConsumedError,
    StreamExistsError,
    StreamNotFoundError,
    StreamRecreatedError,
    UnauthorizedError,
    UnexpectedStatusError,
)
from .handle import DurableStream, stream
from .producer import Delivery, IdempotentProducer, Producer
from .response import StreamResponse
from .server import Server
from .subscription_types import LinkedStream, Subscription, Wake
from .subscriptions import Lease, Subscriptions, WebhookVerifier, Worker
from .types import (
    AppendResult,
    AsyncCheckpointStore,
    Checkpoint,
    CheckpointStore,
    CloseResult,
    CreateResult,
    FlushResult,
    HeadersLike,
    HeadResult,
    IdempotentAppendResult,
    ListedStream,
    LiveMode,
    Offset,
    ParamsLike,
    Retry,
    SSEEncoding,
    StreamEvent,
    Timeout,
)

if TYPE_CHECKING:
    from .ahandle import AsyncDurableStream, AsyncStreamSession, astream
    from .aresponse import AsyncStreamResponse
    from .asubscriptions import AsyncLease, AsyncSubscriptions, AsyncWebhookVerifier, AsyncWorker

__all__ = [
    "AlreadyClosedError",
    "AppendResult",
    "AsyncCallbackCheckpoints",
    "AsyncCheckpointStore",
    "AsyncClient",
    "AsyncDurableStream",
    "AsyncLease",
    "AsyncStreamResponse",
    "AsyncStreamSession",
    "AsyncSubscriptions",
    "AsyncWebhookVerifier",
    "AsyncWorker",
    "BadRequestError",
    "BatchFailure",
    "BufferFullError",
    "CallbackCheckpoints",
    "Checkpoint",
    "CheckpointStore",
    "Client",
    "CloseResult",
    "ContentTypeConflictError",
    "CreateResult",
    "Delivery",
    "DurableStream",
    "DurableStreamError",
    "FetchError",
    "FileCheckpoints",
    "FlushResult",
    "ForbiddenError",
    "ForkedError",
    "HeadResult",
    "HeadersLike",
    "IdempotentAppendResult",
    "IdempotentProducer",
    "InternalError",
    "InvalidArgumentError",
    "InvalidOffsetError",
    "InvalidSignatureError",
    "Lease",
    "LeaseLostError",
    "LinkedStream",
    "ListedStream",
    "LiveMode",
    "NetworkError",
    "NotSupportedError",
    "Offset",
    "OperationCancelledError",
    "ParamsLike",
    "ParseError",
    "PayloadTooLargeError",
    "Producer",
    "ProtocolError",
    "RateLimitedError",
    "RequestTimeoutError",
    "RetentionGoneError",
    "Retry",
    "SSEBytesIterationError",
    "SSEEncoding",
    "SSEEncodingError",
    "SSENotSupportedError",
    "SSEReadAllError",
    "SeqConflictError",
    "SequenceGapError",
    "Server",
    "ServerBusyError",
    "ServerError",
    "StaleEpochError",
    "StreamClosedError",
    "StreamConsumedError",
    "StreamEvent",
    "StreamExistsError",
    "StreamNotFoundError",
    "StreamRecreatedError",
    "StreamResponse",
    "Subscription",
    "Subscriptions",
    "Timeout",
    "UnauthorizedError",
    "UnexpectedStatusError",
    "Wake",
    "WebhookVerifier",
    "Worker",
    "__version__",
    "astream",
    "stream",
]

# The asyncio face imports asyncio, which takes longer than all the rest: only those who use it wait for that.
_ASYNC = {
    "AsyncDurableStream": "ahandle",
    "AsyncLease": "asubscriptions",
    "AsyncStreamResponse": "aresponse",
    "AsyncStreamSession": "ahandle",
    "AsyncSubscriptions": "asubscriptions",
    "AsyncWebhookVerifier": "asubscriptions",
    "AsyncWorker": "asubscriptions",
    "astream": "ahandle",
}


def __getattr__(name: str) -> Any:
    module = _ASYNC.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_ASYNC})
