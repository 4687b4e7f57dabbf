//! Sends traces of requests to a collector: OTLP, protobuf over HTTP.
//!
//! `OTEL_EXPORTER_OTLP_HEADERS` and the other variables of the OpenTelemetry specification that the configuration has no
//! key for are heeded.

use everstream_server::config::OtlpConfig;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::Registry;

use crate::output::Failure;

/// What sends traces. [`stop`](Self::stop) sends what has not been sent.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to send, if there is somewhere to.
    pub(crate) fn start(config: &OtlpConfig) -> Result<Option<Self>, Failure> {
        if !config.is_on() {
            return Ok(None);
        }
        let endpoint = format!("{}/v1/traces", config.endpoint);
        // The client of the thread that sends has a runtime of its own, which cannot be made inside of another one.
        let made = std::thread::spawn(move || {
            // Fails when the process has chosen a provider already, which is just as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::blocking::Client::builder().build().map_err(|error| error.to_string())?;
            let exporter = SpanExporter::builder()
                .with_http()
                .with_http_client(client)
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(endpoint)
                .build();
            exporter.map_err(|error| error.to_string())
        });
        let made = made.join().unwrap_or_else(|_| Err("the client cannot be made".to_owned()));
        let exporter = made.map_err(|error| Failure::new(format!("Error: otlp.endpoint: {error}")))?;
        let resource = Resource::builder().with_service_name(config.service_name.clone()).build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler)
            .with_batch_exporter(exporter)
            .build();
        Ok(Some(Self(provider)))
    }

    /// What takes the spans of requests out of everything that is logged.
    pub(crate) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let tracer = self.0.tracer("everstream");
        let requests = Targets::new().with_target(everstream_server::TRACE_TARGET, Level::TRACE);
        Box::new(tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_filter(requests))
    }

    /// Sends the rest. It waits for the collector, for 5 s at most.
    pub(crate) async fn stop(self) {
        let stopped = tokio::task::spawn_blocking(move || self.0.shutdown()).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
