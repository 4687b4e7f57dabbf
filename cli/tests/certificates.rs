//! Which certificates the client trusts, and when it asks the system for them.
#![cfg(all(unix, not(target_vendor = "apple")))]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use everstream_server::config::Config;
use rcgen::{CertificateParams, KeyPair};
use support::{Cli, Run, Setup, finish};
use tempfile::TempDir;

/// Runs it where the system has these certificates and no others.
async fn run(cli: &Cli, certificates: &Path, args: &[&str]) -> Run {
    let mut command = cli.command(args);
    command.env("SSL_CERT_FILE", certificates).env("SSL_CERT_DIR", certificates.with_extension("none"));
    finish(command.spawn().unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_is_trusted_if_the_system_trusts_it() {
    let dir = TempDir::new().unwrap();
    let (trusted, other) = (dir.path().join("trusted.pem"), dir.path().join("other.pem"));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(&trusted, certificate.pem()).unwrap();
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    let another = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    fs::write(&other, another.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()).unwrap();

    let mut config = Config::default();
    (config.tls.cert, config.tls.key) = (trusted.clone(), dir.path().join("key.pem"));
    let Setup { server, .. } = Setup::with(|server| server.config(config).bind(([127, 0, 0, 1], 0))).await;
    let cli = Cli::new(format!("https://localhost:{}{}", server.addr().port(), everstream::proto::names::STREAM_ROOT));

    let missing = dir.path().join("missing.pem");
    // Those that fail are tried for a while.
    let (first, second, third) = tokio::join!(
        run(&cli, &trusted, &["create", "a"]),
        run(&cli, &other, &["create", "b"]),
        run(&cli, &missing, &["create", "c"]),
    );
    first.ok();
    let error = second.fails();
    assert!(error.contains("certificate"), "{error}");
    let error = third.fails();
    assert!(error.contains("No CA certificates"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_needs_no_certificates() {
    let setup = Setup::new().await;
    run(&setup.cli, Path::new("/missing.pem"), &["create", "a"]).await.ok();
}
