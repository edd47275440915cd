//! Hot path. What a shard wants sent: datagrams, one behind another in one buffer.
//!
//! Packets to viewers are written and sealed right here, and the shell hands the kernel what lies here, so that a payload
//! is copied once on its way from the socket to the socket.

use std::net::SocketAddr;

/// Bytes that an empty buffer may keep. One turn of a busy shard fills some megabytes; more is given back, so that one
/// moment of many viewers does not stay for ever.
const KEPT_BYTES_MAX: usize = 32 << 20;

/// Datagrams in the order in which they are to leave.
#[derive(Debug, Default)]
pub struct Datagrams {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    source: SocketAddr,
    destination: SocketAddr,
    start: usize,
    end: usize,
}

/// One datagram to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The local address it must leave from, one of the shard's own.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// The bytes; at most the path MTU the core was configured with, media packets excepted, which keep the size their
    /// publisher chose.
    pub contents: &'a [u8],
}

impl Datagrams {
    /// Adds a datagram.
    pub fn push(&mut self, source: SocketAddr, destination: SocketAddr, contents: &[u8]) {
        self.write(source, destination, |buffer| {
            buffer.extend_from_slice(contents);
            true
        });
    }

    /// Adds the datagram that `write` appends to the buffer; none when it answers false.
    pub(crate) fn write(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let start = self.bytes.len();
        if !write(&mut self.bytes) {
            self.bytes.truncate(start);
            return false;
        }
        self.entries.push(Entry {
            source,
            destination,
            start,
            end: self.bytes.len(),
        });
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes they have in all.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The datagram at a place in the order.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub fn get(&self, index: usize) -> Datagram<'_> {
        let entry = &self.entries[index];
        Datagram {
            source: entry.source,
            destination: entry.destination,
            contents: &self.bytes[entry.start..entry.end],
        }
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Forgets them: they were sent.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_to_its_end_is_not_there() {
        let mut datagrams = Datagrams::default();
        let [here, there] = [1, 2].map(|port| SocketAddr::from(([192, 0, 2, 1], port)));
        datagrams.push(here, there, b"one");
        let is_written = datagrams.write(here, there, |buffer| {
            buffer.extend_from_slice(b"half");
            false
        });
        assert!(!is_written);
        datagrams.push(there, here, b"");
        datagrams.push(here, there, b"three");
        let contents: Vec<&[u8]> = datagrams.iter().map(|d| d.contents).collect();
        assert_eq!(contents, [&b"one"[..], b"", b"three"]);
        assert_eq!((datagrams.len(), datagrams.bytes()), (3, 8));
        assert_eq!(datagrams.get(1).destination, here);
        datagrams.clear();
        assert!(datagrams.is_empty() && datagrams.bytes() == 0);
    }
}
