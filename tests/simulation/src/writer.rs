//! A process that writes numbered messages, dies, and comes back.

use std::sync::Arc;
use std::time::Duration;

use everstream::{Client, Delivery, DurableStream, Error, Producer, ProducerOptions, RetryPolicy};
use tokio::time::sleep;

use crate::dice::Dice;
use crate::history::{Broken, Check, Message, Written};
use crate::network::{Link, Network};
use crate::scenario::{SHARED_ID, StreamPlan, WriterKind, WriterPlan};
use crate::story::Story;

pub(crate) struct Writer {
    pub(crate) network: Arc<Network>,
    pub(crate) dice: Dice,
    pub(crate) story: Story,
    pub(crate) url: String,
    /// Unique in the run.
    pub(crate) number: usize,
    pub(crate) plan: WriterPlan,
    pub(crate) content_type: &'static str,
}

/// How a life ended.
enum End {
    Died,
    Done,
}

impl Writer {
    pub(crate) fn new(
        network: &Arc<Network>,
        (dice, story): (&Dice, &Story),
        url: &str,
        stream: &StreamPlan,
        number: usize,
        plan: &WriterPlan,
    ) -> Self {
        Self {
            network: network.clone(),
            dice: dice.clone(),
            story: story.clone(),
            url: url.to_owned(),
            number,
            plan: plan.clone(),
            content_type: stream.content_type,
        }
    }

    /// Writes everything, in as many lives as it takes.
    ///
    /// # Errors
    /// A broken promise that shows right here.
    pub(crate) async fn run(self) -> Result<Written, Broken> {
        let mut written = Written { writer: self.number, messages: Vec::new(), is_alone: true, is_fenced: false };
        let mut life = 0;
        while (written.messages.len() as u64) < self.plan.messages {
            let link = self.network.link(self.number);
            let end = match &self.plan.kind {
                WriterKind::Producer(id, options) => {
                    written.is_alone = *id != SHARED_ID;
                    written.is_fenced = true;
                    self.produce(&link, id, options, life, &mut written.messages).await?
                }
                WriterKind::Idempotent => self.append(&link, true, life, &mut written.messages).await,
                WriterKind::Plain => self.append(&link, false, life, &mut written.messages).await,
            };
            match end {
                End::Done => break,
                End::Died => {
                    self.story.tell(format_args!("writer {} dies", self.number));
                    link.die();
                    sleep(self.dice.ms(0..2_000)).await;
                }
            }
            life += 1;
        }
        self.story.tell(format_args!("writer {} is done", self.number));
        Ok(written)
    }

    async fn produce(
        &self,
        link: &Link,
        id: &str,
        options: &ProducerOptions,
        life: u64,
        messages: &mut Vec<Message>,
    ) -> Result<End, Broken> {
        let options = ProducerOptions { epoch: options.epoch + life, ..options.clone() };
        let limit = options.max_buffered_bytes;
        let producer = self.stream(link).and_then(|stream| stream.producer_lazy(id, options));
        let producer = producer.map_err(|error| Broken::service(format!("a producer cannot be made: {error}")))?;
        let first = messages.len();
        let mut deliveries: Vec<Option<Delivery>> = Vec::new();
        let mut end = End::Done;
        let mut flushed_failures = 0;
        while (messages.len() as u64) < self.plan.messages {
            self.pause().await;
            let text = self.text(life, messages.len() as u64);
            let appended =
                if self.queues() { self.queue(&producer, &text).await } else { producer.append(&text).await };
            messages.push(Message::new(text));
            match appended {
                Ok(delivery) => deliveries.push(Some(delivery)),
                Err(error) => {
                    self.story.tell(format_args!("writer {} stops: {error}", self.number));
                    // Refused at the call: not taken at all.
                    messages.pop();
                    break;
                }
            }
            // Counted here, and as the producer counts.
            let unsettled = messages[first..].iter().zip(&deliveries);
            let unsettled = unsettled.filter(|(_, it)| it.as_ref().is_some_and(|it| it.outcome().is_none()));
            let held = unsettled.map(|(message, _)| message.text.len()).sum::<usize>().max(producer.buffered_bytes());
            if held > limit && !self.queues() {
                return self.broken(Check::Memory, format!("holds {held} bytes, {limit} are allowed"));
            }
            if self.dice.chance(self.plan.death_rate) {
                end = End::Died;
                break;
            }
            if self.dice.chance(0.05) {
                flushed_failures += self.flush(&producer).await;
            }
        }
        if matches!(end, End::Done) {
            flushed_failures += self.flush(&producer).await;
        }
        let mut failures = 0;
        for (message, delivery) in messages[first..].iter_mut().zip(deliveries) {
            let Some(outcome) = delivery.and_then(|it| it.outcome()) else {
                if matches!(end, End::Done) {
                    return self.broken(Check::Flush, format!("was flushed, and {} has no outcome", message.text));
                }
                continue;
            };
            failures += u64::from(outcome.is_err());
            message.settle(outcome.as_ref().map(|receipt| (receipt.duplicate, receipt.offset.clone())));
        }
        if matches!(end, End::Done) && failures != flushed_failures {
            let what = format!("had {failures} messages that failed, and its flushes told of {flushed_failures}");
            return self.broken(Check::Flush, what);
        }
        Ok(end)
    }

