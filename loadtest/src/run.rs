//! Carries a scenario out: prepares tokens and rooms, plays the sessions on threads of their own, and adds up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::load::{self, Outcome, Part, Phase, Share};
use crate::media::casting::{self, Endpoints};
use crate::media::stack::Engines;
use crate::media::stage::{Meter, Stage};
use crate::media::summary::Media;
use crate::plan::Group;
use crate::process::{self, Usage};
use crate::report::{Generator, Report, Server};
use crate::scenario::Scenario;
use crate::series::{Collector, Interval, Reading};
use crate::settling::Settling;
use crate::token::Tokens;

/// How long sessions may take to arrive beyond the ramp.
const ARRIVAL: Duration = Duration::from_secs(60);

/// How often the run looks at what there is to show and whether to go on.
const GLANCE: Duration = Duration::from_millis(200);

/// Where and how to run.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://host:port` of the server.
    pub url: String,
    /// The server's `auth.secret`; without, the server must be in dev mode.
    pub secret: Option<String>,
    /// The server's process, when it runs on this machine.
    pub server_pid: Option<u32>,
    /// Threads of the generator, for sessions and again for media.
    pub threads: usize,
    /// Where media goes instead of to this server's own endpoints.
    pub endpoints: Option<Endpoints>,
    /// Which WebRTC publishers and viewers of media have.
    pub engines: Engines,
}

/// What goes on, told several times a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What the run is at.
    pub stage: At,
    /// Sessions that are there.
    pub ready: usize,
    /// Sessions of the scenario.
    pub sessions: usize,
    /// Viewers of media that are there.
    pub watching: usize,
    /// Viewers of the scenario.
    pub viewers: usize,
    /// Deliveries in the last second that is complete.
    pub delivered_per_second: Option<f64>,
    /// Their 99th percentile, when there were some.
    pub delivery_p99_ms: Option<f64>,
    /// Packets at viewers in that second.
    pub packets_per_second: Option<f64>,
}

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Tokens and rooms are made.
    Preparing,
    /// Sessions and viewers arrive.
    Arriving,
    /// The load is on.
    Load {
        /// Since it began.
        elapsed: Duration,
        /// How long it lasts.
        duration: Duration,
    },
    /// What is under way arrives.
    Settling,
}

