//! One live stream in one shard: who publishes, who watches, who follows.

use std::time::Instant;

use smallvec::SmallVec;

use crate::event::TrackInfo;
use crate::id::{PeerId, ShardId, StreamKey};
use crate::relay;
use crate::timer::Scheduled;
use crate::track::Track;

/// A stream. In its home shard it has a publisher and maybe followers, elsewhere a home.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) key: StreamKey,
    /// The shard its publisher lives in.
    pub(crate) home: ShardId,
    /// Whether the shell opened it here; a follower may ask before that.
    pub(crate) is_open: bool,
    pub(crate) publisher: Option<PeerId>,
    pub(crate) tracks: SmallVec<[Track; 2]>,
    pub(crate) viewers: Vec<PeerId>,
    /// Shards that get what arrives here.
    pub(crate) followers: SmallVec<[ShardId; 2]>,
    /// Packets for the followers, sent at the end of the turn.
    pub(crate) batch: Vec<relay::Packet>,
    /// Whether the home shard was asked to send.
    pub(crate) is_following: bool,
    pub(crate) scheduled: Scheduled,
    pub(crate) ticks_at: Option<Instant>,
    pub(crate) stats_at: Option<Instant>,
    pub(crate) is_dirty: bool,
    next_track: u16,
}

impl Stream {
    pub(crate) fn new(key: StreamKey, home: ShardId) -> Self {
        Self {
            key,
            home,
            is_open: false,
            publisher: None,
            tracks: SmallVec::new(),
            viewers: Vec::new(),
            followers: SmallVec::new(),
            batch: Vec::new(),
            is_following: false,
            scheduled: Scheduled::default(),
            ticks_at: None,
            stats_at: None,
            is_dirty: false,
            next_track: 0,
        }
    }

    /// A number that no track of this stream has had lately.
    pub(crate) fn number_track(&mut self) -> u16 {
        let number = self.next_track;
        self.next_track = self.next_track.wrapping_add(1);
        number
    }

    pub(crate) fn track(&self, number: u16) -> Option<&Track> {
        self.tracks.iter().find(|track| track.number == number)
    }

    pub(crate) fn track_mut(&mut self, number: u16) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.number == number)
    }

    /// What the shell hears of the tracks.
    pub(crate) fn infos(&self) -> Vec<TrackInfo> {
        self.tracks.iter().map(Track::info).collect()
    }

    /// When something is to be done about the stream.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let requests = self.tracks.iter().filter_map(|t| t.requests.poll_timeout());
        requests.chain(self.ticks_at).chain(self.stats_at).min()
    }
}
