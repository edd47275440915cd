//! The life of a stream: going live, watching, breaking and coming back, ending.

use std::time::Duration;

use redred_signaling::media::{MediaIntent, MediaReply, Refusal};
use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{CloseCode, Config};
use serde_json::json;

const LIVE: &str = "live:ana";

#[test]
fn a_stream_is_announced_once_its_media_is_heard() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    let home = world.connect(&viewer("cy"), None);
    world.ask(home, "streams", "subscribe", json!({"channel": "streams"}));
    let watch = world.ask(bo, LIVE, "watch", json!({}));
    assert_eq!(watch["data"]["code"], "not_found");
    let start = json!({"title": "Hello", "tags": ["a"]});
    let ack = world.ask(ana, LIVE, "start_stream", start);
    let offer = json!({"session": ack["data"]["session"], "sdp": "v=0"});
    let accepted = world.ask(ana, LIVE, "webrtc_offer", offer);
    assert_eq!(accepted["type"], "ack");
    assert_eq!(world.take_kind(ana, "webrtc_answer").len(), 1);
    assert!(world.take_kind(bo, "stream_started").is_empty());
    let media = world.publisher();
    world.media(MediaReply::Connected { media });
    assert_eq!(world.take_kind(bo, "stream_started")[0]["title"], "Hello");
    world.advance(Duration::from_secs(2));
    let list = world.take_kind(home, "streams_update");
    assert_eq!(list[0]["streams"][0]["id"], "ana");
}

#[test]
fn viewers_are_counted_and_staff_sees_who_comes_and_goes() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(ana, "ana");
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    let ack = world.ask(bo, LIVE, "watch", json!({"quality": "low"}));
    let offers = world.take_kind(bo, "webrtc_offer");
    assert_eq!(offers[0]["session"], ack["data"]["session"]);
    let told = world.take(ana);
    let count = told.iter().find(|m| m["type"] == "viewers_update");
    assert_eq!(count.map(|m| m["data"]["count"].clone()), Some(json!(1)));
    let joined = told.iter().find(|m| m["type"] == "user_joined");
    assert_eq!(
        joined.map(|m| m["data"]["user"]["id"].clone()),
        Some(json!("bo"))
    );
    assert!(
        world.take_kind(bo, "user_joined").is_empty(),
        "viewers do not see it"
    );
    world.ask(bo, LIVE, "stop_watching", json!({}));
    world.advance(Duration::from_secs(5));
    assert_eq!(world.take_kind(ana, "user_left").len(), 1);
    assert_eq!(world.hub.stats().live_viewers, 0);
}

#[test]
fn a_broken_publisher_has_the_grace_time_and_viewers_stay() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let media = world.go_live(ana, "ana");
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    world.ask(bo, LIVE, "watch", json!({}));
    world.media(MediaReply::Silent { media });
    world.advance(Duration::from_secs(9));
    assert!(world.take_kind(bo, "stream_ended").is_empty());
    let again = world.go_live(ana, "ana");
    assert_ne!(again, media);
    world.advance(Duration::from_secs(20));
    assert!(world.take_kind(bo, "stream_ended").is_empty());
    assert_eq!(world.hub.stats().live_viewers, 1);
    assert_eq!(world.hub.stats().publisher_returns, 1);
    world.media(MediaReply::Closed {
        media: again,
        reason: "timed out".to_owned(),
    });
    world.advance(Duration::from_secs(11));
    let ended = world.take_kind(bo, "stream_ended");
    assert_eq!(ended[0]["reason"], "publisher_lost");
    assert_eq!(ended[0]["peak_viewers"], 1);
}

#[test]
fn a_stream_outlives_the_websocket_of_its_publisher() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let media = world.go_live(ana, "ana");
    world.disconnect(ana);
    world.advance(Duration::from_secs(120));
    assert_eq!(world.hub.stats().live_streams, 1);
    world.media(MediaReply::Silent { media });
    world.advance(Duration::from_secs(11));
    assert_eq!(world.hub.stats().live_streams, 0);
}

#[test]
fn a_second_tab_is_refused_while_the_first_publishes() {
    let mut world = World::new(Config::default());
    let first = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(first, "ana");
    let second = world.connect(&streamer("ana"), Some(LIVE));
    let refused = world.ask(second, LIVE, "start_stream", json!({"title": "mine"}));
    assert_eq!(refused["data"]["code"], "conflict");
    world.disconnect(first);
    world.go_live(second, "ana");
}

