//! A client that writes whatever bytes it likes.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{PATIENCE, TestServer};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const CLOSE: u8 = 0x8;

/// A connection on which every byte is the test's.
pub(crate) struct Raw {
    stream: TcpStream,
}

impl Raw {
    pub(crate) async fn connect(server: &TestServer) -> Self {
        let (raw, head) = Self::connect_with(server, "/ws", "raw", "").await;
        assert!(!head.contains("extensions"), "{head}");
        raw
    }

    /// A client whose handshake has further header lines. Returns the head of the response as well, in
    /// lower case.
    pub(crate) async fn connect_with(
        server: &TestServer,
        path: &str,
        sub: &str,
        headers: &str,
    ) -> (Self, String) {
        let token = server.token(sub, json!({})).await;
        let mut stream = TcpStream::connect(server.address)
            .await
            .expect("a connection");
        let request = format!(
            "GET {path}?token={token} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
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
        (raw, head.to_ascii_lowercase())
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // The server may close before it has read all of it.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Writes the same byte again and again, until the server has closed.
    pub(crate) async fn drip(&mut self, byte: u8, pause: Duration) {
        let dripping = async {
            let mut drops = tokio::time::interval(pause);
            while self.stream.write_u8(byte).await.is_ok() {
                drops.tick().await;
            }
        };
        timeout(PATIENCE, dripping).await.expect("an end in time");
    }

    /// Opcode and payload of the next frame of the server; none at the end of the stream.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let (first, payload) = self.whole_frame().await?;
        Some((first & 0x0f, payload))
    }

    /// First byte and payload of the next frame of the server; none at the end of the stream.
    pub(crate) async fn whole_frame(&mut self) -> Option<(u8, Vec<u8>)> {
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
            Some((first, payload))
        };
        timeout(PATIENCE, read).await.expect("a frame in time")
    }

    /// The close code, and that nothing follows it.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        loop {
            let (opcode, payload) = self.frame().await?;
            if opcode == CLOSE {
                assert_eq!(self.frame().await, None);
                return payload.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
        }
    }
}

pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
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
