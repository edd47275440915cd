//! permessage-deflate over real sockets: agreed without context takeover, once for a broadcast, within limits.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

use crate::raw::{CONTINUATION, FIN, Raw, TEXT, frame};
use crate::server::{TestServer, metrics};

/// Marks a compressed message.
const RSV1: u8 = 0x40;

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const SMALL_OFFER: &str =
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";

const LIVE: &str = "/ws/live/ana/";

const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut deflated = Vec::with_capacity(plain.len() + 1024);
    Compress::new(Compression::default(), false)
        .compress_vec(plain, &mut deflated, FlushCompress::Sync)
        .expect("compresses");
    deflated.strip_suffix(&TAIL).expect("a flush").to_vec()
}

fn inflate(deflated: &[u8], window_bits: u8) -> Vec<u8> {
    let mut plain = Vec::with_capacity(100_000);
    let mut inflater = Decompress::new_with_window_bits(false, window_bits);
    let whole = [deflated, &TAIL].concat();
    inflater
        .decompress_vec(&whole, &mut plain, FlushDecompress::Sync)
        .expect("inflates");
    plain
}

/// The text of the comment that comes, and the first byte of its frame.
async fn comment(raw: &mut Raw, window_bits: u8) -> (u8, Value) {
    let (first, message) = next(raw, "comment", window_bits).await;
    (first, message["data"]["text"].clone())
}

/// The next message of a type, and the first byte of its frame.
async fn next(raw: &mut Raw, kind: &str, window_bits: u8) -> (u8, Value) {
    loop {
        let (first, payload) = raw.whole_frame().await.expect("a frame");
        let text = match first & RSV1 {
            0 => payload,
            _ => inflate(&payload, window_bits),
        };
        let message: Value = serde_json::from_slice(&text).expect("JSON");
        if message["type"] == kind {
            return (first, message);
        }
    }
}

#[tokio::test]
async fn a_broadcast_is_compressed_once_and_only_for_those_who_agreed() {
    let server = TestServer::start().await;
    let mut ana = server.streamer().await;
    let mut takers = Vec::new();
    for number in 0..5 {
        let (raw, head) = Raw::connect_with(&server, LIVE, &format!("taker{number}"), OFFER).await;
        let agreed = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; \
                      client_no_context_takeover\r\n";
        assert!(head.contains(agreed), "{head}");
        takers.push(raw);
    }
    let (mut small, head) = Raw::connect_with(&server, LIVE, "small", SMALL_OFFER).await;
    assert!(head.contains("; server_max_window_bits=10\r\n"), "{head}");
    let (mut plain, head) = Raw::connect_with(&server, LIVE, "plain", "").await;
    assert!(!head.contains("extensions"), "{head}");
    for raw in takers.iter_mut().chain([&mut small, &mut plain]) {
        next(raw, "subscribed", 15).await;
    }
    let before = compressions(&server).await;

    let long = "what a goal ".repeat(41);
    let long = long.trim_end();
    for (text, is_compressed) in [("short", false), (long, true)] {
        let client_id = format!("6f1d5c1e-0000-4000-8000-{:012}", text.len());
        ana.request("comment", json!({ "text": text, "client_id": client_id }))
            .await
            .expect("accepted");
        let expected = if is_compressed {
            FIN | RSV1 | TEXT
        } else {
            FIN | TEXT
        };
        for raw in &mut takers {
            assert_eq!(comment(raw, 15).await, (expected, json!(text)));
        }
        assert_eq!(comment(&mut small, 10).await, (expected, json!(text)));
        assert_eq!(comment(&mut plain, 15).await, (FIN | TEXT, json!(text)));
    }
    assert_eq!(compressions(&server).await, before + 2, "one a window");
}

async fn compressions(server: &TestServer) -> u64 {
    let metrics = metrics(server).await;
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("redred_ws_compressions_total "));
    count.expect("a counter").parse().expect("a number")
}

#[tokio::test]
async fn what_clients_compress_is_understood() {
    let server = TestServer::start().await;
    let (mut raw, _) = Raw::connect_with(&server, "/ws", "bo", OFFER).await;
    let ping =
        |id: &str| json!({ "type": "ping", "data": {}, "metadata": { "id": id } }).to_string();
    let whole = deflate(ping("whole").as_bytes());
    raw.write(&frame(FIN | RSV1 | TEXT, &whole)).await;
    let parts = deflate(ping("parts").as_bytes());
    let (head, tail) = parts.split_at(5);
    raw.write(&frame(RSV1 | TEXT, head)).await;
    raw.write(&frame(FIN | CONTINUATION, tail)).await;
    raw.write(&frame(FIN | TEXT, ping("plain").as_bytes()))
        .await;
    for id in ["whole", "parts", "plain"] {
        loop {
            let (_, payload) = raw.frame().await.expect("an answer");
            let message: Value = serde_json::from_slice(&payload).expect("JSON");
            if message["metadata"]["reply_to"] == id {
                break;
            }
        }
    }
}

#[tokio::test]
async fn bombs_and_nonsense_get_their_close_code() {
    let server = TestServer::start().await;
    let bomb = deflate(&vec![b' '; 10_000_000]);
    assert!(bomb.len() < 65_536);
    let just_over = deflate(&vec![b' '; 65_537]);
    let halves = just_over.split_at(just_over.len() / 2);
    let not_utf8 = deflate(&[b'"', 0xff, b'"']);
    for (name, bytes, code) in [
        ("bomb", frame(FIN | RSV1 | TEXT, &bomb), 1009),
        ("just over", frame(FIN | RSV1 | TEXT, &just_over), 1009),
        (
            "in fragments",
            [
                frame(RSV1 | TEXT, halves.0),
                frame(FIN | CONTINUATION, halves.1),
            ]
            .concat(),
            1009,
        ),
        (
            "long on the wire",
            [
                frame(RSV1 | TEXT, &[0; 40_000]),
                frame(CONTINUATION, &[0; 40_000]),
            ]
            .concat(),
            1009,
        ),
        (
            "many fragments",
            [
                frame(RSV1 | TEXT, b""),
                frame(CONTINUATION, b"").repeat(200),
            ]
            .concat(),
            1009,
        ),
        (
            "no DEFLATE data",
            frame(FIN | RSV1 | TEXT, &[0x06; 8]),
            1007,
        ),
        ("not UTF-8", frame(FIN | RSV1 | TEXT, &not_utf8), 1007),
        (
            "mark on a continuation",
            [frame(TEXT, b"{"), frame(FIN | RSV1 | CONTINUATION, b"}")].concat(),
            1002,
        ),
    ] {
        let (mut raw, _) = Raw::connect_with(&server, "/ws", "bo", OFFER).await;
        raw.write(&bytes).await;
        assert_eq!(raw.closed().await, Some(code), "{name}");
    }
    // The largest message that is allowed, compressed, is read.
    let (mut raw, _) = Raw::connect_with(&server, "/ws", "bo", OFFER).await;
    raw.write(&frame(FIN | RSV1 | TEXT, &deflate(&vec![b' '; 65_536])))
        .await;
    loop {
        let (_, payload) = raw.frame().await.expect("an answer");
        let message: Value = serde_json::from_slice(&payload).expect("JSON");
        if message["type"] == "error" {
            assert_eq!(message["data"]["code"], "bad_message");
            break;
        }
    }
}
