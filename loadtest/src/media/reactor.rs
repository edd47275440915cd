//! One thread of peers: it waits for their sockets and their deadlines, and wakes who is meant.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::peer::{Desk, Peer, State};
use super::tally::Tally;

/// The token of orders; peers have those below it.
const ORDERS: Token = Token(usize::MAX);

/// How often a thread hands over what it counted. Longer makes the seconds of a report uneven; each time costs half a millisecond
/// for the histograms.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// How far all peers of a run are, told by all threads.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Publishers that connected, or failed to.
    pub(super) published: AtomicU64,
    /// Viewers that saw a keyframe, or failed to.
    pub(super) watched: AtomicU64,
    /// Packets that came at viewers.
    pub(super) received: AtomicU64,
    /// Viewers that saw a keyframe.
    pub(super) watching: AtomicU64,
    /// What the threads counted so far, a tenth of a second old at most where packets come.
    pub(super) tallies: Mutex<Tallies>,
}

/// What was counted until now.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    /// Since it was last asked for.
    fresh: Tally,
    /// Before that.
    before: Tally,
}

impl Progress {
    /// What was counted since this was last called.
    pub(super) fn fresh(&self) -> Tally {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = std::mem::take(&mut tallies.fresh);
        tallies.before.add(&fresh);
        fresh
    }

    /// Everything that was counted.
    pub(super) fn total(&self) -> Tally {
        // What is fresh now belongs to it, and the last row of the run has it too.
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut total = tallies.before.clone();
        total.add(&tallies.fresh);
        total
    }

    fn add(&self, tally: &Tally) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.fresh.add(tally);
    }
}

enum Order {
    Play(Box<Peer>),
    Stop,
    Finish,
}

/// The way to a thread.
pub(super) struct Reactor {
    orders: Sender<Order>,
    waker: Waker,
    thread: std::thread::JoinHandle<()>,
}

impl Reactor {
    pub(super) fn start(
        number: usize,
        start: Instant,
        progress: Arc<Progress>,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new().context("waiting for sockets")?;
        let waker = Waker::new(poll.registry(), ORDERS).context("waking a thread")?;
        let (orders, inbox) = channel();
        let running = Running {
            poll,
            inbox,
            progress,
            peers: Slab::new(),
            timers: BTreeSet::new(),
            desk: Desk {
                start,
                tally: Tally::default(),
                buffer: vec![0; 2_048],
            },
            told: 0,
            told_at: start,
        };
        let thread = std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || running.run())
            .context("starting a thread")?;
        Ok(Self {
            orders,
            waker,
            thread,
        })
    }

    fn order(&self, order: Order) {
        // A thread that is gone has panicked; joining it tells.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }

    pub(super) fn play(&self, peer: Peer) {
        self.order(Order::Play(Box::new(peer)));
    }

    /// Publishers stop.
    pub(super) fn stop(&self) {
        self.order(Order::Stop);
    }

    /// Ends the thread; blocks until it has ended.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        self.order(Order::Finish);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow::anyhow!("a thread of the generator panicked"))
    }
}

struct Running {
    poll: Poll,
    inbox: Receiver<Order>,
    progress: Arc<Progress>,
    peers: Slab<Entry>,
    timers: BTreeSet<(Instant, usize)>,
    desk: Desk,
    /// Packets of this tally that the progress knows of.
    told: u64,
    /// When it was told all that was counted.
    told_at: Instant,
}

struct Entry {
    peer: Peer,
    /// Under which moment it is among the timers.
    due: Instant,
    is_settled: bool,
}

impl Running {
    fn run(mut self) {
        let mut events = Events::with_capacity(1_024);
        loop {
            let now = Instant::now();
            let next = self.timers.first().map(|(at, _)| *at);
            let wait = next.map(|at| at.saturating_duration_since(now));
            if let Err(error) = self.poll.poll(&mut events, wait)
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                // Nothing more can come; what is there is reported.
                return self.finish();
            }
            for event in &events {
                if event.token() == ORDERS {
                    continue;
                }
                let number = event.token().0;
                if let Some(entry) = self.peers.get_mut(number) {
                    entry.peer.read(&mut self.desk);
                    self.settle(number);
                }
            }
            loop {
                match self.inbox.try_recv() {
                    Ok(Order::Play(peer)) => self.play(*peer),
                    Ok(Order::Stop) => {
                        for (_, entry) in &mut self.peers {
                            entry.peer.stop();
                        }
                    }
                    Ok(Order::Finish) | Err(TryRecvError::Disconnected) => return self.finish(),
                    Err(TryRecvError::Empty) => break,
                }
            }
            let now = Instant::now();
            while let Some((at, number)) = self.timers.first().copied()
                && at <= now
            {
                self.timers.pop_first();
                if let Some(entry) = self.peers.get_mut(number) {
                    entry.peer.wake(&mut self.desk, now);
                    self.settle(number);
                }
            }
            let received = self.desk.tally.received;
            self.progress
                .received
                .fetch_add(received - self.told, Ordering::Relaxed);
            self.told = received;
            if now.saturating_duration_since(self.told_at) >= TELL_EVERY {
                self.told_at = now;
                self.tell();
            }
        }
    }

    /// Hands over what was counted.
    fn tell(&mut self) {
        let tally = std::mem::take(&mut self.desk.tally);
        let untold = tally.received - self.told;
        self.told = 0;
        self.progress.received.fetch_add(untold, Ordering::Relaxed);
        self.progress.add(&tally);
    }

    fn play(&mut self, mut peer: Peer) {
        let slot = self.peers.vacant_entry();
        let number = slot.key();
        let registry = self.poll.registry();
        let registered = registry.register(&mut peer.socket, Token(number), Interest::READABLE);
        if registered.is_err() {
            self.desk.tally.fail("no socket");
            peer.state = State::Gone;
        }
        let now = Instant::now();
        peer.wake(&mut self.desk, now);
        slot.insert(Entry {
            peer,
            due: now,
            is_settled: false,
        });
        self.settle(number);
    }

    /// After a peer did something: tells how far it is, and when it wants to be woken.
    fn settle(&mut self, number: usize) {
        let Some(entry) = self.peers.get_mut(number) else {
            return;
        };
        let state = entry.peer.state;
        if !entry.is_settled && state != State::Joining {
            entry.is_settled = true;
            let is_viewer = entry.peer.is_viewer();
            let settled = if is_viewer {
                &self.progress.watched
            } else {
                &self.progress.published
            };
            settled.fetch_add(1, Ordering::Relaxed);
            if is_viewer && state == State::There {
                self.progress.watching.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.timers.remove(&(entry.due, number));
        if state == State::Gone {
            // It stays for its account; its socket is heard no more.
            let _ = self.poll.registry().deregister(&mut entry.peer.socket);
            return;
        }
        entry.due = entry.peer.due(&self.desk);
        self.timers.insert((entry.due, number));
    }

    fn finish(mut self) {
        for (_, entry) in &mut self.peers {
            entry.peer.finish(&mut self.desk);
        }
        self.tell();
    }
}
