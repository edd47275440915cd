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

use crate::id::StreamKey;

/// What shards tell each other about a stream. Packets may be lost between shards; everything else arrives, in order.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) stream: StreamKey,
    pub(crate) body: Body,
}

impl Message {
    /// Whether these are media packets, which may be dropped under load. Anything else may not.
    pub fn is_packets(&self) -> bool {
        matches!(self.body, Body::Packets)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    Follow,
    Unfollow,
    Packets,
}
