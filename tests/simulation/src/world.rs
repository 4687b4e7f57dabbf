//! One run, from the first request to the verdict.

use std::sync::Arc;
use std::time::Duration;

use everstream::{Client, CreateOptions, DurableStream, ErrorKind, Fork, LiveMode, ReadOptions, RetryPolicy};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Problem;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::history::{Broken, ReadThrough, Stored, Summary, Written, check_fencing, check_reader, check_writer};
use crate::network::Network;
use crate::reader::Reader;
use crate::scenario::{Life, Scenario, StreamPlan};
use crate::story::Story;
use crate::writer::Writer;

/// Virtual time after which somebody who still waits waits for ever: writers with the longest patience, then some.
const END: Duration = Duration::from_secs(3600);
/// Lines of the story that are told with a problem.
const TOLD: usize = 60;

pub(crate) fn run(seed: u64) -> Result<Summary, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.map_err(|error| Problem { seed, what: error.to_string(), story: String::new() })?;
    runtime.block_on(async {
        let scenario = Scenario::draw(seed);
        let world = World::new(seed, &scenario);
        let result = match timeout(END, world.play(&scenario)).await {
            Ok(result) => result,
            Err(_) => Err(Broken { what: "somebody waits for ever".to_owned(), about: String::new() }),
        };
        match result {
            Ok(summary) => Ok(Summary { digest: world.story.digest(), seeds: 1, ..summary }),
            Err(Broken { what, about }) => {
                let mut story = world.story.about(&about, TOLD);
                if story.is_empty() {
                    story = world.story.about("", TOLD);
                }
                Err(Problem { seed, what, story: format!("{scenario:#?}\n\n{story}") })
            }
        }
    })
}

struct World {
    cluster: Arc<Cluster>,
    network: Arc<Network>,
    dice: Dice,
    story: Story,
    /// Meets no fault.
    admin: Client,
}

/// One stream's actors, and what became of it.
#[derive(Default)]
struct Outcome {
    written: Vec<Written>,
    read: Vec<ReadThrough>,
    had_others: bool,
}

impl World {
    fn new(seed: u64, scenario: &Scenario) -> Self {
        let (dice, story) = (Dice::new(seed), Story::new());
        let cluster = Arc::new(Cluster::new(seed, scenario, dice.clone(), story.clone()));
        let network = Network::new(scenario.network.clone(), cluster.clone(), dice.clone(), story.clone());
        let client =
            Client::builder().transport(Arc::new(network.clean_link())).retry(RetryPolicy::default().unbounded());
        let admin = client.build().unwrap_or_else(|error| unreachable!("the default settings are valid: {error}"));
        Self { cluster, network, dice, story, admin }
    }

    async fn play(&self, scenario: &Scenario) -> Result<Summary, Broken> {
        self.cluster.start().await.map_err(plainly)?;
        tokio::spawn(troubles(self.cluster.clone(), scenario.clone()));
        let mut outcomes = Vec::new();
        let mut streams = JoinSet::new();
        for (index, plan) in scenario.streams.iter().enumerate() {
            let stream = self.stream(&plan.name)?;
            if !matches!(plan.life, Life::Fork { .. }) {
                self.create(&stream, plan, None).await?;
            }
            outcomes.push(Outcome::default());
            let source = match plan.life {
                Life::Fork { source, .. } => Some(&scenario.streams[source]),
                _ => None,
            };
            // A fork inherits the lifetime of its source.
            let may_expire = [Some(plan), source].into_iter().flatten().any(|it| matches!(it.life, Life::Expiring(_)));
            let source = source.map(|source| self.stream(&source.name)).transpose()?;
            streams.spawn(self.play_stream(index, plan.clone(), stream, source, may_expire));
        }
        while let Some(ended) = streams.join_next().await {
            let (index, outcome) = ended.map_err(|error| plainly(error.to_string()))??;
            outcomes[index] = outcome;
        }
        self.judge(scenario, &outcomes).await
    }

