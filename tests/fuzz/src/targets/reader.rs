//! The reader against a server that keeps the protocol, over a network that does anything else: whatever the order of
//! appends, pieces, cuts, refusals, time limits and restarts from checkpoints, also in the middle of a batch, what was
//! handed over is always the start of what is stored, and once the network is whole the reader gets to the end
//! (C-READ-1, C-READ-3, C-SSE-7, C-EOF-1).

use std::collections::VecDeque;
use std::time::{Duration, UNIX_EPOCH};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use everstream::proto::Instant;
use everstream::proto::read::{ReadEvent, ReadSession};
use everstream::proto::request::Request;
use everstream::proto::response::{Disconnect, ResponseHead};
use everstream::{AppendOptions, Batch, Error, ErrorKind, LiveMode, ReadOptions, RetryPolicy};
use everstream_model::server::{Answer, Server};
use http::{HeaderMap, StatusCode};

/// Steps after which a reader on a whole network must have come to the end of the little that is stored.
const ENOUGH: usize = 10_000;

/// One input.
pub fn run(data: &[u8]) {
    // An input that is too short ends the story early; what was told until then has been checked.
    let _ = story(&mut Unstructured::new(data));
}

fn story(u: &mut Unstructured<'_>) -> Result<()> {
    let content_type = *u.choose(&["application/json", "text/plain", "application/octet-stream"])?;
    let options = ReadOptions {
        live: *u.choose(&[LiveMode::Auto, LiveMode::LongPoll, LiveMode::Sse])?,
        max_batch_bytes: u.int_in_range(1..=40)?,
        ..ReadOptions::default()
    };
    let server = Server::new(content_type, 1, u.int_in_range(1..=60)?);
    let mut world = World {
        session: ReadSession::new(options.clone(), RetryPolicy::default(), 1),
        options,
        server,
        content_type,
        appended: 0,
        now: Duration::ZERO,
        news: VecDeque::new(),
        read: Vec::new(),
        last: None,
        ended: false,
    };
    while !u.is_empty() && !world.ended {
        world.step(u)?;
        world.listen();
    }
    world.come_to_the_end();
    Ok(())
}

/// What an exchange still brings.
enum News {
    Head(u16, HeaderMap),
    Bytes(Bytes),
    End,
}

struct World {
    session: ReadSession,
    options: ReadOptions,
    server: Server,
    content_type: &'static str,
    appended: u32,
    now: Instant,
    news: VecDeque<News>,
    read: Vec<u8>,
    /// The last batch, and the length of `read` before it.
    last: Option<(Batch, usize)>,
    ended: bool,
}

impl World {
    fn step(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        match u.int_in_range(0..=11_u8)? {
            0 | 1 => self.append(),
            2 if u.ratio(1, 8)? => self.close(),
            2..=4 => self.ask(u.ratio(1, 10)?.then_some(u.int_in_range(1..=9)?)),
            5 | 6 => {
                for _ in 0..u.int_in_range(1..=8_u8)? {
                    self.hear();
                }
            }
            7 => self.cut(u.arbitrary()?),
            8 => self.wait(),
            9 => self.now += Duration::from_millis(u.arbitrary::<u16>()?.into()),
            10 => self.restart(u.arbitrary::<Option<u8>>()?.map(u64::from)),
            _ => {
                self.session.interrupt();
                self.news.clear();
            }
        }
        Ok(())
    }

    fn append(&mut self) {
        let number = self.appended;
        self.appended += 1;
        let is_json = self.content_type == "application/json";
        let text = if is_json { format!("[\"m{number}€\",[{number}]]") } else { format!("m{number}€\n ;") };
        let request = Request::append(text.into(), Some(self.content_type), &AppendOptions::default(), false);
        self.server.handle(&request.expect("a plain append"));
    }

    fn close(&mut self) {
        self.server.handle(&Request::close());
    }

