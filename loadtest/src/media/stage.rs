//! Brings publishers and viewers to a server over HTTP, hands them to the threads, and collects what they met.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use reqwest::Client;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::camera::Camera;
use super::dtls::Identity;
use super::endpoint::{self, Refusal, Resource, Seat};
use super::impair::{Impairment, Link};
use super::peer::{Live, Offering, Peer, Role};
use super::plan::Streams;
use super::reactor::{Progress, Reactor};
use super::stack::{Engine, Engines};
use super::tally::Tally;
use super::watch::Watch;

/// How long nothing must have come before nothing is held to be under way.
const QUIET: Duration = Duration::from_millis(500);

/// How long that is waited for.
const QUIET_MAX: Duration = Duration::from_secs(5);

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How many resources are deleted at a time.
const DELETES: usize = 16;

/// Who comes, and where they go.
#[derive(Clone, Debug)]
pub struct Cast {
    /// What they publish.
    pub streams: Streams,
    /// The publishers, one a stream, in the order of the streams.
    pub publishers: Vec<Seat>,
    /// The viewers, in the order they come.
    pub viewers: Vec<Seat>,
    /// Over how long the viewers come.
    pub ramp: Duration,
    /// The network of viewers, where it is a bad one.
    pub impairment: Option<Impairment>,
    /// Which WebRTC they have.
    pub engines: Engines,
    /// Decides how large pictures are and what is lost.
    pub seed: u64,
}

/// Everything that plays.
pub struct Stage {
    shared: Arc<Shared>,
    reactors: Vec<Reactor>,
}

struct Shared {
    cast: Cast,
    client: Client,
    identity: Identity,
    lives: Vec<Arc<Live>>,
    progress: Arc<Progress>,
    /// What failed before it came to a thread.
    refused: Mutex<Tally>,
    resources: Mutex<Vec<Resource>>,
}

/// How far the media of a run is.
#[derive(Clone, Debug)]
pub struct Meter(Arc<Progress>);

impl Meter {
    /// Viewers that have seen a keyframe.
    #[must_use]
    pub fn watching(&self) -> u64 {
        self.0.watching.load(Ordering::Relaxed)
    }

    /// What was counted since this was last called.
    #[must_use]
    pub fn fresh(&self) -> Tally {
        self.0.fresh()
    }
}

impl Stage {
    /// Starts the threads. Send times are counted from `start`.
    ///
    /// # Errors
    /// When the system refuses a thread, or an engine cannot do what is asked of it.
    pub fn new(cast: Cast, threads: usize, start: Instant) -> anyhow::Result<Self> {
        anyhow::ensure!(
            cast.streams.layers <= 1 || cast.engines.publish == Engine::Str0m,
            "streams.layers: expected 1 where webrtc-rs publishes"
        );
        let progress = Arc::new(Progress::default());
        let reactors = (0..threads.max(1))
            .map(|number| Reactor::start(number, start, progress.clone()))
            .collect::<anyhow::Result<_>>()?;
        let live = || Arc::new(Live::new(start));
        let lives = cast.publishers.iter().map(|_| live()).collect();
        Ok(Self {
            shared: Arc::new(Shared {
                cast,
                client: endpoint::client()?,
                identity: Identity::new()?,
                lives,
                progress,
                refused: Mutex::default(),
                resources: Mutex::default(),
            }),
            reactors,
        })
    }

