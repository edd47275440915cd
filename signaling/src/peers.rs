//! WebRTC connections as the hub sees them: whose they are, what for, and which requests about them are open.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use crate::grants::User;
use crate::id::{RequestId, StreamName, UserId};
use crate::media::{MediaId, Selection};
use crate::session::Key;

/// Who is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// A session; with the id of the message when it was a request.
    Session { key: Key, id: Option<String> },
    /// A request over HTTP.
    Http(RequestId),
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A WebSocket session.
    Session(Key),
    /// A WHIP or WHEP client.
    Http,
}

/// Which way media flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Publisher,
    Viewer,
}

/// What the hub waits for, in the order in which it asked.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) what: Asked,
    pub(crate) requester: Requester,
}

/// What was asked of the media plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The first offer.
    Open,
    /// A renegotiation.
    Offer,
    /// A PATCH.
    Patch,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A session was given its name and has not offered yet.
    Reserved,
    /// Offered, media not heard yet.
    Negotiating { since: Instant },
    /// Media is heard.
    Heard,
    /// Media was heard and is not any more.
    Silent,
}

/// One WebRTC connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) stream: StreamName,
    pub(crate) side: Side,
    pub(crate) owner: Owner,
    pub(crate) user: User,
    /// `session` of the wire, or the WHIP or WHEP resource.
    pub(crate) wire_id: String,
    pub(crate) etag: String,
    pub(crate) phase: Phase,
    pub(crate) selection: Selection,
    pub(crate) pending: VecDeque<Pending>,
    /// When the token behind it ends; none while a session stands behind it, for that has its own.
    expires_at: Option<Instant>,
}

impl Peer {
    /// A connection whose end is not set, with nothing asked about it yet.
    pub(crate) fn new(
        stream: StreamName,
        side: Side,
        owner: Owner,
        user: User,
        wire_id: String,
        etag: String,
    ) -> Self {
        Self {
            stream,
            side,
            owner,
            user,
            wire_id,
            etag,
            phase: Phase::Reserved,
            selection: Selection::default(),
            pending: VecDeque::new(),
            expires_at: None,
        }
    }
}

/// A resource that is gone.
#[derive(Debug, Clone)]
pub(crate) struct Tombstone {
    pub(crate) media: MediaId,
    pub(crate) stream: StreamName,
    pub(crate) side: Side,
    pub(crate) user: UserId,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Peers {
    peers: BTreeMap<MediaId, Peer>,
    by_wire_id: HashMap<String, MediaId>,
    expiries: BTreeSet<(Instant, MediaId)>,
    /// The moment the timer of the earliest expiry is set to.
    pub(crate) scheduled: Option<Instant>,
    next: u64,
    tombstones: HashMap<String, Tombstone>,
    buried: VecDeque<String>,
    tombstones_max: usize,
}

impl Peers {
    /// No connections, and room to remember some that are gone.
    pub(crate) fn new(tombstones_max: usize) -> Self {
        Self {
            peers: BTreeMap::new(),
            by_wire_id: HashMap::new(),
            expiries: BTreeSet::new(),
            scheduled: None,
            next: 1,
            tombstones: HashMap::new(),
            buried: VecDeque::new(),
            tombstones_max,
        }
    }

    pub(crate) fn insert(&mut self, peer: Peer) -> MediaId {
        let media = MediaId(self.next);
        self.next += 1;
        self.by_wire_id.insert(peer.wire_id.clone(), media);
        self.peers.insert(media, peer);
        media
    }

    pub(crate) fn get(&self, media: MediaId) -> Option<&Peer> {
        self.peers.get(&media)
    }

    pub(crate) fn get_mut(&mut self, media: MediaId) -> Option<&mut Peer> {
        self.peers.get_mut(&media)
    }

    pub(crate) fn by_wire_id(&self, wire_id: &str) -> Option<(MediaId, &Peer)> {
        let media = *self.by_wire_id.get(wire_id)?;
        Some((media, self.peers.get(&media)?))
    }

    /// The connection ends at `at`, unless it was to live longer already.
    pub(crate) fn extend(&mut self, media: MediaId, at: Instant) {
        let Some(peer) = self.peers.get_mut(&media) else {
            return;
        };
        if let Some(before) = peer.expires_at {
            if before >= at {
                return;
            }
            self.expiries.remove(&(before, media));
        }
        peer.expires_at = Some(at);
        self.expiries.insert((at, media));
    }

    /// When the next connection's token ends.
    pub(crate) fn first_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// A connection whose token has ended, once; it is up to the caller to close it.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<MediaId> {
        if self.first_expiry()? > now {
            return None;
        }
        let (_, media) = self.expiries.pop_first()?;
        if let Some(peer) = self.peers.get_mut(&media) {
            peer.expires_at = None;
        }
        Some(media)
    }

    pub(crate) fn tombstone(&self, wire_id: &str) -> Option<&Tombstone> {
        self.tombstones.get(wire_id)
    }

    pub(crate) fn remove(&mut self, media: MediaId) -> Option<Peer> {
        let peer = self.peers.remove(&media)?;
        self.by_wire_id.remove(&peer.wire_id);
        if let Some(at) = peer.expires_at {
            self.expiries.remove(&(at, media));
        }
        if peer.owner == Owner::Http {
            let tombstone = Tombstone {
                media,
                stream: peer.stream.clone(),
                side: peer.side,
                user: peer.user.id.clone(),
            };
            self.tombstones.insert(peer.wire_id.clone(), tombstone);
            self.buried.push_back(peer.wire_id.clone());
            if self.buried.len() > self.tombstones_max
                && let Some(oldest) = self.buried.pop_front()
            {
                self.tombstones.remove(&oldest);
            }
        }
        Some(peer)
    }
}
