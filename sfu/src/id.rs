//! Names the shell gives to what it asks the core about.
//!
//! The shell chooses these numbers, never uses one twice in the life of the process, and may use them before the
//! core has answered. Inside, a shard maps each to a slab index once, at its edge.

/// One WebRTC connection, publishing or watching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u64);

/// One live stream. The same key names it in every shard it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey(pub u64);

/// One shard, numbered from 0 as its worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// Where a peer sits in its shard. The key tells whether the place still holds the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PeerId {
    pub(crate) index: usize,
    pub(crate) key: PeerKey,
}

/// Where a stream sits in its shard. The key tells whether the place still holds the same stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct StreamId {
    pub(crate) index: usize,
    pub(crate) key: StreamKey,
}
