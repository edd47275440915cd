//! One thread of the generator: its sessions, who of them writes when, and what became of it all.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::watch;

use crate::measure::{Recorder, record};
use crate::scenario::Scenario;
use crate::session::{self, Handle, Identity, Order, Shared};

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

/// Writers that share a pace.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Messages a second of this thread's share.
    pub(crate) per_second: f64,
    pub(crate) characters: usize,
    pub(crate) open_per_writer: usize,
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
    pub(crate) recorder: Recorder,
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
    /// Told how many of its sessions are there.
    pub(crate) ready: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

/// Plays the parts of one thread.
pub(crate) async fn play(share: Share) -> Outcome {
    let Share {
        address,
        start,
        scenario,
        parts,
        groups,
        seed,
        mut phase,
        ready,
    } = share;
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let shared = Rc::new(Shared::new(address, start, rng));
    let count = parts.len().max(1);
    let mut writers: Vec<Vec<usize>> = groups.iter().map(|_| Vec::new()).collect();
    let mut handles: Vec<Handle> = Vec::with_capacity(parts.len());
    let mut readers = Vec::with_capacity(parts.len());
    for (number, part) in parts.into_iter().enumerate() {
        if let Some(group) = part.group {
            writers[group].push(number);
        }
        readers.push(part.reads);
        let identity = Identity {
            token: part.token,
            channels: part.channels,
            kind: part.kind,
            reads: part.reads,
        };
        let share = u32::try_from(number).unwrap_or(u32::MAX);
        let delay = scenario.ramp * share / u32::try_from(count).unwrap_or(u32::MAX);
        handles.push(session::start(shared.clone(), identity, delay));
    }
    for group in &mut writers {
        group.shuffle(&mut *shared.rng.borrow_mut());
    }
    let mut next = vec![0usize; groups.len()];
    let mut owed = vec![0.0f64; groups.len()];
    let mut load_since: Option<Instant> = None;
    let mut settle_since: Option<Instant> = None;
    let mut storm_at: Option<Instant> = None;
    let mut recovered_after = None;
    let mut due = Instant::now();
    loop {
        due += TICK;
        tokio::time::sleep_until(due.into()).await;
        let now = Instant::now();
        record(
            &mut shared.recorder.borrow_mut().lag,
            now.saturating_duration_since(due),
        );
        // A generator that fell behind must not catch up with a burst.
        let passed = TICK + now.saturating_duration_since(due);
        due = now.max(due);
        ready.store(shared.ready.get(), std::sync::atomic::Ordering::Relaxed);
        match *phase.borrow_and_update() {
            Phase::Ramp => continue,
            Phase::Load => {
                let since = *load_since.get_or_insert(now);
                if let Some(storm) = &scenario.storm
                    && storm_at.is_none()
                    && now >= since + storm.at
                {
                    storm_at = Some(now);
                    for handle in &handles {
                        let roll: f64 = shared.rng.borrow_mut().random();
                        if roll < storm.share {
                            // A session that has left hears nothing.
                            let _ = handle.orders.send(Order::Break(storm.first_delay));
                        }
                    }
                    continue;
                }
                for (number, group) in groups.iter().enumerate() {
                    owed[number] += group.per_second * passed.as_secs_f64();
                    let mut tries = writers[number].len();
                    while owed[number] >= 1.0 && tries > 0 {
                        tries -= 1;
                        let writer = writers[number][next[number] % writers[number].len()];
                        next[number] += 1;
                        let handle = &handles[writer];
                        if !handle.is_ready.get() || handle.open.get() >= group.open_per_writer {
                            continue;
                        }
                        owed[number] -= 1.0;
                        let text = text(&shared, group.characters);
                        let _ = handle.orders.send(Order::Write(text));
                    }
                    // What could not be written now is not owed for ever.
                    owed[number] = owed[number].min(group.per_second);
                }
            }
            Phase::Settle => {
                let since = *settle_since.get_or_insert(now);
                let is_complete = is_complete(&shared, &handles, &readers);
                if is_complete || now > since + PATIENCE {
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
    let recorder = shared.recorder.borrow().clone();
    let newest = shared.newest.borrow().clone();
    Outcome {
        recorder,
        tracks,
        newest,
        recovered_after,
    }
}

/// Whether every session of this thread has everything that anybody of this thread has seen.
fn is_complete(shared: &Shared, handles: &[Handle], readers: &[bool]) -> bool {
    let newest = shared.newest.borrow();
    handles.iter().zip(readers).all(|(handle, reads)| {
        !reads
            || (handle.open.get() == 0
                && handle.tracks.borrow().iter().all(|(channel, track)| {
                    newest
                        .get(channel)
                        .is_none_or(|last| track.missing(*last) == 0)
                }))
    })
}

/// A text that says when it was sent, filled up to its length.
fn text(shared: &Shared, characters: usize) -> String {
    let mut text = session::stamp(shared.start);
    text.push(' ');
    let mut rng = shared.rng.borrow_mut();
    while text.len() < characters {
        text.push(char::from(rng.random_range(b'a'..=b'z')));
    }
    text
}
