//! The network between the clients and the server, as a [`Transport`] of the client library.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use everstream::{BoxFuture, BoxPieces, HttpRequest, HttpResponse, Piece, RequestBody, Transport, TransportError};
use futures_util::stream;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, NoAnswer, ServerBody};
use crate::dice::Dice;
use crate::record::{Identity, Record};
use crate::scenario::{EpisodeKind, NetworkPlan, SHARED_ID};
use crate::story::Story;

/// A run that makes more requests than this goes round in circles.
const MAX_REQUESTS: u64 = 200_000;

/// What carries the requests of all clients of a run.
pub(crate) struct Network {
    plan: NetworkPlan,
    cluster: Arc<Cluster>,
    dice: Dice,
    story: Story,
    began: Instant,
    requests: AtomicU64,
    faults: AtomicU64,
    processes: AtomicU64,
    record: Record,
}

/// One client's way to the server. When its process dies, nothing goes through any more.
#[derive(Clone)]
pub(crate) struct Link {
    network: Arc<Network>,
    number: usize,
    /// Unique in the run, unlike the number, which the next process of a writer has too.
    process: u64,
    /// The faults of the network do not concern it.
    is_clean: bool,
    is_dead: Arc<AtomicBool>,
}

/// What happens to one exchange.
#[derive(Clone, Debug, PartialEq)]
enum Fault {
    /// No connection; the client knows that nothing left.
    Refused,
    /// The request is lost on its way; the client hears of a reset, or nothing at all.
    RequestLost { reset: bool },
    /// The server acts; its answer is lost, with a reset or in silence.
    AnswerLost { reset: bool },
    /// A proxy answers instead, after the server acted or before.
    Status { status: u16, acted: bool },
    /// A proxy sends it twice and passes on the second answer.
    Twice,
    /// A copy arrives so much later; nobody hears its answer.
    LateCopy(Duration),
    /// The answer's body breaks off after so many bytes: with a reset, in silence, or - where it has no length - cleanly.
    Cut { after: usize, how: Cut },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Clean,
    Reset,
    Silence,
}

impl Network {
    pub(crate) fn new(plan: NetworkPlan, cluster: Arc<Cluster>, dice: Dice, story: Story) -> Arc<Self> {
        Arc::new(Self {
            plan,
            cluster,
            dice,
            story,
            began: Instant::now(),
            requests: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            processes: AtomicU64::new(0),
            record: Record::default(),
        })
    }

    pub(crate) fn link(self: &Arc<Self>, number: usize) -> Link {
        let process = self.processes.fetch_add(1, Ordering::Relaxed);
        Link { network: self.clone(), number, process, is_clean: false, is_dead: Arc::default() }
    }

    /// A link for what the run itself does: waits for the server, and meets no fault.
    pub(crate) fn clean_link(self: &Arc<Self>) -> Link {
        Link { is_clean: true, ..self.link(usize::MAX) }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// Since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What was sent and told.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    fn is_calm(&self) -> bool {
        self.began.elapsed() >= self.plan.calm_after
    }

    fn episode(&self, link: usize) -> Option<EpisodeKind> {
        let now = self.began.elapsed();
        self.plan
            .episodes
            .iter()
            .find(|it| it.from <= now && now < it.to && link.is_multiple_of(it.every))
            .map(|it| it.kind)
    }

    fn latency(&self) -> Duration {
        self.dice.ms(0..self.plan.latency_ms)
    }

    fn draw_fault(&self, request: &HttpRequest) -> Option<Fault> {
        if self.is_calm() || !self.dice.chance(self.plan.fault_rate) {
            return None;
        }
        // Copies of a plain append are not what anybody protects from.
        let producer = request.headers.get("producer-id");
        let may_repeat = request.method == Method::GET || producer.is_some();
        let may_double = may_repeat && !is_shared(request);
        let fault = match self.dice.below(12) {
            0 => Fault::Refused,
            1 | 2 => Fault::RequestLost { reset: self.dice.chance(0.5) },
            3 | 4 => Fault::AnswerLost { reset: self.dice.chance(0.7) },
            5 => Fault::Status { status: self.dice.pick(&[500, 502, 503, 504, 429]), acted: false },
            // 429 and 503 say that nothing was done.
            6 => Fault::Status { status: self.dice.pick(&[500, 502, 504]), acted: true },
            7 if may_double => Fault::Twice,
            8 if may_repeat => Fault::LateCopy(self.dice.ms(0..8_000)),
            _ => Fault::Cut {
                after: self.dice.below(400) as usize,
                how: self.dice.pick(&[Cut::Clean, Cut::Reset, Cut::Silence]),
            },
        };
        Some(fault)
    }
}

