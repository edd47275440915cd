//! Tokens of an issuer that publishes its keys behind a URL.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use redred::server::Server;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{TestServer, configuration};

/// Signs tokens, and says with which keys.
struct Issuer {
    address: SocketAddr,
    pairs: HashMap<&'static str, KeyPair>,
    published: Arc<Mutex<String>>,
    /// Held while no answer is to be given.
    gate: Arc<tokio::sync::Mutex<()>>,
    /// Told of each request.
    asked: Arc<Notify>,
}

impl Issuer {
    async fn start(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let published = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&published);
        let gate = Arc::new(tokio::sync::Mutex::new(()));
        let asked = Arc::new(Notify::new());
        let (closed, told) = (Arc::clone(&gate), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                told.notify_one();
                let _open = closed.lock().await;
                let body = shared.lock().expect("no panic while locked").clone();
                match &tls {
                    // Who does not trust us goes away.
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => answer(stream, &body).await,
                        Err(_) => continue,
                    },
                    None => answer(stream, &body).await,
                }
            }
        });
        Self {
            address,
            pairs: HashMap::new(),
            published,
            gate,
            asked,
        }
    }

    /// Publishes exactly these keys, made when they are new.
    fn publish(&mut self, names: &[&'static str]) {
        let mut keys = Vec::new();
        for name in names {
            let pair = self
                .pairs
                .entry(name)
                .or_insert_with(|| KeyPair::generate_for(&PKCS_ED25519).expect("a key pair"));
            let x = URL_SAFE_NO_PAD.encode(pair.der_bytes());
            keys.push(json!({ "kty": "OKP", "crv": "Ed25519", "kid": name, "x": x }));
        }
        let set = json!({ "keys": keys }).to_string();
        *self.published.lock().expect("no panic while locked") = set;
    }

    /// Waits for a request.
    async fn asked(&self) {
        let patience = Duration::from_secs(10);
        let asked = tokio::time::timeout(patience, self.asked.notified()).await;
        asked.expect("asked in time");
    }

    fn token(&self, name: &str) -> String {
        let der = self.pairs[name].serialize_der();
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(name.to_owned());
        let claims = json!({ "sub": "42", "exp": redred::auth::now_ms() / 1000 + 60 });
        jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&der)).expect("a token")
    }

    fn toml(&self) -> String {
        format!("[auth]\njwks_url = \"http://{}/keys\"\n", self.address)
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, body: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a request"));
    }
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
    let answer = format!("{head} {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.expect("written");
    stream.shutdown().await.expect("closed");
}

