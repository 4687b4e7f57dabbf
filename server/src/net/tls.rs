//! TLS by rustls: handshakes, certificates that can change while the server runs, and who a client proved to be.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::config::{ClientAuth, ConfigError, Tls as Settings};

/// Speaks TLS with whatever the files say at present.
pub(crate) struct Tls {
    settings: Settings,
    current: RwLock<Arc<ServerConfig>>,
    /// The files that were last tried, so that one change is tried and reported once.
    tried: Mutex<Files>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Who a client is, by the certificate that it showed and that an authority of the configuration vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientIdentity {
    /// The subject, such as `CN=shop-1, O=Example`.
    pub(crate) subject: String,
    /// DNS names, URIs and mail addresses that the certificate is for.
    pub(crate) names: Vec<String>,
}

#[derive(PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files; `None` if there is no TLS.
    ///
    /// # Errors
    /// A file cannot be read or used.
    pub(crate) fn load(settings: &Settings) -> Result<Option<Self>, ConfigError> {
        if !settings.is_on() {
            return Ok(None);
        }
        let files = Files::read(settings)?;
        let config = files.config(settings)?;
        Ok(Some(Self { settings: settings.clone(), current: RwLock::new(Arc::new(config)), tried: Mutex::new(files) }))
    }

    /// Looks at the files again. If they have changed, new connections get what they say; connections that are open go
    /// on as they are. Whether they had changed.
    ///
    /// # Errors
    /// They have changed, but cannot be used: what was there before stays.
    pub(crate) fn reload(&self) -> Result<bool, ConfigError> {
        let files = Files::read(&self.settings)?;
        let mut tried = self.tried.lock();
        if *tried == files {
            return Ok(false);
        }
        let config = files.config(&self.settings);
        *tried = files;
        *self.current.write() = Arc::new(config?);
        Ok(true)
    }

    /// Shakes hands.
    pub(super) async fn accept(&self, socket: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<ClientIdentity>)> {
        let config = Arc::clone(&self.current.read());
        let stream = TlsAcceptor::from(config).accept(socket).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let identity = certificate.and_then(|certificate| identity(certificate));
        Ok((stream, identity))
    }
}

impl Files {
    fn read(settings: &Settings) -> Result<Self, ConfigError> {
        let read = |key: &str, path: &Path| {
            fs::read(path).map_err(|error| ConfigError::new(format!("{key}: cannot read {}: {error}", path.display())))
        };
        Ok(Self {
            cert: read("tls.cert", &settings.cert)?,
            key: read("tls.key", &settings.key)?,
            client_ca: match settings.client_ca.as_os_str().is_empty() {
                true => None,
                false => Some(read("tls.client_ca", &settings.client_ca)?),
            },
        })
    }

    fn config(&self, settings: &Settings) -> Result<ServerConfig, ConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable = |key: &str, path: &Path, why: &dyn std::fmt::Display| {
            ConfigError::new(format!("{key}: {} cannot be used: {why}", path.display()))
        };
        let certs = certificates(&self.cert).map_err(|why| unusable("tls.cert", &settings.cert, &why))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|why| unusable("tls.key", &settings.key, &why))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|why| unusable("tls.cert", &settings.cert, &why))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(pem) => {
                let refused = |why: &dyn std::fmt::Display| unusable("tls.client_ca", &settings.client_ca, why);
                let mut roots = RootCertStore::empty();
                for certificate in certificates(pem).map_err(|why| refused(&why))? {
                    roots.add(certificate).map_err(|why| refused(&why))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match settings.client_auth {
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                    ClientAuth::Required => verifier,
                };
                builder.with_client_cert_verifier(verifier.build().map_err(|why| refused(&why))?)
            }
        };
        let mut config =
            builder.with_single_cert(certs, key).map_err(|why| unusable("tls.cert", &settings.cert, &why))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    }
}

/// `None` for what is no X.509, which rustls has refused before.
fn identity(certificate: &CertificateDer<'_>) -> Option<ClientIdentity> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let names =
        alternatives.iter().flat_map(|extension| &extension.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        });
    Some(ClientIdentity { subject: certificate.subject().to_string(), names: names.collect() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn an_identity_has_the_subject_and_the_names_of_the_certificate() {
        let mut params = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "shop-1");
        params.subject_alt_names.push(SanType::URI("spiffe://example/shop".try_into().unwrap()));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let identity = identity(certificate.der()).unwrap();
        assert!(identity.subject.contains("CN=shop-1"), "{}", identity.subject);
        assert_eq!(identity.names, ["shop.example", "spiffe://example/shop"]);
    }
}
