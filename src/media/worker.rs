//! Hot path. One thread with a shard and a socket.
//!
//! Each turn of the loop serves, in this order and each within its budget: 1. commands, 2. messages of other shards,
//! 3. received datagrams, 4. deadlines, 5. what the shard wants sent. Commands come first because they are few and
//! people wait for them; what other shards send comes before the socket, which has a buffer of its own. The clock is
//! read once at the start of a turn, and once more when its packets are out.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::time::TimeSpec;
use redred_sfu::event::{Command, Event, Output};
use redred_sfu::id::ShardId;
use redred_sfu::{Shard, relay, stats};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::udp::{Counters, RECEIVE_BATCH, Udp};

/// Commands per turn. One can cost a millisecond (a join makes a certificate check and a new connection).
const COMMANDS_PER_TURN: usize = 16;

/// Relay messages per turn. Each is what another shard's turn had for us.
const RELAYS_PER_TURN: usize = 64;

/// Receive batches per turn, so that a flood cannot keep deadlines and sending waiting.
const RECEIVES_PER_TURN: usize = 4;

/// Packet batches of other shards that wait. Further ones are dropped: late video is worth less than memory.
const RELAY_PACKETS_MAX: usize = 256;

/// Bytes to send after which a turn receives no more: what waits to be sent shall fit the caches of the processor, and the
/// send buffer of the socket.
const SEND_BYTES_PER_TURN: usize = 4 << 20;

/// Events kept while the hub is behind; further statistics are dropped, they come again.
const EVENTS_KEPT_MAX: usize = 1024;

/// How often the counters are copied out.
const STATS_INTERVAL: Duration = Duration::from_millis(500);

/// Longest sleep, so that counters stay fresh and a lost wakeup would cost little.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// A worker's counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Where its socket listens, once it does.
    pub local: Option<SocketAddr>,
    /// Of the shard.
    pub shard: stats::Snapshot,
    /// Of the socket.
    pub socket: Counters,
    /// Turns of the loop.
    pub turns: u64,
    /// Turns that ran out of some budget.
    pub turns_over_budget: u64,
    /// Packet batches of other shards dropped because too many waited.
    pub relay_dropped: u64,
    /// Statistics events dropped because the hub was behind.
    pub events_dropped: u64,
}

/// How others reach a worker.
#[derive(Debug)]
pub(super) struct Inbox {
    queues: Mutex<Queues>,
    waker: EventFd,
    /// A wakeup is on its way: spares the system call for all but the first message.
    is_woken: AtomicBool,
    is_dead: AtomicBool,
    relay_dropped: AtomicU64,
    stats: Mutex<Stats>,
}

#[derive(Debug, Default)]
struct Queues {
    commands: VecDeque<Command>,
    relays: VecDeque<(ShardId, relay::Message)>,
    packet_batches: usize,
    stop: bool,
}

impl Inbox {
    pub(super) fn new() -> nix::Result<Self> {
        Ok(Self {
            queues: Mutex::default(),
            waker: EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
            is_woken: AtomicBool::new(false),
            is_dead: AtomicBool::new(false),
            relay_dropped: AtomicU64::new(0),
            stats: Mutex::default(),
        })
    }

    /// Queues a command. How many can wait is bounded by the peers there are and by what the hub admits.
    pub(super) fn command(&self, command: Command) {
        if self.is_alive() {
            self.queues().commands.push_back(command);
            self.wake();
        }
    }

    pub(super) fn stop(&self) {
        self.queues().stop = true;
        self.wake();
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.is_dead.load(Ordering::Acquire)
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = self
            .stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        stats.relay_dropped = self.relay_dropped.load(Ordering::Relaxed);
        stats
    }

    #[cfg(test)]
    pub(super) fn take_commands(&self) -> VecDeque<Command> {
        std::mem::take(&mut self.queues().commands)
    }

    /// Queues a message of another shard; packets only while there is room, anything else always.
    fn relay(&self, from: ShardId, message: relay::Message) {
        if !self.is_alive() {
            return;
        }
        let mut queues = self.queues();
        if message.is_packets() {
            if queues.packet_batches >= RELAY_PACKETS_MAX {
                self.relay_dropped.fetch_add(1, Ordering::Relaxed);
                return;
            }
            queues.packet_batches += 1;
        }
        queues.relays.push_back((from, message));
        drop(queues);
        self.wake();
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            // The counter cannot overflow: it is written once per reading.
            let _ = self.waker.write(1);
        }
    }

    fn clear_wakeup(&self) {
        // Nothing to read when the thread woke for another reason.
        let _ = self.waker.read();
        self.is_woken.store(false, Ordering::Release);
    }
}

/// What a worker is made of.
pub(super) struct Start {
    pub(super) id: ShardId,
    pub(super) config: redred_sfu::Config,
    pub(super) seed: u64,
    pub(super) socket: UdpSocket,
    /// Of all workers, by shard.
    pub(super) inboxes: Vec<Arc<Inbox>>,
    pub(super) events: mpsc::Sender<Event>,
}

pub(super) struct Worker {
    id: ShardId,
    shard: Shard,
    udp: Udp,
    inbox: Arc<Inbox>,
    inboxes: Vec<Arc<Inbox>>,
    events: mpsc::Sender<Event>,
    events_kept: VecDeque<Event>,
    commands: VecDeque<Command>,
    relays: VecDeque<(ShardId, relay::Message)>,
    stats: Stats,
    stats_due: Instant,
}