async fn streams(server: &TestServer, token: &str) -> StatusCode {
    let request = server.get("/api/v1/streams").bearer_auth(token);
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn a_new_key_is_known_with_the_first_token_that_names_it() {
    let mut issuer = Issuer::start(None).await;
    issuer.publish(&["one"]);
    let server = TestServer::start(&issuer.toml()).await;
    assert_eq!(streams(&server, &issuer.token("one")).await, StatusCode::OK);

    issuer.publish(&["one", "two"]);
    assert_eq!(streams(&server, &issuer.token("two")).await, StatusCode::OK);
    // Once a minute: strangers can name as many keys as they like.
    issuer.publish(&["two", "three"]);
    for _ in 0..3 {
        let status = streams(&server, &issuer.token("three")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(streams(&server, &issuer.token("two")).await, StatusCode::OK);
    let metrics = server.get("/metrics").send().await.expect("an answer");
    let metrics = metrics.text().await.expect("a body");
    assert!(
        metrics.contains("redred_auth_key_fetches_total{result=\"done\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn keys_are_fetched_when_a_reload_is_asked_for() {
    let mut issuer = Issuer::start(None).await;
    issuer.publish(&["one"]);
    let server = TestServer::start(&issuer.toml()).await;
    let token = issuer.token("one");
    assert_eq!(streams(&server, &token).await, StatusCode::OK);

    // An issuer takes back a key that was stolen: nothing about its tokens would make the server ask.
    issuer.publish(&["two"]);
    server.reloads.notify_one();
    let until_refused = async {
        while streams(&server, &token).await != StatusCode::UNAUTHORIZED {
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(10), until_refused).await;
    refused.expect("the key is gone");
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(server: &TestServer, token: &str) -> Socket {
    let url = format!("ws://{}/ws?token={token}", server.address);
    let (socket, _) = tokio_tungstenite::connect_async(url)
        .await
        .expect("a WebSocket");
    socket
}

async fn send(socket: &mut Socket, kind: &str, data: Value) {
    let message = json!({ "type": kind, "data": data, "metadata": { "id": kind } });
    let message = Message::text(message.to_string());
    socket.send(message).await.expect("an open socket");
}

/// The next message of one of the types.
async fn hear(socket: &mut Socket, kinds: &[&str]) -> Value {
    let heard = async {
        loop {
            let message = socket.next().await.expect("open").expect("a message");
            let Message::Text(text) = message else {
                continue;
            };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            if kinds.iter().any(|kind| message["type"] == *kind) {
                return message;
            }
        }
    };
    let patience = Duration::from_secs(10);
    let heard = tokio::time::timeout(patience, heard).await;
    heard.expect("a message in time")
}

#[tokio::test]
async fn a_session_goes_on_with_a_token_of_a_new_key_and_nobody_waits_for_it() {
    let mut issuer = Issuer::start(None).await;
    issuer.publish(&["one"]);
    let server = TestServer::start(&issuer.toml()).await;
    let mut session = connect(&server, &issuer.token("one")).await;
    let mut other = connect(&server, &issuer.token("one")).await;
    // The start asked as well.
    issuer.asked().await;

    issuer.publish(&["one", "two"]);
    let gate = Arc::clone(&issuer.gate).lock_owned().await;
    let token = json!({ "token": issuer.token("two") });
    send(&mut session, "refresh_token", token).await;
    issuer.asked().await;
    for socket in [&mut session, &mut other] {
        send(socket, "ping", json!({})).await;
        let answer = hear(socket, &["ack", "error"]).await;
        assert_eq!(answer["metadata"]["reply_to"], "ping", "{answer}");
    }
    drop(gate);
    let answer = hear(&mut session, &["ack", "error"]).await;
    assert_eq!(answer["type"], "ack", "{answer}");
    assert_eq!(answer["metadata"]["reply_to"], "refresh_token");

    // Once a minute, as at the door.
    issuer.publish(&["two", "three"]);
    for _ in 0..3 {
        let token = json!({ "token": issuer.token("three") });
        send(&mut session, "refresh_token", token).await;
        let answer = hear(&mut session, &["ack", "error"]).await;
        assert_eq!(answer["data"]["code"], "forbidden", "{answer}");
    }
    let metrics = server.get("/metrics").send().await.expect("an answer");
    let metrics = metrics.text().await.expect("a body");
    assert!(
        metrics.contains("redred_auth_key_fetches_total{result=\"done\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_issuer_without_keys_stops_the_start() {
    let issuer = Issuer::start(None).await;
    let error = Server::bind(configuration(&issuer.toml())).await.err();
    let error = format!("{:#}", error.expect("refused"));
    assert!(
        error.contains("auth.jwks_url: http://127.0.0.1:"),
        "{error}"
    );
    assert!(error.contains("JSON Web Key Set"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_over_https_from_whom_the_system_trusts() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made.expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root.pem");
    std::fs::write(&root, made.cert.pem()).expect("written");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = made.signing_key.serialize_der();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            key.try_into().expect("a key"),
        )
        .expect("a certificate and its key");
    let mut issuer = Issuer::start(Some(TlsAcceptor::from(Arc::new(tls)))).await;
    issuer.publish(&["one"]);

    // Told by the start of the binary: only a process of its own can be given another trust store.
    let url = format!("https://localhost:{}/keys", issuer.address.port());
    let mut trusting = serve(&url, Some(&root));
    let said = trusting.stdout.take().expect("piped");
    let said = std::io::BufRead::lines(std::io::BufReader::new(said));
    let is_live = said
        .map_while(Result::ok)
        .any(|line| line.contains("redred is live at"));
    trusting.kill().expect("runs");
    trusting.wait().expect("ends");
    assert!(is_live);

    let distrusting = serve(&url, None).wait_with_output().expect("ends");
    assert_eq!(distrusting.status.code(), Some(1));
    let said = String::from_utf8_lossy(&distrusting.stderr).into_owned();
    assert!(said.contains("auth.jwks_url: https://localhost:"), "{said}");
}

fn serve(url: &str, root: Option<&std::path::Path>) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redred"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--udp-port-base", "0"])
        .args(["--store", "sqlite::memory:"])
        .env_clear()
        .env("REDRED_AUTH__JWKS_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(root) = root {
        command.env("SSL_CERT_FILE", root);
    }
    command.spawn().expect("runs")
}

#[test]
fn key_sets_are_taken_over_https_only_but_from_this_machine() {
    for (url, is_good) in [
        ("https://id.example.org/jwks.json", true),
        ("http://localhost:8081/jwks.json", true),
        ("http://[::1]/jwks.json", true),
        ("http://id.example.org/jwks.json", false),
        ("http://localhost.example.org/", false),
        ("https://ana:secret@id.example.org/", false),
        ("ftp://localhost/jwks.json", false),
        ("jwks.json", false),
    ] {
        let sources = redred::config::Sources {
            env: vec![("REDRED_AUTH__JWKS_URL".to_owned(), url.to_owned())],
            ..redred::config::Sources::default()
        };
        assert_eq!(redred::config::merge(sources).is_ok(), is_good, "{url}");
    }
    let both = "[auth]\njwks_url = \"https://id.example.org/\"\njwks_file = \"keys.json\"";
    let sources = redred::config::Sources {
        file: Some(("test.toml".to_owned(), Ok(both.to_owned()))),
        ..redred::config::Sources::default()
    };
    let faults = redred::config::merge(sources)
        .expect_err("refused")
        .to_string();
    assert!(
        faults.contains("either auth.jwks_url or auth.jwks_file"),
        "{faults}"
    );
}
