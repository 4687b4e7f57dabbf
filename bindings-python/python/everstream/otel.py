"""OpenTelemetry: spans around operations, and headers that carry them to the server. Needs `everstream[otel]`.

    from everstream.otel import span, trace_headers

    with span("send", url):
        DurableStream(url, headers=trace_headers()).append({"order": 1})

Nothing is patched and nothing is guessed: a span covers what is in its block, and the headers name the span in whose
block they were made. Make handles that live longer without them, or their requests are counted to that span.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Tracer

from ._native import VERSION
from .errors import DurableStreamError

Operation = Literal["create", "send", "receive", "process"]

# A producer's span is one whose context the messages carry, and ours carry none: sending is a client's work.
_KINDS = {
    "create": SpanKind.PRODUCER,
    "send": SpanKind.CLIENT,
    "receive": SpanKind.CLIENT,
    "process": SpanKind.CONSUMER,
}


def trace_headers() -> dict[str, str]:
    """Headers (`traceparent` and what else is configured) of the span that is current now; `{}` when there is none.

    For `headers=` of handles, reads and producers.
    """
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


@contextmanager
def span(operation: Operation, url: str, *, tracer: Tracer | None = None) -> Generator[Span, None, None]:
    """A span around operations on a stream, after the semantic conventions for messaging.

    Its name is the operation and the server: streams are too many for names of spans. The stream is
    `messaging.destination.name`.

    Args:
        operation: `"create"` a message for later, `"send"`, `"receive"` or `"process"` some. A live read has no end of
            its own: give what you do with each message a span.
        url: The stream's URL. Neither credentials nor query get into the span.
        tracer: Default: the global provider's.

    An exception is recorded and raised on; of this package's own, `error.type` is the `code`.
    """
    parts = urlsplit(url)
    server = parts.netloc.rpartition("@")[2]
    attributes: dict[str, str | int] = {
        "messaging.system": "durable_streams",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": parts.path,
    }
    if parts.hostname is not None:
        attributes["server.address"] = parts.hostname
    if parts.port is not None:
        attributes["server.port"] = parts.port
    tracer = tracer or trace.get_tracer("everstream", VERSION)
    with tracer.start_as_current_span(
        f"{operation} {server}", kind=_KINDS[operation], attributes=attributes
    ) as current:
        try:
            yield current
        except Exception as error:
            code = error.code if isinstance(error, DurableStreamError) else None
            current.set_attribute("error.type", code or type(error).__qualname__)
            raise
