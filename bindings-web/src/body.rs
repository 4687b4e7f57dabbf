//! Bodies of answers that the page keeps: their bytes come here only where the core has to look at them.

use std::sync::Arc;

use bytes::Bytes;
use everstream::{Batch, HostBody, ParsedArray, Piece};
use js_sys::{Array, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    /// One of `ts/web/body.ts`.
    #[derive(Clone, Debug)]
    pub type PageBody;

    #[wasm_bindgen(method, getter)]
    fn length(this: &PageBody) -> u32;

    #[wasm_bindgen(method)]
    fn bytes(this: &PageBody) -> Uint8Array;

    #[wasm_bindgen(method)]
    fn clear(this: &PageBody);

    #[wasm_bindgen(method)]
    fn parse(this: &PageBody) -> JsValue;
}

/// There is more of a body.
pub(crate) fn piece(body: PageBody) -> Piece {
    Piece::Host(Arc::new(Kept(SendWrapper::new(body))))
}

#[derive(Debug)]
struct Kept(SendWrapper<PageBody>);

/// What became of a body, and the body.
type Parsed = SendWrapper<(Array, PageBody)>;

impl HostBody for Kept {
    fn held(&self) -> usize {
        self.0.length() as usize
    }

    fn bytes(&self) -> Bytes {
        self.0.bytes().to_vec().into()
    }

    fn clear(&self) {
        self.0.clear();
    }

    fn parse(&self) -> Option<ParsedArray> {
        let array: Array = self.0.parse().dyn_into().ok()?;
        let len = array.length().into();
        Some(ParsedArray { len, value: Arc::new(Parsed::new((array, PageBody::clone(&self.0)))) })
    }
}

/// The messages, where the page has parsed them; then their text is gone.
pub(crate) fn take_parsed(batch: &Batch) -> Option<Array> {
    let (array, body) = &**batch.parsed()?.value.downcast_ref::<Parsed>()?;
    body.clear();
    Some(array.clone())
}
