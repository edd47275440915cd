//! The HTTP side as a stranger meets it: a server in this process, on a port of its own, and a plain HTTP client.
//! Every response is compared with what `openapi.json` documents.

mod api;
mod cli;
mod documents;
mod floods;
mod keys;
mod limits;
mod messaging;
mod notifications;
mod origins;
mod rooms;
mod scopes;
mod tls;
mod tokens;
mod whip;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redred::auth::{Signed, Verifier};
use redred::config::{self, Config, Sources};
use redred::server::{Exit, Server};
use redred_signaling::grants::{Grants, User};
use redred_signaling::id::UserId;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

/// Of the servers here that are not in dev mode.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A key of the servers here that are not in dev mode.
const API_KEY: &str = "an-api-key-of-the-tests";

/// An offer as browsers make them, with a VP8 track and an Opus track.
const OFFER: &str = include_str!("offer.sdp");

/// A server of this process. It stops when it is dropped.
struct TestServer {
    url: String,
    address: SocketAddr,
    phase: redred::shutdown::Shutdown,
    reloads: Arc<Notify>,
    stop: mpsc::Sender<()>,
    running: JoinHandle<Exit>,
    http: Client,
}

impl TestServer {
    /// A server in dev mode.
    async fn dev() -> Self {
        Self::start("").await
    }

    /// A server with authentication.
    async fn closed() -> Self {
        Self::start(&format!(
            "[auth]\nsecret = \"{SECRET}\"\napi_keys = [\"{API_KEY}\"]\n"
        ))
        .await
    }

    /// A server with some keys set.
    async fn start(toml: &str) -> Self {
        let server = Server::bind(configuration(toml)).await.expect("starts");
        let (stop, requests) = mpsc::channel(2);
        Self {
            url: server.url(),
            address: server.http_addr(),
            phase: server.phase(),
            reloads: server.reloads(),
            stop,
            running: tokio::spawn(server.run(requests)),
            http: Client::new(),
        }
    }

    /// Asks the server to stop and says how it did.
    async fn stopped(self) -> Exit {
        self.stop.send(()).await.expect("runs");
        self.running.await.expect("ends well")
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// A token of dev mode.
    async fn dev_token(&self, sub: &str, grants: Value) -> String {
        let asked = json!({ "sub": sub, "name": sub, "grants": grants });
        let answer = self.post("/api/v1/dev/token").json(&asked).send().await;
        let answer: Value = answer.expect("answers").json().await.expect("JSON");
        answer["token"].as_str().expect("a token").to_owned()
    }
}

/// A configuration on ports of its own, that leaves no files.
fn configuration(toml: &str) -> Config {
    let own = [
        ("http.listen", "--listen", "127.0.0.1:0"),
        ("sfu.udp_port_base", "--udp-port-base", "0"),
        ("sfu.listen_ip", "--media", "127.0.0.1"),
        ("sfu.workers", "--workers", "1"),
        ("store.url", "--store", "sqlite::memory:"),
    ];
    let sources = Sources {
        file: Some(("test.toml".to_owned(), Ok(toml.to_owned()))),
        env: Vec::new(),
        flags: own
            .map(|(key, flag, value)| (key, flag, value.to_owned()))
            .to_vec(),
    };
    config::merge(sources).expect("a good configuration")
}

/// A token signed with [`SECRET`].
fn token(sub: &str, grants: Grants) -> String {
    let config = configuration(&format!("[auth]\nsecret = \"{SECRET}\""));
    let user = User {
        id: UserId::new(sub).expect("a name"),
        name: sub.to_owned(),
    };
    let signed =
        Verifier::new(&config)
            .expect("a secret")
            .sign(&user, &grants, Duration::from_secs(60));
    let Signed { token, .. } = signed.expect("a secret");
    token
}

/// Sends a request to a route as documented, and checks status, code and form of the answer against the document.
async fn check(
    route: &str,
    request: RequestBuilder,
    expected: StatusCode,
    code: Option<&str>,
) -> Response {
    let request = request.build().expect("a request");
    let method = request.method().as_str().to_lowercase();
    let what = format!("{method} {}", request.url());
    let response = Client::new().execute(request).await.expect("an answer");
    let status = response.status();
    let mime = response
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().to_owned());
    let headers = response.headers().clone();
    let body = response.text().await.expect("a body");
    assert_eq!(status, expected, "{what}: {body}");
    documents::check_documented(route, &method, status, mime.as_deref(), &body);
    if let Some(code) = code {
        check_problem(&what, status, mime.as_deref(), &body, code);
    }
    // The body is read; whoever wants it too gets it again.
    let mut rest = axum::http::Response::new(body);
    *rest.status_mut() = status;
    *rest.headers_mut() = headers;
    rest.into()
}

fn check_problem(what: &str, status: StatusCode, mime: Option<&str>, body: &str, code: &str) {
    assert_eq!(mime, Some("application/problem+json"), "{what}: {body}");
    let problem: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(problem["code"], code, "{what}: {body}");
    assert_eq!(problem["status"], status.as_u16(), "{what}");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{what}: {body}"
    );
}
