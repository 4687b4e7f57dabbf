//! Calls that are carried by the thread of JavaScript itself, in its event loop.
//!
//! A call that the runtime's thread carries wakes two threads: that one to send the request, and JavaScript's to hear of the
//! answer. Where the server is near, these cost as much as the call. So single requests over plain `http:` are sent from
//! here, and libuv tells of their answers.
//!
//! ```text
//! call ──> Here::begin ──> future of the core ──> HereTransport ──> hyper ──> Socket ──> the kernel
//!              ▲                                                                │
//!              └──────────────── run <── libuv: the socket can be read <────────┘
//! ```
//! What a future waits for otherwise, a timer or another thread, wakes it through [`Events`]. Long reads, producers, and
//! everything over TLS or a proxy stay with the runtime: they gain by a thread of their own.
//!
//! # The end
//! An environment that ends drops the tasks, and with them the sockets, and is gone when libuv has let go of these.

mod http;
mod socket;
mod uv;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use everstream::{BoxFuture, Spawner, Transport, spawning_by};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use napi::bindgen_prelude::{JsObjectValue as _, Object};
use napi::{Env, sys};

use crate::events::Events;
use crate::runtime::{lock, runtime};
use crate::value::check;

/// So often tasks may wake each other before the event loop goes on.
const ROUNDS: usize = 64;

/// The tasks of an environment. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Here(Arc<Shared>);

struct Shared {
    events: Events,
    event_loop: AtomicPtr<c_void>,
    /// They go on first: an answer that is there comes before the end of the time for it, however long JavaScript was busy.
    connections: Tasks,
    calls: Tasks,
    bell: Arc<Bell>,
    /// Sockets that libuv has not let go of.
    sockets: AtomicUsize,
    /// What the end of the environment waits for; null before it.
    end: AtomicPtr<sys::napi_async_cleanup_hook_handle__>,
}

#[derive(Default)]
struct Tasks {
    begun: Mutex<Vec<BoxFuture<()>>>,
    /// Locked in the thread of JavaScript only.
    under_way: Mutex<FuturesUnordered<BoxFuture<()>>>,
}

/// Is rung when a task can go on.
struct Bell {
    here: Weak<Shared>,
    has_rung: AtomicBool,
    /// The event loop knows of it.
    is_told: AtomicBool,
}

thread_local! {
    static ALL: RefCell<HashMap<usize, Option<Here>>> = RefCell::default();
    /// Whose tasks this thread polls.
    static CURRENT: RefCell<Option<Here>> = const { RefCell::new(None) };
}

impl Here {
    /// That of an environment, made at first use; `None` where the event loop is not libuv's.
    pub(crate) fn of(env: Env) -> napi::Result<Option<Self>> {
        let key = env.raw() as usize;
        if let Some(here) = ALL.with_borrow(|all| all.get(&key).cloned()) {
            return Ok(here);
        }
        let here = if uv::is_there() && is_node(env).unwrap_or(false) { Some(Self::open(env)?) } else { None };
        ALL.with_borrow_mut(|all| all.insert(key, here.clone()));
        Ok(here)
    }

    fn open(env: Env) -> napi::Result<Self> {
        // Made first, to be closed last.
        let events = Events::of(env)?;
        let mut event_loop = ptr::null_mut();
        // SAFETY: this is the environment's thread.
        check(unsafe { sys::napi_get_uv_event_loop(env.raw(), &raw mut event_loop) })?;
        let here = Self(Arc::new_cyclic(|here| Shared {
            events,
            event_loop: AtomicPtr::new(event_loop.cast()),
            connections: Tasks::default(),
            calls: Tasks::default(),
            bell: Arc::new(Bell {
                here: here.clone(),
                has_rung: AtomicBool::new(false),
                is_told: AtomicBool::new(false),
            }),
            sockets: AtomicUsize::new(0),
            end: AtomicPtr::default(),
        }));
        let context = Box::into_raw(Box::new((env.raw() as usize, here.clone())));
        // SAFETY: the hook takes the context back.
        check(unsafe { sys::napi_add_async_cleanup_hook(env.raw(), Some(end), context.cast(), ptr::null_mut()) })?;
        Ok(here)
    }

    /// Whether one of its tasks asks.
    fn is_current(&self) -> bool {
        CURRENT.with_borrow(|current| current.as_ref().is_some_and(|it| Arc::ptr_eq(&it.0, &self.0)))
    }

    /// Begins a task, and goes on with it as far as it comes. To be called in the thread of JavaScript.
    pub(crate) fn begin(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.calls.push(Box::pin(task));
        self.run(|| {});
    }

    /// A transport that carries here what is asked for here, if it can; `elsewhere` carries the rest.
    pub(crate) fn transport(&self, elsewhere: Arc<dyn Transport>, connect_timeout: Duration) -> Arc<dyn Transport> {
        Arc::new(http::HereTransport::new(self, elsewhere, connect_timeout))
    }

