//! What a run consists of, drawn from its seed.

use std::time::Duration;

use everstream::proto::jitter::Jitter;
use everstream::{LiveMode, ProducerOptions};

/// Everything that one run does, before any fault is drawn.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides every fault.
    pub seed: u64,
    /// The stream's content type.
    pub content_type: &'static str,
    /// Messages that each producer appends.
    pub messages: u64,
    /// How the producers work. They have one id: with more than one they fight for it.
    pub producers: Vec<ProducerOptions>,
    /// How each reader tails.
    pub readers: Vec<LiveMode>,
    /// Chance of a fault per request, until [`calm_after`](Self::calm_after).
    pub fault_rate: f64,
    /// When the network becomes whole.
    pub calm_after: Duration,
    /// Largest piece of data in one answer, in bytes.
    pub max_read_bytes: usize,
    /// When the stream is deleted and created anew under everyone, if it is.
    pub recreate_at: Option<Duration>,
    /// When the server goes down for a moment; what it stored stays.
    pub restarts: Vec<Duration>,
    /// Size of the parts in which readers get long answers.
    pub max_batch_bytes: usize,
    /// Chance that a reader is replaced, after a batch, by one that starts from its checkpoint.
    pub resume_rate: f64,
}

impl Scenario {
    /// A scenario for a seed.
    pub fn draw(seed: u64) -> Self {
        let mut jitter = Jitter::new(seed ^ 0x005c_e0a2);
        let mut below = |limit: u64| jitter.next_u64() % limit;
        let producers = if below(6) == 0 { 2 } else { 1 };
        let recreate_at = (below(12) == 0).then(|| Duration::from_millis(below(3000)));
        let options = (0..producers)
            .map(|epoch| ProducerOptions {
                // Instances under one id need epochs of their own: within one, a repeat is a repeat, whoever sent it.
                epoch,
                auto_claim: producers > 1 || below(4) == 0,
                linger: Duration::from_millis([0, 1, 5, 50][below(4) as usize]),
                max_batch_items: [None, Some(1), Some(3), Some(10)][below(4) as usize],
                max_batch_bytes: [60, 200, 1 << 20][below(3) as usize],
                max_in_flight: [1, 2, 5, 8][below(4) as usize],
                max_buffered_bytes: [100, 1000, 1 << 20][below(3) as usize],
                delivery_timeout: if below(8) == 0 {
                    Some(Duration::from_secs(2))
                } else {
                    Some(Duration::from_secs(120))
                },
                request_timeout: Duration::from_secs(1 + below(5)),
                ..ProducerOptions::default()
            })
            .collect();
        let modes = [LiveMode::Auto, LiveMode::LongPoll, LiveMode::Sse];
        Self {
            seed,
            content_type: ["application/json", "text/plain", "application/octet-stream"][below(3) as usize],
            messages: 1 + below(60),
            producers: options,
            readers: (0..1 + below(3)).map(|_| modes[below(3) as usize]).collect(),
            fault_rate: [0.0, 0.05, 0.2, 0.5][below(4) as usize],
            calm_after: Duration::from_millis(500 + below(10_000)),
            max_read_bytes: [20, 100, 1 << 20][below(3) as usize],
            recreate_at,
            restarts: (0..below(3)).map(|_| Duration::from_millis(below(5000))).collect(),
            max_batch_bytes: [16, 64, 1 << 20][below(3) as usize],
            resume_rate: [0.0, 0.2][below(2) as usize],
        }
    }
}
