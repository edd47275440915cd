//! Limits of live streams: publishers, viewers, those who wait, and resources.

use std::time::Duration;

use redred_signaling::api::{Reply, Request, ResourceKind};
use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{ErrorCode, MediaReply, StreamName};
use serde_json::{Value, json};

use super::{LIVE, outcome, room, world};

fn publish() -> Request {
    Request::WhipPublish {
        stream: StreamName::new("ana").expect("a name"),
        offer: "v=0".to_owned(),
    }
}

fn watch(wait_s: u64) -> Request {
    Request::WhepWatch {
        stream: StreamName::new("ana").expect("a name"),
        offer: "v=0".to_owned(),
        wait: (wait_s > 0).then(|| Duration::from_secs(wait_s)),
    }
}

/// The name of the resource that was created, or why not.
fn created(reply: Option<Result<Reply, redred_signaling::Error>>) -> Result<String, ErrorCode> {
    match reply.expect("answered") {
        Ok(Reply::Created { resource, .. }) => Ok(resource),
        Ok(other) => panic!("expected a created resource: {other:?}"),
        Err(error) => Err(error.code),
    }
}

fn watch_by_http(world: &mut World, user: &str) -> Result<String, ErrorCode> {
    created(world.http(&viewer(user), watch(0)))
}

#[test]
fn a_publisher_that_never_connects_is_protected_for_a_moment_only() {
    let mut world = world(|config| config.live.connect_timeout = Duration::from_secs(4));
    assert!(created(world.http(&streamer("ana"), publish())).is_ok());
    world.advance(Duration::from_millis(3999));
    let second = created(world.http(&streamer("ana"), publish()));
    assert_eq!(second, Err(ErrorCode::Conflict));
    assert_eq!(world.hub.stats().publish_conflicts, 1);
    world.advance(Duration::from_millis(1));
    assert!(created(world.http(&streamer("ana"), publish())).is_ok());
}

#[test]
fn a_stream_that_is_announced_must_begin_in_time() {
    let (mut world, ana, _) = room(|config| config.live.start_timeout = Duration::from_secs(20));
    let ack = world.ask(ana, LIVE, "start_stream", json!({"title": "soon"}));
    let offer = json!({"session": ack["data"]["session"], "sdp": "v=0"});
    world.advance(Duration::from_secs(20));
    assert_eq!(
        world.take_kind(ana, "media_closed")[0]["reason"],
        "stream_ended"
    );
    let late = world.ask(ana, LIVE, "webrtc_offer", offer);
    assert_eq!(outcome(&late), "not_found");
}

#[test]
fn a_broken_publisher_has_the_grace_time_and_not_a_moment_more() {
    let (mut world, ana, bo) = room(|config| {
        config.live.publisher_grace = Duration::from_secs(7);
    });
    let media = world.go_live(ana, "ana");
    world.media(MediaReply::Silent { media });
    world.advance(Duration::from_millis(6999));
    assert!(world.take_kind(bo, "stream_ended").is_empty());
    world.advance(Duration::from_millis(1));
    let ended = world.take_kind(bo, "stream_ended");
    assert_eq!(ended[0]["reason"], "publisher_lost");
    assert_eq!(world.hub.stats().streams_ended, 1);
}

#[test]
fn a_stream_has_so_many_viewers() {
    let (mut world, ana, bo) = room(|config| config.live.max_viewers = 2);
    world.go_live(ana, "ana");
    assert_eq!(outcome(&world.ask(bo, LIVE, "watch", json!({}))), "ack");
    assert!(watch_by_http(&mut world, "cy").is_ok());
    assert_eq!(watch_by_http(&mut world, "di"), Err(ErrorCode::Unavailable));
    let eve = world.connect(&viewer("eve"), None);
    let refused = world.ask(eve, LIVE, "watch", json!({}));
    assert_eq!(outcome(&refused), "unavailable");
    assert_eq!(world.hub.stats().limits_hit, 2);
    // Who watches already takes nobody's place by watching anew.
    assert_eq!(outcome(&world.ask(bo, LIVE, "watch", json!({}))), "ack");
    world.ask(bo, LIVE, "stop_watching", json!({}));
    assert_eq!(outcome(&world.ask(eve, LIVE, "watch", json!({}))), "ack");
}

