//! How requests are sent, and what all handles of a client share.

use std::sync::Arc;

use everstream::Client as CoreClient;
use js_sys::Function;
use wasm_bindgen::prelude::{JsValue, wasm_bindgen};

use crate::error;
use crate::fetch::FetchTransport;
use crate::value::Fields;

/// A function that sends requests, and what handles have in common.
#[wasm_bindgen]
pub struct Client {
    core: CoreClient,
}

#[wasm_bindgen]
impl Client {
    /// # Errors
    /// `INVALID_ARGUMENT` for a base URL that is none.
    #[wasm_bindgen(constructor)]
    pub fn new(options: JsValue, carry: Function) -> Result<Self, JsValue> {
        let mut builder = CoreClient::builder().transport(Arc::new(FetchTransport::new(carry)));
        if let Some(url) = Fields::new(options).text("baseUrl") {
            builder = builder.base_url(url);
        }
        let core = builder.build().map_err(|refused| error::value(&refused))?;
        Ok(Self { core })
    }
}

impl Client {
    pub(crate) fn core(&self) -> &CoreClient {
        &self.core
    }
}
