//! Hot path. All state of one worker: peers, streams, and the turn that moves packets between them.
//!
//! This file holds the boundary and the turn. What commands do is in `shard/command.rs`, what packets do in
//! `shard/media.rs`, what other shards say in `shard/relay.rs`.

mod command;
mod fault;
mod media;
mod relay;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slab::Slab;
use smallvec::SmallVec;

use crate::config::Config;
use crate::datagrams::Datagrams;
use crate::demux::{self, Demux, Protocol};
use crate::event::{CloseReason, Command, Event, Output, Reason};
use crate::id::{PeerId, PeerKey, ShardId, StreamId, StreamKey};
use crate::peer::{self, Lapse, Peer, Role, Sink};
use crate::stats::Snapshot;
use crate::stream::Stream;
use crate::timer::{Owner, Timers};

#[cfg(feature = "sim")]
pub use fault::Fault;
use fault::Trap;

/// How often a stream's layers are measured and looked at for having stopped.
const TICK: Duration = Duration::from_millis(500);

/// Arrival times kept for one turn; a turn of the shell hands over some dozens of datagrams.
const ARRIVALS_MAX: usize = 1_024;

/// All media state of one worker.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    config: Config,
    seed: u64,
    now: Option<Instant>,
    peers: Slab<Peer>,
    peer_ids: HashMap<PeerKey, usize>,
    streams: Slab<Stream>,
    stream_ids: HashMap<StreamKey, usize>,
    demux: Demux,
    timers: Timers,
    due: Vec<(Instant, Owner)>,
    outputs: VecDeque<Output>,
    datagrams: Datagrams,
    /// Reused by every drain of a peer.
    events: Vec<peer::Event>,
    /// Peers that have something to send at the end of the turn.
    dirty_peers: Vec<PeerId>,
    /// Streams with packets for followers.
    dirty_streams: Vec<StreamId>,
    next_source: u64,
    /// When packets that were forwarded in this turn arrived, and how many copies went out.
    arrivals: SmallVec<[(Instant, u32); 4]>,
    stats: Snapshot,
    trap: Trap,
}

impl Shard {
    /// Makes an empty shard. `seed` decides what is drawn at random above str0m: first sequence numbers.
    ///
    /// # Panics
    ///
    /// When `config` does not [validate](Config::validate).
    pub fn new(config: Config, id: ShardId, seed: u64) -> Self {
        config.validate().expect("a validated configuration");
        Self {
            id,
            config,
            seed,
            now: None,
            peers: Slab::new(),
            peer_ids: HashMap::new(),
            streams: Slab::new(),
            stream_ids: HashMap::new(),
            demux: Demux::default(),
            timers: Timers::default(),
            due: Vec::new(),
            outputs: VecDeque::new(),
            datagrams: Datagrams::default(),
            events: Vec::new(),
            dirty_peers: Vec::new(),
            dirty_streams: Vec::new(),
            next_source: 0,
            arrivals: SmallVec::new(),
            stats: Snapshot::default(),
            trap: Trap::default(),
        }
    }

    /// Lets everything panic that is done for a peer at some point.
    #[cfg(feature = "sim")]
    pub fn inject_fault(&mut self, peer: PeerKey, fault: Fault) {
        self.trap.arm(peer, fault);
    }

