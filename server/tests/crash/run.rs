//! One seed: writers at work, the power going again and again, and what they were told held against what is
//! there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::task::Poll;

use bytes::Bytes;
use everstream_disk::{SimDisk, SteppedServer as Server, Work, poll};
use everstream_server::engine::{
    Append, CreateRequest, EngineError, ForkRequest, Outcome, Position, ProducerTag, Receipt,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What happened in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) crashes: u64,
    pub(crate) crashes_while_starting: u64,
    pub(crate) answered: u64,
    pub(crate) recognised: u64,
    pub(crate) refused: u64,
}

impl Totals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.crashes += other.crashes;
        self.crashes_while_starting += other.crashes_while_starting;
        self.answered += other.answered;
        self.recognised += other.recognised;
        self.refused += other.refused;
    }
}

const LIVES: usize = 8;

pub(crate) fn run(seed: u64) -> Totals {
    let mut world = World::new(seed);
    for _ in 0..LIVES {
        world.live();
    }
    world.finish();
    world.totals
}

struct World {
    rng: SmallRng,
    disk: SimDisk,
    streams: BTreeMap<String, Known>,
    writers: Vec<Writer>,
    next_stream: u32,
    totals: Totals,
    trouble: Trouble,
}

/// What is wrong with the disk in this run, apart from power.
#[derive(Clone, Copy, PartialEq)]
enum Trouble {
    None,
    Full,
    Failing,
}

/// What writers were told about a stream.
#[derive(Default)]
struct Known {
    /// Answered appends without a producer, and all that were sent.
    answered: HashSet<String>,
    sent: HashSet<String>,
    /// The highest `Stream-Seq` that was answered.
    seq: Option<String>,
    closed: Told,
    deleted: Told,
    /// Inherited by a fork: bytes of the source.
    inherited: String,
    next_plain: u32,
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
enum Told {
    #[default]
    No,
    Unknown,
    Yes,
}

/// An idempotent producer. It sends a batch again until it is answered.
struct Writer {
    stream: String,
    id: String,
    epoch: u64,
    /// Answered batches, and those that were sent.
    answered: u64,
    sent: u64,
    batches: Vec<String>,
}

enum Sent {
    Batch { writer: usize, seq: u64, again: bool },
    Plain { stream: String, body: String, seq: Option<String> },
    Close { stream: String },
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let trouble = match rng.random_range(0..5) {
            0 => Trouble::Full,
            1 => Trouble::Failing,
            _ => Trouble::None,
        };
        Self {
            disk: SimDisk::new(rng.random()),
            rng,
            streams: BTreeMap::new(),
            writers: Vec::new(),
            next_stream: 0,
            totals: Totals::default(),
            trouble,
        }
    }

    /// One life of the server, from its start to the loss of power, or to a stop that loses nothing.
    fn live(&mut self) {
        let Some(mut server) = self.start(true) else { return };
        self.check(&mut server);
        self.disturb();
        let mut under_way: Vec<(Work<Receipt>, Sent)> = Vec::new();
        for _ in 0..self.rng.random_range(10..120) {
            if self.disk.is_dead() {
                break;
            }
            match self.rng.random_range(0..100) {
                0..55 => self.send(&mut server, &mut under_way),
                55..80 => {
                    server.steps.commit();
                    self.answers(&mut under_way);
                }
                80..88 => drop(server.steps.drain()),
                88..93 => self.create(&mut server),
                93..95 => self.fork(&mut server),
                95..97 => self.delete(&mut server, &mut under_way),
                _ => self.check(&mut server),
            }
        }
        self.answers(&mut under_way);
        self.calm();
        // A process that is killed leaves what it has written in the system's cache; without power that goes too.
        let lost_power = self.disk.is_dead() || self.rng.random_bool(0.7);
        drop(under_way);
        drop(server);
        if lost_power {
            self.disk.restart();
            self.totals.crashes += 1;
        }
    }

