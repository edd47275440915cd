//! What a packet says of itself; synthetic ones in their last bytes. Exact counting needs no guess.
//!
//! A server may rewrite everything that belongs to RTP and to the codec's payload descriptor; the end of the payload it
//! forwards as it is.

use std::time::Duration;

/// Bytes of a tag.
pub const TAG_BYTES: usize = 27;

const MAGIC: [u8; 4] = *b"rrlt";

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Part of a picture that needs others.
    Delta,
    /// Part of a picture that needs none.
    Key,
    /// Sound.
    Audio,
}

/// Which packet it is and when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Number of the stream in this run.
    pub stream: u16,
    /// What it is.
    pub kind: Kind,
    /// Which encoding of the picture, from the lowest on.
    pub layer: u8,
    /// Number of the picture in its layer; of sound its packet's.
    pub frame: u32,
    /// Which part of the picture, from 0.
    pub part: u16,
    /// Of how many.
    pub parts: u16,
    /// Counts the packets of the layer's pictures, or of the sound, from 1.
    pub number: u32,
    /// When it was sent, since the run began.
    pub sent: Duration,
}

impl Tag {
    /// Appends it to a payload.
    pub fn write(&self, payload: &mut Vec<u8>) {
        let kind = match self.kind {
            Kind::Delta => 0,
            Kind::Key => 1,
            Kind::Audio => 2,
        };
        let sent = u64::try_from(self.sent.as_micros()).unwrap_or(u64::MAX);
        payload.extend(MAGIC);
        payload.extend(self.stream.to_be_bytes());
        payload.push(self.layer << 2 | kind);
        payload.extend(self.part.to_be_bytes());
        payload.extend(self.parts.to_be_bytes());
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.number.to_be_bytes());
        payload.extend(sent.to_be_bytes());
    }

    /// Reads it from the end of a payload; none where there is none.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let tag = payload.last_chunk::<TAG_BYTES>()?;
        let [
            m0,
            m1,
            m2,
            m3,
            s0,
            s1,
            kind,
            p0,
            p1,
            n0,
            n1,
            f0,
            f1,
            f2,
            f3,
            c0,
            c1,
            c2,
            c3,
            sent @ ..,
        ] = *tag;
        if [m0, m1, m2, m3] != MAGIC {
            return None;
        }
        Some(Self {
            stream: u16::from_be_bytes([s0, s1]),
            layer: kind >> 2,
            kind: match kind & 3 {
                0 => Kind::Delta,
                1 => Kind::Key,
                2 => Kind::Audio,
                _ => return None,
            },
            part: u16::from_be_bytes([p0, p1]),
            parts: u16::from_be_bytes([n0, n1]),
            frame: u32::from_be_bytes([f0, f1, f2, f3]),
            number: u32::from_be_bytes([c0, c1, c2, c3]),
            sent: Duration::from_micros(u64::from_be_bytes(sent)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_as_it_was_written_and_foreign_bytes_are_none() {
        let tag = Tag {
            stream: 513,
            kind: Kind::Key,
            layer: 2,
            frame: 70_000,
            part: 3,
            parts: 300,
            number: 80_000,
            sent: Duration::from_micros(12_345_678_901),
        };
        let mut payload = vec![1, 2, 3];
        tag.write(&mut payload);
        assert_eq!(payload.len(), 3 + TAG_BYTES);
        assert_eq!(Tag::read(&payload), Some(tag));
        payload.push(0);
        assert_eq!(Tag::read(&payload), None);
        assert_eq!(Tag::read(&[]), None);
    }
}
