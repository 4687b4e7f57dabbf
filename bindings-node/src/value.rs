//! JavaScript values as they are, and as they are kept: thin safe wrappers over Node-API.

use std::ptr;

use bytes::Bytes;
use napi::bindgen_prelude::{FromNapiValue, ToNapiValue, TypeName, ValidateNapiValue};
use napi::{Env, Status, ValueType, sys};

use crate::events::Events;

/// A value, for as long as the call lasts that it came with.
#[derive(Clone, Copy)]
pub struct Raw {
    env: sys::napi_env,
    value: sys::napi_value,
}

impl Raw {
    /// # Safety
    /// `value` is a live value of `env`.
    pub(crate) unsafe fn new(env: sys::napi_env, value: sys::napi_value) -> Self {
        Self { env, value }
    }

    /// Converts what napi knows how to convert.
    pub(crate) fn of<T: ToNapiValue>(env: Env, value: T) -> napi::Result<Self> {
        let env = env.raw();
        // SAFETY: an `Env` is a live environment, and this is its thread.
        let value = unsafe { T::to_napi_value(env, value)? };
        Ok(Self { env, value })
    }

    /// Reads what napi knows how to read.
    pub(crate) fn get<T: FromNapiValue>(self) -> napi::Result<T> {
        // SAFETY: a `Raw` is a live value of its environment.
        unsafe { T::from_napi_value(self.env, self.value) }
    }

    pub(crate) fn value(self) -> sys::napi_value {
        self.value
    }

    pub(crate) fn env(self) -> Env {
        Env::from_raw(self.env)
    }

    pub(crate) fn kind(self) -> napi::Result<ValueType> {
        let mut kind = 0;
        // SAFETY: a `Raw` is a live value of its environment.
        check(unsafe { sys::napi_typeof(self.env, self.value, &raw mut kind) })?;
        Ok(kind.into())
    }

    /// Calls it as a function.
    ///
    /// # Errors
    /// What it threw, as the value that it is.
    pub(crate) fn call(self, args: &[Self]) -> Result<Self, Self> {
        let args: Vec<_> = args.iter().map(|it| it.value).collect();
        let (mut this, mut result) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: all values are live values of this environment, and this is its thread.
        let status = unsafe {
            sys::napi_get_undefined(self.env, &raw mut this);
            sys::napi_call_function(self.env, this, self.value, args.len(), args.as_ptr(), &raw mut result)
        };
        if status == sys::Status::napi_ok {
            return Ok(Self { env: self.env, value: result });
        }
        let mut thrown = this;
        let mut pending = false;
        // SAFETY: as above.
        unsafe {
            sys::napi_is_exception_pending(self.env, &raw mut pending);
            if pending {
                sys::napi_get_and_clear_last_exception(self.env, &raw mut thrown);
            }
        }
        Err(Self { env: self.env, value: thrown })
    }
}

impl TypeName for Raw {
    fn type_name() -> &'static str {
        "unknown"
    }

    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

impl ValidateNapiValue for Raw {
    unsafe fn validate(_: sys::napi_env, _: sys::napi_value) -> napi::Result<sys::napi_value> {
        Ok(ptr::null_mut())
    }
}

impl FromNapiValue for Raw {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        Ok(Self { env, value })
    }
}

impl ToNapiValue for Raw {
    unsafe fn to_napi_value(_: sys::napi_env, raw: Self) -> napi::Result<sys::napi_value> {
        Ok(raw.value)
    }
}

/// A value that is kept. It may be sent to other threads, and be dropped there; only the thread of its environment can
/// look at it.
pub(crate) struct Kept {
    events: Events,
    reference: sys::napi_ref,
}

// SAFETY: the reference is used through `get`, which has a value of the environment's thread as its witness, and given
// back through the environment's queue.
unsafe impl Send for Kept {}
// SAFETY: as above.
unsafe impl Sync for Kept {}

impl Kept {
    /// Keeps an object or a function.
    pub(crate) fn new(raw: Raw) -> napi::Result<Self> {
        let events = Events::of(raw.env())?;
        let mut reference = ptr::null_mut();
        // SAFETY: a `Raw` is a live value of its environment.
        check(unsafe { sys::napi_create_reference(raw.env, raw.value, 1, &raw mut reference) })?;
        Ok(Self { events, reference })
    }

