//! A simulated world around shards: one clock, links that lose and delay, peers that follow a script.
//!
//! Time advances from one deadline to the next, so a minute of media takes as long as its packets need to be computed.
//! The peers are whole str0m sessions (ICE, DTLS, SRTP, NACK); what they publish is numbered pictures of a few hundred
//! bytes, and what they receive is judged by [`Viewing`] as a decoder would. One seed decides links and sequence numbers;
//! ICE and DTLS draw their own randomness. A test that fails prints the seed.

mod camera;
mod media;
mod meter;
mod peer;
mod random;
mod svc;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, UNIX_EPOCH};

pub use str0m_netem::{NetemConfig, Probability, RandomLoss};

pub use crate::shard::Fault;
pub use camera::{Change, Publishing};
pub use media::{Frame, Received, Viewing};
pub use peer::Watching;
pub use random::Random;
pub use svc::Layering;

use crate::config::{Config, Identity, WallClock};
use crate::event::{Command, Event, Output, Selection};
use crate::id::{PeerKey, ShardId, StreamKey};
use crate::relay;
use crate::shard::Shard;
use meter::Meter;
use peer::{Datagram, Peer};

/// A turn that goes on for longer than this has caught itself in a circle.
const ROUNDS_MAX: usize = 10_000;

/// The time of day at which simulations begin: some day in 2023.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// The world of one test.
pub struct Sim {
    seed: u64,
    start: Instant,
    now: Instant,
    shards: Vec<Host>,
    peers: Vec<Peer>,
    streams: u64,
    relayed: VecDeque<(ShardId, ShardId, relay::Message)>,
    events: Vec<(Instant, ShardId, Event)>,
    stray: u64,
    meter: Meter,
    /// Reused by every round.
    outputs: Vec<Output>,
}

/// A shard at its address.
struct Host {
    id: ShardId,
    address: SocketAddr,
    shard: Shard,
}

impl Sim {
    /// A world of `shards` shards with the default configuration.
    pub fn new(seed: u64, shards: u16) -> Self {
        Self::with_config(seed, shards, |_| {})
    }

