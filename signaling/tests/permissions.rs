//! Nobody gets what they were not granted.

use redred_signaling::api::{Reply, Request};
use redred_signaling::sim::{World, streamer, viewer, with_grants};
use redred_signaling::{Channel, Config, ErrorCode};
use serde_json::json;

const LIVE: &str = "live:ana";

#[test]
fn a_viewer_can_do_nothing_that_is_the_streamers_or_a_moderators() {
    let mut world = World::new(Config::default());
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    for (kind, data) in [
        ("start_stream", json!({"title": "mine"})),
        ("end_stream", json!({})),
        ("delete_comment", json!({"id": "x"})),
        ("kick", json!({"user_id": "cy"})),
        ("ban", json!({"user_id": "cy"})),
        ("unban", json!({"user_id": "cy"})),
        ("timeout", json!({"user_id": "cy", "seconds": 5})),
        ("slow_mode", json!({"seconds": 5})),
        ("pin_comment", json!({"id": null})),
        ("set_role", json!({"user_id": "bo", "role": "moderator"})),
    ] {
        let refused = world.ask(bo, LIVE, kind, data);
        assert_eq!(refused["data"]["code"], "forbidden", "{kind}");
    }
}

#[test]
fn a_connection_answers_only_to_its_own_session() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let ack = world.ask(ana, LIVE, "start_stream", json!({"title": "x"}));
    let session = ack["data"]["session"].clone();
    let eve = world.connect(&streamer("ana"), Some(LIVE));
    let offer = json!({"session": session, "sdp": "v=0"});
    for (kind, data) in [
        ("webrtc_offer", offer.clone()),
        ("webrtc_answer", offer),
        (
            "ice_candidate",
            json!({"session": session, "candidate": "x"}),
        ),
    ] {
        let refused = world.ask(eve, LIVE, kind, data);
        assert_eq!(refused["data"]["code"], "not_found", "{kind}");
    }
}

#[test]
fn watch_and_chat_are_separate_grants() {
    let mut world = World::new(Config::default());
    let mute = world.connect(&with_grants("mute", r#"{"chat":[]}"#), Some(LIVE));
    for (kind, data) in [
        ("comment", json!({"text": "hi"})),
        ("reaction", json!({"emoji": "🔥"})),
    ] {
        assert_eq!(
            world.ask(mute, LIVE, kind, data)["data"]["code"],
            "forbidden"
        );
    }
    let blind = world.connect(&with_grants("blind", r#"{"watch":[]}"#), None);
    for (kind, data) in [
        ("subscribe", json!({"channel": LIVE})),
        ("watch", json!({})),
        ("comment", json!({"text": "hi"})),
    ] {
        assert_eq!(
            world.ask(blind, LIVE, kind, data)["data"]["code"],
            "forbidden",
            "{kind}"
        );
    }
}

#[test]
fn the_directory_shows_only_what_may_be_watched() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(ana, "ana");
    let blind = world.connect(&with_grants("blind", r#"{"watch":["bo"]}"#), None);
    world.ask(blind, "streams", "subscribe", json!({"channel": "streams"}));
    let state = world.take_kind(blind, "subscribed")[0]["state"].clone();
    assert_eq!(state["streams"], json!([]));
}

#[test]
fn admission_is_refused_where_a_subscription_would_be() {
    let mut world = World::new(Config::default());
    let elsewhere = with_grants("bo", r#"{"watch":["cy"]}"#);
    let mut admit = |caller: &_, channel: &str| {
        let channel = Channel::parse(channel).expect("a channel");
        let reply = world.http(caller, Request::Admit { channel });
        reply.expect("answered at once").map_err(|error| error.code)
    };
    assert_eq!(admit(&elsewhere, "live:cy"), Ok(Reply::Done));
    assert_eq!(admit(&elsewhere, "streams"), Ok(Reply::Done));
    assert_eq!(admit(&elsewhere, LIVE), Err(ErrorCode::Forbidden));
    assert_eq!(admit(&streamer("ana"), LIVE), Ok(Reply::Done));
    assert_eq!(
        world.hub.stats().channels,
        0,
        "asking leaves nothing behind"
    );
    world.is_store_down = true;
    let channel = Channel::parse(LIVE).expect("a channel");
    let refused = world.http(&viewer("bo"), Request::Admit { channel });
    let code = refused.map(|reply| reply.map_err(|error| error.code));
    assert_eq!(code, Some(Err(ErrorCode::Unavailable)));
}
