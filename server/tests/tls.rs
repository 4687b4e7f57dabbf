//! TLS over real sockets: both versions of HTTP, certificates that change, and clients that prove who they are.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use everstream_server::config::{ClientAuth, Config};
use everstream_server::{RunningServer, Server, StartError};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority, and what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate and its key, as DER and as PEM.
struct Signed {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Signed { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }

    /// A client that trusts this authority, perhaps with a certificate of its own.
    fn client(&self, protocol: &str, own: Option<&Signed>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::try_from(own.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![own.certificate.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config
    }
}

fn write(dir: &Path, signed: &Signed) {
    fs::write(dir.join("key.pem"), signed.key.serialize_pem()).unwrap();
    fs::write(dir.join("cert.pem"), &signed.pem).unwrap();
}

fn config(dir: &Path) -> Config {
    let mut config = Config::default();
    (config.tls.cert, config.tls.key) = (dir.join("cert.pem"), dir.join("key.pem"));
    config
}

async fn start(config: Config) -> Result<RunningServer, StartError> {
    Server::builder().config(config).bind(([127, 0, 0, 1], 0)).start().await
}

async fn connect(server: &RunningServer, client: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(server.addr()).await.unwrap();
    TlsConnector::from(Arc::new(client)).connect(ServerName::try_from("server.test").unwrap(), socket).await
}

fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn get(path: &str) -> hyper::Request<Full<Bytes>> {
    hyper::Request::get(format!("https://server.test{path}"))
        .header("host", "server.test")
        .body(Full::default())
        .unwrap()
}

/// One HTTP/1.1 request; the error is that of the handshake or of the connection.
async fn ask(server: &RunningServer, client: ClientConfig) -> Result<u16, Box<dyn std::error::Error>> {
    ask_for(server, client, "/healthz").await
}

async fn ask_for(server: &RunningServer, client: ClientConfig, path: &str) -> Result<u16, Box<dyn std::error::Error>> {
    let stream = connect(server, client).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(get(path)).await?.status().as_u16())
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_over_tls() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    write(dir.path(), &authority.sign("server.test"));
    let server = start(config(dir.path())).await.unwrap();
    assert!(server.url().starts_with("https://127.0.0.1:"), "{}", server.url());
    assert_eq!(ask(&server, authority.client("http/1.1", None)).await.unwrap(), 200);

    let stream = connect(&server, authority.client("h2", None)).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let put = hyper::Request::put("https://server.test/v1/stream/s").header("content-type", "text/plain");
    let created = sender.send_request(put.body(Full::<Bytes>::from("hello")).unwrap()).await.unwrap();
    assert_eq!(created.status(), 201);
    let read = hyper::Request::get("https://server.test/v1/stream/s").body(Full::<Bytes>::default()).unwrap();
    let read = sender.send_request(read).await.unwrap();
    assert_eq!(read.into_body().collect().await.unwrap().to_bytes(), "hello");
    drop(sender);
    tokio::time::timeout(support::LIMIT, server.shutdown()).await.unwrap();
}

#[tokio::test]
async fn changed_files_are_used_for_new_connections_and_open_ones_go_on() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let (first, second, third) =
        (authority.sign("server.test"), authority.sign("server.test"), authority.sign("server.test"));
    write(dir.path(), &first);
    let mut config = config(dir.path());
    config.tls.reload_interval = Duration::from_secs(3600);
    let server = start(config.clone()).await.unwrap();
    let stream = connect(&server, authority.client("http/1.1", None)).await.unwrap();
    assert_eq!(shown(&stream), first.certificate);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(sender.send_request(get("/healthz")).await.unwrap().status(), 200);

    assert!(!server.reload_tls().unwrap(), "nothing has changed");
    write(dir.path(), &second);
    assert!(server.reload_tls().unwrap());
    assert_eq!(shown(&connect(&server, authority.client("http/1.1", None)).await.unwrap()), second.certificate);
    sender.ready().await.unwrap();
    assert_eq!(sender.send_request(get("/healthz")).await.unwrap().status(), 200, "the open connection goes on");

