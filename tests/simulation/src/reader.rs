//! A process that reads a stream to its end, dies, and goes on from its checkpoint.

use std::sync::Arc;
use std::time::Duration;

use everstream::{Checkpoint, Client, ErrorKind, LiveMode, ReadOptions};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::history::{Broken, Check, ReadEnd, ReadThrough};
use crate::network::Network;
use crate::scenario::ReaderPlan;
use crate::story::Story;

pub(crate) struct Reader {
    pub(crate) network: Arc<Network>,
    pub(crate) dice: Dice,
    pub(crate) story: Story,
    pub(crate) url: String,
    /// Unique in the run.
    pub(crate) number: usize,
    pub(crate) plan: ReaderPlan,
}

impl Reader {
    /// Reads to the end.
    ///
    /// # Errors
    /// A broken promise that shows right here.
    pub(crate) async fn run(self) -> Result<ReadThrough, Broken> {
        let mut read = Vec::new();
        let mut stored = Checkpoint::default().to_json();
        loop {
            let link = self.network.link(self.number);
            let from = Checkpoint::from_json(&stored)
                .map_err(|error| self.broken(Check::Read, format!("had the checkpoint {stored}: {error}")))?;
            let options = ReadOptions {
                from,
                live: self.plan.live,
                max_batch_bytes: self.plan.max_batch_bytes,
                request_timeout: Duration::from_secs(5),
                // Half of them.
                prefetch: self.number % 2 == 1,
                ..ReadOptions::default()
            };
            let client = Client::builder().transport(Arc::new(link.clone())).build();
            let stream = client.and_then(|client| client.stream(&self.url));
            let stream = stream.map_err(|error| Broken::service(format!("a reader cannot be made: {error}")))?;
            let mut reader = stream.read(options);
            loop {
                let batch = match reader.next().await {
                    Some(Ok(batch)) => batch,
                    Some(Err(error)) if error.is_retryable() || *error.kind() == ErrorKind::Network => {
                        self.story.tell(format_args!("reader {} gave up and starts again: {error}", self.number));
                        break;
                    }
                    Some(Err(error)) => {
                        self.story.tell(format_args!("reader {} ends: {error}", self.number));
                        return Ok(ReadThrough {
                            reader: self.number,
                            read,
                            end: ReadEnd::Failed(error.kind().clone()),
                        });
                    }
                    None if reader.is_closed() => {
                        self.story.tell(format_args!("reader {} is at the end", self.number));
                        return Ok(ReadThrough { reader: self.number, read, end: ReadEnd::Closed });
                    }
                    None => return Err(self.broken(Check::Read, "ended, and the stream is not closed".to_owned())),
                };
                // Only bytes can be cut anywhere, and only event streams come in larger units.
                let is_cut = !batch.is_json() && self.plan.live == LiveMode::LongPoll;
                if is_cut && batch.len() > self.plan.max_batch_bytes {
                    let (len, limit) = (batch.len(), self.plan.max_batch_bytes);
                    return Err(self.broken(Check::Memory, format!("was handed {len} bytes, {limit} are allowed")));
                }
                let units = batch.units();
                let dies = self.dice.chance(self.plan.death_rate);
                let taken = if dies { self.dice.below(units + 1) } else { units };
                if batch.is_json() {
                    read.extend(batch.messages().take(taken as usize).flat_map(|message| message.to_vec()));
                } else {
                    read.extend_from_slice(&batch.bytes()[..taken as usize]);
                }
                stored = batch.checkpoint_at(taken).to_json();
                if units > 0 {
                    self.story.tell(format_args!("reader {} takes {taken} of {units}, then {stored}", self.number));
                }
                if dies {
                    link.die();
                    break;
                }
            }
            sleep(self.dice.ms(1..1_000)).await;
        }
    }

    fn broken(&self, check: Check, what: String) -> Broken {
        let about = format!("reader {} ", self.number);
        Broken::new(check, &*about, format!("{about}{what}"))
    }
}
