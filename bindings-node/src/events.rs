//! The way from the threads of the runtime to a thread of JavaScript: one queue per environment.
//!
//! Whoever has something to do there puts it into the queue, and wakes the event loop if the queue was empty. So a burst
//! of results costs one wake-up. What the event loop itself has called does it at once ([`Events::turn`]). An environment that is
//! torn down closes its queue: what comes later is dropped.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use napi::{Env, sys};

use crate::runtime::lock;
use crate::value::{Kept, Raw, check};

/// The queue of an environment. Cloning shares it.
#[derive(Clone)]
pub(crate) struct Events(Arc<Shared>);

struct Shared {
    env: sys::napi_env,
    queue: Mutex<Queue>,
    /// Wakes the event loop. Null until it is made, and once the environment is torn down; only the thread of JavaScript
    /// changes it.
    wake: AtomicPtr<sys::napi_threadsafe_function__>,
    /// Held while another thread uses `wake`, and when that goes. Not the queue's lock: the event loop would wake up only to
    /// wait for it.
    waking: Mutex<()>,
    /// What the event loop has to wait for.
    pending: AtomicU32,
    /// As what Node's `async_hooks` see a turn.
    turns: AtomicPtr<sys::napi_async_context__>,
    /// Makes an error of JavaScript from one of the core.
    error_factory: Mutex<Option<Arc<Kept>>>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    /// Somebody does the jobs without being woken.
    is_turn: bool,
    /// The environment is torn down.
    closed: bool,
}

type Job = Box<dyn FnOnce(Env) + Send>;

// SAFETY: `env` is only compared, and used in its own thread; `wake` may be called from any thread while it is there,
// which the lock for that sees to.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

thread_local! {
    /// A thread has more than one environment where modules are loaded anew in contexts of their own, as Jest does.
    static ALL: RefCell<HashMap<usize, Events>> = RefCell::default();
}

impl Events {
    /// Those of an environment, made at first use.
    pub(crate) fn of(env: Env) -> napi::Result<Self> {
        let key = env.raw() as usize;
        if let Some(events) = ALL.with_borrow(|all| all.get(&key).cloned()) {
            return Ok(events);
        }
        let events = Self::open(env.raw())?;
        ALL.with_borrow_mut(|all| all.insert(key, events.clone()));
        Ok(events)
    }

    fn open(env: sys::napi_env) -> napi::Result<Self> {
        let events = Self(Arc::new(Shared {
            env,
            queue: Mutex::default(),
            wake: AtomicPtr::default(),
            waking: Mutex::default(),
            pending: AtomicU32::new(0),
            turns: AtomicPtr::default(),
            error_factory: Mutex::default(),
        }));
        let name = "everstream";
        let (mut label, mut wake, mut turns) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        let context = Arc::as_ptr(&events.0).cast_mut().cast::<c_void>();
        // SAFETY: `context` lives until `close`, which leaks a reference for calls that are on their way. The hook is
        // added after the function, so that it runs before the function is gone.
        unsafe {
            check(sys::napi_create_string_utf8(env, name.as_ptr().cast(), name.len() as isize, &raw mut label))?;
            check(sys::napi_create_threadsafe_function(
                env,
                ptr::null_mut(),
                ptr::null_mut(),
                label,
                0,
                1,
                ptr::null_mut(),
                None,
                context,
                Some(drain),
                &raw mut wake,
            ))?;
            check(sys::napi_unref_threadsafe_function(env, wake))?;
            check(sys::napi_async_init(env, ptr::null_mut(), label, &raw mut turns))?;
            events.0.turns.store(turns, Ordering::Relaxed);
            events.0.wake.store(wake, Ordering::Release);
            check(sys::napi_add_env_cleanup_hook(env, Some(close), Arc::into_raw(events.0.clone()).cast_mut().cast()))?;
        }
        Ok(events)
    }

    pub(crate) fn is_of(&self, env: Env) -> bool {
        self.0.env == env.raw()
    }

    /// Has something done in the thread of JavaScript; never, if that is gone.
    pub(crate) fn push(&self, job: impl FnOnce(Env) + Send + 'static) {
        {
            let mut queue = lock(&self.0.queue);
            if queue.closed {
                return;
            }
            queue.jobs.push(Box::new(job));
            if queue.jobs.len() > 1 || queue.is_turn {
                return;
            }
        }
        let _stays = lock(&self.0.waking);
        let wake = self.0.wake.load(Ordering::Acquire);
        if !wake.is_null() {
            // SAFETY: the function is there as long as its lock is held. It is not bounded, so that this cannot fail for
            // lack of space.
            unsafe { sys::napi_call_threadsafe_function(wake, ptr::null_mut(), 0) };
        }
    }

