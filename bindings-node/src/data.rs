//! What JavaScript hands over to be stored.

use std::ptr;

use bytes::Bytes;
use napi::bindgen_prelude::{FromNapiValue, TypeName, ValidateNapiValue};
use napi::{Status, ValueType, sys};

use crate::value::{Raw, check};

/// The text of a string or the bytes of a `Uint8Array`, copied.
pub struct Data(pub(crate) Bytes);

impl Data {
    fn of_string(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Bytes> {
        /// What is shorter is read at once, what is not is measured before.
        const AT_ONCE: usize = 1024;
        let mut small = [0_u8; AT_ONCE];
        let mut len = 0;
        // SAFETY: Node-API writes at most as much as it is told there is room for, its closing zero included.
        unsafe {
            check(sys::napi_get_value_string_utf8(env, value, small.as_mut_ptr().cast(), AT_ONCE, &raw mut len))?;
            // A character is up to four bytes, and none is cut.
            if len + 5 < AT_ONCE {
                return Ok(Bytes::copy_from_slice(&small[..len]));
            }
            check(sys::napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &raw mut len))?;
            let mut text = Vec::<u8>::with_capacity(len + 1);
            check(sys::napi_get_value_string_utf8(env, value, text.as_mut_ptr().cast(), len + 1, &raw mut len))?;
            text.set_len(len);
            Ok(text.into())
        }
    }

    fn of_array(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Bytes> {
        let (mut kind, mut len, mut start, mut offset) = (0, 0, ptr::null_mut(), 0);
        // SAFETY: the bytes are there, and stay as they are, until JavaScript runs again.
        unsafe {
            check(sys::napi_get_typedarray_info(
                env,
                value,
                &raw mut kind,
                &raw mut len,
                &raw mut start,
                ptr::null_mut(),
                &raw mut offset,
            ))?;
            if kind != sys::TypedarrayType::uint8_array || len == 0 {
                return if len == 0 { Ok(Bytes::new()) } else { Err(refused()) };
            }
            Ok(Bytes::copy_from_slice(std::slice::from_raw_parts(start.cast::<u8>(), len)))
        }
    }
}

fn refused() -> napi::Error {
    napi::Error::new(Status::InvalidArg, "data must be a string or a Uint8Array")
}

impl TypeName for Data {
    fn type_name() -> &'static str {
        "string | Uint8Array"
    }

    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

impl ValidateNapiValue for Data {
    unsafe fn validate(_: sys::napi_env, _: sys::napi_value) -> napi::Result<sys::napi_value> {
        Ok(ptr::null_mut())
    }
}

impl FromNapiValue for Data {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> napi::Result<Self> {
        // SAFETY: the caller's promise.
        let raw = unsafe { Raw::new(env, value) };
        match raw.kind()? {
            ValueType::String => Self::of_string(env, value),
            ValueType::Object => Self::of_array(env, value),
            _ => Err(refused()),
        }
        .map(Self)
    }
}
