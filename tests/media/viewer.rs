//! Viewers over a WebSocket, and what becomes of them when their socket goes.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::{PATIENCE, TestServer};

/// A WebSocket on the channel of stream `ana`.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Connects, and takes up the session of a resume token where there is one.
    async fn open(server: &TestServer, token: &str, resume: &str) -> (Self, Value) {
        let address = server.address;
        let url = format!("ws://{address}/ws/live/ana/?token={token}&resume={resume}");
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (socket, _) = client_async(url, stream).await.expect("a WebSocket");
        let mut socket = Self(socket);
        let established = socket.next("connection_established").await;
        (socket, established)
    }

    async fn send(&mut self, kind: &str, data: Value) {
        let envelope = json!({ "type": kind, "data": data, "metadata": { "id": "r" } });
        let message = Message::text(envelope.to_string());
        self.0.send(message).await.expect("an open socket");
    }

    /// The data of the next message of a type; others before it are passed over.
    async fn next(&mut self, kind: &str) -> Value {
        let find = async {
            loop {
                let message = self.0.next().await.expect("an open socket");
                let Ok(Message::Text(text)) = message else {
                    continue;
                };
                let mut message: Value = serde_json::from_str(&text).expect("JSON");
                if message["type"] == kind {
                    return message["data"].take();
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, find).await;
        found.unwrap_or_else(|_| panic!("no {kind} came"))
    }

    /// Waits until this many are said to watch.
    async fn until_viewers(&mut self, count: u64) {
        while self.next("viewers_update").await["count"] != count {}
    }

    /// What a browser does when its tab is closed.
    async fn leave(mut self) {
        let frame = CloseFrame {
            code: CloseCode::Away,
            reason: "".into(),
        };
        self.0.close(Some(frame)).await.expect("an open socket");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_tab_stops_watching_at_once_and_a_broken_line_does_not() {
    let server = TestServer::start().await;
    let streamer = server.token(json!({ "publish": ["ana"] }));
    let publisher = server.publish(&streamer).await;
    publisher.connected().await;
    let (mut observer, _) = Socket::open(&server, &streamer, "").await;
    observer.next("subscribed").await;

    let token = server.token(json!({}));
    let (mut closing, closing_session) = Socket::open(&server, &token, "").await;
    closing.send("watch", json!({})).await;
    closing.next("webrtc_offer").await;
    let (mut breaking, breaking_session) = Socket::open(&server, &token, "").await;
    breaking.send("watch", json!({})).await;
    breaking.next("webrtc_offer").await;
    observer.until_viewers(2).await;

    closing.leave().await;
    observer.until_viewers(1).await;
    let resume = closing_session["resume_token"].as_str().expect("a token");
    let (_, established) = Socket::open(&server, &token, resume).await;
    assert_eq!(established["resumed"], false, "{established}");

    drop(breaking);
    let resume = breaking_session["resume_token"].as_str().expect("a token");
    let (mut resumed, established) = Socket::open(&server, &token, resume).await;
    assert_eq!(established["resumed"], true, "{established}");
    resumed
        .send("set_quality", json!({ "quality": "low" }))
        .await;
    resumed.next("ack").await;
}
