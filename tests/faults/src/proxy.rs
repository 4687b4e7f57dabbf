//! The proxy: a listener, and a task for each client connection.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::counts::FaultCounts;
use crate::decide::Decider;
use crate::exchange::Client;
use crate::fault::Fault;
use crate::hold::Holds;
use crate::plan::FaultPlan;
use crate::record::{Recording, SeenRequest};
use crate::socket::{ResetSwitch, Socket};
use crate::upstream::Slot;

/// A running proxy. It stops when it is dropped.
///
/// A server that cannot be reached, or breaks off, is passed on as a reset of the client's connection.
pub struct FaultProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl FaultProxy {
    /// Starts a proxy before the server at `upstream`, on a free port of the loopback interface.
    pub async fn start(upstream: SocketAddr, plan: FaultPlan) -> io::Result<Self> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), upstream, plan).await
    }

    /// Starts a proxy that listens on this address.
    pub async fn start_on(listen: SocketAddr, upstream: SocketAddr, plan: FaultPlan) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared::new(upstream, plan));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { addr, shared, accepting })
    }

    /// Replaces the plan. The new one starts at its first request; faults under way go on.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.shared.lock().decider = Decider::new(plan);
    }

    /// Lets every request through from here on. Faults under way go on.
    pub fn stop_faults(&self) {
        self.set_plan(FaultPlan::none());
    }

    /// Sends every request to this server from here on: the old one was restarted elsewhere.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.shared.lock().upstream = upstream;
    }

    /// Keeps every request from here on, for [`requests`](Self::requests). The body of each is then read to its end
    /// before anything else is done with it.
    pub fn record(&self) {
        self.shared.lock().recording.start();
    }

    /// The requests since [`record`](Self::record), in the order of their arrival.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.shared.lock().recording.requests()
    }

    /// Stops listening and closes all connections.
    pub async fn shutdown(mut self) {
        self.accepting.abort();
        // It ends by being aborted, which is the only way it ends.
        let _ = (&mut self.accepting).await;
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address as the base of URLs, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it has seen and done so far.
    pub fn counts(&self) -> FaultCounts {
        self.shared.lock().counts
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for FaultProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultProxy").field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// What all connections of a proxy share.
pub(crate) struct Shared {
    state: Mutex<State>,
    pub(crate) holds: Holds,
}

struct State {
    upstream: SocketAddr,
    decider: Decider,
    counts: FaultCounts,
    recording: Recording,
}

impl Shared {
    fn new(upstream: SocketAddr, plan: FaultPlan) -> Self {
        let state = State {
            upstream,
            decider: Decider::new(plan),
            counts: FaultCounts::default(),
            recording: Recording::default(),
        };
        Self { state: Mutex::new(state), holds: Holds::default() }
    }

    /// Counts a request, and says which one it is and which fault it meets.
    pub(crate) fn decide(&self, request: &Parts) -> (u64, Option<Fault>) {
        let mut state = self.lock();
        state.counts.requests += 1;
        let fault = state.decider.decide(request);
        if let Some(fault) = &fault {
            state.counts.add(fault.kind());
        }
        (state.counts.requests, fault)
    }

    pub(crate) fn is_recording(&self) -> bool {
        self.lock().recording.is_on()
    }

    /// Keeps a request; its place, for [`answered`](Self::answered).
    pub(crate) fn keep(&self, request: SeenRequest) -> Option<usize> {
        self.lock().recording.add(request)
    }

    pub(crate) fn answered(&self, place: usize, status: u16) {
        self.lock().recording.answered(place, status);
    }

    pub(crate) fn count_upstream_failure(&self) {
        self.lock().counts.upstream_failures += 1;
    }

    pub(crate) fn upstream(&self) -> SocketAddr {
        self.lock().upstream
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            // Out of file handles: some connection has to end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let switch = Arc::new(ResetSwitch::default());
    let Ok(socket) = Socket::new(stream, Arc::clone(&switch)) else {
        return;
    };
    let client = Client { shared, switch, upstream: Slot::default() };
    let connection = http1::Builder::new().serve_connection(socket, service_fn(|request| client.serve(request)));
    // It fails whenever a fault breaks it or the client leaves: neither is news.
    let _ = connection.await;
}
