//! A track whose other end is another shard. (Boundary sketch: the owner of `sfu` completes this file.)

/// What shards tell each other about a stream. Packets may be lost between shards; everything else arrives in order.
#[derive(Debug, Clone)]
pub struct Message;
