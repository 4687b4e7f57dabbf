//! Numbers to the text format of Prometheus. `docs/server.md` has the table of them, which a test holds to this.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::process::Process;
use super::{Histogram, Metrics, RequestKind, STATUS_CLASSES, StorageMetrics};

/// The content type of [`render`].
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All numbers as text.
pub(crate) fn render(metrics: Arc<Metrics>, streams: u64, storage: Option<Arc<StorageMetrics>>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All { metrics, streams, storage }));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct All {
    metrics: Arc<Metrics>,
    streams: u64,
    storage: Option<Arc<StorageMetrics>>,
}

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (to, metrics) = (&mut encoder, &*self.metrics);
        let relaxed = Ordering::Relaxed;
        {
            let mut build = family(to, "everstream_build", "The version that runs", MetricType::Info)?;
            build.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        }
        requests(to, metrics)?;
        {
            let mut live = family(to, "everstream_live_readers", "Readers that follow a stream", MetricType::Gauge)?;
            for (mode, readers) in ["long-poll", "sse"].into_iter().zip(&metrics.live) {
                live.encode_family(&[("mode", mode)])?.encode_gauge(&readers.load(relaxed))?;
            }
        }
        gauge(to, "everstream_streams", "Streams, deleted ones that forks need included", self.streams)?;
        gauge(
            to,
            "everstream_connections",
            "Open connections",
            metrics.connections.load(relaxed).max(0).unsigned_abs(),
        )?;
        for (name, help, counter) in [
            (
                "everstream_connections_refused",
                "Connections beyond limits.max_connections",
                &metrics.connections_refused,
            ),
            (
                "everstream_connections_timed_out",
                "Connections cut because the peer did not read, or did not send, in time",
                &metrics.connections_timed_out,
            ),
            ("everstream_appended_bytes", "Bytes of bodies that were stored", &metrics.appended_bytes),
            (
                "everstream_duplicate_appends",
                "Repeats that producers sent and that were not stored again",
                &metrics.duplicate_appends,
            ),
            ("everstream_served_bytes", "Bytes of bodies that were handed to connections", &metrics.served_bytes),
            ("everstream_rate_limited", "Requests answered with 429", &metrics.rate_limited),
        ] {
            counter_of(to, name, help, counter.load(relaxed))?;
        }
        {
            let mut refused =
                family(to, "everstream_access_refused", "Requests that access rules refused", MetricType::Counter)?;
            for (reason, counter) in [("forbidden", &metrics.forbidden), ("unauthenticated", &metrics.unauthenticated)]
            {
                count(&mut refused.encode_family(&[("reason", reason)])?, counter.load(relaxed))?;
            }
        }
        if let Some(storage) = &self.storage {
            histogram(to, "everstream_storage_sync_seconds", "Time to bring data to the disk", &storage.syncs)?;
            gauge(
                to,
                "everstream_storage_log_bytes",
                "Bytes of the log that are not yet drained",
                storage.log_bytes.load(relaxed),
            )?;
            counter_of(to, "everstream_storage_errors", "Failures of the disk", storage.errors.load(relaxed))?;
        }
        if let Some(process) = Process::now() {
            gauge(to, "process_resident_memory_bytes", "Resident memory", process.resident_bytes)?;
            gauge(to, "process_open_fds", "Open file handles", process.open_files)?;
            let mut cpu = family(to, "process_cpu_seconds", "CPU time of the threads that run", MetricType::Counter)?;
            cpu.encode_counter::<NoLabelSet, _, f64>(&process.cpu_seconds, None)?;
        }
        Ok(())
    }
}

fn requests(to: &mut DescriptorEncoder<'_>, metrics: &Metrics) -> fmt::Result {
    {
        let mut requests = family(to, "everstream_requests", "Requests that were answered", MetricType::Counter)?;
        for (kind, classes) in RequestKind::ALL.into_iter().zip(&metrics.requests) {
            for (class, counter) in STATUS_CLASSES.into_iter().zip(classes) {
                let answered = counter.load(Ordering::Relaxed);
                // A request that never came is no line.
                if answered > 0 {
                    let labels = [("operation", kind.label()), ("status", class)];
                    count(&mut requests.encode_family(&labels)?, answered)?;
                }
            }
        }
    }
    let help = "Time from the head of a request to the head of its answer";
    let mut durations = family(to, "everstream_request_duration_seconds", help, MetricType::Histogram)?;
    for (kind, durations_of) in RequestKind::ALL.into_iter().zip(&metrics.durations) {
        let snapshot = durations_of.snapshot();
        if snapshot.count > 0 {
            let labels = [("operation", kind.label())];
            let mut one = durations.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(snapshot.sum_seconds, snapshot.count, &snapshot.buckets, None)?;
        }
    }
    Ok(())
}

fn family<'a>(
    to: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    kind: MetricType,
) -> Result<MetricEncoder<'a>, fmt::Error> {
    to.encode_descriptor(name, help, None, kind)
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    family(to, name, help, MetricType::Gauge)?.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX))
}

fn counter_of(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    count(&mut family(to, name, help, MetricType::Counter)?, value)
}

fn count(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

fn histogram(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
    let snapshot = histogram.snapshot();
    let mut encoder = family(to, name, help, MetricType::Histogram)?;
    encoder.encode_histogram::<NoLabelSet>(snapshot.sum_seconds, snapshot.count, &snapshot.buckets, None)
}
