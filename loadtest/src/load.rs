//! One thread of the generator: its sessions, who of them writes when, and what became of it all.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::measure::record;
use crate::plan::{Group, Plan};
use crate::scenario::Scenario;
use crate::series::Interval;
use crate::session::{self, Handle, Identity, Order, Shared};
use crate::settling::Settling;

/// How often the pace of writing is looked at.
const TICK: Duration = Duration::from_millis(5);

/// How long arrivals are waited for when the load is over.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session to be played.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) token: String,
    pub(crate) channels: Vec<String>,
    pub(crate) kind: &'static str,
    pub(crate) reads: bool,
    /// In which group of writers; none for who never writes.
    pub(crate) group: Option<usize>,
}

/// Where the run stands, told to all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Sessions arrive.
    Ramp,
    /// The load is on.
    Load,
    /// Nobody writes any more.
    Settle,
}

/// What a thread hands back.
pub(crate) struct Outcome {
    /// What each session missed of each channel, to be judged against the newest position of all threads.
    pub(crate) tracks: Vec<BTreeMap<String, crate::measure::Track>>,
    pub(crate) newest: BTreeMap<String, u64>,
    /// From the storm until every session was back.
    pub(crate) recovered_after: Option<Duration>,
}

/// What one thread does.
pub(crate) struct Share {
    /// `host:port` of the server.
    pub(crate) address: String,
    /// The moment that send times are counted from.
    pub(crate) start: Instant,
    pub(crate) scenario: Scenario,
    pub(crate) parts: Vec<Part>,
    pub(crate) groups: Vec<Group>,
    pub(crate) seed: u64,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Which of the threads this is.
    pub(crate) thread: usize,
    /// Told once a second, and at the end, what was counted.
    pub(crate) intervals: mpsc::UnboundedSender<Interval>,
    /// How the threads agree on the end.
    pub(crate) settling: Arc<Settling>,
}

/// Plays the parts of one thread.
pub(crate) async fn play(share: Share) -> Outcome {
    let breaking = share
        .scenario
        .storm
        .as_ref()
        .map_or(0.0, |storm| storm.share);
    let sessions: Vec<Option<usize>> = share.parts.iter().map(|part| part.group).collect();
    let readers: Vec<bool> = share.parts.iter().map(|part| part.reads).collect();
    let mut plan = Plan::new(share.seed, &share.groups, &sessions, breaking);
    let rng = Plan::session_rng(share.seed);
    let shared = Rc::new(Shared::new(share.address, share.start, rng));
    let handles = arrive(&shared, share.parts, share.scenario.ramp);
    let mut told = Told::new(share.thread, share.intervals, share.start);
    let mut phase = share.phase;
    let mut load_since: Option<Instant> = None;
    let mut settle_since: Option<Instant> = None;
    let mut is_quiet = false;
    let mut storm_at: Option<Instant> = None;
    let mut recovered_after = None;
    let mut due = Instant::now();
    loop {
        due += TICK;
        tokio::time::sleep_until(due.into()).await;
        let now = Instant::now();
        let late = now.saturating_duration_since(due);
        record(&mut shared.recorder.borrow_mut().lag, late);
        told.tell(&shared, now);
        // A generator that fell behind must not catch up with a burst.
        due = now.max(due);
        match *phase.borrow_and_update() {
            Phase::Ramp => continue,
            Phase::Load => {
                let since = *load_since.get_or_insert(now);
                if let Some(storm) = &share.scenario.storm
                    && storm_at.is_none()
                    && now >= since + storm.at
                {
                    storm_at = Some(now);
                    for (session, handle) in handles.iter().enumerate() {
                        if plan.breaks(session) {
                            // A session that has left hears nothing.
                            let _ = handle.orders.send(Order::Break(storm.first_delay));
                        }
                    }
                    continue;
                }
                plan.pass(TICK + late);
                write(&mut plan, &share.groups, &handles, share.start);
            }
            Phase::Settle => {
                let since = *settle_since.get_or_insert(now);
                if !is_quiet && handles.iter().all(|handle| handle.open.get() == 0) {
                    is_quiet = true;
                    share.settling.quiet(&shared.newest.borrow());
                }
                let newest = share.settling.newest();
                if newest.is_some_and(|newest| is_complete(&newest, &handles, &readers))
                    || now > since + PATIENCE
                {
                    break;
                }
            }
        }
        if let Some(at) = storm_at
            && recovered_after.is_none()
            && now > at + TICK * 2
            && shared.ready.get() == handles.len()
        {
            recovered_after = Some(now - at);
        }
    }
    shared.is_over.set(true);
    let tracks = handles
        .iter()
        .zip(&readers)
        .filter(|(_, reads)| **reads)
        .map(|(handle, _)| {
            let tracks = handle.tracks.borrow();
            tracks
                .iter()
                .map(|(name, track)| (name.clone(), track.clone()))
                .collect()
        })
        .collect();
    for handle in &handles {
        let _ = handle.orders.send(Order::Leave);
    }
    told.send(&shared, Instant::now());
    let newest = shared.newest.borrow().clone();
    Outcome {
        tracks,
        newest,
        recovered_after,
    }
}