    /// Opens the data; perhaps the power goes meanwhile, then once more.
    fn start(&mut self, disturbed: bool) -> Option<Server> {
        if disturbed && self.rng.random_bool(0.3) {
            let operations = self.rng.random_range(0..30);
            self.disk.fuse(operations);
        }
        // With some sizes a segment ends with almost every record, with others it holds many large ones.
        let segment_bytes = [3000, 3000, 120_000, 400_000][self.rng.random_range(0..4)];
        match Server::with_segments(&self.disk, segment_bytes) {
            Ok(server) => Some(server),
            Err(error) if self.disk.is_dead() => {
                assert_ne!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
                self.disk.restart();
                self.totals.crashes += 1;
                self.totals.crashes_while_starting += 1;
                None
            }
            Err(error) => panic!("the data cannot be opened: {error}"),
        }
    }

    fn disturb(&mut self) {
        if self.rng.random_bool(0.7) {
            let operations = self.rng.random_range(0..150);
            self.disk.fuse(operations);
        }
        match self.trouble {
            Trouble::None => {}
            Trouble::Full => self.disk.capacity(Some(self.disk.used() + self.rng.random_range(0..40_000))),
            Trouble::Failing => self.disk.failures(self.rng.random_range(0..60)),
        }
    }

    fn calm(&mut self) {
        self.disk.capacity(None);
        self.disk.failures(0);
    }

    fn name(&mut self) -> Option<String> {
        let usable: Vec<&String> =
            self.streams.iter().filter(|(_, known)| known.deleted == Told::No).map(|(name, _)| name).collect();
        (!usable.is_empty()).then(|| usable[self.rng.random_range(0..usable.len())].clone())
    }

    fn create(&mut self, server: &mut Server) {
        let name = format!("s{}", self.next_stream);
        self.next_stream += 1;
        let content = if self.rng.random_bool(0.5) { format!("{name}:first;") } else { String::new() };
        let request = CreateRequest {
            content_type: Some("text/plain".into()),
            body: content.clone().into(),
            ..CreateRequest::default()
        };
        let (engine, owned) = (server.engine.clone(), name.clone());
        let made = server.wait(Box::pin(async move { engine.create(&owned, request).await.map(drop) }));
        // What was not answered is not used: it may be there or not.
        if made.is_ok() {
            let known = Known { inherited: content, ..Known::default() };
            self.streams.insert(name.clone(), known);
            for n in 0..self.rng.random_range(1..4) {
                let id = format!("{name}.{n}");
                let writer = Writer { stream: name.clone(), id, epoch: 0, answered: 0, sent: 0, batches: Vec::new() };
                self.writers.push(writer);
            }
        } else {
            self.totals.refused += 1;
        }
    }

    fn fork(&mut self, server: &mut Server) {
        let Some(source) = self.name() else { return };
        let name = format!("f{}", self.next_stream);
        self.next_stream += 1;
        let Ok((text, _)) = server.text(&source) else { return };
        let at = text[..self.rng.random_range(0..=text.len())].rfind(';').map_or(0, |end| end + 1);
        let request = CreateRequest {
            fork: Some(ForkRequest { source, offset: Some(Position(at as u64)), sub_offset: 0 }),
            ..CreateRequest::default()
        };
        let (engine, owned) = (server.engine.clone(), name.clone());
        if server.wait(Box::pin(async move { engine.create(&owned, request).await.map(drop) })).is_ok() {
            self.streams.insert(name, Known { inherited: text[..at].to_owned(), ..Known::default() });
        }
    }

    fn delete(&mut self, server: &mut Server, under_way: &mut Vec<(Work<Receipt>, Sent)>) {
        let Some(name) = self.name() else { return };
        // What is under way for it would be refused or not, which is not what this looks at.
        server.steps.commit();
        self.answers(under_way);
        let (engine, owned) = (server.engine.clone(), name.clone());
        let deleted = server.wait(Box::pin(async move { engine.delete(&owned).await }));
        let known = self.streams.get_mut(&name).unwrap();
        known.deleted = if deleted.is_ok() { Told::Yes } else { Told::Unknown };
    }

