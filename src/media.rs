//! The media plane: worker threads with a shard and a UDP socket each, and who sits on which.
//!
//! A stream's publisher lives on its home worker, chosen when the stream is first mentioned. Viewers are spread over all
//! workers; a worker that serves viewers of a stream from elsewhere follows its home, which feeds it once for all of them.

mod udp;
mod worker;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::Context;
use redred_sfu::Identity;
use redred_sfu::config::WallClock;
use redred_sfu::event::{Command, Event, Selection};
use redred_sfu::id::{PeerKey, ShardId, StreamKey};
use tokio::sync::mpsc;

pub use udp::Counters;
pub use worker::Stats;
use worker::{Inbox, Worker};

/// Events on their way to the hub. A worker that finds it full keeps its events and goes on forwarding.
const EVENTS: usize = 4096;

/// Where the workers listen and what they tell peers about it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads, each with a socket.
    pub workers: u16,
    /// Address the sockets bind to.
    pub listen_ip: IpAddr,
    /// Port of the first worker, the others follow; 0 lets the kernel choose each.
    pub udp_port_base: u16,
    /// Addresses in ICE candidates, most preferred first.
    pub advertised_ips: Vec<IpAddr>,
}

/// What the workers tell. Comes from all of them, those of one worker in order.
pub type Events = mpsc::Receiver<Event>;

/// Steers the workers. Dropping it stops them.
#[derive(Debug)]
pub struct Plane {
    inboxes: Vec<Arc<Inbox>>,
    loads: Vec<Load>,
    streams: HashMap<StreamKey, Placement>,
    peers: HashMap<PeerKey, Seat>,
}

/// How the workers fare; may be asked from anywhere.
#[derive(Clone, Debug)]
pub struct Monitor {
    inboxes: Vec<Arc<Inbox>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    publishers: u32,
    viewers: u32,
}

/// Where a stream is known.
#[derive(Debug)]
struct Placement {
    home: usize,
    /// By worker, whether it was told of the stream.
    open: Vec<bool>,
}

/// Where a peer sits.
#[derive(Clone, Copy, Debug)]
struct Seat {
    worker: usize,
    stream: StreamKey,
    is_publisher: bool,
    /// Its first negotiation succeeded: from here on a refusal does not end it.
    is_established: bool,
}