    /// Carries out a command.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let now = self.advance(now);
        self.carry_out(now, command);
    }

    /// Takes a datagram that arrived from `source` at `destination` (the socket's bound address will do).
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        destination: SocketAddr,
        datagram: &[u8],
    ) {
        let now = self.advance(now);
        let Some(protocol) = demux::protocol(datagram) else {
            self.stats.packets_dropped.malformed += 1;
            return;
        };
        let destination = self.config.candidate_for(destination);
        if protocol == Protocol::Stun {
            let ufrag = demux::stun_ufrag(datagram);
            let Some(id) = ufrag.and_then(|ufrag| self.demux.by_ufrag(ufrag)) else {
                self.stats.packets_dropped.stun += 1;
                return;
            };
            self.drive(now, id, |peer, sink| {
                peer.receive(now, source, destination, datagram, sink);
                let is_answered = |e: &peer::Event| matches!(e, peer::Event::Verified(_));
                if !sink.events.iter().any(is_answered) {
                    sink.stats.packets_dropped.stun += 1;
                }
            });
            return;
        }
        let Some(id) = self.demux.by_address(source) else {
            self.stats.packets_dropped.unverified += 1;
            return;
        };
        self.drive(now, id, |peer, sink| {
            peer.receive(now, source, destination, datagram, sink);
        });
    }

    /// Takes a message of another shard.
    pub fn handle_relay(&mut self, now: Instant, from: ShardId, message: crate::relay::Message) {
        let now = self.advance(now);
        self.handle_message(now, from, message);
    }

    /// Lets time pass: call when [`Self::poll_timeout`] is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.advance(now);
        // What is scheduled anew while this runs waits for the next call, be it due already: a turn has an end.
        let mut due = std::mem::take(&mut self.due);
        while let Some(entry) = self.timers.pop_due(now) {
            due.push(entry);
        }
        for (at, owner) in due.drain(..) {
            match owner {
                Owner::Peer(id) => self.wake_peer(now, id, at),
                Owner::Stream(id) => self.wake_stream(now, id, at),
            }
        }
        self.due = due;
    }

    /// Tells that all outputs of the turn have been carried out, for the histogram of forwarding delay.
    pub fn handle_sent(&mut self, now: Instant) {
        for (arrived, copies) in self.arrivals.drain(..) {
            let delay = now.saturating_duration_since(arrived);
            self.stats.forward.observe(delay, copies);
        }
    }

    /// What to do next; `None` ends the turn. Between turns there is nothing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !self.flush() {
                return None;
            }
        }
    }

    /// What to send, in order. Whoever sends it clears it.
    pub fn datagrams(&mut self) -> &mut Datagrams {
        &mut self.datagrams
    }

    /// When to call [`Self::handle_timeout`] next, and why.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.timers.next()
    }

    /// The counters, cumulative.
    pub fn stats(&self) -> Snapshot {
        let mut stats = self.stats.clone();
        stats.streams = self.streams.len() as u64;
        for (_, peer) in &self.peers {
            match peer.role {
                Role::Publisher(_) => stats.sessions.publishers += 1,
                Role::Viewer(_) => stats.sessions.viewers += 1,
            }
        }
        stats
    }

    /// Addresses, fragments, peers and streams held: zero when everybody has left.
    pub fn held(&self) -> usize {
        self.demux.len() + self.peers.len() + self.streams.len()
    }

    /// Time never goes back: str0m would not follow.
    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |last| last.max(now));
        self.now = Some(now);
        now
    }

    /// Ends the turn: what was written leaves. False when there was nothing.
    fn flush(&mut self) -> bool {
        let Some(now) = self.now else {
            return false;
        };
        let is_busy = !self.dirty_peers.is_empty() || !self.dirty_streams.is_empty();
        let mut peers = std::mem::take(&mut self.dirty_peers);
        for id in peers.drain(..) {
            self.drive(now, id, |peer, sink| peer.flush(now, sink));
        }
        if self.dirty_peers.is_empty() {
            self.dirty_peers = peers;
        }
        for id in std::mem::take(&mut self.dirty_streams) {
            self.flush_batch(id);
        }
        is_busy
    }

    /// Changes one peer and handles what comes of it. A panic costs this peer and nobody else.
    fn drive(&mut self, now: Instant, id: PeerId, change: impl FnOnce(&mut Peer, &mut Sink<'_>)) {
        let mut events = std::mem::take(&mut self.events);
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            self.events = events;
            return;
        };
        let mut sink = Sink {
            datagrams: &mut self.datagrams,
            wall: self.config.wall,
            events: &mut events,
            stats: &mut self.stats,
        };
        let trap = &self.trap;
        let result = fault::contain(|| {
            trap.spring(id.key, fault::Fault::Drive);
            change(peer, &mut sink);
        });
        if result.is_none() {
            events.clear();
            self.events = events;
            self.drop_broken(now, id);
            return;
        }
        self.schedule_peer(id);
        for event in events.drain(..) {
            self.handle_peer_event(now, id, event);
        }
        self.events = events;
    }

    fn handle_peer_event(&mut self, now: Instant, id: PeerId, event: peer::Event) {
        match event {
            peer::Event::Connected => self.handle_connected(now, id),
            peer::Event::Closed => self.end_peer(now, id, CloseReason::PeerClosed),
            peer::Event::Failed => self.end_peer(now, id, CloseReason::Failed),
            peer::Event::Verified(address) => self.verify_address(now, id, address),
            peer::Event::Packet(route, packet) => self.handle_packet(now, id, route, packet),
            peer::Event::Unrouted(unrouted) => self.handle_unrouted(now, id, unrouted),
            peer::Event::KeyframeRequest(mid) => self.handle_keyframe_request(now, id, mid),
            peer::Event::Nack(ssrc, nack) => self.handle_nack(now, id, ssrc, nack),
        }
    }

    /// An address becomes a peer's once ICE has verified it, unless its owner is alive: whoever can sign for one peer
    /// and forge a source address could otherwise cut another one off.
    fn verify_address(&mut self, now: Instant, id: PeerId, address: SocketAddr) {
        if let Some(owner) = self.demux.by_address(address) {
            let silence = self.config.silence;
            let is_alive = peer_mut(&mut self.peers, owner)
                .is_some_and(|owner| owner.was_heard_within(now, silence));
            if owner == id || is_alive {
                return;
            }
        }
        if let Some(peer) = peer_mut(&mut self.peers, id) {
            self.demux.add_address(id, address, &mut peer.claims);
        }
    }

    fn wake_peer(&mut self, now: Instant, id: PeerId, at: Instant) {
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            return;
        };
        if !peer.scheduled.fires(at) {
            return;
        }
        if peer.is_due(now) {
            self.drive(now, id, |peer, sink| peer.flush(now, sink));
        }
        let Some(peer) = peer_mut(&mut self.peers, id) else {
            return;
        };
        match peer.check_liveness(now, &self.config) {
            Some(Lapse::Silent) => self.tell(Event::Silent { peer: id.key }),
            Some(Lapse::TimedOut) => {
                self.end_peer(now, id, CloseReason::TimedOut);
                return;
            }
            None => {}
        }
        self.schedule_peer(id);
    }

    fn schedule_peer(&mut self, id: PeerId) {
        if let Some(peer) = peer_mut(&mut self.peers, id) {
            let at = peer.deadline(&self.config);
            self.timers
                .schedule(Owner::Peer(id), at, &mut peer.scheduled);
        }
    }

    fn schedule_stream(&mut self, id: StreamId) {
        if let Some(stream) = stream_mut(&mut self.streams, id)
            && let Some(at) = stream.deadline()
        {
            self.timers
                .schedule(Owner::Stream(id), at, &mut stream.scheduled);
        }
    }

    fn mark_dirty(&mut self, id: PeerId) {
        if let Some(peer) = peer_mut(&mut self.peers, id)
            && !peer.is_dirty
        {
            peer.is_dirty = true;
            self.dirty_peers.push(id);
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Drops a peer inside which something of ours is broken. Its state is not to be trusted, so it gets no goodbye.
    fn drop_broken(&mut self, now: Instant, id: PeerId) {
        self.stats.panics += 1;
        tracing::error!(peer = id.key.0, "a fault of this server ended a connection");
        if peer_mut(&mut self.peers, id).is_none() {
            return;
        }
        self.remove_peer(now, id);
        self.tell(Event::Closed {
            peer: id.key,
            reason: CloseReason::Internal,
        });
    }

    /// Ends a peer with a goodbye, and tells why.
    fn end_peer(&mut self, now: Instant, id: PeerId, reason: CloseReason) {
        if peer_mut(&mut self.peers, id).is_none() {
            return;
        }
        self.drive(now, id, |peer, sink| peer.close(now, sink));
        // A fault in the goodbye has told of the end already.
        if peer_mut(&mut self.peers, id).is_some() {
            self.remove_peer(now, id);
            self.tell(Event::Closed {
                peer: id.key,
                reason,
            });
        }
    }

    /// Takes a peer out of everything that knows it.
    fn remove_peer(&mut self, now: Instant, id: PeerId) {
        if peer_mut(&mut self.peers, id).is_none() {
            return;
        }
        let peer = self.peers.remove(id.index);
        self.peer_ids.remove(&id.key);
        self.demux.remove(id, &peer.claims);
        let Some(stream) = stream_mut(&mut self.streams, peer.stream) else {
            return;
        };
        if stream.publisher == Some(id) {
            stream.publisher = None;
            stream.ticks_at = None;
            stream.stats_at = None;
            stream.tracks.clear();
            self.handle_tracks_changed(now, peer.stream);
        } else {
            stream.viewers.retain(|viewer| *viewer != id);
            self.unfollow_if_unwatched(peer.stream);
        }
    }

    fn peer_id(&self, key: PeerKey) -> Option<PeerId> {
        let index = *self.peer_ids.get(&key)?;
        Some(PeerId { index, key })
    }

    fn stream_id(&self, key: StreamKey) -> Option<StreamId> {
        let index = *self.stream_ids.get(&key)?;
        Some(StreamId { index, key })
    }
}

/// The peer of an id, if it is still the same. Takes the slab, so that the rest of the shard stays free to use.
fn peer_mut(peers: &mut Slab<Peer>, id: PeerId) -> Option<&mut Peer> {
    peers.get_mut(id.index).filter(|peer| peer.key == id.key)
}

/// The stream of an id, if it is still the same.
fn stream_mut(streams: &mut Slab<Stream>, id: StreamId) -> Option<&mut Stream> {
    streams
        .get_mut(id.index)
        .filter(|stream| stream.key == id.key)
}
