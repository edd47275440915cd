//! A server to test, and clients that know only the public protocol.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use redred::config::Config;
use redred::server::{Exit, Server};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    directory: TempDir,
    configure: fn(&mut Config),
    stop: mpsc::Sender<()>,
    task: JoinHandle<Exit>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(configure: fn(&mut Config)) -> Self {
        Self::start_in(TempDir::new().expect("a temporary directory"), configure).await
    }

    async fn start_in(directory: TempDir, configure: fn(&mut Config)) -> Self {
        let mut config = Config::default();
        config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.sfu.workers = 2;
        config.sfu.udp_port_base = 0;
        config.store.url = format!("sqlite://{}", directory.path().join("test.db").display());
        config.shutdown.grace = Duration::from_secs(5);
        configure(&mut config);
        let server = Server::bind(config).await.expect("a server on a free port");
        let address = server.http_addr();
        let (stop, requests) = mpsc::channel(2);
        let task = tokio::spawn(server.run(requests));
        Self {
            address,
            directory,
            configure,
            stop,
            task,
        }
    }

    /// Stops the server and starts it again on the same database.
    pub(crate) async fn restart(self) -> Self {
        self.stop.send(()).await.expect("a running server");
        assert_eq!(self.task.await.expect("no panic"), Exit::Drained);
        Self::start_in(self.directory, self.configure).await
    }

    /// Asks the server to drain.
    pub(crate) async fn drain(&self) {
        self.stop.send(()).await.expect("a running server");
    }

    pub(crate) async fn stopped(self) -> Exit {
        self.task.await.expect("no panic")
    }

    /// A token of dev mode.
    pub(crate) async fn token(&self, sub: &str, grants: Value) -> String {
        let url = format!("http://{}/api/v1/dev/token", self.address);
        let body = json!({ "sub": sub, "name": sub.to_uppercase(), "grants": grants });
        let response = reqwest::Client::new()
            .post(url)
            .json(&body)
            .send()
            .await
            .expect("an answer");
        let status = response.status();
        let body: Value = response.json().await.expect("JSON");
        assert!(status.is_success(), "{status} {body}");
        body["token"].as_str().expect("a token").to_owned()
    }

    /// The owner of stream `ana`.
    pub(crate) async fn streamer(&self) -> Client {
        let token = self.token("ana", json!({ "publish": ["ana"] })).await;
        self.connect("/ws/live/ana/", &token).await
    }

    /// A viewer of stream `ana`.
    pub(crate) async fn viewer(&self, sub: &str) -> Client {
        let token = self.token(sub, json!({})).await;
        self.connect("/ws/live/ana/", &token).await
    }

    pub(crate) async fn connect(&self, path: &str, token: &str) -> Client {
        let mut client = self.try_connect(path, token).await.expect("a WebSocket");
        let established = client.next("connection_established").await;
        client.session = established["data"].clone();
        client
    }

    pub(crate) async fn try_connect(&self, path: &str, token: &str) -> Result<Client, Error> {
        let socket = TcpSocket::new_v4().expect("a socket");
        self.try_connect_over(socket, path, token).await
    }

    /// A client whose kernel takes little on its behalf, so that the server notices soon when it does not read.
    pub(crate) async fn connect_narrow(&self, path: &str, token: &str) -> Client {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let client = self.try_connect_over(socket, path, token).await;
        client.expect("a WebSocket")
    }

    async fn try_connect_over(
        &self,
        socket: TcpSocket,
        path: &str,
        token: &str,
    ) -> Result<Client, Error> {
        let url = format!("ws://{}{path}", self.address);
        let mut request = url.into_client_request().expect("a valid URL");
        let protocols = format!("redred.v1, redred.token.{token}");
        let protocols = HeaderValue::from_str(&protocols).expect("a token is ASCII");
        request
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocols);
        let stream = socket.connect(self.address).await.expect("a connection");
        let (socket, response) = client_async(request, stream).await?;
        assert_eq!(
            response.headers()[header::SEC_WEBSOCKET_PROTOCOL],
            "redred.v1"
        );
        Ok(Client {
            socket,
            session: Value::Null,
            next_id: 0,
        })
    }
}

pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
    /// The data of `connection_established`.
    pub(crate) session: Value,
    next_id: u64,
}

impl Client {
    pub(crate) async fn send_text(&mut self, text: &str) {
        self.socket
            .send(Message::text(text))
            .await
            .expect("an open socket");
    }

    /// Sends a request and returns the data of its `ack`, or of its `error`.
    pub(crate) async fn request(&mut self, kind: &str, data: Value) -> Result<Value, Value> {
        self.next_id += 1;
        let id = format!("r-{}", self.next_id);
        let envelope = json!({ "type": kind, "data": data, "metadata": { "id": id } });
        self.send_text(&envelope.to_string()).await;
        let answer = self
            .find(|message| message["metadata"]["reply_to"] == id)
            .await;
        match answer["type"].as_str() {
            Some("ack") => Ok(answer["data"].clone()),
            _ => Err(answer["data"].clone()),
        }
    }

    /// The next message of a type; others before it are passed over.
    pub(crate) async fn next(&mut self, kind: &str) -> Value {
        self.find(|message| message["type"] == kind).await
    }

    async fn find(&mut self, matches: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let find = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Text(text))) => {
                        let message: Value = serde_json::from_str(&text).expect("JSON");
                        if matches(&message) {
                            return message;
                        }
                        seen.push(message);
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("expected a message, got {other:?} after {seen:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, find)
            .await
            .expect("a message in time")
    }

    /// The code of the close frame that ends the connection; messages before it are passed over.
    pub(crate) async fn closed(&mut self) -> u16 {
        let closed = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                    Some(Ok(_)) => {}
                    other => panic!("expected a close frame, got {other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, closed)
            .await
            .expect("a close frame in time")
    }
}

/// What `/metrics` shows.
pub(crate) async fn metrics(server: &TestServer) -> String {
    let url = format!("http://{}/metrics", server.address);
    reqwest::get(url)
        .await
        .expect("an answer")
        .text()
        .await
        .expect("text")
}