/// Runs a scenario. `progress` is told what is going on.
///
/// # Errors
/// When the server cannot be reached, or the run cannot be prepared. Sessions that fail are part of the report.
pub async fn run(
    scenario: &Scenario,
    target: &Target,
    mut progress: impl FnMut(Progress),
) -> anyhow::Result<Report> {
    let address = target
        .url
        .strip_prefix("http://")
        .context("--url: expected http://HOST:PORT")?
        .trim_end_matches('/')
        .to_owned();
    let base = format!("http://{address}");
    let tokens = Tokens::new(&base, target.secret.as_deref());
    let started = SystemTime::now();
    progress(Progress::preparing(scenario));
    let (parts, groups) = prepare(scenario, &base, &tokens).await?;
    let cast = match &scenario.streams {
        Some(streams) => {
            let endpoints = target.endpoints.as_ref();
            Some(casting::cast(scenario, streams, &base, &tokens, endpoints, target.engines).await?)
        }
        None => None,
    };
    let viewers = cast.as_ref().map_or(0, |cast| cast.viewers.len());
    let publishers = cast.as_ref().map_or(0, |cast| cast.publishers.len());
    let sessions = parts.len();
    let threads = target.threads.clamp(1, sessions.max(1));
    let before_all = server_usage(target)?;
    let mut course = Course::start(scenario, target, address, parts, groups, threads)?;
    let stage = cast
        .map(|cast| Stage::new(cast, target.threads, course.start))
        .transpose()?;
    course.meter = stage.as_ref().map(Stage::meter);
    course.viewers = viewers;
    let arrived_by = course.start + scenario.ramp + ARRIVAL;
    arrive(&mut course, stage.as_ref(), arrived_by, &mut progress).await?;
    let (arrived, arrival) = (course.collector.ready(), course.start.elapsed());
    // What arriving left behind is over before the load is measured.
    course.pass(Duration::from_secs(1)).await;
    let (server_idle, own_before) = (server_usage(target)?, process::usage(0)?);
    let received = || stage.as_ref().map_or(0, Stage::received);
    let received_arrival = received();
    course.enter(Phase::Load, "load");
    if let Some(storm) = &scenario.storm {
        let at = course.start.elapsed() + storm.at;
        course.collector.series.mark(at, "storm");
    }
    let load_since = Instant::now();
    while load_since.elapsed() < scenario.duration {
        let at = At::Load {
            elapsed: load_since.elapsed(),
            duration: scenario.duration,
        };
        progress(course.progress(at));
        let left = scenario.duration.saturating_sub(load_since.elapsed());
        course.pass(left.min(GLANCE)).await;
    }
    let load = load_since.elapsed();
    let (server_loaded, own_after) = (server_usage(target)?, process::usage(0)?);
    let received_load = received() - received_arrival;
    course.enter(Phase::Settle, "end of load");
    progress(course.progress(At::Settling));
    let tally = match stage {
        Some(stage) => Some(stage.finish().await?),
        None => None,
    };
    let (collector, outcomes) = course.end().await?;
    let media = tally.map(|tally| Media {
        peers: (publishers + viewers) as u64,
        tally,
        received_arrival,
        received_load,
        load,
    });
    let mut recorder = collector.total;
    recorder.lost = lost(&outcomes);
    // A picture that leaves late makes the figures the generator's own, as a message does.
    if let Some(media) = &media {
        let lag = recorder.lag.add(&media.tally.lag);
        lag.context("histograms with different bounds")?;
    }
    // With no sessions the threads for them do nothing.
    let for_sessions = if sessions > 0 { threads } else { 0 };
    let for_media = media.as_ref().map_or(0, |_| target.threads.max(1));
    let is_storm_over = outcomes
        .iter()
        .all(|outcome| outcome.recovered_after.is_some());
    let recovered_after = outcomes
        .iter()
        .filter_map(|outcome| outcome.recovered_after)
        .max();
    Ok(Report {
        name: scenario.name.clone(),
        seed: scenario.seed,
        started,
        sessions,
        arrived,
        arrival,
        load,
        recorder,
        media,
        series: collector.series,
        recovered_after: recovered_after.filter(|_| is_storm_over),
        had_storm: scenario.storm.is_some(),
        server: server(before_all, server_idle, server_loaded),
        generator: Generator {
            threads: for_sessions + for_media,
            cpu: own_after.cpu.saturating_sub(own_before.cpu),
        },
        thresholds: scenario.thresholds.clone(),
    })
}

/// Waits until everybody is there, or has had the time.
async fn arrive(
    course: &mut Course,
    stage: Option<&Stage>,
    arrived_by: Instant,
    progress: &mut impl FnMut(Progress),
) -> anyhow::Result<()> {
    let mut is_joined = false;
    let join = async {
        match stage {
            Some(stage) => stage.join().await,
            None => Ok(()),
        }
    };
    tokio::pin!(join);
    // Peers of media give up by themselves.
    while !is_joined || (course.collector.ready() < course.sessions && Instant::now() < arrived_by)
    {
        progress(course.progress(At::Arriving));
        tokio::select! {
            joined = &mut join, if !is_joined => {
                joined?;
                is_joined = true;
            }
            () = course.pass(GLANCE) => {}
        }
    }
    Ok(())
}

/// Messages that some session should have got and did not: only all threads together know the newest positions.
fn lost(outcomes: &[Outcome]) -> u64 {
    let mut newest = BTreeMap::<&str, u64>::new();
    for (channel, seq) in outcomes.iter().flat_map(|outcome| &outcome.newest) {
        let known = newest.entry(channel.as_str()).or_default();
        *known = (*known).max(*seq);
    }
    outcomes
        .iter()
        .flat_map(|outcome| &outcome.tracks)
        .flatten()
        .map(|(channel, track)| {
            let last = newest.get(channel.as_str());
            last.map_or(0, |last| track.missing(*last))
        })
        .sum()
}

