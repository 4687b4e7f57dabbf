//! `[otlp]`.

use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Where traces of requests go: to a collector that speaks OTLP over HTTP. Only in builds with the feature `otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OtlpConfig {
    /// The collector, such as `http://127.0.0.1:4318`; `/v1/traces` is added. Default empty: no traces.
    pub endpoint: String,
    /// What the server is called in them. Default `everstream`.
    pub service_name: String,
    /// Which part of the requests that belong to no trace yet begins one, 0 to 1. Default 1. A request that belongs to
    /// one is sent if that one is.
    pub sample_ratio: f64,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self { endpoint: String::new(), service_name: "everstream".to_owned(), sample_ratio: 1.0 }
    }
}

impl OtlpConfig {
    /// Whether there are to be traces.
    pub fn is_on(&self) -> bool {
        !self.endpoint.is_empty()
    }

    pub(super) fn check(&mut self) -> Result<(), ConfigError> {
        self.endpoint = self.endpoint.trim().trim_end_matches('/').to_owned();
        if !self.is_on() {
            return Ok(());
        }
        if cfg!(not(feature = "otlp")) {
            let message = "otlp.endpoint: this program was built without the feature `otlp`";
            return Err(ConfigError::new(message.to_owned()));
        }
        if everstream::proto::url::StreamUrl::parse(&self.endpoint).is_err() {
            let message = format!("otlp.endpoint: `{}` must be an http:// or https:// URL", self.endpoint);
            return Err(ConfigError::new(message));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(ConfigError::new("otlp.sample_ratio: it must be 0 to 1".to_owned()));
        }
        Ok(())
    }
}