    /// Runs a function that the event loop has called by itself, and then does what is in the queue. Called in the thread of
    /// JavaScript, when nothing of JavaScript runs.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "what the event loop calls is in `here`"))]
    pub(crate) fn turn(&self, run: impl FnOnce()) {
        let (env, turns) = (self.0.env, self.0.turns.load(Ordering::Relaxed));
        let (mut handles, mut scope) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: this is the environment's thread, and the context is there until the environment is torn down. Both scopes are closed
        // below, in order. The end of the inner one does what promises that were settled have to do.
        unsafe {
            if turns.is_null() || sys::napi_open_handle_scope(env, &raw mut handles) != sys::Status::napi_ok {
                return run();
            }
            if sys::napi_open_callback_scope(env, ptr::null_mut(), turns, &raw mut scope) == sys::Status::napi_ok {
                lock(&self.0.queue).is_turn = true;
                // A panic of ours must not leave the turn open.
                let _ = catch_unwind(AssertUnwindSafe(run));
                let jobs = {
                    let mut queue = lock(&self.0.queue);
                    // What comes from now on is for another turn of the loop.
                    queue.is_turn = false;
                    std::mem::take(&mut queue.jobs)
                };
                do_all(env, jobs);
                sys::napi_close_callback_scope(env, scope);
            } else {
                run();
            }
            sys::napi_close_handle_scope(env, handles);
        }
    }

    /// One more thing that the process has to wait for. Called in the thread of JavaScript.
    pub(crate) fn hold(&self) {
        if self.0.pending.fetch_add(1, Ordering::Relaxed) == 0 {
            let wake = self.0.wake.load(Ordering::Acquire);
            if !wake.is_null() {
                // SAFETY: this is the environment's thread, and the function is there.
                unsafe { sys::napi_ref_threadsafe_function(self.0.env, wake) };
            }
        }
    }

    /// One thing less to wait for. Called in the thread of JavaScript.
    pub(crate) fn release(&self) {
        if self.0.pending.fetch_sub(1, Ordering::Relaxed) == 1 {
            let wake = self.0.wake.load(Ordering::Acquire);
            if !wake.is_null() {
                // SAFETY: this is the environment's thread, and the function is there.
                unsafe { sys::napi_unref_threadsafe_function(self.0.env, wake) };
            }
        }
    }

    pub(crate) fn set_error_factory(&self, factory: Raw) -> napi::Result<()> {
        let factory = Arc::new(Kept::new(factory)?);
        let _before = lock(&self.0.error_factory).replace(factory);
        Ok(())
    }

    pub(crate) fn error_factory(&self) -> Option<Arc<Kept>> {
        lock(&self.0.error_factory).clone()
    }
}

/// Does what is in the queue.
unsafe extern "C" fn drain(env: sys::napi_env, _: sys::napi_value, context: *mut c_void, _: *mut c_void) {
    if env.is_null() {
        // The environment is being torn down.
        return;
    }
    // SAFETY: the context is the `Shared` that this function was made with.
    let shared = unsafe { &*context.cast::<Shared>() };
    let jobs = std::mem::take(&mut lock(&shared.queue).jobs);
    do_all(env, jobs);
}

fn do_all(env: sys::napi_env, jobs: Vec<Job>) {
    for job in jobs {
        let mut scope = ptr::null_mut();
        // SAFETY: opened and closed in order, around values that nobody keeps.
        unsafe {
            sys::napi_open_handle_scope(env, &raw mut scope);
            // A panic of ours must not unwind into Node, and costs one job only.
            let _ = catch_unwind(AssertUnwindSafe(|| job(Env::from_raw(env))));
            sys::napi_close_handle_scope(env, scope);
        }
    }
}

/// The environment ends: nothing reaches it any more.
unsafe extern "C" fn close(context: *mut c_void) {
    // SAFETY: the reference that was leaked for this hook. It stays leaked, for calls that Node still has in its hands.
    let shared = unsafe { &*context.cast::<Shared>() };
    let jobs = {
        let _unused = lock(&shared.waking);
        shared.wake.store(ptr::null_mut(), Ordering::Release);
        let mut queue = lock(&shared.queue);
        queue.closed = true;
        std::mem::take(&mut queue.jobs)
    };
    let factory = lock(&shared.error_factory).take();
    // SAFETY: this is the environment's thread, and no turn is under way.
    unsafe { sys::napi_async_destroy(shared.env, shared.turns.swap(ptr::null_mut(), Ordering::Relaxed)) };
    ALL.with_borrow_mut(|all| all.remove(&(shared.env as usize)));
    // Dropping them may want to push.
    drop((jobs, factory));
}
