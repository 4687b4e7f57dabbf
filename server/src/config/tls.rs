//! `[tls]`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConfigError, units};

/// Where certificates are. Without a certificate the server speaks plain HTTP.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Tls {
    /// The certificate chain, as PEM, the server's own first. Default empty: no TLS.
    pub cert: PathBuf,
    /// The private key of the certificate, as PEM. Default empty.
    pub key: PathBuf,
    /// Certificates of the authorities that may vouch for clients, as PEM. Default empty: clients show no certificate.
    pub client_ca: PathBuf,
    /// Whether a client without a certificate may connect when there is a [`client_ca`](Self::client_ca). Default
    /// `required`: it may not.
    pub client_auth: ClientAuth,
    /// How often the files are looked at for a change. Default 10 s; a change applies to new connections.
    #[serde(with = "units::duration")]
    pub reload_interval: Duration,
}

/// What is asked of clients when there is an authority for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ClientAuth {
    /// A certificate that is shown must be valid; there may be none.
    Optional,
    /// A valid certificate.
    #[default]
    Required,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert: PathBuf::new(),
            key: PathBuf::new(),
            client_ca: PathBuf::new(),
            client_auth: ClientAuth::default(),
            reload_interval: Duration::from_secs(10),
        }
    }
}

impl Tls {
    /// Whether the server speaks TLS.
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let given = |path: &PathBuf| !path.as_os_str().is_empty();
        match (given(&self.cert), given(&self.key)) {
            (true, false) => Err(ConfigError::new("tls.key: a certificate needs its key".to_owned())),
            (false, true) => Err(ConfigError::new("tls.cert: a key needs its certificate".to_owned())),
            (false, false) if given(&self.client_ca) => Err(ConfigError::new(
                "tls.client_ca: clients are asked for certificates over TLS only; set tls.cert".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}
