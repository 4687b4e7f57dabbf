//! Values of JavaScript: fields of option objects, result objects, and data.

use bytes::Bytes;
use everstream::headers::HeaderValue;
use js_sys::{Object, Reflect, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue};

/// An object of TypeScript's whose fields may be missing.
pub(crate) struct Fields(JsValue);

impl Fields {
    pub(crate) fn new(object: JsValue) -> Self {
        Self(object)
    }

    /// A field, unless it is `undefined` or `null`.
    pub(crate) fn get(&self, name: &str) -> Option<JsValue> {
        let value = Reflect::get(&self.0, &JsValue::from_str(name)).ok()?;
        (!value.is_undefined() && !value.is_null()).then_some(value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.as_string()
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.as_f64()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }

    pub(crate) fn function(&self, name: &str) -> Option<js_sys::Function> {
        self.get(name)?.dyn_into().ok()
    }

    /// Fields of an object in it.
    pub(crate) fn fields(&self, name: &str) -> Option<Self> {
        self.get(name).map(Self)
    }

    /// All of them, in order.
    pub(crate) fn entries(&self) -> Vec<(String, JsValue)> {
        let Some(object) = self.0.dyn_ref::<Object>() else { return Vec::new() };
        let names = Object::keys(object);
        names.iter().filter_map(|name| Some((name.as_string()?, Reflect::get(object, &name).ok()?))).collect()
    }
}

/// A plain object.
pub(crate) fn object<const N: usize>(fields: [(&str, JsValue); N]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        set(&object, name, value);
    }
    object.into()
}

pub(crate) fn set(object: &Object, name: &str, value: impl Into<JsValue>) {
    // Nothing can refuse a field of an object that is new and plain.
    let _ = Reflect::set(object, &JsValue::from_str(name), &value.into());
}

/// The value of a header. In a page it is always text.
pub(crate) fn header(value: &HeaderValue) -> &str {
    std::str::from_utf8(value.as_bytes()).unwrap_or_default()
}

/// `null` for nothing.
pub(crate) fn nullable(value: Option<impl Into<JsValue>>) -> JsValue {
    value.map_or(JsValue::NULL, Into::into)
}

/// The text of a string or the bytes of a `Uint8Array`, copied.
///
/// # Errors
/// A `TypeError` for anything else.
pub(crate) fn data(value: &JsValue) -> Result<Bytes, JsValue> {
    if let Some(text) = value.as_string() {
        return Ok(text.into());
    }
    match value.dyn_ref::<Uint8Array>() {
        Some(bytes) => Ok(bytes.to_vec().into()),
        None => Err(js_sys::TypeError::new("data must be a string or a Uint8Array").into()),
    }
}

/// [`data`], or nothing.
///
/// # Errors
/// As there.
pub(crate) fn optional_data(value: &JsValue) -> Result<Option<Bytes>, JsValue> {
    if value.is_undefined() || value.is_null() { Ok(None) } else { data(value).map(Some) }
}
