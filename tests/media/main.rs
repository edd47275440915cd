//! WebRTC peers against a server in this process: WHIP and WHEP over HTTP, media over real UDP sockets on loopback.

mod peer;
mod tokens;
mod viewer;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use redred::auth::Verifier;
use redred::config::{Config, Secret};
use redred::server::Server;
use redred_signaling::grants::{Grants, User};
use redred_signaling::id::UserId;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::Instant;

use peer::{Peer, Received};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long tokens here live unless their end is what is tested.
const LONG: Duration = Duration::from_secs(3600);

struct TestServer {
    address: SocketAddr,
    http: reqwest::Client,
    verifier: Verifier,
    _directory: TempDir,
    _stop: mpsc::Sender<()>,
}

impl TestServer {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let mut config = Config::default();
        config.http.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.sfu.workers = 2;
        config.sfu.udp_port_base = 0;
        config.auth.secret = Some(Secret::new("0123456789abcdef0123456789abcdef"));
        config.store.url = format!("sqlite://{}", directory.path().join("test.db").display());
        let verifier = Verifier::new(&config).expect("a secret");
        let server = Server::bind(config).await.expect("a server on a free port");
        let address = server.http_addr();
        let (stop, requests) = mpsc::channel(2);
        tokio::spawn(server.run(requests));
        Self {
            address,
            http: reqwest::Client::new(),
            verifier,
            _directory: directory,
            _stop: stop,
        }
    }

    fn token(&self, grants: Value) -> String {
        self.token_for(grants, LONG)
    }

    /// A token of the one user there is here, for some time.
    fn token_for(&self, grants: Value, ttl: Duration) -> String {
        let user = User {
            id: UserId::new("peer").expect("a name"),
            name: "Peer".to_owned(),
        };
        let grants: Grants = serde_json::from_value(grants).expect("grants");
        let signed = self.verifier.sign(&user, &grants, ttl);
        signed.expect("a secret").token
    }

    async fn post(&self, path: &str, token: &str, offer: String) -> reqwest::Response {
        let request = self
            .http
            .post(format!("http://{}{path}", self.address))
            .body(offer);
        let request = request
            .bearer_auth(token)
            .header("content-type", "application/sdp");
        request.send().await.expect("an answer")
    }

    async fn publish(&self, token: &str) -> Peer {
        let peer = Peer::publisher();
        self.connect(peer, "/whip/ana", token).await
    }

    /// Publishes as soon as the publisher before is found to be silent.
    async fn take_over(&self, token: &str) -> Peer {
        let deadline = Instant::now() + PATIENCE;
        let peer = Peer::publisher();
        loop {
            let response = self.post("/whip/ana", token, peer.offer().to_owned()).await;
            let status = response.status();
            let answer = response.text().await.expect("text");
            if status == StatusCode::CREATED {
                return peer.start(&answer);
            }
            assert_eq!(status, StatusCode::CONFLICT, "{answer}");
            assert!(Instant::now() < deadline, "never found to be silent");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn watch(&self, token: &str) -> Peer {
        let peer = Peer::viewer();
        self.connect(peer, "/whep/ana", token).await
    }

    async fn connect(&self, peer: peer::Offering, path: &str, token: &str) -> Peer {
        let response = self.post(path, token, peer.offer().to_owned()).await;
        let status = response.status();
        let answer = response.text().await.expect("text");
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        peer.start(&answer)
    }
}

/// Waits until a peer has received what the test wants to see.
async fn until(peer: &Peer, is_enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let received = peer.received();
        if is_enough(&received) {
            return received;
        }
        assert!(
            Instant::now() < deadline,
            "only {} packets came, connected: {}",
            received.len(),
            peer.is_connected()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nothing is missing, doubled or out of order on loopback, and it starts where a decoder can.
fn assert_whole(received: &[Received]) {
    assert!(
        received[0].is_keyframe,
        "begins in the middle: {:?}",
        received[0]
    );
    for pair in received.windows(2) {
        assert_eq!(pair[1].seq_no, pair[0].seq_no + 1, "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_on_both_workers_receive_every_packet_from_a_keyframe_on() {
    let server = TestServer::start().await;
    let streamer = server.token(json!({ "publish": ["ana"] }));
    let publisher = server.publish(&streamer).await;
    publisher.connected().await;
    let token = server.token(json!({}));
    let mut viewers = Vec::new();
    for _ in 0..4 {
        viewers.push(server.watch(&token).await);
    }
    let ports: BTreeSet<u16> = viewers.iter().map(Peer::server_port).collect();
    assert_eq!(ports.len(), 2, "viewers sit on both workers");
    for viewer in &viewers {
        assert_whole(&until(viewer, |received| received.len() >= 200).await);
    }
    assert!(
        publisher.keyframe_requests() <= 4,
        "{}",
        publisher.keyframe_requests()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_go_on_with_the_publisher_that_comes_back() {
    let server = TestServer::start().await;
    let streamer = server.token(json!({ "publish": ["ana"] }));
    let first = server.publish(&streamer).await;
    first.connected().await;
    let token = server.token(json!({}));
    let viewers = [server.watch(&token).await, server.watch(&token).await];
    for viewer in &viewers {
        until(viewer, |received| received.len() >= 50).await;
    }

    // Another publisher meets a stream that has one; when that one falls silent the same offer is taken.
    let refused = server
        .post("/whip/ana", &streamer, Peer::publisher().offer().to_owned())
        .await;
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    drop(first);
    let second = server.take_over(&streamer).await;
    second.connected().await;
    for viewer in &viewers {
        let before = viewer.received().len();
        let received = until(viewer, |received| received.len() >= before + 50).await;
        assert_whole(&received);
        assert_eq!(viewer.ssrcs(), 1, "one stream of packets to the viewer");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_live_cannot_be_watched_and_nonsense_not_published() {
    let server = TestServer::start().await;
    let token = server.token(json!({ "publish": ["ana"] }));
    let offer = Peer::viewer().offer().to_owned();
    let response = server.post("/whep/ana", &token, offer).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let response = server
        .post("/whip/ana", &token, String::from("v=0\r\nnonsense"))
        .await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    // Nothing of it is left behind.
    let publisher = server.publish(&token).await;
    publisher.connected().await;
}