#[test]
fn counts_and_joins_are_told_once_an_interval_and_not_all_by_name() {
    let (mut world, ana, bo) = room(|config| {
        config.live.viewers_interval = Duration::from_millis(500);
        config.live.join_interval = Duration::from_millis(1000);
        config.live.join_batch_max = 3;
    });
    world.go_live(ana, "ana");
    world.take(bo);
    for n in 0..6 {
        watch_by_http(&mut world, &format!("u{n}")).expect("watches");
    }
    let counts = |world: &mut World, socket| -> Vec<Value> {
        let told = world.take_kind(socket, "viewers_update").into_iter();
        told.map(|data| data["count"].clone()).collect()
    };
    assert_eq!(counts(&mut world, bo), [1]);
    world.advance(Duration::from_millis(499));
    assert!(counts(&mut world, bo).is_empty());
    world.advance(Duration::from_millis(1));
    assert_eq!(counts(&mut world, bo), [6]);

    let joins = world.take_kind(ana, "user_joined");
    assert_eq!(joins.len(), 1);
    assert_eq!(joins[0]["user"]["id"], "u0");
    world.advance(Duration::from_millis(500));
    let joins = world.take_kind(ana, "user_joined");
    assert_eq!(joins.len(), 1);
    assert_eq!(joins[0]["users"].as_array().map(Vec::len), Some(3));
    assert_eq!(joins[0]["count"], 6);
}

#[test]
fn somebody_has_left_when_they_are_away_for_the_delay() {
    let (mut world, ana, bo) = room(|config| config.live.leave_delay = Duration::from_secs(5));
    world.go_live(ana, "ana");
    world.ask(bo, LIVE, "watch", json!({}));
    world.advance(Duration::from_secs(2));
    world.ask(bo, LIVE, "stop_watching", json!({}));
    world.advance(Duration::from_millis(4999));
    assert!(world.take_kind(ana, "user_left").is_empty());
    world.advance(Duration::from_millis(1));
    assert_eq!(world.take_kind(ana, "user_left")[0]["user"]["id"], "bo");
}

#[test]
fn a_wait_for_a_stream_is_capped_and_so_are_those_who_wait() {
    let mut world = world(|config| {
        config.live.wait_max = Duration::from_secs(30);
        config.live.waiting_max = 1;
    });
    let patient = world.http_open(&viewer("bo"), watch(3600));
    let second = created(world.http(&viewer("cy"), watch(5)));
    assert_eq!(second, Err(ErrorCode::Unavailable));
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.advance(Duration::from_millis(29_999));
    assert_eq!(world.replies.get(&patient), None);
    world.advance(Duration::from_millis(1));
    let reply = world.replies.remove(&patient);
    assert_eq!(created(reply), Err(ErrorCode::NotFound));
}

#[test]
fn so_many_requests_about_one_connection_wait_for_the_media_plane() {
    let (mut world, ana, _) = room(|config| config.live.pending_media_requests_max = 2);
    world.go_live(ana, "ana");
    let resource = watch_by_http(&mut world, "bo").expect("watches");
    world.is_media_held = true;
    let patch = Request::Patch {
        resource,
        kind: ResourceKind::Whep,
        if_match: Some("*".to_owned()),
        fragment: "a=candidate".to_owned(),
    };
    let open = [
        world.http_open(&viewer("bo"), patch.clone()),
        world.http_open(&viewer("bo"), patch.clone()),
    ];
    let third = world.http(&viewer("bo"), patch).expect("answered at once");
    let third = third.map_err(|error| (error.code, error.retry_after_ms));
    assert_eq!(third, Err((ErrorCode::RateLimited, Some(1000))));
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.is_media_held = false;
    world.run();
    for request in open {
        let reply = world.replies.remove(&request);
        assert!(
            matches!(reply, Some(Ok(Reply::Patched { .. }))),
            "{reply:?}"
        );
    }
}

#[test]
fn so_many_offers_of_one_publisher_wait_for_the_media_plane() {
    let (mut world, ana, _) = room(|config| config.live.pending_media_requests_max = 1);
    let ack = world.ask(ana, LIVE, "start_stream", json!({"title": "x"}));
    let offer = json!({"session": ack["data"]["session"], "sdp": "v=0"});
    world.is_media_held = true;
    let about = json!({"channel": LIVE, "id": "first"});
    let first = json!({"type": "webrtc_offer", "data": offer, "metadata": about});
    world.send_text(ana, &first.to_string());
    let second = world.ask(ana, LIVE, "webrtc_offer", offer);
    assert_eq!(outcome(&second), "rate_limited");
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.is_media_held = false;
    world.run();
    assert_eq!(outcome(&world.answers(ana, "first")[0]), "ack");
}

#[test]
fn so_many_resources_that_are_gone_answer_a_delete() {
    let (mut world, ana, _) = room(|config| config.live.remembered_resources = 1);
    world.go_live(ana, "ana");
    let resources: Vec<String> = (0..2)
        .map(|_| watch_by_http(&mut world, "bo").expect("watches"))
        .collect();
    world.ask(ana, LIVE, "kick", json!({"user_id": "bo"}));
    let answers: Vec<_> = resources
        .into_iter()
        .map(|resource| {
            let kind = ResourceKind::Whep;
            let reply = world.http(&viewer("bo"), Request::Delete { resource, kind });
            reply.expect("answered").map_err(|error| error.code)
        })
        .collect();
    assert_eq!(answers, [Err(ErrorCode::NotFound), Ok(Reply::Done)]);
}