    /// Lets a request that is due go out; the answer comes in pieces of this size, with the default being one piece.
    fn ask(&mut self, refusal: Option<u16>) {
        let Some(request) = self.session.poll_request(self.now) else { return };
        self.news.clear();
        if let Some(number) = refusal {
            let statuses = [500, 502, 503, 504, 429];
            self.news.push_back(News::Head(statuses[usize::from(number) % statuses.len()], HeaderMap::new()));
            return;
        }
        let (status, headers, body) = match self.server.handle(&request) {
            Answer::Wait => match self.server.nothing_new() {
                Answer::Complete { status, headers, body } => (status, headers, body),
                _ => unreachable!("what a long-poll ends with is complete"),
            },
            Answer::Complete { status, headers, body } => (status, headers, body),
            Answer::Events { headers, from } => (200, headers, self.server.events(from).0),
        };
        self.news.push_back(News::Head(status, headers));
        let size = 1 + usize::from(self.appended as u8 % 23);
        self.news.extend(body.chunks(size).map(|piece| News::Bytes(Bytes::copy_from_slice(piece))));
        self.news.push_back(News::End);
    }

    fn hear(&mut self) {
        match self.news.pop_front() {
            Some(News::Head(status, headers)) => {
                let status = StatusCode::from_u16(status).expect("a status");
                self.session.handle_response(&ResponseHead::new(status, headers, UNIX_EPOCH), self.now);
            }
            Some(News::Bytes(piece)) => self.session.handle_bytes(piece, self.now),
            Some(News::End) => self.session.handle_end(self.now),
            None => {}
        }
        if !self.session.wants_exchange() {
            self.news.clear();
        }
    }

    fn cut(&mut self, not_sent: bool) {
        self.news.clear();
        let error = Error::new(ErrorKind::Network, "reset");
        self.session.handle_disconnect(Disconnect { not_sent, error }, self.now);
    }

    fn wait(&mut self) {
        if let Some(at) = self.session.poll_timeout() {
            self.now = self.now.max(at);
            self.session.handle_timeout(self.now);
            if !self.session.wants_exchange() {
                self.news.clear();
            }
        }
    }

    /// Another process, which knows only a checkpoint: the last one, or one within the last batch.
    fn restart(&mut self, within: Option<u64>) {
        let checkpoint = match (&self.last, within) {
            (None, _) => self.options.from.clone(),
            (Some((batch, _)), None) => batch.checkpoint().clone(),
            (Some((batch, before)), Some(units)) => {
                let units = units.min(batch.units());
                self.read.truncate(*before);
                self.read.extend(data_of(batch, units));
                batch.checkpoint_at(units)
            }
        };
        self.last = None;
        self.news.clear();
        let options = ReadOptions { from: checkpoint, ..self.options.clone() };
        // As the process before it would go on.
        self.options = options.clone();
        self.session = ReadSession::new(options, RetryPolicy::default(), 1);
    }

    fn listen(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.ended, "{event:?} after the end");
            match event {
                ReadEvent::Batch(batch) => {
                    let before = self.read.len();
                    self.read.extend(data_of(&batch, batch.units()));
                    let stored = self.stored();
                    assert!(stored.starts_with(&self.read), "read {:?} of {:?}", text(&self.read), text(&stored));
                    self.last = Some((batch, before));
                }
                ReadEvent::End => {
                    assert!(self.server.is_closed());
                    assert_eq!(text(&self.read), text(&self.stored()));
                    self.ended = true;
                }
                ReadEvent::Failed(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    self.session.resume();
                }
                _ => {}
            }
        }
    }

    fn stored(&self) -> Vec<u8> {
        self.server.messages().concat().into_bytes()
    }

    fn come_to_the_end(&mut self) {
        self.close();
        self.news.clear();
        self.session.interrupt();
        for _ in 0..ENOUGH {
            if self.ended {
                return;
            }
            self.ask(None);
            if self.news.is_empty() {
                self.wait();
            }
            while !self.news.is_empty() {
                self.hear();
                self.listen();
            }
            self.listen();
        }
        panic!("no end in sight: {:?}", self.session);
    }
}

fn data_of(batch: &Batch, units: u64) -> Vec<u8> {
    let units = usize::try_from(units).expect("little is stored");
    if batch.is_json() {
        batch.messages().take(units).collect::<Vec<_>>().concat()
    } else {
        batch.bytes()[..units].to_vec()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