/// Whether every session of this thread that reads has everything up to the newest positions.
fn is_complete(newest: &BTreeMap<String, u64>, handles: &[Handle], readers: &[bool]) -> bool {
    handles.iter().zip(readers).all(|(handle, reads)| {
        let tracks = handle.tracks.borrow();
        !reads
            || tracks.iter().all(|(channel, track)| {
                let last = newest.get(channel);
                last.is_none_or(|last| track.missing(*last) == 0)
            })
    })
}

/// Starts the sessions, spread over the ramp.
fn arrive(shared: &Rc<Shared>, parts: Vec<Part>, ramp: Duration) -> Vec<Handle> {
    let count = u32::try_from(parts.len().max(1)).unwrap_or(u32::MAX);
    let mut handles = Vec::with_capacity(parts.len());
    for (number, part) in parts.into_iter().enumerate() {
        let identity = Identity {
            token: part.token,
            channels: part.channels,
            kind: part.kind,
            reads: part.reads,
        };
        let delay = ramp * u32::try_from(number).unwrap_or(u32::MAX) / count;
        handles.push(session::start(shared.clone(), identity, delay));
    }
    handles
}

/// Gives the writers whose turn it is something to write.
fn write(plan: &mut Plan, groups: &[Group], handles: &[Handle], start: Instant) {
    for (number, group) in groups.iter().enumerate() {
        for _ in 0..plan.writers(number) {
            let turn = plan.turn(number, |writer| {
                let handle = &handles[writer];
                handle.is_ready.get() && handle.open.get() < group.open_per_writer
            });
            let Some(writer) = turn else {
                break;
            };
            // A text says when it was sent, and is filled up to its length.
            let stamp = session::stamp(start);
            let filler = group.characters.saturating_sub(stamp.len() + 1);
            let text = format!("{stamp} {}", plan.letters(filler));
            handles[writer].write(text);
        }
    }
}

/// Tells the run each second what this thread counted.
struct Told {
    thread: usize,
    intervals: mpsc::UnboundedSender<Interval>,
    start: Instant,
    seconds: u64,
}

impl Told {
    fn new(thread: usize, intervals: mpsc::UnboundedSender<Interval>, start: Instant) -> Self {
        Self {
            thread,
            intervals,
            start,
            seconds: 0,
        }
    }

    /// Tells it when a second is over.
    fn tell(&mut self, shared: &Shared, now: Instant) {
        let seconds = now.saturating_duration_since(self.start).as_secs();
        if seconds > self.seconds {
            self.seconds = seconds;
            self.hand_over(shared, seconds);
        }
    }

    /// Tells the rest, in a second that is not over.
    fn send(&self, shared: &Shared, now: Instant) {
        let seconds = now.saturating_duration_since(self.start).as_secs() + 1;
        self.hand_over(shared, seconds);
    }

    fn hand_over(&self, shared: &Shared, seconds: u64) {
        // When the run has given up nobody wants to know.
        let _ = self.intervals.send(Interval {
            thread: self.thread,
            seconds,
            ready: shared.ready.get(),
            recorder: shared.recorder.take(),
        });
    }
}