/// The threads of a run, and what they have told.
struct Course {
    start: Instant,
    sessions: usize,
    viewers: usize,
    meter: Option<Meter>,
    server_pid: Option<u32>,
    collector: Collector,
    phase: watch::Sender<Phase>,
    intervals: mpsc::UnboundedReceiver<Interval>,
    joins: Vec<std::thread::JoinHandle<Outcome>>,
}

impl Course {
    fn start(
        scenario: &Scenario,
        target: &Target,
        address: String,
        parts: Vec<Part>,
        groups: Vec<Group>,
        threads: usize,
    ) -> anyhow::Result<Self> {
        let (start, sessions) = (Instant::now(), parts.len());
        let (phase, _) = watch::channel(Phase::Ramp);
        let (sender, intervals) = mpsc::unbounded_channel();
        let settling = Arc::new(Settling::new(threads));
        let mut shares: Vec<Vec<Part>> = (0..threads).map(|_| Vec::new()).collect();
        for (number, part) in parts.into_iter().enumerate() {
            shares[number % threads].push(part);
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
        let groups: Vec<Group> = groups
            .into_iter()
            .map(|group| Group {
                per_second: group.per_second / threads as f64,
                ..group
            })
            .collect();
        let mut joins = Vec::new();
        for (thread, parts) in shares.into_iter().enumerate() {
            let share = Share {
                address: address.clone(),
                start,
                scenario: scenario.clone(),
                parts,
                groups: groups.clone(),
                seed: scenario.seed.wrapping_mul(31).wrapping_add(thread as u64),
                phase: phase.subscribe(),
                thread,
                intervals: sender.clone(),
                settling: settling.clone(),
            };
            joins.push(spawn(share)?);
        }
        let first = reading(target.server_pid, start, None);
        Ok(Self {
            start,
            sessions,
            viewers: 0,
            meter: None,
            server_pid: target.server_pid,
            collector: Collector::new(threads, first),
            phase,
            intervals,
            joins,
        })
    }

    /// Lets time pass, and takes what the threads tell meanwhile.
    async fn pass(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        while let Ok(Some(interval)) = tokio::time::timeout_at(until, self.intervals.recv()).await {
            self.take(interval);
        }
        // When every thread has ended, by a panic, there is nothing to receive: the time passes all the same.
        tokio::time::sleep_until(until).await;
    }

    fn take(&mut self, interval: Interval) {
        let (pid, start, meter) = (self.server_pid, self.start, self.meter.as_ref());
        self.collector.take(interval, || reading(pid, start, meter));
    }

    fn enter(&mut self, phase: Phase, name: &str) {
        self.phase.send_replace(phase);
        self.collector.series.mark(self.start.elapsed(), name);
    }

    fn progress(&self, stage: At) -> Progress {
        let last = |name: &str| {
            let column = self.collector.series.column(name)?;
            column.values.last().copied().flatten()
        };
        let watching = self.meter.as_ref().map_or(0, Meter::watching);
        Progress {
            stage,
            ready: self.collector.ready(),
            sessions: self.sessions,
            watching: usize::try_from(watching).unwrap_or(usize::MAX),
            viewers: self.viewers,
            delivered_per_second: last("delivered"),
            delivery_p99_ms: last("delivery_p99_ms"),
            packets_per_second: last("media_received"),
        }
    }

    /// Waits for the threads: they end by themselves.
    async fn end(mut self) -> anyhow::Result<(Collector, Vec<Outcome>)> {
        while let Some(interval) = self.intervals.recv().await {
            self.take(interval);
        }
        let last = reading(self.server_pid, self.start, self.meter.as_ref());
        self.collector.finish(last);
        let mut outcomes = Vec::new();
        for join in self.joins {
            let outcome = tokio::task::spawn_blocking(move || join.join());
            let outcome = outcome.await.context("waiting for a thread")?;
            outcomes
                .push(outcome.map_err(|_| anyhow::anyhow!("a thread of the generator panicked"))?);
        }
        Ok((self.collector, outcomes))
    }
}

fn spawn(share: Share) -> anyhow::Result<std::thread::JoinHandle<Outcome>> {
    std::thread::Builder::new()
        .name(format!("load-{}", share.thread))
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for this thread");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, load::play(share))
        })
        .context("starting a thread")
}