    // What cannot be used changes nothing: here a certificate without its key.
    fs::write(dir.path().join("cert.pem"), &third.pem).unwrap();
    let error = server.reload_tls().unwrap_err().to_string();
    assert!(error.contains("cert.pem cannot be used"), "{error}");
    assert_eq!(shown(&connect(&server, authority.client("http/1.1", None)).await.unwrap()), second.certificate);

    // The server looks by itself too.
    config.tls.reload_interval = Duration::from_millis(10);
    write(dir.path(), &first);
    let server = start(config).await.unwrap();
    write(dir.path(), &third);
    support::eventually("the new certificate is shown", async || {
        let stream = connect(&server, authority.client("http/1.1", None)).await.unwrap();
        shown(&stream) == third.certificate
    })
    .await;
}

#[tokio::test]
async fn clients_must_prove_who_they_are_if_there_is_an_authority_for_them() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    let (others, stranger) = (Authority::new(), Authority::new());
    write(dir.path(), &authority.sign("server.test"));
    fs::write(dir.path().join("ca.pem"), &others.pem).unwrap();
    let (known, unknown) = (others.sign("shop.test"), stranger.sign("shop.test"));
    let mut config = config(dir.path());
    config.tls.client_ca = dir.path().join("ca.pem");
    for (auth, without) in [(ClientAuth::Required, false), (ClientAuth::Optional, true)] {
        config.tls.client_auth = auth;
        let server = start(config.clone()).await.unwrap();
        let client = |own| ask(&server, authority.client("http/1.1", own));
        assert_eq!(client(Some(&known)).await.unwrap(), 200);
        assert!(client(Some(&unknown)).await.is_err(), "a stranger is refused");
        assert_eq!(client(None).await.is_ok(), without, "{auth:?}");
    }
}

#[tokio::test]
async fn what_is_not_tls_gets_no_answer_and_harms_nobody() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    write(dir.path(), &authority.sign("server.test"));
    let mut config = config(dir.path());
    config.limits.header_timeout = Duration::from_millis(100);
    let server = start(config).await.unwrap();
    let mut plain = support::Connection::open(&server).await;
    plain.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(plain.ended().await);
    let mut silent = support::Connection::open(&server).await;
    assert!(silent.is_closed().await, "a handshake that does not begin ends too");
    assert_eq!(ask(&server, authority.client("http/1.1", None)).await.unwrap(), 200);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let dir = TempDir::new().unwrap();
    let mut config = config(dir.path());
    let error = start(config.clone()).await.unwrap_err().to_string();
    assert!(error.starts_with("tls.cert: cannot read ") && error.contains("cert.pem"), "{error}");
    write(dir.path(), &Authority::new().sign("server.test"));
    fs::write(dir.path().join("cert.pem"), "no certificate").unwrap();
    let error = start(config.clone()).await.unwrap_err().to_string();
    assert!(error.contains("there is no certificate in it"), "{error}");
    config.tls.key = std::path::PathBuf::new();
    let error = start(config).await.unwrap_err().to_string();
    assert_eq!(error, "tls.key: a certificate needs its key");
}

#[tokio::test]
async fn a_certificate_gets_what_its_rules_allow() {
    let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
    write(dir.path(), &authority.sign("server.test"));
    fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let mut config = config(dir.path());
    config.tls.client_ca = dir.path().join("ca.pem");
    config.tls.client_auth = ClientAuth::Optional;
    config.access = serde_json::from_value(serde_json::json!({"certificates": [
        {"name": "reader.test", "grants": [{"streams": ["**"], "allow": ["read"]}]},
    ]}))
    .unwrap();
    let server = start(config).await.unwrap();
    let (known, unknown) = (authority.sign("reader.test"), authority.sign("other.test"));
    // The stream is not there, which only who may read it learns.
    for (own, status) in [(Some(&known), 404), (Some(&unknown), 401), (None, 401)] {
        let answer = ask_for(&server, authority.client("http/1.1", own), "/v1/stream/absent").await;
        assert_eq!(answer.unwrap(), status);
    }
}
