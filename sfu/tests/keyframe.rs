//! Keyframe requests: what many viewers ask, as few requests as their publisher should see.

use std::time::{Duration, Instant};

use redred_sfu::forward::keyframe::Requests;

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
