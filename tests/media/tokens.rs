//! Connections end with the tokens behind them.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::peer::{self, Peer};
use crate::{LONG, PATIENCE, TestServer, until};

/// Long enough to set up two viewers on a busy machine.
const SHORT: Duration = Duration::from_secs(5);

/// Watches, and says where the resource is and which credentials it was made with.
async fn watch(server: &TestServer, token: &str) -> (Peer, String, String) {
    let offering: peer::Offering = Peer::viewer();
    let credentials: String = offering
        .offer()
        .lines()
        .filter(|line| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:"))
        .take(2)
        .map(|line| format!("{line}\r\n"))
        .collect();
    let offer = offering.offer().to_owned();
    let response = server.post("/whep/ana", token, offer).await;
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()["location"].to_str().expect("text");
    let location = location.to_owned();
    let answer = response.text().await.expect("text");
    (offering.start(&answer), location, credentials)
}

async fn patch(server: &TestServer, location: &str, token: &str, body: &str) -> StatusCode {
    let url = format!("http://{}{location}", server.address);
    let request = server
        .http
        .request(Method::PATCH, url)
        .bearer_auth(token)
        .header("content-type", "application/trickle-ice-sdpfrag")
        .header("if-match", "*")
        .body(body.to_owned());
    request.send().await.expect("an answer").status()
}

async fn viewers(server: &TestServer, token: &str) -> u64 {
    let url = format!("http://{}/api/v1/streams/ana", server.address);
    let request = server.http.get(url).bearer_auth(token);
    let stream: Value = request
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    stream["viewers"].as_u64().expect("a live stream")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_is_cut_when_its_token_ends_unless_a_patch_brought_a_new_one() {
    let server = TestServer::start().await;
    let streamer = server.token(json!({ "publish": ["ana"] }));
    let publisher = server.publish(&streamer).await;
    publisher.connected().await;
    let begun = Instant::now();
    let (cut, cut_location, cut_credentials) =
        watch(&server, &server.token_for(json!({}), SHORT)).await;
    let (kept, kept_location, kept_credentials) =
        watch(&server, &server.token_for(json!({}), SHORT)).await;
    let fresh = server.token_for(json!({}), LONG);
    let status = patch(&server, &kept_location, &fresh, &kept_credentials).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    for viewer in [&cut, &kept] {
        until(viewer, |received| received.len() >= 20).await;
    }
    assert_eq!(viewers(&server, &fresh).await, 2);

    while viewers(&server, &fresh).await == 2 {
        assert!(begun.elapsed() < SHORT + PATIENCE, "never cut");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(viewers(&server, &fresh).await, 1);
    let gone = patch(&server, &cut_location, &fresh, &cut_credentials).await;
    assert_eq!(gone, StatusCode::NOT_FOUND);
    let before = kept.received().len();
    until(&kept, |received| received.len() >= before + 50).await;
}
