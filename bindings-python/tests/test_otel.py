"""`everstream.otel`: spans, and headers that carry them, with the real OpenTelemetry SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("opentelemetry.sdk", reason="pip install -r tests/requirements.txt")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

from everstream import AsyncDurableStream, DurableStream, StreamNotFoundError, stream
from everstream.otel import span, trace_headers
from scripted import ScriptedServer
from support import JSON

Proxy = Callable[..., ScriptedServer]


class Recorder:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer: Tracer = self._provider.get_tracer("test")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def close(self) -> None:
        self._provider.shutdown()


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.close()


def parent_of(traceparent: str) -> tuple[int, int]:
    version, trace_id, span_id, _ = traceparent.split("-")
    assert version == "00"
    return int(trace_id, 16), int(span_id, 16)


def identity(recorded: ReadableSpan) -> tuple[int, int]:
    context = recorded.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def test_a_span_says_what_is_done_where_without_secrets(recorder: Recorder) -> None:
    with span("send", "http://user:secret@example.com:4437/v1/stream/orders?token=secret", tracer=recorder.tracer):
        pass

    (recorded,) = recorder.spans
    assert recorded.name == "send example.com:4437"
    assert recorded.attributes == {
        "messaging.system": "durable_streams",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "/v1/stream/orders",
        "server.address": "example.com",
        "server.port": 4437,
    }


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("create", SpanKind.PRODUCER),
        ("send", SpanKind.CLIENT),
        ("receive", SpanKind.CLIENT),
        ("process", SpanKind.CONSUMER),
    ],
)
def test_kinds_follow_the_conventions(recorder: Recorder, operation: str, kind: SpanKind) -> None:
    with span(operation, "http://example.com/orders", tracer=recorder.tracer):  # type: ignore[arg-type]
        pass

    assert recorder.spans[0].kind is kind and recorder.spans[0].name == f"{operation} example.com"
    assert "server.port" not in (recorder.spans[0].attributes or {})


def test_a_failure_is_recorded_with_its_code_and_raised(recorder: Recorder, url: str) -> None:
    with pytest.raises(StreamNotFoundError), span("send", url, tracer=recorder.tracer):
        DurableStream(url).append({"order": 1})
    with pytest.raises(ZeroDivisionError), span("receive", url, tracer=recorder.tracer):
        raise ZeroDivisionError

    first, second = recorder.spans
    assert first.attributes and first.attributes["error.type"] == "NOT_FOUND"
    assert first.status.status_code is StatusCode.ERROR and first.events[0].name == "exception"
    assert second.attributes and second.attributes["error.type"] == "ZeroDivisionError"


def test_without_a_span_there_are_no_headers() -> None:
    assert trace_headers() == {}


def test_requests_in_a_block_carry_its_span(recorder: Recorder, proxy: Proxy, url: str) -> None:
    server = proxy()
    url = server.through(url)
    with span("send", url, tracer=recorder.tracer):
        handle = DurableStream.create(url, content_type=JSON, headers=trace_headers())
        handle.append({"order": 1})
    with span("receive", url, tracer=recorder.tracer), stream(url, live=False, headers=trace_headers()) as response:
        assert response.read_json() == [{"order": 1}]

    send, receive = recorder.spans
    carried = {request.method: parent_of(request.headers["traceparent"]) for request in server.requests}
    assert carried == {"PUT": identity(send), "POST": identity(send), "GET": identity(receive)}
    assert identity(send)[0] != identity(receive)[0]


async def test_tasks_at_once_carry_each_its_own_span(recorder: Recorder, proxy: Proxy, url: str) -> None:
    server = proxy()
    url = server.through(url)
    await AsyncDurableStream.create(url, content_type=JSON)

    async def send(number: int) -> None:
        with span("send", url, tracer=recorder.tracer) as current:
            current.set_attribute("number", number)
            await AsyncDurableStream(url, headers=trace_headers()).append({"order": number})

    await asyncio.gather(*(send(number) for number in range(5)))

    numbers = {identity(recorded): (recorded.attributes or {})["number"] for recorded in recorder.spans}
    carried = {numbers[parent_of(request.headers["traceparent"])]: request.body for request in server.of("POST")}
    assert {number: body.strip(b"[]") for number, body in carried.items()} == {
        number: b'{"order":%d}' % number for number in range(5)
    }