impl Link {
    /// The process at this end dies: no answer reaches it, and nothing of it leaves any more.
    pub(crate) fn die(&self) {
        self.is_dead.store(true, Ordering::Relaxed);
    }

    fn is_dead(&self) -> bool {
        self.is_dead.load(Ordering::Relaxed)
    }

    async fn exchange(self, mut request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let network = self.network.clone();
        let number = network.requests.fetch_add(1, Ordering::Relaxed);
        if self.is_dead() || number > MAX_REQUESTS {
            return never().await;
        }
        let fault = if self.is_clean { None } else { network.draw_fault(&request) };
        let title = format!("#{number} client {} {} {}", self.number as isize, request.method, path(&request.url));
        let identity = Identity::of(&request.headers);
        let shown = identity.as_ref().map_or_else(String::new, Identity::to_string);
        match &fault {
            Some(fault) => {
                network.faults.fetch_add(1, Ordering::Relaxed);
                network.story.tell(format_args!("{title} {shown} -> {fault:?}"));
            }
            None => network.story.tell(format_args!("{title} {shown}")),
        }
        if let (Some(identity), RequestBody::Bytes { data, .. }) = (identity, &request.body) {
            network.record.sent(self.process, path(&request.url), identity, data);
        }
        self.travel(&title).await?;
        if fault == Some(Fault::Refused) {
            return Err(broken(true, "refused"));
        }
        let body = match std::mem::replace(&mut request.body, RequestBody::Bytes { data: Bytes::new(), on_sent: None })
        {
            RequestBody::Bytes { data, on_sent } => {
                if let Some(on_sent) = on_sent {
                    on_sent();
                }
                data
            }
            RequestBody::Stream(_) => return Err(broken(true, "bodies of unknown length are not simulated")),
        };
        let is_copy_dropped = Arc::new(AtomicBool::new(false));
        match &fault {
            Some(Fault::RequestLost { reset: true }) => return Err(broken(false, "reset")),
            Some(Fault::RequestLost { reset: false }) => return never().await,
            Some(Fault::Status { status, acted: false }) => return Ok(status_answer(*status)),
            Some(Fault::LateCopy(delay)) => {
                let (own, copy, delay) = (network.clone(), to_server(&request, body.clone()), *delay);
                let (title, is_dropped) = (title.clone(), is_copy_dropped.clone());
                tokio::spawn(async move {
                    sleep(delay).await;
                    if is_dropped.load(Ordering::Relaxed) {
                        return;
                    }
                    own.story.tell(format_args!("{title} arrives once more"));
                    // Nobody hears the answer.
                    let _ = own.cluster.answer(copy, false).await;
                });
            }
            Some(Fault::Twice) => {
                let _ = network.cluster.answer(to_server(&request, body.clone()), false).await;
            }
            _ => {}
        }
        if self.is_clean {
            network.cluster.up().await;
        }
        let give_up = !self.is_clean && network.dice.chance(0.5);
        let (answer, death) = match network.cluster.answer(to_server(&request, body), give_up).await {
            Ok(answer) => answer,
            // A proxy that has a copy to send once more has taken the request.
            Err(NoAnswer::Down) => {
                let is_copied = matches!(fault, Some(Fault::LateCopy(_) | Fault::Twice));
                return Err(broken(!is_copied, "nobody listens"));
            }
            Err(NoAnswer::Died) => return Err(broken(false, "the server died")),
        };
        if is_shared(&request) && answer.status() == StatusCode::CONFLICT {
            is_copy_dropped.store(true, Ordering::Relaxed);
        }
        if request.method == Method::POST && answer.status().is_success() {
            network.record.told(network.elapsed(), path(&request.url), answer.headers());
        }
        match &fault {
            Some(Fault::AnswerLost { reset: true }) => return Err(broken(false, "reset")),
            Some(Fault::AnswerLost { reset: false }) => return never().await,
            Some(Fault::Status { status, .. }) => return Ok(status_answer(*status)),
            _ => {}
        }
        self.travel(&title).await?;
        if self.is_dead() {
            return never().await;
        }
        network.story.tell(format_args!("{title} <- {}", answer.status().as_u16()));
        let (head, body) = answer.into_parts();
        let cut = match fault {
            Some(Fault::Cut { after, how: Cut::Clean }) if body.size_hint().exact().is_some() => {
                Some((after, Cut::Reset))
            }
            Some(Fault::Cut { after, how }) => Some((after, how)),
            _ => None,
        };
        let body = Answer { link: self, title, body, pieces: VecDeque::new(), cut, death };
        Ok(HttpResponse { status: head.status, headers: head.headers, body: body.stream() })
    }

