//! The randomness of a run: `getrandom` of the C library, as the whole process sees it.
//!
//! Clients draw their seeds from it, servers the ids of streams, and hash maps their keys. A thread that was [`seed`]ed
//! draws from its seed; every other thread gets the system's randomness.

use std::cell::RefCell;
use std::ffi::{c_uint, c_void};
use std::mem::MaybeUninit;

use everstream::proto::jitter::Jitter;
use rustix::rand::GetRandomFlags;

thread_local! {
    static SOURCE: RefCell<Option<Jitter>> = const { RefCell::new(None) };
}

/// From here on this thread's randomness follows from `seed`.
pub(crate) fn seed(seed: u64) {
    SOURCE.set(Some(Jitter::new(seed ^ 0xe27_2097)));
}

/// Stands before the C library's function of this name.
///
/// # Safety
/// As `getrandom(2)`: `buffer` is valid for writes of `length` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    // SAFETY: the caller promises `length` writable bytes; `MaybeUninit` does not ask for initialised ones.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length) };
    let drawn = SOURCE.try_with(|source| {
        source.borrow_mut().as_mut().is_some_and(|jitter| {
            for piece in buffer.chunks_mut(8) {
                for (byte, drawn) in piece.iter_mut().zip(jitter.next_u64().to_le_bytes()) {
                    byte.write(drawn);
                }
            }
            true
        })
    });
    if drawn == Ok(true) {
        return length as isize;
    }
    // A system call of its own, not this function again.
    match rustix::rand::getrandom(&mut *buffer, GetRandomFlags::from_bits_retain(flags)) {
        Ok((filled, _)) => filled.len() as isize,
        Err(_) => -1,
    }
}
