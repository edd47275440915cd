//! HTTPS with certificates from files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{TestServer, configuration};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

struct Files {
    folder: tempfile::TempDir,
    certificate: rcgen::CertifiedKey<rcgen::KeyPair>,
    toml: String,
}

fn files() -> Files {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = renew(folder.path());
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let toml = format!(
        "[http.tls]\ncert = {cert:?}\nkey = {key:?}\n[http]\nhandshake_timeout = \"300ms\""
    );
    Files {
        folder,
        certificate,
        toml,
    }
}

/// Writes a new certificate and its key where the old ones are.
fn renew(folder: &Path) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let certificate = certificate.expect("a certificate");
    let key = certificate.signing_key.serialize_pem();
    std::fs::write(folder.join("cert.pem"), certificate.cert.pem()).expect("writes");
    std::fs::write(folder.join("key.pem"), key).expect("writes");
    certificate
}

/// A TLS connection of a client that trusts only this certificate.
async fn connect(
    server: &TestServer,
    certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tcp = TcpStream::connect(server.address).await.expect("connects");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(client))
        .connect(name, tcp)
        .await
}

/// The answer to a request over a new connection.
async fn get(
    server: &TestServer,
    certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
    path: &str,
) -> std::io::Result<String> {
    let mut tls = connect(server, certificate).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Asks until the answer over a new connection holds a text.
async fn until(
    server: &TestServer,
    certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
    path: &str,
    expected: &str,
) {
    let asking = async {
        while !get(server, certificate, path)
            .await
            .is_ok_and(|answer| answer.contains(expected))
        {}
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .unwrap_or_else(|_| panic!("{path} never said {expected}"));
}

/// Sends a request over WSS and waits for its answer.
async fn still_talks(socket: &mut WebSocketStream<TlsStream<TcpStream>>) {
    let ping = r#"{"type":"ping","data":{},"metadata":{"id":"p"}}"#;
    socket.send(Message::text(ping)).await.expect("sent");
    loop {
        let message = socket.next().await.expect("open").expect("a message");
        if message.is_text()
            && message
                .to_text()
                .expect("text")
                .contains("\"reply_to\":\"p\"")
        {
            return;
        }
    }
}

#[tokio::test]
async fn https_is_served_with_the_configured_certificate() {
    let files = files();
    let server = TestServer::start(&files.toml).await;
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let answer = get(&server, &files.certificate, "/healthz").await;
    let answer = answer.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let stranger = self::files().certificate;
    assert!(get(&server, &stranger, "/healthz").await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_up_when_asked_and_a_bad_one_is_not() {
    let files = files();
    let server = TestServer::start(&files.toml).await;
    let old = &files.certificate;
    let body = r#"{"name":"Ana"}"#;
    let mut tls = connect(&server, old).await.expect("TLS");
    let request = format!(
        "POST /api/v1/dev/token HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tls.write_all(request.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.expect("an answer");
    let answer: serde_json::Value =
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
    let token = answer["token"].as_str().expect("a token");
    let url = format!("wss://localhost:{}/ws?token={token}", server.address.port());
    let tls = connect(&server, old).await.expect("TLS");
    let (mut socket, _) = client_async(url, tls).await.expect("a WebSocket");
    still_talks(&mut socket).await;

    let new = renew(files.folder.path());
    server.reloads.notify_one();
    until(&server, &new, "/healthz", "HTTP/1.1 200").await;
    assert!(connect(&server, old).await.is_err(), "no longer shown");
    still_talks(&mut socket).await;

    std::fs::write(files.folder.path().join("cert.pem"), "no certificate").expect("writes");
    server.reloads.notify_one();
    let failed = "redred_tls_reloads_total{result=\"failed\"} 1";
    until(&server, &new, "/metrics", failed).await;
    let done = "redred_tls_reloads_total{result=\"done\"} 1";
    until(&server, &new, "/metrics", done).await;
    still_talks(&mut socket).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_found_without_a_signal() {
    let files = files();
    let toml = files
        .toml
        .replace("[http]", "reload_interval = \"1s\"\n[http]");
    let server = TestServer::start(&toml).await;
    let new = renew(files.folder.path());
    until(&server, &new, "/healthz", "HTTP/1.1 200").await;
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_closed_at_the_deadline() {
    let files = files();
    let server = TestServer::start(&files.toml).await;
    // Nothing, and the beginning of a ClientHello.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut silent = TcpStream::connect(server.address).await.expect("connects");
        silent.write_all(bytes).await.expect("writes");
        let mut nothing = Vec::new();
        // A reset is an end as well.
        let _ = silent.read_to_end(&mut nothing).await;
        assert!(nothing.is_empty());
    }
    let counted = "redred_ws_handshake_failures_total{reason=\"deadline\"} 2";
    until(&server, &files.certificate, "/metrics", counted).await;
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