fn server_usage(target: &Target) -> anyhow::Result<Option<Usage>> {
    target.server_pid.map(process::usage).transpose()
}

/// A reading for the series. A server that ended has no row there; that the run fails is said elsewhere.
fn reading(server_pid: Option<u32>, start: Instant, meter: Option<&Meter>) -> Reading {
    Reading {
        server: server_pid.and_then(|pid| process::usage(pid).ok()),
        own: process::usage(0).unwrap_or_default(),
        media: meter.map(|meter| (meter.watching(), meter.fresh())),
        at: start.elapsed(),
    }
}

impl Progress {
    fn preparing(scenario: &Scenario) -> Self {
        Self {
            stage: At::Preparing,
            ready: 0,
            sessions: scenario.sessions(),
            watching: 0,
            viewers: 0,
            delivered_per_second: None,
            delivery_p99_ms: None,
            packets_per_second: None,
        }
    }
}

fn server(before: Option<Usage>, idle: Option<Usage>, loaded: Option<Usage>) -> Option<Server> {
    let (before, idle, loaded) = (before?, idle?, loaded?);
    Some(Server {
        resident_before: before.resident_bytes,
        resident_idle: idle.resident_bytes,
        resident_loaded: loaded.resident_bytes,
        cpu_arrival: idle.cpu.saturating_sub(before.cpu),
        cpu_load: loaded.cpu.saturating_sub(idle.cpu),
        threads: loaded.threads,
    })
}

/// Tokens of all sessions, and the rooms they meet in.
async fn prepare(
    scenario: &Scenario,
    base: &str,
    tokens: &Tokens,
) -> anyhow::Result<(Vec<Part>, Vec<Group>)> {
    let mut parts = Vec::with_capacity(scenario.sessions());
    let mut groups = Vec::new();
    if let Some(audience) = &scenario.audience {
        let group = groups.len();
        groups.push(Group {
            per_second: audience.comments_per_second,
            characters: audience.characters,
            open_per_writer: 1,
        });
        for number in 0..audience.sessions {
            let reads = number >= audience.slow_readers;
            parts.push(Part {
                token: tokens.get(&format!("lt-v{number}"), json!({})).await?,
                channels: vec![format!("live:{}", audience.stream)],
                kind: "comment",
                reads,
                group: reads.then_some(group),
            });
        }
    }
    if let Some(rooms) = &scenario.rooms {
        let group = groups.len();
        groups.push(Group {
            per_second: rooms.messages_per_second,
            characters: rooms.characters,
            open_per_writer: rooms.open_per_writer,
        });
        let client = reqwest::Client::new();
        for room in 0..rooms.rooms {
            let members: Vec<String> = (0..rooms.members)
                .map(|member| format!("lt-r{room}-{member}"))
                .collect();
            let mut member_tokens = Vec::new();
            for member in &members {
                member_tokens.push(tokens.get(member, json!({})).await?);
            }
            let owner = &member_tokens[0];
            let id = create_room(&client, base, owner, room, &members).await?;
            for token in member_tokens {
                parts.push(Part {
                    token,
                    channels: vec![format!("chat:{id}")],
                    kind: "chat_message",
                    reads: true,
                    group: Some(group),
                });
            }
        }
    }
    if let Some(idle) = &scenario.idle {
        for number in 0..idle.sessions {
            parts.push(Part {
                token: tokens.get(&format!("lt-i{number}"), json!({})).await?,
                channels: Vec::new(),
                kind: "ping",
                reads: true,
                group: None,
            });
        }
    }
    Ok((parts, groups))
}

async fn create_room(
    client: &reqwest::Client,
    base: &str,
    token: &str,
    number: usize,
    members: &[String],
) -> anyhow::Result<String> {
    let response = client
        .post(format!("{base}/api/v1/rooms"))
        .bearer_auth(token)
        .json(&json!({"kind": "group", "title": format!("Load {number}"), "members": members}))
        .send()
        .await
        .context("creating a room")?;
    let status = response.status();
    let body: Value = response.json().await.context("creating a room")?;
    let id = body["id"].as_str().map(str::to_owned);
    id.with_context(|| format!("creating a room: {status} {body}"))
}