#[test]
fn a_refused_offer_leaves_the_stream_as_it_was() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let ack = world.ask(ana, LIVE, "start_stream", json!({"title": "x"}));
    world.refusal = Some(Refusal::Invalid("nonsense".to_owned()));
    let offer = json!({"session": ack["data"]["session"], "sdp": "?"});
    let refused = world.ask(ana, LIVE, "webrtc_offer", offer);
    assert_eq!(refused["data"]["code"], "invalid_field");
    world.refusal = None;
    world.go_live(ana, "ana");
}

#[test]
fn a_resumed_viewer_still_watches_and_a_lost_one_is_cut() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(ana, "ana");
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    let token = world.take_kind(bo, "connection_established")[0]["resume_token"].clone();
    world.ask(bo, LIVE, "watch", json!({}));
    world.disconnect(bo);
    world.advance(Duration::from_secs(20));
    let bo = world.connect_with(&viewer("bo"), None, token.as_str().map(str::to_owned));
    let ack = world.ask(bo, LIVE, "set_quality", json!({"quality": "high"}));
    assert_eq!(ack["type"], "ack");
    world.disconnect(bo);
    world.advance(Duration::from_secs(40));
    assert_eq!(world.hub.stats().live_viewers, 0);
    let is_close = |intent: &MediaIntent| matches!(intent, MediaIntent::Close { .. });
    assert!(world.intents.iter().any(is_close));
}

#[test]
fn ending_a_stream_closes_media_and_tells_everybody() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(ana, "ana");
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    world.ask(bo, LIVE, "watch", json!({}));
    let refused = world.ask(bo, LIVE, "end_stream", json!({}));
    assert_eq!(refused["data"]["code"], "forbidden");
    world.ask(ana, LIVE, "end_stream", json!({}));
    assert_eq!(world.take_kind(bo, "stream_ended")[0]["reason"], "ended");
    let is_end = |intent: &MediaIntent| matches!(intent, MediaIntent::EndStream { .. });
    assert!(world.intents.iter().any(is_end));
    assert_eq!(world.closed.get(&bo), None::<&CloseCode>);
}

#[test]
fn a_viewer_that_closes_its_tab_is_gone_at_once() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(ana, "ana");
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    let token = world.take_kind(bo, "connection_established")[0]["resume_token"].clone();
    world.ask(bo, LIVE, "watch", json!({}));
    world.advance(Duration::from_secs(1));
    world.take(ana);
    world.leave(bo);
    assert_eq!(world.hub.stats().live_viewers, 0);
    assert_eq!(
        world.take_kind(ana, "viewers_update"),
        [json!({"count": 0})]
    );
    assert!(matches!(
        world.intents.last(),
        Some(MediaIntent::Close { .. })
    ));
    // A reload is a leave and a join: staff is not told of somebody who is back before the delay is over.
    let token = token.as_str().map(str::to_owned);
    let bo = world.connect_with(&viewer("bo"), Some(LIVE), token);
    assert_eq!(
        world.take_kind(bo, "connection_established")[0]["resumed"],
        false
    );
    world.ask(bo, LIVE, "watch", json!({}));
    world.advance(Duration::from_secs(5));
    assert!(world.take_kind(ana, "user_left").is_empty());
    world.leave(bo);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.take_kind(ana, "user_left").len(), 1);
    assert_eq!(world.hub.stats().sessions_resumable, 0);
}

#[test]
fn a_streamer_that_reloads_has_the_grace_time() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    let media = world.go_live(ana, "ana");
    let bo = world.connect(&viewer("bo"), Some(LIVE));
    world.ask(bo, LIVE, "watch", json!({}));
    world.leave(ana);
    world.media(MediaReply::Closed {
        media,
        reason: "peer_closed".to_owned(),
    });
    world.advance(Duration::from_secs(9));
    assert_eq!(world.hub.stats().live_streams, 1);
    let ana = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(ana, "ana");
    world.advance(Duration::from_secs(20));
    assert!(world.take_kind(bo, "stream_ended").is_empty());
    assert_eq!(world.hub.stats().live_viewers, 1);
    // What was only announced is not kept for somebody who left.
    world.ask(ana, LIVE, "end_stream", json!({}));
    world.ask(ana, LIVE, "start_stream", json!({"title": "soon"}));
    world.leave(ana);
    let cy = world.connect(&streamer("ana"), Some(LIVE));
    world.go_live(cy, "ana");
}
