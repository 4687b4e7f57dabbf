//! What the servers are asked to do.

/// The sections of the results.
pub(super) const SECTIONS: [&str; 4] = [APPENDS, READS, LIVE, REST];
const APPENDS: &str = "appends";
const READS: &str = "reads";
const LIVE: &str = "live reads";
const REST: &str = "streams at rest";

/// One workload.
pub(super) struct Workload {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    /// The arguments of the generator.
    pub(super) load: &'static str,
    pub(super) measure: Measure,
    /// The most that ours may take, as a part of what the other one takes.
    pub(super) aim: f64,
    /// The server is killed and started again.
    pub(super) restarts: bool,
}

/// What counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    Operations,
    Messages,
    Gigabytes,
    Deliveries,
    /// What streams cost that nobody uses.
    Resting,
}

impl Measure {
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Operations => "cpu_s_per_1m_ops",
            Self::Messages => "cpu_s_per_1m_msgs",
            Self::Gigabytes => "cpu_s_per_gb",
            Self::Deliveries => "cpu_us_per_delivery",
            Self::Resting => "rss_kb_per_stream",
        }
    }

    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Operations => "CPU s per 1M",
            Self::Messages => "CPU s per 1M messages",
            Self::Gigabytes => "CPU s per GB",
            Self::Deliveries => "CPU us per delivery",
            Self::Resting => "KB per stream",
        }
    }
}

const fn load(
    section: &'static str,
    name: &'static str,
    what: &'static str,
    load: &'static str,
    measure: Measure,
    aim: f64,
) -> Workload {
    Workload { section, name, what, load, measure, aim, restarts: matches!(measure, Measure::Resting) }
}

pub(super) static WORKLOADS: [Workload; 15] = [
    load(
        APPENDS,
        "append",
        "append 256 B, 16 connections",
        "append --conns 16 --streams 16 --payload 256",
        Measure::Operations,
        0.7,
    ),
    load(
        APPENDS,
        "append-one",
        "append, 64 connections on one stream",
        "append --conns 64 --streams 1 --payload 256",
        Measure::Operations,
        0.9,
    ),
    load(
        APPENDS,
        "append-many",
        "append, 256 connections on 256 streams",
        "append --conns 256 --streams 256 --payload 256",
        Measure::Operations,
        0.5,
    ),
    load(
        APPENDS,
        "append-pipe",
        "append, 4 connections with 16 requests each in the pipe",
        "append --conns 4 --streams 4 --payload 256 --pipeline 16",
        Measure::Operations,
        0.3,
    ),
    load(
        APPENDS,
        "producer",
        "producer, batches of 100 JSON messages",
        "producer --conns 4 --batch 100 --msg 100",
        Measure::Messages,
        0.9,
    ),
    load(READS, "get", "GET of 256 B", "small --op get-small", Measure::Operations, 0.4),
    load(READS, "tail", "GET at the tail", "small --op get-tail", Measure::Operations, 1.1),
    load(READS, "head", "HEAD", "small --op head", Measure::Operations, 1.1),
    load(READS, "catchup", "catch-up of 64 MB, 4 readers", "catchup --conns 4 --total-mb 64", Measure::Gigabytes, 1.0),
    load(
        READS,
        "catchup-json",
        "catch-up of 200,000 JSON messages, 4 readers",
        "catchup --conns 4 --ctype json --messages 200000",
        Measure::Gigabytes,
        1.0,
    ),
    load(LIVE, "sse", "SSE, 1,000 subscribers", "sse --subs 1000", Measure::Deliveries, 0.8),
    load(LIVE, "longpoll", "long-poll, 1,000 subscribers", "longpoll --subs 1000 --rate 20", Measure::Deliveries, 0.7),
    load(
        APPENDS,
        "append-64k",
        "append of 64 KiB, 8 connections",
        "append --conns 8 --streams 8 --payload 65536",
        Measure::Operations,
        1.0,
    ),
    load(REST, "resting-10k", "10,000", "cardinality --streams 10000", Measure::Resting, 1.0),
    load(REST, "resting-100k", "100,000", "cardinality --streams 100000", Measure::Resting, 1.0),
];
