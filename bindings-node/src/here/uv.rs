//! What is used of libuv: sockets that the event loop of an environment watches.
//!
//! The functions are looked up, not linked: what runs a script need not be Node, and need not have them.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::{c_int, c_void};
use std::io;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::OnceLock;

use libloading::os::unix::Library;

/// An event loop.
pub(super) type Loop = *mut c_void;
type Handle = *mut c_void;
type Watching = unsafe extern "C" fn(Handle, status: c_int, events: c_int);
type Closed = unsafe extern "C" fn(Handle);

/// `UV_POLL` of `uv_handle_type`.
const POLL: c_int = 8;
pub(super) const READABLE: c_int = 1;
pub(super) const WRITABLE: c_int = 2;

struct Uv {
    handle_size: unsafe extern "C" fn(c_int) -> usize,
    poll_init: unsafe extern "C" fn(Loop, Handle, RawFd) -> c_int,
    poll_start: unsafe extern "C" fn(Handle, c_int, Watching) -> c_int,
    poll_stop: unsafe extern "C" fn(Handle) -> c_int,
    unref: unsafe extern "C" fn(Handle),
    close: unsafe extern "C" fn(Handle, Closed),
    set_data: unsafe extern "C" fn(Handle, *mut c_void),
    data: unsafe extern "C" fn(Handle) -> *mut c_void,
}

impl Uv {
    fn get() -> Option<&'static Self> {
        static UV: OnceLock<Option<Uv>> = OnceLock::new();
        UV.get_or_init(Self::find).as_ref()
    }

    fn find() -> Option<Self> {
        let process = Library::this();
        // SAFETY: these are the types of these functions in every version of libuv 1.
        unsafe {
            Some(Self {
                handle_size: *process.get(b"uv_handle_size\0").ok()?,
                poll_init: *process.get(b"uv_poll_init\0").ok()?,
                poll_start: *process.get(b"uv_poll_start\0").ok()?,
                poll_stop: *process.get(b"uv_poll_stop\0").ok()?,
                unref: *process.get(b"uv_unref\0").ok()?,
                close: *process.get(b"uv_close\0").ok()?,
                set_data: *process.get(b"uv_handle_set_data\0").ok()?,
                data: *process.get(b"uv_handle_get_data\0").ok()?,
            })
        }
    }
}

/// Whether this process has a libuv that can be used.
pub(super) fn is_there() -> bool {
    Uv::get().is_some()
}

/// Is told what happens to a socket.
pub(super) trait Watcher {
    /// Reading or writing, or both, may be possible or fail.
    fn happened(&self, events: c_int);
    /// The loop has let go of the socket.
    fn closed(&self);
}

/// A socket that a loop watches. To be made, used and dropped in the loop's thread only; the socket may be closed after it.
pub(super) struct Watch<W: Watcher> {
    uv: &'static Uv,
    handle: NonNull<c_void>,
    /// Of the handle.
    _watcher: PhantomData<Rc<W>>,
}

impl<W: Watcher> Watch<W> {
    /// # Safety
    /// It is the thread of the loop, which goes on until [`Watcher::closed`] was called.
    pub(super) unsafe fn new(event_loop: Loop, socket: RawFd, watcher: Rc<W>) -> io::Result<Self> {
        let uv = Uv::get().ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the handle is as large as libuv says, and lives until it was closed. The process waits for no socket, but for the
        // promises that need one.
        unsafe {
            let layout = layout(uv);
            let Some(handle) = NonNull::new(alloc_zeroed(layout).cast::<c_void>()) else { handle_alloc_error(layout) };
            let status = (uv.poll_init)(event_loop, handle.as_ptr(), socket);
            if status != 0 {
                dealloc(handle.as_ptr().cast(), layout);
                return Err(io::Error::from_raw_os_error(-status));
            }
            (uv.unref)(handle.as_ptr());
            (uv.set_data)(handle.as_ptr(), Rc::into_raw(watcher).cast_mut().cast());
            Ok(Self { uv, handle, _watcher: PhantomData })
        }
    }

    /// What is to be told from now on; nothing for 0.
    pub(super) fn watch_for(&self, events: c_int) -> io::Result<()> {
        // SAFETY: whoever made this sees to the thread, and the handle is open.
        let status = unsafe {
            match events {
                0 => (self.uv.poll_stop)(self.handle.as_ptr()),
                events => (self.uv.poll_start)(self.handle.as_ptr(), events, on_event::<W>),
            }
        };
        if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-status)) }
    }
}

impl<W: Watcher> Drop for Watch<W> {
    fn drop(&mut self) {
        // SAFETY: as above. After this nothing is told any more.
        unsafe { (self.uv.close)(self.handle.as_ptr(), on_closed::<W>) };
    }
}

fn layout(uv: &Uv) -> Layout {
    // SAFETY: a function without conditions.
    let size = unsafe { (uv.handle_size)(POLL) };
    Layout::from_size_align(size, 16).expect("a handle has a few hundred bytes")
}

unsafe extern "C" fn on_event<W: Watcher>(handle: Handle, status: c_int, events: c_int) {
    let Some(uv) = Uv::get() else { return };
    // SAFETY: the handle's data is its watcher, of which this call gets a share of its own: what is told may end the watch.
    let watcher = unsafe {
        let watcher = (uv.data)(handle).cast_const().cast::<W>();
        Rc::increment_strong_count(watcher);
        Rc::from_raw(watcher)
    };
    // Whoever waits finds the error by itself. A panic must not unwind into Node.
    let events = if status < 0 { READABLE | WRITABLE } else { events };
    let _ = catch_unwind(AssertUnwindSafe(|| watcher.happened(events)));
}

unsafe extern "C" fn on_closed<W: Watcher>(handle: Handle) {
    let Some(uv) = Uv::get() else { return };
    // SAFETY: the last call for this handle: its share of the watcher, and its memory, go.
    unsafe {
        let watcher = Rc::from_raw((uv.data)(handle).cast_const().cast::<W>());
        dealloc(handle.cast(), layout(uv));
        watcher.closed();
    }
}
