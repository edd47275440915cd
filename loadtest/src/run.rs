//! Carries a scenario out: prepares tokens and rooms, plays the sessions on threads of their own, and adds up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::load::{self, Group, Outcome, Part, Phase, Share};
use crate::measure::Recorder;
use crate::media::casting::{self, Endpoints};
use crate::media::stage::Stage;
use crate::media::summary::Media;
use crate::process::{self, Usage};
use crate::report::{Generator, Report, Server};
use crate::scenario::Scenario;
use crate::token::Tokens;

/// How long sessions may take to arrive beyond the ramp.
const ARRIVAL: Duration = Duration::from_secs(60);

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
}

/// Runs a scenario. `progress` is told once a second what is going on.
///
/// # Errors
/// When the server cannot be reached, or the run cannot be prepared. Sessions that fail are part of the report.
pub async fn run(
    scenario: &Scenario,
    target: &Target,
    mut progress: impl FnMut(&str),
) -> anyhow::Result<Report> {
    let address = target
        .url
        .strip_prefix("http://")
        .context("--url: expected http://HOST:PORT")?
        .trim_end_matches('/')
        .to_owned();
    let base = format!("http://{address}");
    let tokens = Tokens::new(&base, target.secret.as_deref());
    progress("preparing tokens and rooms");
    let (parts, groups) = prepare(scenario, &base, &tokens).await?;
    let cast = match &scenario.streams {
        Some(streams) => {
            let endpoints = target.endpoints.as_ref();
            Some(casting::cast(scenario, streams, &base, &tokens, endpoints).await?)
        }
        None => None,
    };
    let peers = cast
        .as_ref()
        .map_or(0, |cast| cast.publishers.len() + cast.viewers.len());
    let sessions = parts.len();
    let threads = target.threads.clamp(1, sessions.max(1));
    let start = Instant::now();
    let (phase, _) = watch::channel(Phase::Ramp);
    let mut shares: Vec<Vec<Part>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, part) in parts.into_iter().enumerate() {
        shares[number % threads].push(part);
    }
    let mut ready = Vec::new();
    let mut joins = Vec::new();
    for (number, parts) in shares.into_iter().enumerate() {
        let counter = Arc::new(AtomicUsize::new(0));
        ready.push(counter.clone());
        let (address, scenario, phase) = (address.clone(), scenario.clone(), phase.subscribe());
        #[expect(clippy::cast_precision_loss, reason = "a handful of threads")]
        let groups = groups
            .iter()
            .map(|group| Group {
                per_second: group.per_second / threads as f64,
                ..group.clone()
            })
            .collect();
        let seed = scenario.seed.wrapping_mul(31).wrapping_add(number as u64);
        let thread = std::thread::Builder::new()
            .name(format!("load-{number}"))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime for this thread");
                let local = tokio::task::LocalSet::new();
                local.block_on(
                    &runtime,
                    load::play(Share {
                        address,
                        start,
                        scenario,
                        parts,
                        groups,
                        seed,
                        phase,
                        ready: counter,
                    }),
                )
            })
            .context("starting a thread")?;
        joins.push(thread);
    }
    let usage = |pid: Option<u32>| pid.map(process::usage).transpose();
    let before_all = usage(target.server_pid)?;
    let count = || {
        ready
            .iter()
            .map(|one| one.load(Ordering::Relaxed))
            .sum::<usize>()
    };
    let stage = cast
        .map(|cast| Stage::new(cast, target.threads, start))
        .transpose()?;
    let arrived_by = start + scenario.ramp + ARRIVAL;
    let is_joined = std::cell::Cell::new(stage.is_none());
    let join = async {
        let joined = match &stage {
            Some(stage) => stage.join().await,
            None => Ok(()),
        };
        is_joined.set(true);
        joined
    };
    let watching = || stage.as_ref().map_or(0, Stage::watching);
    let wait = async {
        // Peers give up by themselves.
        while !is_joined.get() || (count() < sessions && Instant::now() < arrived_by) {
            progress(&format!(
                "{} of {sessions} sessions and {} of {peers} peers are there",
                count(),
                watching()
            ));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let ((), joined) = tokio::join!(wait, join);
    joined?;
    let (arrived, arrival) = (count(), start.elapsed());
    // What arriving left behind is over before the load is measured.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (server_idle, own_before) = (usage(target.server_pid)?, process::usage(0)?);
    let received = || stage.as_ref().map_or(0, Stage::received);
    let received_arrival = received();
    phase.send_replace(Phase::Load);
    let load_since = Instant::now();
    while load_since.elapsed() < scenario.duration {
        progress(&format!(
            "load: {:.0} of {:.0} s, {} sessions, {} viewers",
            load_since.elapsed().as_secs_f64(),
            scenario.duration.as_secs_f64(),
            count(),
            watching()
        ));
        let left = scenario.duration.saturating_sub(load_since.elapsed());
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
    }
    let loaded = load_since.elapsed();
    let (server_loaded, own_after) = (usage(target.server_pid)?, process::usage(0)?);
    let received_load = received() - received_arrival;
    phase.send_replace(Phase::Settle);
    progress("waiting for what is still under way");
    let mut recorder = Recorder::default();
    let media = match stage {
        Some(stage) => Some(Media {
            peers: peers as u64,
            tally: stage.finish().await?,
            received_arrival,
            received_load,
            load: loaded,
        }),
        None => None,
    };
    // A picture that leaves late makes the figures the generator's own, as a message does.
    if let Some(media) = &media {
        let lag = recorder.lag.add(&media.tally.lag);
        lag.context("histograms with different bounds")?;
    }
    // With no sessions the threads for them do nothing.
    let threads_at_work = if sessions > 0 { threads } else { 0 }
        + if media.is_some() {
            target.threads.max(1)
        } else {
            0
        };
    let mut outcomes: Vec<Outcome> = Vec::new();
    for join in joins {
        // The threads end by themselves; their clock is theirs.
        let outcome = tokio::task::spawn_blocking(move || join.join());
        let outcome = outcome.await.context("waiting for a thread")?;
        outcomes.push(outcome.map_err(|_| anyhow::anyhow!("a thread of the generator panicked"))?);
    }
    let mut newest = std::collections::BTreeMap::<String, u64>::new();
    for outcome in &outcomes {
        recorder.add(&outcome.recorder);
        for (channel, seq) in &outcome.newest {
            let known = newest.entry(channel.clone()).or_default();
            *known = (*known).max(*seq);
        }
    }
    recorder.lost = outcomes
        .iter()
        .flat_map(|outcome| &outcome.tracks)
        .flatten()
        .map(|(channel, track)| newest.get(channel).map_or(0, |last| track.missing(*last)))
        .sum();
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
        sessions,
        arrived,
        arrival,
        load: loaded,
        recorder,
        media,
        recovered_after: recovered_after.filter(|_| is_storm_over),
        had_storm: scenario.storm.is_some(),
        server: server(before_all, server_idle, server_loaded),
        generator: Generator {
            threads: threads_at_work,
            cpu: own_after.cpu.saturating_sub(own_before.cpu),
        },
        thresholds: scenario.thresholds.clone(),
    })
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
