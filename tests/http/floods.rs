//! Floods of connections that never become anything. The addresses 127.0.0.2 and up stand for other machines.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use redred_signaling::grants::Grants;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{SECRET, TestServer, token};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where connections of a flood stop: before the first byte, in the request line, in the headers, in an upgrade.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    b"GE",
    b"POST /whip/ana HTTP/1.1\r\nHost: localhost\r\nContent-Le",
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
];

/// A connection from `127.0.0.<last>`.
async fn connect_from(server: &TestServer, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(from).expect("an address of this machine");
    socket.connect(server.address).await.expect("connects")
}

/// Connections of every beginning, the same number from each of the addresses `127.0.0.<2..>`.
async fn flood(server: &TestServer, addresses: u8, from_each: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for last in 2..2 + addresses {
        for beginning in BEGINNINGS.iter().cycle().take(from_each) {
            let mut stream = connect_from(server, last).await;
            // The server may have closed it by then.
            let _ = stream.write_all(beginning).await;
            held.push(stream);
        }
    }
    held
}

/// What a request from `127.0.0.<last>` is answered.
async fn ask_from(server: &TestServer, last: u8) -> String {
    let mut stream = connect_from(server, last).await;
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    // A refusal does not wait for the request.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The value of a metric.
async fn metric(server: &TestServer, name: &str) -> usize {
    let text = server.get("/metrics").send().await.expect("an answer");
    let text = text.text().await.expect("a body");
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("no {name} in {text}"));
    value.parse().expect("a whole number")
}

/// Looks at the open connections until their number is as wanted.
async fn until_open(server: &TestServer, is_wanted: impl Fn(usize) -> bool) {
    let looking = async {
        while !is_wanted(metric(server, "redred_http_connections").await) {
            tokio::task::yield_now().await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looking).await;
    looked.expect("a number of connections as wanted");
}

/// Connects a WebSocket with a good token and hears its first message.
async fn join(server: &TestServer) {
    let url = format!(
        "ws://{}/ws?token={}",
        server.address,
        token("ana", Grants::default())
    );
    let (mut socket, _) = tokio_tungstenite::connect_async(url)
        .await
        .expect("a WebSocket");
    let first = socket.next().await.expect("open").expect("a message");
    let first: Value = serde_json::from_str(first.to_text().expect("text")).expect("JSON");
    assert_eq!(first["type"], "connection_established");
}

#[tokio::test]
async fn two_thousand_half_open_connections_keep_nobody_out() {
    let (addresses, from_each) = (10, 200);
    let server = TestServer::start(&format!(
        "[auth]\nsecret = \"{SECRET}\"\n[http]\nhandshake_timeout = \"60s\"\n\
         [limits]\nconnections_per_address = {from_each}"
    ))
    .await;
    let held = flood(&server, addresses, from_each).await;
    until_open(&server, |open| open > held.len()).await;
    join(&server).await;
    let healthy = server.get("/healthz").send().await.expect("an answer");
    assert_eq!(healthy.status(), StatusCode::OK);
    // Each of these addresses has what one may have.
    for last in [2, 1 + addresses] {
        let answer = ask_from(&server, last).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    assert_eq!(
        metric(
            &server,
            "redred_ws_handshake_failures_total{reason=\"connection_limit\"}"
        )
        .await,
        2
    );
    // All of them were there the whole time.
    for stream in &held {
        let read = stream.try_read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(read, Err(ErrorKind::WouldBlock));
    }
    drop(held);
    until_open(&server, |open| open < BEGINNINGS.len()).await;
    let answer = ask_from(&server, 2).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn half_open_connections_are_closed_at_their_deadline_and_counted() {
    let server = TestServer::start("[http]\nhandshake_timeout = \"300ms\"").await;
    let mut held = flood(&server, 4, 100).await;
    let closing = async {
        for stream in &mut held {
            let mut answer = Vec::new();
            // A reset is an end as well.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        }
    };
    let closed = tokio::time::timeout(PATIENCE, closing).await;
    closed.expect("all are closed in time");
    until_open(&server, |open| open < BEGINNINGS.len()).await;
    assert_eq!(
        metric(
            &server,
            "redred_ws_handshake_failures_total{reason=\"deadline\"}"
        )
        .await,
        held.len()
    );
}

#[tokio::test]
async fn the_cap_on_all_connections_holds_whoever_asks() {
    let server =
        TestServer::start("[http]\nhandshake_timeout = \"60s\"\n[limits]\nconnections = 41").await;
    // One is for asking how many there are.
    let held = flood(&server, 4, 10).await;
    until_open(&server, |open| open == 41).await;
    for last in [2, 9] {
        let answer = ask_from(&server, last).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("Retry-After: "), "{answer}");
    }
    assert_eq!(metric(&server, "redred_http_connections").await, 41);
    drop(held);
    until_open(&server, |open| open < BEGINNINGS.len()).await;
    let answer = ask_from(&server, 9).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