    fn send(&mut self, server: &mut Server, under_way: &mut Vec<(Work<Receipt>, Sent)>) {
        let plain = self.rng.random_range(0..100);
        let usable: Vec<usize> = (0..self.writers.len())
            .filter(|at| {
                let known = &self.streams[&self.writers[*at].stream];
                known.deleted == Told::No && known.closed == Told::No
            })
            .collect();
        if plain < 70 && !usable.is_empty() {
            let writer = usable[self.rng.random_range(0..usable.len())];
            if under_way.iter().any(|(_, sent)| matches!(sent, Sent::Batch { writer: other, .. } if *other == writer))
                && self.rng.random_bool(0.5)
            {
                return;
            }
            return self.send_batch(server, writer, under_way);
        }
        let Some(name) = self.name() else { return };
        let known = self.streams.get_mut(&name).unwrap();
        if known.closed != Told::No {
            return;
        }
        if plain > 97 {
            known.closed = Told::Unknown;
            return self.append(server, name.clone(), Append::close_only(), Sent::Close { stream: name }, under_way);
        }
        let number = known.next_plain;
        known.next_plain += 1;
        // Now and then one that is written from where it is.
        let size = match self.rng.random_range(0..40) {
            0 => 17_000,
            // One that stays in the log.
            1..4 => self.rng.random_range(33_000..70_000),
            _ => self.rng.random_range(0..400),
        };
        let body = format!("{name}:plain{number}{};", "x".repeat(size));
        let mut append = Append::new("text/plain", Bytes::from(body.clone()));
        let seq = self.rng.random_bool(0.3).then(|| format!("{number:08}"));
        append.stream_seq = seq.clone().map(Bytes::from);
        self.append(server, name.clone(), append, Sent::Plain { stream: name, body, seq }, under_way);
    }

    /// The first batch that is neither answered nor under way.
    fn send_batch(&mut self, server: &mut Server, at: usize, under_way: &mut Vec<(Work<Receipt>, Sent)>) {
        let flying = under_way
            .iter()
            .filter_map(|(_, sent)| match sent {
                Sent::Batch { writer, seq, .. } if *writer == at => Some(seq + 1),
                _ => None,
            })
            .max();
        let writer = &mut self.writers[at];
        let seq = flying.unwrap_or(writer.answered);
        let again = seq < writer.sent;
        if !again {
            let size = if self.rng.random_ratio(1, 8) {
                self.rng.random_range(33_000..70_000)
            } else {
                self.rng.random_range(0..300)
            };
            writer.batches.push(format!("{}:{seq}{};", writer.id, "y".repeat(size)));
            writer.sent = seq + 1;
        }
        let mut append = Append::new("text/plain", Bytes::from(writer.batches[seq as usize].clone()));
        append.producer = Some(ProducerTag { id: Bytes::from(writer.id.clone()), epoch: writer.epoch, seq });
        let stream = writer.stream.clone();
        self.append(server, stream, append, Sent::Batch { writer: at, seq, again }, under_way);
    }

    fn append(
        &mut self,
        server: &mut Server,
        name: String,
        append: Append<'static>,
        sent: Sent,
        under_way: &mut Vec<(Work<Receipt>, Sent)>,
    ) {
        if let Sent::Plain { stream, body, .. } = &sent {
            self.streams.get_mut(stream).unwrap().sent.insert(body.clone());
        }
        let engine = server.engine.clone();
        let mut work: Work<Receipt> = Box::pin(async move { engine.stream(&name).await?.append(append).await });
        match poll(&mut work) {
            Poll::Ready(result) => self.answer(&sent, result),
            Poll::Pending => under_way.push((work, sent)),
        }
    }

    fn answers(&mut self, under_way: &mut Vec<(Work<Receipt>, Sent)>) {
        let mut left = Vec::new();
        for (mut work, sent) in under_way.drain(..) {
            match poll(&mut work) {
                Poll::Ready(result) => self.answer(&sent, result),
                Poll::Pending => left.push((work, sent)),
            }
        }
        *under_way = left;
    }

