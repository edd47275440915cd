//! Keyframe requests: what many viewers ask, as few requests as their publisher should see.

#![allow(
    clippy::disallowed_methods,
    reason = "one instant is the base of simulated time"
)]

use std::time::{Duration, Instant};

use redred_sfu::forward::keyframe::Requests;
use redred_sfu::id::{PeerKey, ShardId};
use redred_sfu::sim::{Publishing, Sim, Watching};

const INTERVAL: Duration = Duration::from_secs(1);
const LOW: u8 = 0;
const HIGH: u8 = 1;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn five_viewers_at_once_are_one_request() {
    let start = Instant::now();
    let mut requests = Requests::new(INTERVAL);
    let asked = (0..5)
        .filter(|viewer| requests.request(start + ms(*viewer), HIGH))
        .count();
    assert_eq!(asked, 1);
    assert_eq!(requests.coalesced(), 4);
    requests.handle_keyframe(HIGH);
    assert_eq!(requests.poll_timeout(), None, "the keyframe answered all");
    assert_eq!(requests.poll(start + 2 * INTERVAL), None);
}

#[test]
fn an_unanswered_request_is_repeated_once_per_interval() {
    let start = Instant::now();
    let mut requests = Requests::new(INTERVAL);
    assert!(requests.request(start, HIGH));
    for second in 1..5u32 {
        let due = start + second * INTERVAL;
        assert_eq!(requests.poll_timeout(), Some(due));
        assert_eq!(requests.poll(due - ms(1)), None);
        assert_eq!(requests.poll(due), Some(HIGH));
        assert_eq!(requests.poll(due), None);
    }
    requests.cancel(HIGH);
    assert_eq!(requests.poll_timeout(), None);
}

#[test]
fn who_asks_after_the_keyframe_waits_for_the_end_of_the_interval() {
    let start = Instant::now();
    let mut requests = Requests::new(INTERVAL);
    assert!(requests.request(start, HIGH));
    requests.handle_keyframe(HIGH);
    assert!(!requests.request(start + ms(300), HIGH));
    assert_eq!(requests.poll_timeout(), Some(start + INTERVAL));
    assert_eq!(requests.poll(start + INTERVAL), Some(HIGH));
}

#[test]
fn layers_are_asked_for_independently() {
    let start = Instant::now();
    let mut requests = Requests::new(INTERVAL);
    assert!(requests.request(start, HIGH));
    assert!(requests.request(start, LOW));
    requests.handle_keyframe(HIGH);
    assert_eq!(requests.poll(start + INTERVAL), Some(LOW));
    assert_eq!(requests.poll(start + INTERVAL), None);
}

#[test]
fn a_storm_of_requests_is_one_per_second() {
    let start = Instant::now();
    let mut requests = Requests::new(INTERVAL);
    let mut asked = Vec::new();
    // 500 viewers ask every 100 ms each, and the publisher answers after 200 ms.
    for tick in 0..10_000u64 {
        let now = start + ms(tick);
        for _ in 0..5 {
            if requests.request(now, HIGH) {
                asked.push(now);
            }
        }
        while requests.poll(now).is_some() {
            asked.push(now);
        }
        if asked.last().is_some_and(|&last| now == last + ms(200)) {
            requests.handle_keyframe(HIGH);
        }
    }
    assert_eq!(asked.len(), 10);
    for pair in asked.windows(2) {
        assert!(pair[1] - pair[0] >= INTERVAL);
    }
}

#[test]
fn five_viewers_who_join_at_once_cost_the_publisher_one_keyframe() {
    let mut sim = Sim::new(10, 2);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::default());
    sim.run(5 * INTERVAL);
    let before = sim.keyframe_requests(publisher).len();
    let viewers: Vec<PeerKey> = (0..5)
        .map(|_| sim.watch(stream, ShardId(0), Watching::default()))
        .collect();
    let all_see = |sim: &Sim| {
        viewers
            .iter()
            .all(|viewer| !sim.viewing(*viewer).frames.is_empty())
    };
    assert!(
        sim.run_until(2 * INTERVAL, all_see),
        "{sim:?}: somebody sees nothing"
    );
    assert_eq!(
        sim.keyframe_requests(publisher).len(),
        before + 1,
        "{sim:?}"
    );
    sim.run(3 * INTERVAL);
    assert_eq!(
        sim.keyframe_requests(publisher).len(),
        before + 1,
        "{sim:?}"
    );
}

#[test]
fn a_storm_of_requests_reaches_the_publisher_once_a_second_and_layer() {
    let mut sim = Sim::new(20, 2);
    let stream = sim.open();
    let publisher = sim.publish(stream, Publishing::simulcast(redred_sfu::event::Codec::Vp8));
    let viewers: Vec<PeerKey> = (0..6)
        .map(|number| sim.watch(stream, ShardId(number % 2), Watching::default()))
        .collect();
    sim.run(3 * INTERVAL);
    let started = sim.now();
    for _ in 0..100 {
        for viewer in &viewers {
            sim.request_keyframe(*viewer);
        }
        sim.run(ms(50));
    }
    for rid in ["q", "h", "f"] {
        let asked: Vec<Instant> = sim
            .keyframe_requests(publisher)
            .iter()
            .filter(|(at, of)| *at >= started && of.as_deref() == Some(rid))
            .map(|(at, _)| *at)
            .collect();
        for pair in asked.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart >= INTERVAL, "{sim:?}: {rid} twice within {apart:?}");
        }
        if rid == "f" {
            assert!(
                (4..=6).contains(&asked.len()),
                "{sim:?}: asked {} times",
                asked.len()
            );
        } else {
            assert!(asked.is_empty(), "{sim:?}: nobody watches {rid}");
        }
    }
}
