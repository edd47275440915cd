//! A track whose other end is another shard: what a home shard and its followers tell each other.
//!
//! ```text
//!   follower                                     home
//!     │  Follow        first viewer there          │
//!     │ ─────────────────────────────────────────▶ │
//!     │  Tracks        at once and on every change │
//!     │ ◀───────────────────────────────────────── │
//!     │  Packets       one per turn                │
//!     │ ◀───────────────────────────────────────── │
//!     │  Keyframe      coalesced at both ends      │
//!     │ ─────────────────────────────────────────▶ │
//!     │  Unfollow      last viewer gone            │
//!     │ ─────────────────────────────────────────▶ │
//! ```
//!
//! One batch is shared by all followers of a stream. Each copies the payloads once, so that no two workers count
//! references to the same bytes packet by packet.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::event::Kind;
use crate::forward::packet;
use crate::id::StreamKey;
use crate::layer::LAYERS_MAX;
use crate::track::{Format, Layer};

/// What shards tell each other about a stream. Packets may be lost between shards; everything else arrives, in order.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) stream: StreamKey,
    pub(crate) body: Body,
}

impl Message {
    /// Whether these are media packets, which may be dropped under load. Anything else may not.
    pub fn is_packets(&self) -> bool {
        matches!(self.body, Body::Packets(_))
    }

    /// How many media packets it carries.
    pub fn packets(&self) -> usize {
        match &self.body {
            Body::Packets(packets) => packets.len(),
            Body::Follow | Body::Unfollow | Body::Keyframe { .. } | Body::Tracks(_) => 0,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// To the home shard: somebody watches here.
    Follow,
    /// To the home shard: nobody does any more.
    Unfollow,
    /// To the home shard: a keyframe is needed.
    Keyframe { track: u16, slot: u8 },
    /// From the home shard: all tracks there are.
    Tracks(Arc<[Track]>),
    /// From the home shard: what arrived in a turn.
    Packets(Arc<[Packet]>),
}

/// A track as a follower needs to know it.
#[derive(Debug, Clone)]
pub(crate) struct Track {
    pub(crate) number: u16,
    pub(crate) kind: Kind,
    pub(crate) format: Format,
    pub(crate) layers: SmallVec<[Layer; LAYERS_MAX]>,
    pub(crate) is_muted: bool,
}

/// A packet of a track.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) track: u16,
    /// Sound wrapped in RED.
    pub(crate) is_red: bool,
    pub(crate) packet: packet::Packet,
}