impl Worker {
    /// Starts the thread. A panic in it ends this worker only, which is then reported as dead.
    pub(super) fn spawn(start: Start) -> io::Result<()> {
        let inbox = start.inboxes[usize::from(start.id.0)].clone();
        let index = start.id.0;
        let run = move || {
            let inbox = inbox;
            let result = catch_unwind(AssertUnwindSafe(|| Self::new(start).map(Self::run)));
            inbox.is_dead.store(true, Ordering::Release);
            match result {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::error!(worker = index, %error, "media worker has no socket")
                }
                Err(_) => {
                    tracing::error!(worker = index, "media worker panicked; its peers are lost")
                }
            }
        };
        std::thread::Builder::new()
            .name(format!("media-{index}"))
            .spawn(run)?;
        Ok(())
    }

    fn new(start: Start) -> io::Result<Self> {
        Ok(Self {
            id: start.id,
            shard: Shard::new(start.config, start.id, start.seed),
            udp: Udp::new(start.socket)?,
            inbox: start.inboxes[usize::from(start.id.0)].clone(),
            inboxes: start.inboxes,
            events: start.events,
            events_kept: VecDeque::new(),
            commands: VecDeque::new(),
            relays: VecDeque::new(),
            stats: Stats::default(),
            stats_due: Instant::now(),
        })
    }

    fn run(mut self) {
        let mut is_behind = false;
        loop {
            if !is_behind {
                self.sleep();
            }
            if self.take_inbox(is_behind) {
                return;
            }
            is_behind = self.turn(Instant::now());
        }
    }

    /// Waits for a datagram, a message or the next deadline.
    fn sleep(&self) {
        let now = Instant::now();
        let timeout = match self.shard.poll_timeout() {
            Some((deadline, _)) => deadline.saturating_duration_since(now).min(SLEEP_MAX),
            None => SLEEP_MAX,
        };
        if timeout.is_zero() {
            return;
        }
        let mut fds = [
            PollFd::new(self.udp.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.inbox.waker.as_fd(), PollFlags::POLLIN),
        ];
        // Interrupted or not, the turn that follows finds out what there is.
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(timeout)), None);
    }

    /// Moves what others queued into our own queues. True when the worker shall stop.
    fn take_inbox(&mut self, is_behind: bool) -> bool {
        if !is_behind && !self.inbox.is_woken.load(Ordering::Acquire) {
            return false;
        }
        self.inbox.clear_wakeup();
        let mut queues = self.inbox.queues();
        self.commands.append(&mut queues.commands);
        // Otherwise they stay where their number is bounded. Being behind, we come back without a wakeup.
        if self.relays.is_empty() {
            self.relays.append(&mut queues.relays);
            queues.packet_batches = 0;
        }
        queues.stop
    }

    /// One turn. True when something was left for the next.
    fn turn(&mut self, now: Instant) -> bool {
        let Self {
            shard,
            udp,
            commands,
            relays,
            ..
        } = self;
        for command in commands.drain(..commands.len().min(COMMANDS_PER_TURN)) {
            shard.handle_command(now, command);
        }
        for (from, message) in relays.drain(..relays.len().min(RELAYS_PER_TURN)) {
            shard.handle_relay(now, from, message);
        }
        let local = udp.local();
        let mut is_socket_empty = false;
        for _ in 0..RECEIVES_PER_TURN {
            let received = udp.receive(|source, datagram| {
                shard.handle_datagram(now, source, local, datagram);
            });
            if received < RECEIVE_BATCH {
                is_socket_empty = true;
                break;
            }
            if shard.datagrams().bytes() >= SEND_BYTES_PER_TURN {
                break;
            }
        }
        if shard
            .poll_timeout()
            .is_some_and(|(deadline, _)| deadline <= now)
        {
            shard.handle_timeout(now);
        }
        self.carry_out();
        self.send_kept_events();
        let is_behind = !is_socket_empty || !self.commands.is_empty() || !self.relays.is_empty();
        self.stats.turns += 1;
        self.stats.turns_over_budget += u64::from(is_behind);
        if now >= self.stats_due {
            self.stats_due = now + STATS_INTERVAL;
            self.publish_stats();
        }
        is_behind
    }

    /// Does what the shard wants done, and tells it when that was.
    fn carry_out(&mut self) {
        let mut is_idle = true;
        while let Some(output) = self.shard.poll_output() {
            is_idle = false;
            match output {
                Output::Relay { to, message } => {
                    if let Some(inbox) = self.inboxes.get(usize::from(to.0)) {
                        inbox.relay(self.id, message);
                    }
                }
                Output::Event(event) => self.keep_event(event),
            }
        }
        let datagrams = self.shard.datagrams();
        is_idle &= datagrams.is_empty();
        self.udp.send(datagrams);
        if !is_idle {
            self.shard.handle_sent(Instant::now());
        }
    }

    fn keep_event(&mut self, event: Event) {
        let is_droppable = matches!(event, Event::PublisherStats { .. });
        if is_droppable && self.events_kept.len() >= EVENTS_KEPT_MAX {
            self.stats.events_dropped += 1;
            return;
        }
        self.events_kept.push_back(event);
    }

    /// Hands events on while the hub takes them.
    fn send_kept_events(&mut self) {
        while let Some(event) = self.events_kept.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.events_kept.push_front(event);
                    return;
                }
                // The hub is gone, and we soon are.
                Err(TrySendError::Closed(_)) => return,
            }
        }
    }

    fn publish_stats(&mut self) {
        self.stats.shard = self.shard.stats();
        self.stats.socket = self.udp.counters();
        self.stats.local = Some(self.udp.local());
        let mut published = self
            .inbox
            .stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        published.clone_from(&self.stats);
    }
}