    /// A world whose shards are configured by `adjust`.
    #[expect(
        clippy::disallowed_methods,
        reason = "one instant is the base of simulated time; nothing depends on which"
    )]
    pub fn with_config(seed: u64, shards: u16, adjust: impl Fn(&mut Config)) -> Self {
        let identity = Identity::generate();
        let start = Instant::now();
        let shards = (0..shards)
            .map(|number| {
                let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 40_000 + number));
                let wall = WallClock {
                    at: start,
                    time: UNIX_EPOCH + EPOCH,
                };
                let mut config = Config::new(address, vec![address], identity.clone(), wall);
                adjust(&mut config);
                let id = ShardId(number);
                Host {
                    id,
                    address,
                    shard: Shard::new(config, id, seed.wrapping_add(number.into())),
                }
            })
            .collect();
        Self {
            seed,
            start,
            now: start,
            shards,
            peers: Vec::new(),
            streams: 0,
            relayed: VecDeque::new(),
            events: Vec::new(),
            stray: 0,
            meter: Meter::default(),
            outputs: Vec::new(),
        }
    }

    /// The time that it is.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// How long the simulation has run.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Makes a stream known to every shard; its publisher goes to the first one.
    pub fn open(&mut self) -> StreamKey {
        self.streams += 1;
        let stream = StreamKey(self.streams);
        for index in 0..self.shards.len() {
            let home = self.shards[0].id;
            self.command(ShardId(index as u16), Command::OpenStream { stream, home });
        }
        stream
    }

    /// Sends a publisher, who offers at once and sends as soon as it is connected.
    pub fn publish(&mut self, stream: StreamKey, publishing: Publishing) -> PeerKey {
        let (key, address) = self.next_peer();
        let home = self.shards[0].id;
        let (peer, offer) = Peer::publisher(key, home, address, self.now, self.seed, publishing);
        self.peers.push(peer);
        self.command(
            home,
            Command::Publish {
                peer: key,
                stream,
                offer,
            },
        );
        key
    }

    /// Sends a viewer to a shard.
    pub fn watch(&mut self, stream: StreamKey, shard: ShardId, watching: Watching) -> PeerKey {
        let (key, address) = self.next_peer();
        let selection = watching.selection;
        let (peer, offer) = Peer::viewer(key, shard, address, self.now, watching);
        self.peers.push(peer);
        let command = Command::Watch {
            peer: key,
            stream,
            offer,
            selection,
        };
        self.command(shard, command);
        key
    }

    /// A viewer asks for something else.
    pub fn select(&mut self, viewer: PeerKey, selection: Selection) {
        let shard = self.peer(viewer).shard;
        let command = Command::Select {
            peer: viewer,
            selection,
        };
        self.command(shard, command);
    }

    /// Changes the network of a peer: `up` from it to its shard, `down` the other way. The seed is the simulation's.
    pub fn link(&mut self, peer: PeerKey, up: NetemConfig, down: NetemConfig) {
        let seed = self.seed.wrapping_add(peer.0);
        let peer = self.peer_mut(peer);
        peer.up.set_config(up.seed(seed));
        peer.down.set_config(down.seed(seed ^ 1));
    }

    /// A peer is gone without a word: power cut, closed lid.
    pub fn vanish(&mut self, peer: PeerKey) {
        self.peers.retain(|other| other.key != peer);
    }

    /// A viewer's decoder asks for a keyframe of its picture.
    pub fn request_keyframe(&mut self, viewer: PeerKey) {
        let now = self.now;
        self.peer_mut(viewer).request_keyframe(now);
        self.settle();
    }

    /// A publisher stops or resumes sending a layer, all of its pictures (`None`) included.
    pub fn set_sending(&mut self, publisher: PeerKey, rid: Option<&str>, is_sending: bool) {
        self.peer_mut(publisher).set_sending(rid, is_sending);
    }

    /// A publisher sends only so many of its spatial layers, for lack of bandwidth.
    pub fn set_spatial(&mut self, publisher: PeerKey, layers: u8) {
        self.peer_mut(publisher).set_spatial(layers);
    }

    /// A publisher offers again.
    pub fn offer_again(&mut self, publisher: PeerKey, changes: &[Change]) {
        let peer = self.peer_mut(publisher);
        let (shard, sdp) = (peer.shard, peer.offer_again(changes));
        self.command(
            shard,
            Command::Offer {
                peer: publisher,
                sdp,
            },
        );
    }

    /// A peer that offered restarts ICE with a fragment, as WHIP and WHEP clients do.
    pub fn restart_ice(&mut self, key: PeerKey) {
        let peer = self.peer_mut(key);
        let (shard, fragment) = (peer.shard, peer.restart_ice());
        self.command(
            shard,
            Command::Patch {
                peer: key,
                fragment,
            },
        );
    }

    /// A peer is in another network from here on.
    pub fn rehome(&mut self, peer: PeerKey) {
        let mut address = self.peer_address(peer);
        address.set_port(address.port() + 1);
        self.peer_mut(peer).rehome(address);
    }

    /// The payloads of the sound that a publisher sent as RED.
    pub fn sounds(&self, publisher: PeerKey) -> &[Vec<u8>] {
        self.peer(publisher).sounds()
    }

    /// Gives a command to a shard and lets its turn end.
    pub fn command(&mut self, shard: ShardId, command: Command) {
        let now = self.now;
        self.host(shard).shard.handle_command(now, command);
        self.settle();
    }

    /// Lets everything panic that a shard does for a peer at some point. The next peer has the key
    /// [`Self::next_key`].
    pub fn inject_fault(&mut self, shard: ShardId, peer: PeerKey, fault: Fault) {
        self.host(shard).shard.inject_fault(peer, fault);
    }

    /// The key of the peer that comes next.
    pub fn next_key(&self) -> PeerKey {
        self.next_peer().0
    }

    /// A datagram from anywhere arrives at a shard.
    pub fn inject(&mut self, shard: ShardId, source: SocketAddr, datagram: &[u8]) {
        let now = self.now;
        let host = self.host(shard);
        host.shard
            .handle_datagram(now, source, host.address, datagram);
        self.settle();
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(next) = self.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    /// Lets time pass until `is_done`, checked every 10 ms; false when that takes longer than `limit`.
    pub fn run_until(&mut self, limit: Duration, mut is_done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while !is_done(self) {
            if self.now >= end {
                return false;
            }
            self.run(Duration::from_millis(10));
        }
        true
    }

    /// From here on, measures what the shards take of a clock of the caller's; the core has none.
    pub fn meter(&mut self, clock: fn() -> Instant) {
        self.meter = Meter::new(clock);
    }

    /// How long the shards have worked since [`Self::meter`], for everything that time and peers made them do. Commands are
    /// not counted.
    pub fn metered(&self) -> Duration {
        self.meter.total()
    }

    /// A shard by itself, for what the simulation has no word for. What it wants is carried out with the next step of time.
    pub fn shard_mut(&mut self, shard: ShardId) -> &mut Shard {
        &mut self.host(shard).shard
    }

    /// Throws away what the viewers have written down, so that long runs do not fill the memory.
    pub fn forget_received(&mut self) {
        for peer in &mut self.peers {
            peer.received.clear();
        }
    }

    /// Everything the shards told, in order.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|(_, _, event)| event)
    }

    /// The counters of a shard.
    pub fn stats(&self, shard: ShardId) -> crate::stats::Snapshot {
        self.shards[usize::from(shard.0)].shard.stats()
    }

    /// What a shard holds: see [`Shard::held`].
    pub fn held(&self, shard: ShardId) -> usize {
        self.shards[usize::from(shard.0)].shard.held()
    }

    /// The address of a shard.
    pub fn address(&self, shard: ShardId) -> SocketAddr {
        self.shards[usize::from(shard.0)].address
    }

    /// The address a peer sends from.
    pub fn peer_address(&self, peer: PeerKey) -> SocketAddr {
        self.peer(peer).address
    }

    /// Whether a peer has ICE and DTLS up.
    pub fn is_connected(&self, peer: PeerKey) -> bool {
        self.peer(peer).is_connected
    }

    /// What a viewer received so far.
    pub fn received(&self, viewer: PeerKey) -> &[Received] {
        &self.peer(viewer).received
    }

    /// What a viewer saw so far.
    pub fn viewing(&self, viewer: PeerKey) -> Viewing {
        Viewing::of(self.received(viewer))
    }

    /// When each keyframe request reached a publisher, and the RID it was for.
    pub fn keyframe_requests(&self, publisher: PeerKey) -> &[(Instant, Option<String>)] {
        self.peer(publisher).keyframe_requests()
    }

    /// The last few dozen datagrams that a peer sent, oldest first, as the network saw them.
    pub fn sent(&self, peer: PeerKey) -> impl Iterator<Item = &[u8]> {
        self.peer(peer).sent.iter().map(Vec::as_slice)
    }

    /// The ICE user name fragment that a shard gave to a peer.
    pub fn server_ufrag(&self, peer: PeerKey) -> Option<&str> {
        self.peer(peer).server_ufrag.as_deref()
    }

    /// Datagrams that a shard sent to nobody.
    pub fn stray(&self) -> u64 {
        self.stray
    }

    /// Datagrams that arrived at a peer.
    pub fn arrived(&self, peer: PeerKey) -> u64 {
        self.peer(peer).arrived
    }

    /// From here on, writes down the datagrams that a peer's shard sends it, be they lost on the way.
    pub fn record(&mut self, peer: PeerKey) {
        self.peer_mut(peer).recorded = Some(Vec::new());
    }

    /// What was written down since [`Self::record`].
    pub fn recorded(&self, peer: PeerKey) -> impl Iterator<Item = &[u8]> {
        let recorded = self.peer(peer).recorded.iter().flatten();
        recorded.map(Vec::as_slice)
    }

    fn next_peer(&self) -> (PeerKey, SocketAddr) {
        // Keys are never used twice, also after a peer has vanished.
        let key = 1 + self.peers.iter().map(|peer| peer.key.0).max().unwrap_or(0);
        let [.., high, low] = key.to_be_bytes();
        let address = SocketAddr::from((Ipv4Addr::new(10, 1, high, low), 50_000));
        (PeerKey(key), address)
    }

    fn host(&mut self, shard: ShardId) -> &mut Host {
        &mut self.shards[usize::from(shard.0)]
    }

    fn peer(&self, key: PeerKey) -> &Peer {
        let peer = self.peers.iter().find(|peer| peer.key == key);
        peer.expect("a peer of this simulation that has not vanished")
    }

    fn peer_mut(&mut self, key: PeerKey) -> &mut Peer {
        let peer = self.peers.iter_mut().find(|peer| peer.key == key);
        peer.expect("a peer of this simulation that has not vanished")
    }

    fn next_deadline(&self) -> Option<Instant> {
        let shards = self
            .shards
            .iter()
            .filter_map(|host| host.shard.poll_timeout().map(|(at, _)| at));
        let peers = self.peers.iter().map(Peer::next_deadline);
        shards.chain(peers).min()
    }

    /// Everything that is due now.
    fn tick(&mut self) {
        let now = self.now;
        for host in &mut self.shards {
            if host.shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.meter.run(|| host.shard.handle_timeout(now));
            }
        }
        for peer in &mut self.peers {
            peer.handle_timeout(now);
        }
        self.settle();
    }

    /// Carries out what everybody wants until nobody wants anything at this time.
    fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            if !self.round() {
                return;
            }
        }
        panic!("{self:?} does not come to rest");
    }

    fn round(&mut self) -> bool {
        let now = self.now;
        let mut is_busy = false;
        for peer in &mut self.peers {
            while let Some(Datagram { bytes, .. }) = peer.poll_arrival_at_shard(now) {
                let host = &mut self.shards[usize::from(peer.shard.0)];
                self.meter.run(|| {
                    host.shard
                        .handle_datagram(now, peer.address, host.address, &bytes);
                });
                is_busy = true;
            }
            while let Some(Datagram { from, bytes }) = peer.poll_arrival_at_peer(now) {
                peer.handle_datagram(now, from, &bytes);
                is_busy = true;
            }
        }
        while let Some((from, to, message)) = self.relayed.pop_front() {
            self.host(to).shard.handle_relay(now, from, message);
            is_busy = true;
        }
        for index in 0..self.shards.len() {
            let Host { id, shard, address } = &mut self.shards[index];
            let id = *id;
            let mut outputs = std::mem::take(&mut self.outputs);
            self.meter.run(|| {
                outputs.extend(std::iter::from_fn(|| shard.poll_output()));
                shard.handle_sent(now);
            });
            is_busy |= !outputs.is_empty() || !shard.datagrams().is_empty();
            for datagram in shard.datagrams().iter() {
                let to = datagram.destination;
                match self.peers.iter_mut().find(|peer| peer.address == to) {
                    Some(peer) => peer.send_down(now, *address, datagram.contents.to_vec()),
                    None => self.stray += 1,
                }
            }
            shard.datagrams().clear();
            for output in outputs.drain(..) {
                self.carry_out(id, output);
            }
            self.outputs = outputs;
        }
        is_busy
    }

    fn carry_out(&mut self, shard: ShardId, output: Output) {
        let now = self.now;
        match output {
            Output::Relay { to, message } => self.relayed.push_back((shard, to, message)),
            Output::Event(event) => {
                self.events.push((now, shard, event.clone()));
                self.answer(shard, event);
            }
        }
    }

    /// What the signaling around the shards would do.
    fn answer(&mut self, shard: ShardId, event: Event) {
        let now = self.now;
        if let Event::Patched {
            peer: key,
            fragment: Some(fragment),
        } = &event
            && let Some(peer) = self.peers.iter_mut().find(|peer| peer.key == *key)
        {
            peer.handle_patched(now, fragment);
            return;
        }
        let (Event::Answer { peer: key, sdp } | Event::Offer { peer: key, sdp }) = &event else {
            return;
        };
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.key == *key) else {
            return;
        };
        if matches!(event, Event::Answer { .. }) {
            peer.handle_answer(now, sdp);
            return;
        }
        let answer = peer.handle_offer(now, sdp);
        let command = Command::Answer {
            peer: *key,
            sdp: answer,
        };
        self.host(shard).shard.handle_command(now, command);
    }
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "simulation with seed {} at {:?}",
            self.seed,
            self.elapsed()
        )
    }
}

impl Drop for Sim {
    #[expect(clippy::print_stderr, reason = "how a failed test tells its seed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{self:?} failed");
        }
    }
}