impl Plane {
    /// Binds the sockets and starts the threads.
    ///
    /// # Errors
    /// When a socket cannot be bound, with its address, or a thread cannot be started.
    pub fn start(config: &Config) -> anyhow::Result<(Self, Events)> {
        let mut sockets = Vec::new();
        for index in 0..config.workers {
            let port = match config.udp_port_base {
                0 => 0,
                base => base
                    .checked_add(index)
                    .context("sfu.udp_port_base leaves too few ports")?,
            };
            let address = SocketAddr::new(config.listen_ip, port);
            let socket = udp::bind(address).with_context(|| format!("binding UDP {address}"))?;
            sockets.push(socket);
        }
        let inboxes = (0..config.workers)
            .map(|_| Inbox::new().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()
            .context("creating an eventfd")?;
        let identity = Identity::generate();
        let wall = WallClock {
            at: Instant::now(),
            time: SystemTime::now(),
        };
        let (sender, events) = mpsc::channel(EVENTS);
        for (index, socket) in sockets.into_iter().enumerate() {
            let local = socket.local_addr().context("the address of a UDP socket")?;
            let candidates = candidates(local, &config.advertised_ips);
            let shard = redred_sfu::Config::new(local, candidates, identity.clone(), wall);
            shard.validate()?;
            let start = worker::Start {
                id: ShardId(index as u16),
                config: shard,
                seed: rand::random(),
                socket,
                inboxes: inboxes.clone(),
                events: sender.clone(),
            };
            Worker::spawn(start).context("starting a media worker")?;
            tracing::info!(worker = index, port = local.port(), "media worker listens");
        }
        let plane = Self {
            loads: vec![Load::default(); inboxes.len()],
            inboxes,
            streams: HashMap::new(),
            peers: HashMap::new(),
        };
        Ok((plane, events))
    }

    /// How the workers fare.
    pub fn monitor(&self) -> Monitor {
        Monitor {
            inboxes: self.inboxes.clone(),
        }
    }

    /// Lets a peer publish into a stream, on the stream's home worker.
    pub(crate) fn publish(&mut self, peer: PeerKey, stream: StreamKey, offer: String) {
        let home = self.home(stream);
        self.open(stream, home);
        self.seat(peer, stream, home, true);
        self.inboxes[home].command(Command::Publish {
            peer,
            stream,
            offer,
        });
    }

    /// Lets a peer watch a stream, on the worker with the fewest viewers; the home worker when it is one of them.
    pub(crate) fn watch(
        &mut self,
        peer: PeerKey,
        stream: StreamKey,
        offer: Option<String>,
        selection: Selection,
    ) {
        let home = self.home(stream);
        let worker = (0..self.loads.len())
            .filter(|&worker| self.inboxes[worker].is_alive())
            .min_by_key(|&worker| (self.loads[worker].viewers, worker != home))
            .unwrap_or(home);
        self.open(stream, home);
        self.open(stream, worker);
        self.seat(peer, stream, worker, false);
        self.inboxes[worker].command(Command::Watch {
            peer,
            stream,
            offer,
            selection,
        });
    }

    /// Passes a command about a peer to where it sits. False when it sits nowhere.
    pub(crate) fn command(&self, peer: PeerKey, command: Command) -> bool {
        let Some(seat) = self.peers.get(&peer) else {
            return false;
        };
        self.inboxes[seat.worker].command(command);
        true
    }

    /// Closes a peer.
    pub(crate) fn close(&mut self, peer: PeerKey) {
        if self.command(peer, Command::Close { peer }) {
            self.leave(peer);
        }
    }

    /// Ends a stream everywhere, with its peers.
    pub(crate) fn end_stream(&mut self, stream: StreamKey) {
        let Some(placement) = self.streams.remove(&stream) else {
            return;
        };
        for (inbox, open) in self.inboxes.iter().zip(placement.open) {
            if open {
                inbox.command(Command::CloseStream { stream });
            }
        }
        let peers: Vec<PeerKey> = self
            .peers
            .iter()
            .filter(|(_, seat)| seat.stream == stream)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in peers {
            self.leave(peer);
        }
    }

    /// Keeps the seats in step with what workers tell. Every event passes through here once.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Answer { peer, .. } | Event::Offer { peer, .. } => {
                if let Some(seat) = self.peers.get_mut(peer) {
                    seat.is_established = true;
                }
            }
            Event::Refused { peer, .. } => {
                if self
                    .peers
                    .get(peer)
                    .is_some_and(|seat| !seat.is_established)
                {
                    self.leave(*peer);
                }
            }
            Event::Closed { peer, .. } => self.leave(*peer),
            Event::Patched { .. }
            | Event::Connected { .. }
            | Event::Silent { .. }
            | Event::Tracks { .. }
            | Event::Layer { .. }
            | Event::Undecodable { .. }
            | Event::PublisherStats { .. } => {}
        }
    }

    /// The home of a stream. A new one goes where fewest publish, and of those where fewest watch.
    fn home(&mut self, stream: StreamKey) -> usize {
        if let Some(placement) = self.streams.get(&stream) {
            return placement.home;
        }
        let home = (0..self.loads.len())
            .filter(|&worker| self.inboxes[worker].is_alive())
            .min_by_key(|&worker| (self.loads[worker].publishers, self.loads[worker].viewers))
            .unwrap_or_default();
        let open = vec![false; self.inboxes.len()];
        self.streams.insert(stream, Placement { home, open });
        home
    }

    /// Tells a worker of a stream, once.
    fn open(&mut self, stream: StreamKey, worker: usize) {
        let Some(placement) = self.streams.get_mut(&stream) else {
            return;
        };
        if !std::mem::replace(&mut placement.open[worker], true) {
            let home = ShardId(placement.home as u16);
            self.inboxes[worker].command(Command::OpenStream { stream, home });
        }
    }

    fn seat(&mut self, peer: PeerKey, stream: StreamKey, worker: usize, is_publisher: bool) {
        let seat = Seat {
            worker,
            stream,
            is_publisher,
            is_established: false,
        };
        self.peers.insert(peer, seat);
        *self.loads[worker].of(is_publisher) += 1;
    }

    fn leave(&mut self, peer: PeerKey) {
        if let Some(seat) = self.peers.remove(&peer) {
            *self.loads[seat.worker].of(seat.is_publisher) -= 1;
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        for inbox in &self.inboxes {
            inbox.stop();
        }
    }
}

impl Load {
    fn of(&mut self, is_publisher: bool) -> &mut u32 {
        if is_publisher {
            &mut self.publishers
        } else {
            &mut self.viewers
        }
    }
}

impl Monitor {
    /// The latest snapshot of each worker, at most about a second old.
    pub fn stats(&self) -> Vec<Stats> {
        self.inboxes.iter().map(|inbox| inbox.stats()).collect()
    }

    /// The workers that have died.
    pub fn dead(&self) -> Vec<usize> {
        (0..self.inboxes.len())
            .filter(|&index| !self.inboxes[index].is_alive())
            .collect()
    }
}

/// The advertised addresses that reach a socket.
fn candidates(local: SocketAddr, advertised: &[IpAddr]) -> Vec<SocketAddr> {
    advertised
        .iter()
        .filter(|ip| local.is_ipv6() || ip.is_ipv4())
        .map(|ip| SocketAddr::new(*ip, local.port()))
        .collect()
}

#[cfg(test)]
mod tests;