    /// A future that owns all it needs: the streams of a run play side by side.
    fn play_stream(
        &self,
        index: usize,
        plan: StreamPlan,
        stream: DurableStream,
        source: Option<DurableStream>,
        may_expire: bool,
    ) -> impl Future<Output = Result<(usize, Outcome), Broken>> + Send + 'static {
        let (network, dice, story) = (self.network.clone(), self.dice.clone(), self.story.clone());
        async move {
            let mut had_others = may_expire;
            if let (Life::Fork { at, .. }, Some(source)) = (&plan.life, &source) {
                sleep(*at).await;
                if !fork(&stream, source, &story).await? {
                    return Ok((index, Outcome { had_others: true, ..Outcome::default() }));
                }
            }
            let mut writers = JoinSet::new();
            for (number, writer) in plan.writers.iter().enumerate() {
                let number = index * 10 + number;
                writers.spawn(Writer::new(&network, (&dice, &story), stream.url(), &plan, number, writer).run());
            }
            let mut readers = JoinSet::new();
            for (number, reader) in plan.readers.iter().enumerate() {
                let reader = Reader {
                    network: network.clone(),
                    dice: dice.clone(),
                    story: story.clone(),
                    url: stream.url().to_owned(),
                    number: 100 + index * 10 + number,
                    plan: reader.clone(),
                };
                readers.spawn(reader.run());
            }
            if let Life::Recreated(at) = plan.life {
                sleep(at).await;
                story.tell(format_args!("{} is deleted and created anew", plan.name));
                had_others = true;
                stream.delete().await.map_err(|error| plainly(format!("delete: {error}")))?;
                let options = CreateOptions::content_type(plan.content_type);
                match stream.create(&options).await {
                    Ok(_) => {}
                    // Its forks keep it, and the name with it (S-DEL-2).
                    Err(error) if *error.kind() == ErrorKind::CreateConflict => {}
                    Err(error) => return Err(plainly(format!("create: {error}"))),
                }
            }
            let mut written = Vec::new();
            while let Some(writer) = writers.join_next().await {
                written.push(writer.map_err(|error| plainly(error.to_string()))?.map_err(plainly)?);
            }
            match stream.close().await {
                Ok(_) => story.tell(format_args!("{} is closed", plan.name)),
                Err(error) if had_others && is_gone(error.kind()) => {
                    story.tell(format_args!("{} has expired: {error}", plan.name));
                }
                Err(error) => return Err(plainly(format!("close of {}: {error}", plan.name))),
            }
            let mut read = Vec::new();
            while let Some(reader) = readers.join_next().await {
                read.push(reader.map_err(|error| plainly(error.to_string()))?.map_err(plainly)?);
            }
            Ok((index, Outcome { written, read, had_others }))
        }
    }

    async fn judge(&self, scenario: &Scenario, outcomes: &[Outcome]) -> Result<Summary, Broken> {
        let mut summary = Summary {
            requests: self.network.requests(),
            faults: self.network.faults() + self.cluster.deaths(),
            ..Summary::default()
        };
        for (plan, outcome) in scenario.streams.iter().zip(outcomes) {
            let Some(messages) = self.stored(&plan.name, outcome).await? else { continue };
            let prefix = format!("w{}", plan.name.trim_start_matches('s'));
            let is_own = |text: &String| {
                let writer = text.trim_start_matches('"').split('.').next().unwrap_or_default();
                // Writers of stream 0 have one digit, those of stream 3 have two, of which the first is 3.
                if prefix == "w0" { writer.len() == 2 } else { writer.len() == 3 && writer.starts_with(&prefix) }
            };
            let inherited = messages.iter().position(is_own).unwrap_or(messages.len());
            let stored = Stored { name: &plan.name, messages, inherited, had_others: outcome.had_others };
            check_fencing(&stored)?;
            for written in &outcome.written {
                check_writer(written, &stored)?;
                for message in &written.messages {
                    match message.fate {
                        crate::history::Fate::Stored | crate::history::Fate::Duplicate => summary.stored += 1,
                        crate::history::Fate::Unknown => summary.unknown += 1,
                        crate::history::Fate::Failed(_) => summary.failed += 1,
                    }
                }
            }
            for read in &outcome.read {
                if check_reader(read, &stored)? {
                    summary.ended += 1;
                } else {
                    summary.gone += 1;
                }
            }
        }
        Ok(summary)
    }

    /// What a stream holds, message by message; `None` when it has expired, which it may.
    async fn stored(&self, name: &str, outcome: &Outcome) -> Result<Option<Vec<String>>, Broken> {
        let options = ReadOptions { live: LiveMode::CatchUp, ..ReadOptions::default() };
        let mut reader = self.stream(name)?.read(options);
        let mut messages = Vec::new();
        let mut bytes = Vec::new();
        while let Some(batch) = reader.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) if outcome.had_others && is_gone(error.kind()) => return Ok(None),
                Err(error) => return Err(plainly(format!("{name} cannot be read in the end: {error}"))),
            };
            if batch.is_json() {
                messages.extend(batch.messages().map(|message| String::from_utf8_lossy(&message).into_owned()));
            } else {
                bytes.extend_from_slice(&batch.bytes());
            }
        }
        messages.extend(String::from_utf8_lossy(&bytes).split_inclusive(';').map(str::to_owned));
        Ok(Some(messages))
    }

    async fn create(&self, stream: &DurableStream, plan: &StreamPlan, fork: Option<Fork>) -> Result<(), Broken> {
        let mut options = CreateOptions::content_type(plan.content_type);
        options.fork = fork;
        if let Life::Expiring(ttl) = plan.life {
            options.ttl = Some(ttl);
        }
        stream.create(&options).await.map(drop).map_err(|error| plainly(format!("create {}: {error}", plan.name)))
    }

    fn stream(&self, name: &str) -> Result<DurableStream, Broken> {
        let url = format!("http://server/v1/stream/{name}");
        self.admin.stream(&url).map_err(|error| plainly(format!("{url}: {error}")))
    }
}

