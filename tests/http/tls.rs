//! HTTPS with certificates from files.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{TestServer, configuration};

struct Files {
    _folder: tempfile::TempDir,
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
    toml: String,
}

fn files() -> Files {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let certificate = certificate.expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&cert, certificate.cert.pem()).expect("writes");
    std::fs::write(&key, certificate.signing_key.serialize_pem()).expect("writes");
    let toml = format!(
        "[http.tls]\ncert = {cert:?}\nkey = {key:?}\n[http]\nhandshake_timeout = \"300ms\""
    );
    Files {
        _folder: folder,
        certificate,
        toml,
    }
}

#[tokio::test]
async fn https_is_served_with_the_configured_certificate() {
    let files = files();
    let server = TestServer::start(&files.toml).await;
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(files.certificate.cert.der().clone())
        .expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(server.address).await.expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut tls = TlsConnector::from(Arc::new(client))
        .connect(name, tcp)
        .await
        .expect("TLS");
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    tls.write_all(request).await.expect("writes");
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await.expect("an answer");
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_closed_at_the_deadline() {
    let server = TestServer::start(&files().toml).await;
    let mut silent = TcpStream::connect(server.address).await.expect("connects");
    let mut nothing = Vec::new();
    silent.read_to_end(&mut nothing).await.expect("an end");
    assert!(nothing.is_empty());
}

#[tokio::test]
async fn files_that_do_not_fit_are_named() {
    let (one, other) = (files(), files());
    let cert = one.toml.lines().nth(1).expect("cert");
    let key = other.toml.lines().nth(2).expect("key");
    for (toml, expected) in [
        (format!("[http.tls]\n{cert}\n{key}\n"), "http.tls"),
        (
            format!("[http.tls]\n{cert}\nkey = \"/nowhere\"\n"),
            "http.tls.key",
        ),
        (
            format!("[http.tls]\ncert = \"/nowhere\"\n{key}\n"),
            "http.tls.cert",
        ),
    ] {
        let error = redred::server::Server::bind(configuration(&toml))
            .await
            .err()
            .expect("refused");
        assert!(format!("{error:#}").contains(expected), "{error:#}");
    }
}