    /// The time until something arrives at the other end; an error where the connection breaks over it.
    async fn travel(&self, title: &str) -> Result<(), TransportError> {
        if self.is_clean {
            return Ok(());
        }
        sleep(self.network.latency()).await;
        match self.network.episode(self.number) {
            None => Ok(()),
            Some(EpisodeKind::Slow(more)) => {
                sleep(Duration::from_millis(more)).await;
                Ok(())
            }
            Some(EpisodeKind::Refused) => {
                self.network.faults.fetch_add(1, Ordering::Relaxed);
                self.network.story.tell(format_args!("{title} is cut off"));
                Err(broken(false, "cut off"))
            }
            Some(EpisodeKind::Silent) => {
                self.network.faults.fetch_add(1, Ordering::Relaxed);
                self.network.story.tell(format_args!("{title} falls silent"));
                never().await
            }
        }
    }
}

impl Transport for Link {
    fn send(&self, request: HttpRequest) -> BoxFuture<Result<HttpResponse, TransportError>> {
        Box::pin(self.clone().exchange(request))
    }
}

/// An answer on its way, piece by piece.
struct Answer {
    link: Link,
    title: String,
    body: ServerBody,
    pieces: VecDeque<Bytes>,
    /// After so many more bytes it breaks off.
    cut: Option<(usize, Cut)>,
    /// Of the process that it comes from.
    death: CancellationToken,
}

impl Answer {
    fn stream(self) -> BoxPieces {
        Box::pin(stream::unfold(Some(self), |answer| async {
            let mut answer = answer?;
            match answer.next().await {
                Some(Ok(piece)) => Some((Ok(Piece::Bytes(piece)), Some(answer))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }

    async fn next(&mut self) -> Option<Result<Bytes, TransportError>> {
        if self.pieces.is_empty() {
            let death = self.death.clone();
            let frame = tokio::select! {
                biased;
                () = death.cancelled() => return Some(Err(broken(false, "the server died"))),
                frame = self.body.frame() => frame,
            };
            match frame {
                Some(Ok(frame)) => self.take_apart(frame.into_data().unwrap_or_default()),
                Some(Err(_)) => return Some(Err(broken(false, "the answer broke off"))),
                // Before the cut came: as it would be with a shorter answer.
                None => return None,
            }
        }
        let mut piece = self.pieces.pop_front().unwrap_or_default();
        if let Err(error) = self.link.travel(&self.title).await {
            return Some(Err(error));
        }
        if self.link.is_dead() {
            return never().await;
        }
        if let Some((left, how)) = &mut self.cut {
            if *left == 0 {
                return match how {
                    Cut::Clean => None,
                    Cut::Reset => Some(Err(broken(false, "reset"))),
                    Cut::Silence => never().await,
                };
            }
            piece.truncate(*left);
            *left -= piece.len();
            if *left == 0 {
                // Whatever comes next is not looked at.
                self.pieces.push_front(Bytes::new());
            }
        }
        Some(Ok(piece))
    }

    /// Pieces of drawn sizes, so that every place is once between two.
    fn take_apart(&mut self, mut data: Bytes) {
        let dice = &self.link.network.dice;
        while data.has_remaining() {
            let size = match dice.below(3) {
                0 => 1 + dice.below(8) as usize,
                1 => 1 + dice.below(100) as usize,
                _ => data.len(),
            };
            // Long answers need not come in the smallest pieces throughout.
            let size = if self.link.is_clean || self.pieces.len() > 16 { data.len() } else { size };
            self.pieces.push_back(data.split_to(size.min(data.len())));
        }
    }
}

fn to_server(request: &HttpRequest, body: Bytes) -> Request<Bytes> {
    let mut sent = Request::new(body);
    *sent.method_mut() = request.method.clone();
    *sent.headers_mut() = request.headers.clone();
    if let Ok(uri) = path(&request.url).parse() {
        *sent.uri_mut() = uri;
    }
    sent
}

/// Whether several producers send under its id. To them a refusal, and a gap, is what it says: nothing was stored. Where
/// another of them claims the id between a request and its copy, one of the two may have been stored and the other is
/// refused, and nobody can tell (docs/reliability.md). So there the network makes no copies of that kind.
fn is_shared(request: &HttpRequest) -> bool {
    request.headers.get("producer-id").is_some_and(|id| id == SHARED_ID)
}

/// Path and query of an absolute address.
fn path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

fn status_answer(status: u16) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse { status, headers: HeaderMap::new(), body: Box::pin(stream::empty()) }
}

fn broken(not_sent: bool, what: &'static str) -> TransportError {
    TransportError { not_sent, permanent: false, source: what.into() }
}

async fn never<T>() -> T {
    std::future::pending().await
}