    fn answer(&mut self, sent: &Sent, result: Result<Receipt, EngineError>) {
        match (sent, result) {
            (Sent::Batch { writer, seq, again }, Ok(receipt)) => {
                assert!(*again || receipt.outcome != Outcome::Duplicate, "nobody sent it before");
                let writer = &mut self.writers[*writer];
                writer.answered = writer.answered.max(seq + 1);
                self.totals.answered += 1;
                self.totals.recognised += u64::from(receipt.outcome == Outcome::Duplicate);
            }
            (Sent::Plain { stream, body, seq }, Ok(_)) => {
                let known = self.streams.get_mut(stream).unwrap();
                known.answered.insert(body.clone());
                known.seq = known.seq.clone().max(seq.clone());
                self.totals.answered += 1;
            }
            (Sent::Close { stream }, Ok(_)) => self.streams.get_mut(stream).unwrap().closed = Told::Yes,
            // A closed stream takes nothing; a gap follows a batch that failed; a lower seq follows a race.
            (_, Err(EngineError::Closed { .. } | EngineError::Gap { .. } | EngineError::SeqRegression)) => {}
            (_, Err(EngineError::Storage(_))) => self.totals.refused += 1,
            (_, Err(error)) => panic!("an append was refused: {error}"),
        }
    }

    /// Holds what is there against what was told.
    fn check(&mut self, server: &mut Server) {
        for (name, known) in &mut self.streams {
            let (text, closed) = match server.text(name) {
                Ok(found) => found,
                Err(EngineError::NotFound | EngineError::SoftDeleted) => {
                    assert_ne!(known.deleted, Told::No, "{name} is gone");
                    known.deleted = Told::Yes;
                    continue;
                }
                // Nothing is read from a disk without power.
                Err(EngineError::Storage(_)) if self.disk.is_dead() => return,
                Err(error) => panic!("{name} cannot be read: {error}"),
            };
            assert_ne!(known.deleted, Told::Yes, "{name} is back");
            assert!(known.closed != Told::Yes || closed, "{name} is open again");
            assert!(known.closed != Told::No || !closed, "{name} was closed by nobody");
            let own = text.strip_prefix(&known.inherited).expect("what was there first is there");
            let mut seen = HashSet::new();
            let mut next: HashMap<&str, u64> = HashMap::new();
            for message in own.split_inclusive(';') {
                assert!(seen.insert(message), "{name} has {message} twice");
                let (id, rest) = message.split_once(':').unwrap();
                if id == name.as_str() {
                    assert!(known.sent.contains(message), "{name} has {message}, which nobody sent");
                    continue;
                }
                let writer = self.writers.iter().find(|writer| writer.id == id).expect("a known writer");
                let seq = next.entry(id).or_default();
                assert_eq!(writer.batches[*seq as usize], message, "{name}: {id} is in order");
                assert!(rest.starts_with(&seq.to_string()));
                *seq += 1;
            }
            for body in &known.answered {
                assert!(seen.contains(body.as_str()), "{name} has lost {body}");
            }
            for writer in self.writers.iter().filter(|writer| writer.stream == *name) {
                let stored = next.get(writer.id.as_str()).copied().unwrap_or(0);
                assert!(stored >= writer.answered, "{name} has lost {} of {}", writer.answered - stored, writer.id);
            }
        }
    }

    /// The disk is well again: everybody sends what was not answered, and then everything is there once.
    fn finish(&mut self) {
        self.disk.fuse(None);
        let mut server = self.start(false).expect("a disk with power");
        self.check(&mut server);
        for at in 0..self.writers.len() {
            let known = &self.streams[&self.writers[at].stream];
            if known.deleted != Told::No || known.closed != Told::No {
                continue;
            }
            while self.writers[at].answered < self.writers[at].sent {
                let before = self.writers[at].answered;
                let mut under_way = Vec::new();
                self.send_batch(&mut server, at, &mut under_way);
                server.steps.commit();
                self.answers(&mut under_way);
                assert!(self.writers[at].answered > before, "a well disk takes it");
            }
        }
        for (name, known) in &self.streams {
            let Some(seq) = known.seq.clone().filter(|_| known.deleted == Told::No && known.closed == Told::No) else {
                continue;
            };
            let (engine, name) = (server.engine.clone(), name.clone());
            let mut append = Append::new("text/plain", Bytes::from_static(b"late;"));
            append.stream_seq = Some(seq.into());
            let refused = server.wait(Box::pin(async move { engine.stream(&name).await?.append(append).await }));
            assert_eq!(refused.unwrap_err(), EngineError::SeqRegression, "the last Stream-Seq is known");
        }
        self.check(&mut server);
        server.steps.drain().unwrap();
        self.check(&mut server);
        drop(server);
        let mut server = self.start(false).expect("a disk with power");
        self.check(&mut server);
    }
}