    /// Begins a connection when this goes on.
    fn connect(&self, task: BoxFuture<()>) {
        self.0.connections.push(task);
        self.0.bell.ring();
    }

    /// Goes on with all tasks that can, those among them that `first` wakes. In the thread of JavaScript.
    fn run(&self, first: impl FnOnce()) {
        let Ok(runtime) = runtime() else { return };
        if self.is_current() {
            return first();
        }
        let outer = CURRENT.replace(Some(self.clone()));
        let _timers = runtime.enter();
        first();
        let here = self.clone();
        let spawner: Spawner = Rc::new(move |task| {
            here.0.calls.push(task);
            here.0.bell.ring();
        });
        let is_done = spawning_by(&spawner, || (0..ROUNDS).any(|_| self.poll()));
        CURRENT.set(outer);
        if !is_done {
            self.0.bell.tell(&self.0);
        }
    }

    /// [`Self::run`] for what libuv tells, and then what came of it for JavaScript.
    fn turn(&self, first: impl FnOnce()) {
        self.0.events.turn(|| self.run(first));
    }

    /// Polls each task that can go on once; whether there is none left.
    fn poll(&self) -> bool {
        let Shared { connections, calls, bell, .. } = &*self.0;
        bell.has_rung.store(false, Ordering::Relaxed);
        let waker = Waker::from(bell.clone());
        let cx = &mut Context::from_waker(&waker);
        connections.poll(cx);
        calls.poll(cx);
        !bell.has_rung.load(Ordering::Acquire)
    }

    fn event_loop(&self) -> uv::Loop {
        self.0.event_loop.load(Ordering::Relaxed)
    }

    fn opened(&self) {
        self.0.sockets.fetch_add(1, Ordering::Relaxed);
    }

    fn closed(&self) {
        if self.0.sockets.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.end_if_closed();
        }
    }

    /// Lets the environment end, if it wants to and nothing of it is open.
    fn end_if_closed(&self) {
        if self.0.sockets.load(Ordering::Relaxed) > 0 {
            return;
        }
        let end = self.0.end.swap(ptr::null_mut(), Ordering::Relaxed);
        if !end.is_null() {
            // SAFETY: Node gave it to the hook, which is removed once.
            unsafe { sys::napi_remove_async_cleanup_hook(end) };
        }
    }
}

impl Tasks {
    fn push(&self, task: BoxFuture<()>) {
        // A panic of ours must not unwind into Node, and costs one task only.
        lock(&self.begun).push(Box::pin(AssertUnwindSafe(task).catch_unwind().map(drop)));
    }

    fn poll(&self, cx: &mut Context<'_>) {
        let mut under_way = lock(&self.under_way);
        under_way.extend(lock(&self.begun).drain(..));
        while let Poll::Ready(Some(())) = under_way.poll_next_unpin(cx) {}
    }

    /// Drops them all; whether there were none.
    fn end(&self) -> bool {
        let under_way = std::mem::take(&mut *lock(&self.under_way));
        let begun = std::mem::take(&mut *lock(&self.begun));
        let is_empty = under_way.is_empty() && begun.is_empty();
        // A panic must not unwind into Node.
        let _ = catch_unwind(AssertUnwindSafe(|| drop((under_way, begun))));
        is_empty
    }
}

impl Bell {
    fn ring(&self) {
        self.has_rung.store(true, Ordering::Release);
        let Some(here) = self.here.upgrade() else { return };
        // Whoever polls looks at it before the end.
        if !Here(here.clone()).is_current() {
            self.tell(&here);
        }
    }

    fn tell(&self, here: &Arc<Shared>) {
        if !self.is_told.swap(true, Ordering::AcqRel) {
            let weak = self.here.clone();
            here.events.push(move |_| {
                let Some(here) = weak.upgrade() else { return };
                here.bell.is_told.store(false, Ordering::Release);
                Here(here).run(|| {});
            });
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// Whether it is Node that runs this, or something built on it. What else has functions of libuv's names may not mean them.
fn is_node(env: Env) -> napi::Result<bool> {
    let process: Object<'_> = env.get_global()?.get_named_property("process")?;
    let versions: Object<'_> = process.get_named_property("versions")?;
    Ok(versions.has_named_property("uv")?
        && !versions.has_named_property("bun")?
        && !versions.has_named_property("deno")?)
}

/// The environment ends.
unsafe extern "C" fn end(handle: sys::napi_async_cleanup_hook_handle, context: *mut c_void) {
    // SAFETY: the box that was leaked for this hook.
    let (env, here) = *unsafe { Box::from_raw(context.cast::<(usize, Here)>()) };
    ALL.with_borrow_mut(|all| all.remove(&env));
    here.0.end.store(handle, Ordering::Relaxed);
    // A task that is dropped may begin another one, or wake one.
    while !(here.0.calls.end() & here.0.connections.end()) {}
    here.end_if_closed();
}
