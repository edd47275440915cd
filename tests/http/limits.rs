//! Slow and greedy clients are cut off.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{TestServer, check};

/// Sends some bytes and returns what came until the server closed the connection.
async fn until_closed(server: &TestServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    stream.write_all(bytes).await.expect("writes");
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn silent_and_slow_clients_are_closed_at_the_deadline() {
    let server = TestServer::start("[http]\nhandshake_timeout = \"300ms\"").await;
    for bytes in [
        &b""[..],
        b"GET",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n",
    ] {
        let begun = Instant::now();
        until_closed(&server, bytes).await;
        let taken = begun.elapsed();
        assert!(taken >= Duration::from_millis(250), "{taken:?}");
        assert!(taken < Duration::from_secs(5), "{taken:?}");
    }
    let text = server
        .get("/metrics")
        .send()
        .await
        .expect("an answer")
        .text()
        .await;
    let text = text.expect("a body");
    assert!(
        text.contains("redred_ws_handshake_failures_total{reason=\"deadline\"} 4"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dripping_header_does_not_stretch_the_deadline() {
    let server = TestServer::start("[http]\nhandshake_timeout = \"300ms\"").await;
    let mut stream = TcpStream::connect(server.address).await.expect("connects");
    let begun = Instant::now();
    stream
        .write_all(b"GET / HTTP/1.1\r\n")
        .await
        .expect("writes");
    let mut drops = tokio::time::interval(Duration::from_millis(50));
    // Written until the server has closed; the write after that fails.
    while stream.write_all(b"X-A: b\r\n").await.is_ok() {
        drops.tick().await;
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = TestServer::start("[http]\nhandshake_timeout = \"300ms\"").await;
    let answer = until_closed(&server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = TestServer::start("[http]\nhandshake_timeout = \"300ms\"").await;
    let request =
        b"POST /api/v1/dev/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{";
    let answer = until_closed(&server, request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn headers_are_bounded() {
    let server = TestServer::dev().await;
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "a".repeat(64 * 1024)
    );
    let answer = until_closed(&server, long.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(200)
    );
    let answer = until_closed(&server, many.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn connections_over_the_cap_are_told_to_come_back() {
    let server = TestServer::start("[limits]\nconnections_per_address = 2").await;
    let held = [
        TcpStream::connect(server.address).await.expect("connects"),
        TcpStream::connect(server.address).await.expect("connects"),
    ];
    let answer = until_closed(&server, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("Retry-After: "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(
        head.contains(&format!("Content-Length: {}", body.len())),
        "{answer}"
    );
    let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(problem["status"], 503);
    drop(held);
    // The places are free again as soon as the server has seen the ends.
    let begun = Instant::now();
    loop {
        let answer = server.get("/healthz").send().await;
        if answer.is_ok_and(|answer| answer.status() == StatusCode::OK) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn rubbish_is_answered_and_harms_nobody() {
    let server = TestServer::dev().await;
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\r\n\r\n",
        b"HELLO\r\n\r\n",
    ] {
        let answer = until_closed(&server, rubbish).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    check("/healthz", server.get("/healthz"), StatusCode::OK, None).await;
}

#[tokio::test]
async fn an_address_that_shakes_hands_too_often_is_told_to_wait() {
    let server = TestServer::start("[limits]\nhandshakes_per_address = 3").await;
    // Bad handshakes count as good ones do: guessing tokens is what this is against.
    for _ in 0..3 {
        let answer = server.get("/ws").bearer_auth("guess").send().await;
        let status = answer.expect("an answer").status();
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    for (route, request) in [
        ("/ws", server.get("/ws")),
        ("/ws/live/{stream}/", server.get("/ws/live/ana/")),
        ("/whip/{stream}", server.post("/whip/ana")),
        ("/whep/{stream}", server.post("/whep/ana")),
    ] {
        let answer = check(
            route,
            request,
            StatusCode::TOO_MANY_REQUESTS,
            Some("rate_limited"),
        )
        .await;
        let seconds = answer.headers()["retry-after"].to_str().expect("text");
        let seconds: u64 = seconds.parse().expect("a number");
        assert!((1..=20).contains(&seconds), "{seconds}");
    }
    // What is no handshake goes on.
    let streams = server.get("/api/v1/streams").send().await;
    assert_eq!(streams.expect("an answer").status(), StatusCode::OK);
    let text = server.get("/metrics").send().await.expect("an answer");
    let text = text.text().await.expect("a body");
    assert!(
        text.contains("redred_ws_handshake_failures_total{reason=\"rate_limit\"} 4"),
        "{text}"
    );
}