    /// For looking at how far it is, from anywhere.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter(self.shared.progress.clone())
    }

    /// Packets that viewers have got.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.shared.progress.received.load(Ordering::Relaxed)
    }

    /// Brings everybody in: the publishers at once, and when they are there the viewers over the ramp. Returns when everybody
    /// is there or has failed.
    ///
    /// # Errors
    /// When the server has no address that can be reached from here. Peers that fail are part of the report.
    pub async fn join(&self) -> anyhow::Result<()> {
        let cast = &self.shared.cast;
        let first = cast.publishers.first().context("a publisher")?;
        let ip = endpoint::local_ip(&first.url).await?;
        // They may go to another host.
        let watch_ip = match cast.viewers.first() {
            Some(first) => endpoint::local_ip(&first.url).await?,
            None => ip,
        };
        let mut joining = JoinSet::new();
        for (number, seat) in cast.publishers.iter().enumerate() {
            let (shared, seat) = (self.shared.clone(), seat.clone());
            let reactor = number % self.reactors.len();
            joining.spawn(async move { (reactor, shared.publish(&seat, ip).await) });
        }
        self.hand_over(&mut joining).await;
        self.until(&self.shared.progress.published, cast.publishers.len())
            .await;
        let began = tokio::time::Instant::now();
        let count = u32::try_from(cast.viewers.len()).unwrap_or(u32::MAX).max(1);
        for (number, seat) in cast.viewers.iter().enumerate() {
            let (shared, seat) = (self.shared.clone(), seat.clone());
            let reactor = number % self.reactors.len();
            let after = cast.ramp / count * u32::try_from(number).unwrap_or(u32::MAX);
            joining.spawn(async move {
                tokio::time::sleep_until(began + after).await;
                (reactor, shared.watch(number, &seat, watch_ip).await)
            });
        }
        self.hand_over(&mut joining).await;
        self.until(&self.shared.progress.watched, cast.viewers.len())
            .await;
        Ok(())
    }

    /// Gives each peer to its thread as soon as it has its answer.
    async fn hand_over(&self, joining: &mut JoinSet<(usize, Option<Peer>)>) {
        while let Some(joined) = joining.join_next().await {
            if let Ok((reactor, Some(peer))) = joined {
                self.reactors[reactor].play(peer);
            }
        }
    }

    /// Waits until so many are there or have failed; each peer fails by itself when it takes too long.
    async fn until(&self, settled: &AtomicU64, count: usize) {
        while settled.load(Ordering::Relaxed) < count as u64 {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Publishers stop, what is under way arrives, everybody leaves.
    ///
    /// # Errors
    /// When a thread panicked.
    pub async fn finish(self) -> anyhow::Result<Tally> {
        for reactor in &self.reactors {
            reactor.stop();
        }
        let limit = Instant::now() + QUIET_MAX;
        let mut last = (self.received(), Instant::now());
        while last.1.elapsed() < QUIET && Instant::now() < limit {
            tokio::time::sleep(LOOK).await;
            if self.received() != last.0 {
                last = (self.received(), Instant::now());
            }
        }
        for reactor in self.reactors {
            // Blocks for as long as a thread takes to add up.
            let ended = tokio::task::spawn_blocking(move || reactor.finish());
            ended.await.context("waiting for a thread")??;
        }
        let mut tally = self.shared.refused.lock().await.clone();
        tally.add(&self.shared.progress.total());
        let mut resources = std::mem::take(&mut *self.shared.resources.lock().await);
        let mut deleting = JoinSet::new();
        // Viewers came last and leave first.
        while let Some(resource) = resources.pop() {
            let client = self.shared.client.clone();
            deleting.spawn(async move { endpoint::delete(&client, resource).await });
            if deleting.len() >= DELETES {
                deleting.join_next().await;
            }
        }
        while deleting.join_next().await.is_some() {}
        Ok(tally)
    }
}

impl Shared {
    async fn publish(&self, seat: &Seat, ip: IpAddr) -> Option<Peer> {
        let (streams, stream) = (self.cast.streams.clone(), seat.stream);
        let seed = self.cast.seed.wrapping_add(u64::from(stream));
        let role = Role::Publisher {
            camera: Box::new(move |now| Camera::new(&streams, stream, seed, now)),
            live: self.live(stream),
        };
        let peer = self.connect(seat, ip, role).await;
        self.settle(peer, &self.progress.published).await
    }

    async fn watch(&self, number: usize, seat: &Seat, ip: IpAddr) -> Option<Peer> {
        let impairment = self.cast.impairment.as_ref();
        let impairment = impairment.filter(|impairment| impairment.meets(number));
        let seed = self.cast.seed.wrapping_add(number as u64);
        let role = Role::Viewer {
            watch: Box::new(Watch::new(seat.stream)),
            live: self.live(seat.stream),
            link: impairment.map(|impairment| Box::new(Link::new(impairment, seed))),
        };
        let peer = self.connect(seat, ip, role).await;
        self.settle(peer, &self.progress.watched).await
    }

    fn live(&self, stream: u16) -> Arc<Live> {
        let live = self.lives.get(usize::from(stream));
        live.cloned()
            .unwrap_or_else(|| Arc::new(Live::new(Instant::now())))
    }

    /// Who was refused is settled here; who was answered is by its thread.
    async fn settle(&self, peer: Result<Peer, String>, settled: &AtomicU64) -> Option<Peer> {
        match peer {
            Ok(peer) => Some(peer),
            Err(reason) => {
                self.refused.lock().await.fail(&reason);
                settled.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    async fn connect(&self, seat: &Seat, ip: IpAddr, role: Role) -> Result<Peer, String> {
        let (sends, engine) = match role {
            Role::Publisher { .. } => (true, self.cast.engines.publish),
            Role::Viewer { .. } => (false, self.cast.engines.watch),
        };
        let offering = Offering::new(engine, &self.identity, ip, sends, &self.cast.streams);
        let offering = offering.map_err(|error| format!("{error:#}"))?;
        let answered = endpoint::offer(&self.client, seat, offering.sdp.clone()).await;
        let (answer, resource) = answered.map_err(|refusal| refusal.to_string())?;
        self.resources.lock().await.push(resource);
        let peer = offering.answered(&answer, role);
        peer.ok_or_else(|| Refusal::Answer.to_string())
    }
}
