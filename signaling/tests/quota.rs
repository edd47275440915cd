//! What one user may ask, over all sessions and requests together.

use std::time::Duration;

use redred_signaling::api::Request;
use redred_signaling::sim::{World, viewer, with_grants};
use redred_signaling::{Config, ErrorCode};
use serde_json::json;

fn config() -> Config {
    let mut config = Config::default();
    config.quota.messages_per_second = 1;
    config.quota.messages_burst = 3;
    config.quota.requests_per_second = 1;
    config.quota.requests_burst = 2;
    config
}

#[test]
fn the_sessions_of_a_user_share_a_pace_and_other_users_have_their_own() {
    let mut world = World::new(config());
    let (ana, also_ana) = (viewer("ana"), viewer("ana"));
    let phone = world.connect(&ana, None);
    let desk = world.connect(&also_ana, None);
    let ben = world.connect(&viewer("ben"), None);
    let ping = |world: &mut World, session| {
        let answer = world.ask(session, "streams", "ping", json!({}));
        (
            answer["type"].clone(),
            answer["data"]["code"].clone(),
            answer["data"].clone(),
        )
    };
    for session in [phone, desk, phone] {
        assert_eq!(ping(&mut world, session).0, "ack");
    }
    let (_, code, data) = ping(&mut world, desk);
    assert_eq!(code, "rate_limited");
    assert_eq!(data["retry_after_ms"], 1000);
    assert_eq!(ping(&mut world, ben).0, "ack");
    assert_eq!(world.hub.stats().rate_limited, 1);
    world.advance(Duration::from_secs(1));
    assert_eq!(ping(&mut world, desk).0, "ack");
}

#[test]
fn requests_have_a_pace_and_say_when_to_come_back() {
    let mut world = World::new(config());
    let ana = viewer("ana");
    let refusal = |world: &mut World, caller| {
        let answer = world.http(caller, Request::ListBlocks).expect("an answer");
        answer
            .err()
            .filter(|error| error.code == ErrorCode::RateLimited)
    };
    for _ in 0..2 {
        assert_eq!(refusal(&mut world, &ana), None);
    }
    let error = refusal(&mut world, &ana).expect("refused");
    assert_eq!(error.retry_after_ms, Some(1000));
    let admin = with_grants("boss", r#"{"admin":true}"#);
    for _ in 0..10 {
        assert_eq!(refusal(&mut world, &admin), None);
    }
    assert!(
        world
            .http(&ana, Request::ListStreams)
            .expect("an answer")
            .is_ok()
    );
    world.advance(Duration::from_secs(1));
    assert_eq!(refusal(&mut world, &ana), None);
}