    /// The value again, in the thread of its environment.
    pub(crate) fn get(&self, env: Env) -> napi::Result<Raw> {
        if !self.events.is_of(env) {
            return Err(napi::Error::from_reason("a value of another environment"));
        }
        let mut value = ptr::null_mut();
        // SAFETY: the reference is one of this environment's, and is deleted only when `self` is dropped.
        check(unsafe { sys::napi_get_reference_value(env.raw(), self.reference, &raw mut value) })?;
        Ok(Raw { env: env.raw(), value })
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        struct Reference(sys::napi_ref);
        impl Reference {
            fn delete(self, env: Env) {
                // SAFETY: created in this environment, and deleted once.
                unsafe { sys::napi_delete_reference(env.raw(), self.0) };
            }
        }
        // SAFETY: only the environment's thread gets it out of the queue.
        unsafe impl Send for Reference {}
        let reference = Reference(self.reference);
        // When the environment is gone its references are, too.
        self.events.push(move |env| reference.delete(env));
    }
}

/// Text that is ASCII crosses as it is; other text is decoded.
pub(crate) fn text(env: Env, text: &str) -> napi::Result<Raw> {
    let mut value = ptr::null_mut();
    let create = if text.is_ascii() { sys::napi_create_string_latin1 } else { sys::napi_create_string_utf8 };
    // SAFETY: pointer and length are those of a live string.
    check(unsafe { create(env.raw(), text.as_ptr().cast(), text.len() as isize, &raw mut value) })
        .map_err(|_| napi::Error::from_reason("more text than a string can hold: read it in parts"))?;
    Ok(Raw { env: env.raw(), value })
}

/// Bytes as a `Uint8Array` that JavaScript owns.
pub(crate) fn bytes(env: Env, data: Bytes) -> napi::Result<Raw> {
    /// Below it a copy costs less than a finalizer.
    const COPY: usize = 16 << 10;

    unsafe extern "C" fn free(_: sys::napi_env, _: *mut std::ffi::c_void, hint: *mut std::ffi::c_void) {
        // SAFETY: the hint is the box made below, and this is called once.
        drop(unsafe { Box::from_raw(hint.cast::<Bytes>()) });
    }

    let (raw, len) = (env.raw(), data.len());
    let (mut buffer, mut array) = (ptr::null_mut(), ptr::null_mut());
    let mut shared = false;
    // What nobody else holds is handed over: JavaScript may write to it.
    if len >= COPY && data.is_unique() {
        let start = data.as_ptr().cast_mut().cast();
        let owner = Box::into_raw(Box::new(data.clone())).cast();
        // SAFETY: the bytes live at `start` until `free` drops their owner.
        let status =
            unsafe { sys::napi_create_external_arraybuffer(raw, start, len, Some(free), owner, &raw mut buffer) };
        shared = status == sys::Status::napi_ok;
        if !shared {
            // Some hosts have no external buffers.
            // SAFETY: nobody took the box.
            drop(unsafe { Box::from_raw(owner.cast::<Bytes>()) });
        }
    }
    if !shared {
        let mut start = ptr::null_mut();
        // SAFETY: the buffer has `len` bytes at `start`, and nobody else has seen it.
        unsafe {
            check(sys::napi_create_arraybuffer(raw, len, &raw mut start, &raw mut buffer))?;
            if len > 0 {
                ptr::copy_nonoverlapping(data.as_ptr(), start.cast(), len);
            }
        }
    }
    // SAFETY: the view is within the buffer.
    check(unsafe {
        sys::napi_create_typedarray(raw, sys::TypedarrayType::uint8_array, len, buffer, 0, &raw mut array)
    })?;
    Ok(Raw { env: raw, value: array })
}

pub(crate) fn check(status: sys::napi_status) -> napi::Result<()> {
    if status == sys::Status::napi_ok {
        return Ok(());
    }
    let status = Status::from(status);
    Err(napi::Error::new(status, format!("Node-API refused a call: {status}")))
}
