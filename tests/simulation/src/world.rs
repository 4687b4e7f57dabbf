//! One run, from the first request to the end of everybody in it.

use std::sync::Arc;
use std::time::Duration;

use everstream::{Client, CreateOptions, DurableStream, ErrorKind, Fork, Offset, RetryPolicy};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::Problem;
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::history::{Broken, Check, Known, ReadThrough, Summary, Written};
use crate::network::Network;
use crate::reader::Reader;
use crate::scenario::{Life, Scenario, StreamPlan};
use crate::story::Story;
use crate::watcher::Watcher;
use crate::writer::Writer;

/// Virtual time after which somebody who still waits waits for ever: writers with the longest patience, then some.
const END: Duration = Duration::from_secs(3600);
/// Lines of the story that are told with a problem.
const TOLD: usize = 60;

pub(crate) fn run(seed: u64) -> Result<Summary, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.map_err(|error| Problem {
        seed,
        check: Check::Service,
        what: error.to_string(),
        story: String::new(),
    })?;
    runtime.block_on(async {
        let scenario = Scenario::draw(seed);
        let world = World::new(seed, &scenario);
        let result = match timeout(END, world.play(&scenario)).await {
            Ok(result) => result,
            Err(_) => Err(Broken::new(Check::End, "", "somebody waits for ever")),
        };
        match result {
            Ok(summary) => Ok(Summary { digest: world.story.digest(), seeds: 1, ..summary }),
            Err(Broken { check, what, about }) => {
                let mut story = world.story.about(&about, TOLD);
                if story.is_empty() {
                    story = world.story.about("", TOLD);
                }
                Err(Problem { seed, check, what, story: format!("{scenario:#?}\n\n{story}") })
            }
        }
    })
}

pub(crate) struct World {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) network: Arc<Network>,
    dice: Dice,
    story: Story,
    /// Meets no fault.
    admin: Client,
}

/// One stream's actors, and what became of it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) written: Vec<Written>,
    pub(crate) read: Vec<ReadThrough>,
    /// What the watcher saw, where there was one.
    pub(crate) watched: Option<Vec<Known>>,
    /// Where it was forked off its source.
    pub(crate) forked_at: Option<Offset>,
    pub(crate) had_others: bool,
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
        self.cluster.start().await.map_err(Broken::service)?;
        let troubles = tokio::spawn(troubles(self.cluster.clone(), scenario.clone()));
        let failure = async {
            match troubles.await {
                Ok(Ok(())) => std::future::pending().await,
                Ok(Err(what)) => Broken::service(what),
                Err(error) => Broken::service(error.to_string()),
            }
        };
        tokio::select! {
            broken = failure => Err(broken),
            outcomes = self.play_streams(scenario) => self.judge(scenario, &outcomes?).await,
        }
    }

    async fn play_streams(&self, scenario: &Scenario) -> Result<Vec<Outcome>, Broken> {
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
            let (index, outcome) = ended.map_err(|error| Broken::service(error.to_string()))??;
            outcomes[index] = outcome;
        }
        Ok(outcomes)
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
            let mut outcome = Outcome { had_others: may_expire, ..Outcome::default() };
            if let (Life::Fork { at, .. }, Some(source)) = (&plan.life, &source) {
                sleep(*at).await;
                outcome.forked_at = fork(&stream, source, &story).await?;
                if outcome.forked_at.is_none() {
                    return Ok((index, Outcome { had_others: true, ..Outcome::default() }));
                }
            }
            // Who waits keeps a stream from expiring, and does not outlive a stream that is deleted.
            let lasts = !may_expire && !matches!(plan.life, Life::Recreated(_));
            let watcher = plan.watched.filter(|_| lasts).map(|live| {
                let (network, story, stream) = (network.clone(), story.clone(), stream.clone());
                tokio::spawn(Watcher { network, story, stream, live }.run())
            });
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
                outcome.had_others = true;
                stream.delete().await.map_err(|error| Broken::service(format!("delete: {error}")))?;
                let options = CreateOptions::content_type(plan.content_type);
                match stream.create(&options).await {
                    Ok(_) => {}
                    // Its forks keep it, and the name with it (S-DEL-2).
                    Err(error) if *error.kind() == ErrorKind::CreateConflict => {}
                    Err(error) => return Err(Broken::service(format!("create: {error}"))),
                }
            }
            while let Some(writer) = writers.join_next().await {
                outcome.written.push(writer.map_err(|error| Broken::service(error.to_string()))??);
            }
            match stream.close().await {
                Ok(_) => story.tell(format_args!("{} is closed", plan.name)),
                Err(error) if outcome.had_others && is_gone(error.kind()) => {
                    story.tell(format_args!("{} has expired: {error}", plan.name));
                }
                Err(error) => return Err(Broken::service(format!("close of {}: {error}", plan.name))),
            }
            while let Some(reader) = readers.join_next().await {
                outcome.read.push(reader.map_err(|error| Broken::service(error.to_string()))??);
            }
            if let Some(watcher) = watcher {
                outcome.watched = Some(watcher.await.map_err(|error| Broken::service(error.to_string()))??);
            }
            Ok((index, outcome))
        }
    }

    async fn create(&self, stream: &DurableStream, plan: &StreamPlan, fork: Option<Fork>) -> Result<(), Broken> {
        let mut options = CreateOptions::content_type(plan.content_type);
        options.fork = fork;
        if let Life::Expiring(ttl) = plan.life {
            options.ttl = Some(ttl);
        }
        let created = stream.create(&options).await;
        created.map(drop).map_err(|error| Broken::service(format!("create {}: {error}", plan.name)))
    }

    pub(crate) fn stream(&self, name: &str) -> Result<DurableStream, Broken> {
        let url = format!("http://server{}", path(name));
        self.admin.stream(&url).map_err(|error| Broken::service(format!("{url}: {error}")))
    }
}

/// Where a stream is on the server.
pub(crate) fn path(name: &str) -> String {
    format!("/v1/stream/{name}")
}

/// Forks at what is the source's tail now, which it gives; `None` when the source is gone.
async fn fork(stream: &DurableStream, source: &DurableStream, story: &Story) -> Result<Option<Offset>, Broken> {
    let tail = match source.head().await {
        Ok(info) => info.offset,
        Err(error) if is_gone(error.kind()) => return Ok(None),
        Err(error) => return Err(Broken::service(format!("head of a fork's source: {error}"))),
    };
    let path = source.url().trim_start_matches("http://server").to_owned();
    let fork = Fork { source: path, offset: tail.clone(), sub_offset: 0 };
    let options = CreateOptions { fork: Some(fork), ..CreateOptions::default() };
    match stream.create(&options).await {
        Ok(_) => {
            story.tell(format_args!("{} is forked off at {tail:?}", stream.url()));
            Ok(tail)
        }
        // Deleted, or deleted and created anew, in between.
        Err(error) if is_gone(error.kind()) || *error.kind() == ErrorKind::BadRequest => Ok(None),
        Err(error) => Err(Broken::service(format!("fork: {error}"))),
    }
}

/// What happens to the server; an error when it does not come up again.
async fn troubles(cluster: Arc<Cluster>, scenario: Scenario) -> Result<(), String> {
    let mut tasks = JoinSet::new();
    for (at, by_ms) in scenario.clock_jumps {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            sleep(at).await;
            cluster.jump(by_ms);
            Ok(())
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
            cluster.start().await?;
        }
        Ok(())
    });
    tasks.join_all().await.into_iter().collect()
}

pub(crate) fn is_gone(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Gone)
}
