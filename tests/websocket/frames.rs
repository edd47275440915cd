//! What RFC 6455 forbids and what is over a limit gets its close code, and nobody else notices.

use std::time::Duration;

use futures_util::future::join_all;

use crate::raw::{CLOSE, CONTINUATION, FIN, PING, PONG, Raw, TEXT, frame};
use crate::server::{self, TestServer};

#[tokio::test]
async fn broken_frames_are_answered_with_their_close_code() {
    let server = TestServer::start().await;
    let unmasked = [FIN | TEXT, 2, b'{', b'}'];
    let tiny_fragments = [frame(TEXT, b"{"), frame(CONTINUATION, b"").repeat(1000)].concat();
    let large_fragments = [
        frame(TEXT, &[b' '; 40_000]),
        frame(CONTINUATION, &[b' '; 40_000]),
    ];
    for (name, bytes, code) in [
        ("unmasked", unmasked.to_vec(), 1002),
        ("reserved bit", frame(FIN | 0x40 | TEXT, b"{}"), 1002),
        ("reserved opcode", frame(FIN | 0x3, b"{}"), 1002),
        ("fragmented ping", frame(PING, b""), 1002),
        ("long ping", frame(FIN | PING, &[0; 126]), 1002),
        (
            "continuation of nothing",
            frame(FIN | CONTINUATION, b"{}"),
            1002,
        ),
        (
            "interleaved",
            [frame(TEXT, b"{"), frame(FIN | TEXT, b"{}")].concat(),
            1002,
        ),
        ("close of one byte", frame(FIN | CLOSE, &[3]), 1002),
        (
            "close with a code of ours",
            frame(FIN | CLOSE, &1006_u16.to_be_bytes()),
            1002,
        ),
        ("not UTF-8", frame(FIN | TEXT, &[0xff, 0xfe]), 1007),
        (
            "not UTF-8 over fragments",
            [frame(TEXT, &[0xe2]), frame(FIN, &[0x28])].concat(),
            1007,
        ),
        (
            "one frame over the limit",
            frame(FIN | TEXT, &[b' '; 65_537]),
            1009,
        ),
        ("fragments over the limit", large_fragments.concat(), 1009),
        ("tiny fragments", tiny_fragments, 1009),
        (
            "a claim of 2^63 bytes",
            [&[FIN | TEXT, 0xff], &[0x7f; 8][..]].concat(),
            1009,
        ),
    ] {
        let mut raw = Raw::connect(&server).await;
        raw.write(&bytes).await;
        assert_eq!(raw.closed().await, Some(code), "{name}");
    }
}

#[tokio::test]
async fn fragments_and_pings_between_them_are_fine() {
    let server = TestServer::start().await;
    let mut raw = Raw::connect(&server).await;
    let message = br#"{"type":"ping","data":{},"metadata":{"id":"a"}}"#;
    let (head, tail) = message.split_at(10);
    raw.write(&frame(TEXT, head)).await;
    raw.write(&frame(FIN | PING, b"still there?")).await;
    raw.write(&frame(CONTINUATION, b"")).await;
    raw.write(&frame(FIN | CONTINUATION, tail)).await;
    assert_eq!(raw.frame().await, Some((PONG, b"still there?".to_vec())));
    let (opcode, answer) = raw.frame().await.expect("an answer");
    assert_eq!(opcode, TEXT);
    let answer = String::from_utf8(answer).expect("text");
    assert!(
        answer.contains(r#""reply_to":"a""#) || answer.contains("pong"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_close_is_answered_with_a_close() {
    let server = TestServer::start().await;
    let mut raw = Raw::connect(&server).await;
    raw.write(&frame(
        FIN | CLOSE,
        &[&1000_u16.to_be_bytes()[..], b"bye"].concat(),
    ))
    .await;
    assert_eq!(raw.closed().await, Some(1000));
    let mut raw = Raw::connect(&server).await;
    raw.write(&frame(FIN | CLOSE, b"")).await;
    assert_eq!(raw.closed().await, None);
}

#[tokio::test]
async fn one_largest_message_is_let_through() {
    let server = TestServer::start().await;
    let mut client = server.viewer("bo").await;
    let padding = " ".repeat(65_536 - 30);
    client
        .send_text(&format!(r#"{{"type":"nonsense","data":{{}}{padding}}}"#))
        .await;
    assert_eq!(client.next("error").await["data"]["code"], "unknown_type");
}

#[tokio::test]
async fn who_stops_inside_a_frame_is_closed_as_idle() {
    let server = TestServer::start_with(|config| {
        config.websocket.heartbeat = Duration::from_millis(200);
        config.websocket.idle_timeout = Duration::from_millis(600);
    })
    .await;
    let whole = frame(FIN | TEXT, br#"{"type":"ping","data":{}}"#);
    let long = frame(FIN | TEXT, &[b' '; 50_000]);
    let mut halves = Vec::new();
    for (name, bytes) in [
        ("one byte", &whole[..1]),
        ("a header without its mask", &whole[..4]),
        ("a header without payload", &whole[..6]),
        ("half a payload", &whole[..12]),
        ("half of a long payload", &long[..20_000]),
        ("the first of two fragments", &frame(TEXT, b"{")),
    ] {
        let mut raw = Raw::connect(&server).await;
        raw.write(bytes).await;
        halves.push(async move { assert_eq!(raw.closed().await, Some(4008), "{name}") });
    }
    // Bytes of a frame that does not end are no sign of life.
    let mut dripping = Raw::connect(&server).await;
    dripping.write(&long[..20]).await;
    let pause = Duration::from_millis(20);
    tokio::join!(join_all(halves), dripping.drip(b' ', pause));
    let metrics = server::metrics(&server).await;
    assert!(
        metrics.contains("redred_ws_closes_total{reason=\"idle\"} 7"),
        "{metrics}"
    );
    assert!(
        metrics.contains("redred_ws_connections{kind=\"multiplexed\"} 0"),
        "{metrics}"
    );
}