/// Forks at what is the source's tail now; false when the source is gone.
async fn fork(stream: &DurableStream, source: &DurableStream, story: &Story) -> Result<bool, Broken> {
    let tail = match source.head().await {
        Ok(info) => info.offset,
        Err(error) if is_gone(error.kind()) => return Ok(false),
        Err(error) => return Err(plainly(format!("head of a fork's source: {error}"))),
    };
    let path = source.url().trim_start_matches("http://server").to_owned();
    let fork = Fork { source: path, offset: tail.clone(), sub_offset: 0 };
    let options = CreateOptions { fork: Some(fork), ..CreateOptions::default() };
    match stream.create(&options).await {
        Ok(_) => {
            story.tell(format_args!("{} is forked off at {tail:?}", stream.url()));
            Ok(true)
        }
        // Deleted, or deleted and created anew, in between.
        Err(error) if is_gone(error.kind()) || *error.kind() == ErrorKind::BadRequest => Ok(false),
        Err(error) => Err(plainly(format!("fork: {error}"))),
    }
}

/// What happens to the server.
async fn troubles(cluster: Arc<Cluster>, scenario: Scenario) {
    let mut tasks = JoinSet::new();
    for (at, by_ms) in scenario.clock_jumps {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            sleep(at).await;
            cluster.jump(by_ms);
        });
    }
    let mut crashes = scenario.crashes;
    crashes.sort_unstable();
    tasks.spawn(async move {
        let began = tokio::time::Instant::now();
        for (at, downtime) in crashes {
            tokio::time::sleep_until(began + at).await;
            cluster.kill();
            sleep(downtime).await;
            if let Err(error) = cluster.start().await {
                unreachable!("{error}");
            }
        }
    });
    tasks.join_all().await;
}

fn is_gone(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Gone)
}

fn plainly(what: String) -> Broken {
    Broken { what, about: String::new() }
}
