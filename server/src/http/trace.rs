//! A span for each request, for collectors of traces (feature `otlp`, section `[otlp]`): named by the operation, part of
//! the trace that `traceparent` names, ended when the head of the answer is there.
//!
//! Only the layer that sends traces looks at the target of these spans; in the log they are not seen.

use http::request::Parts;
use http::{Response, StatusCode};
use tracing::Span;

use super::App;
use super::body::Body;

/// The span of a request, or none.
#[cfg(feature = "otlp")]
pub(super) fn begin(app: &App, parts: &Parts, operation: &'static str) -> Span {
    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    use tracing::field::Empty;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    if !app.config().otlp.is_on() {
        return Span::none();
    }
    // The query stays out: it may hold the signature of a URL.
    let span = tracing::trace_span!(
        target: crate::TRACE_TARGET,
        "request",
        otel.name = operation,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = parts.method.as_str(),
        http.response.status_code = Empty,
        url.path = parts.uri.path(),
    );
    let parent = super::observe::traceparent(parts).and_then(|(trace, parent, flags)| {
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
        let (trace, parent) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(parent).ok()?);
        Some(SpanContext::new(trace, parent, flags, true, TraceState::default()))
    });
    if let Some(parent) = parent {
        // It fails when nobody sends traces, as in a program that embeds the server and does not want any.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// There are no collectors for this build.
#[cfg(not(feature = "otlp"))]
pub(super) fn begin(_: &App, _: &Parts, _: &'static str) -> Span {
    Span::none()
}

/// Notes the answer.
pub(super) fn end(span: &Span, response: &Response<Body>) {
    let status: StatusCode = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}
