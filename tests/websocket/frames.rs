//! What RFC 6455 forbids and what is over a limit gets its close code, and nobody else notices.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{PATIENCE, TestServer};

const FIN: u8 = 0x80;
const TEXT: u8 = 0x1;
const CONTINUATION: u8 = 0x0;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const CLOSE: u8 = 0x8;

/// A client that writes whatever bytes it likes.
struct Raw {
    stream: TcpStream,
}

impl Raw {
    async fn connect(server: &TestServer) -> Self {
        let token = server.token("raw", json!({})).await;
        let mut stream = TcpStream::connect(server.address)
            .await
            .expect("a connection");
        let request = format!(
            "GET /ws?token={token} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a response"));
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        let mut raw = Self { stream };
        let (opcode, payload) = raw.frame().await.expect("the first message");
        assert_eq!(opcode, TEXT);
        assert!(
            payload.starts_with(b"{\"type\":\"connection_established\""),
            "{payload:?}"
        );
        raw
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The server may close before it has read all of it.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame of the server; none at the end of the stream.
    async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.stream.read_u8().await.ok()?;
            let mut length = u64::from(self.stream.read_u8().await.ok()?);
            assert!(length < 128, "the server's frames are not masked");
            if length == 126 {
                length = u64::from(self.stream.read_u16().await.ok()?);
            } else if length == 127 {
                length = self.stream.read_u64().await.ok()?;
            }
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((first & 0x0f, payload))
        };
        timeout(PATIENCE, read).await.expect("a frame in time")
    }

    /// The close code, and that nothing follows it.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            let (opcode, payload) = self.frame().await?;
            if opcode == CLOSE {
                assert_eq!(self.frame().await, None);
                return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut bytes = vec![first];
    match payload.len() {
        0..=125 => bytes.push(0x80 | payload.len() as u8),
        126..=65535 => {
            bytes.push(0x80 | 126);
            bytes.extend((payload.len() as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

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