    /// Every second writer is one that cannot wait for space, as those of an event loop.
    fn queues(&self) -> bool {
        self.number % 2 == 1
    }

    async fn queue(&self, producer: &Producer, text: &str) -> Result<Delivery, Error> {
        if text.len().is_multiple_of(7) {
            producer.ready().await;
        }
        producer.queue(text)
    }

    /// Flushes, and counts the messages that it says have failed.
    async fn flush(&self, producer: &Producer) -> u64 {
        match producer.flush().await {
            Ok(_) => 0,
            Err(error) => {
                self.story.tell(format_args!("writer {} flush: {error}", self.number));
                error.failures().iter().map(|failure| failure.messages).sum()
            }
        }
    }

    async fn append(&self, link: &Link, idempotent: bool, life: u64, messages: &mut Vec<Message>) -> End {
        let Ok(stream) = self.stream(link) else { return End::Done };
        let stream = if idempotent { stream.idempotent() } else { stream };
        while (messages.len() as u64) < self.plan.messages {
            self.pause().await;
            let text = self.text(life, messages.len() as u64);
            let dies = self.dice.chance(self.plan.death_rate);
            let answer = stream.append(text.clone());
            if dies {
                // The call is under way and nobody will hear of it.
                let _ = tokio::time::timeout(self.dice.ms(0..200), answer).await;
                messages.push(Message::new(text));
                return End::Died;
            }
            let outcome = answer.await;
            if let Err(error) = &outcome {
                self.story.tell(format_args!("writer {} append {text}: {error}", self.number));
            }
            let is_over = outcome.as_ref().is_err_and(|error| !error.is_retryable() && !error.outcome_unknown());
            let mut message = Message::new(text);
            message.settle(outcome.as_ref().map(|appended| (appended.duplicate, appended.offset.clone())));
            messages.push(message);
            if is_over {
                break;
            }
        }
        End::Done
    }

    fn stream(&self, link: &Link) -> Result<DurableStream, Error> {
        // An explicit 500 of a proxy says nothing about what the server did.
        let retry = RetryPolicy { plain_appends_on_500: false, ..RetryPolicy::default() };
        let client = Client::builder().transport(Arc::new(link.clone())).retry(retry);
        Ok(client
            .request_timeout(Duration::from_secs(5))
            .build()?
            .stream(&self.url)?
            .with_content_type(self.content_type))
    }

    fn broken<T>(&self, check: Check, what: String) -> Result<T, Broken> {
        let about = format!("writer {} ", self.number);
        Err(Broken::new(check, &*about, format!("{about}{what}")))
    }

    async fn pause(&self) {
        if self.plan.pause_ms > 0 {
            sleep(self.dice.ms(0..self.plan.pause_ms)).await;
        }
    }

    /// A message that the run can tell from all others, with a code point of three bytes to cut through.
    fn text(&self, life: u64, number: u64) -> String {
        let text = format!("w{}.{life}:{number}€", self.number);
        if self.content_type == "application/json" { format!("\"{text}\"") } else { format!("{text};") }
    }
}
