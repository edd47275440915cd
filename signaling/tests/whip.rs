//! WHIP and WHEP: who may, conflicts, entity tags, deletion, waiting.

use std::time::Duration;

use redred_signaling::api::{Reply, Request, ResourceKind};
use redred_signaling::config::Takeover;
use redred_signaling::media::{MediaIntent, MediaReply, Refusal};
use redred_signaling::sim::{START_MS, World, streamer, viewer, with_grants};
use redred_signaling::{Caller, Config, Error, ErrorCode, StreamName};
use serde_json::json;

fn publish(stream: &str) -> Request {
    Request::WhipPublish {
        stream: StreamName::new(stream).expect("a name"),
        offer: "v=0".to_owned(),
    }
}

fn watch(stream: &str, wait_s: u64) -> Request {
    Request::WhepWatch {
        stream: StreamName::new(stream).expect("a name"),
        offer: "v=0".to_owned(),
        wait: (wait_s > 0).then(|| Duration::from_secs(wait_s)),
    }
}

fn created(reply: Option<Result<Reply, Error>>) -> (String, String) {
    match reply {
        Some(Ok(Reply::Created { resource, etag, .. })) => (resource, etag),
        other => panic!("expected a created resource: {other:?}"),
    }
}

fn code(reply: Option<Result<Reply, Error>>) -> ErrorCode {
    match reply {
        Some(Err(error)) => error.code,
        other => panic!("expected an error: {other:?}"),
    }
}

fn go_live(world: &mut World) -> String {
    let (resource, _) = created(world.http(&streamer("ana"), publish("ana")));
    let media = world.publisher();
    world.media(MediaReply::Connected { media });
    resource
}

#[test]
fn a_whip_publisher_makes_the_stream_live_and_delete_ends_it() {
    let mut world = World::new(Config::default());
    let bo = world.connect(&viewer("bo"), Some("live:ana"));
    assert_eq!(
        code(world.http(&viewer("bo"), publish("ana"))),
        ErrorCode::Forbidden
    );
    let resource = go_live(&mut world);
    assert_eq!(resource.len(), 32);
    assert_eq!(world.take_kind(bo, "stream_started").len(), 1);
    let delete = Request::Delete {
        resource: resource.clone(),
        kind: ResourceKind::Whip,
    };
    assert_eq!(
        code(world.http(&viewer("bo"), delete.clone())),
        ErrorCode::Forbidden
    );
    assert_eq!(world.http(&streamer("ana"), delete), Some(Ok(Reply::Done)));
    assert_eq!(world.take_kind(bo, "stream_ended").len(), 1);
}

#[test]
fn a_delete_after_the_connection_closed_still_ends_the_stream() {
    let mut world = World::new(Config::default());
    let resource = go_live(&mut world);
    let media = world.publisher();
    let reason = "closed".to_owned();
    world.media(MediaReply::Closed { media, reason });
    assert_eq!(world.hub.stats().live_streams, 1);
    let delete = Request::Delete {
        resource,
        kind: ResourceKind::Whip,
    };
    assert_eq!(world.http(&streamer("ana"), delete), Some(Ok(Reply::Done)));
    assert_eq!(world.hub.stats().live_streams, 0);
}

#[test]
fn a_second_publisher_is_refused_until_the_first_is_silent() {
    let mut world = World::new(Config::default());
    go_live(&mut world);
    let first = world.publisher();
    assert_eq!(
        code(world.http(&streamer("ana"), publish("ana"))),
        ErrorCode::Conflict
    );
    world.media(MediaReply::Silent { media: first });
    created(world.http(&streamer("ana"), publish("ana")));
    assert_ne!(world.publisher(), first);
    assert_eq!(world.hub.stats().live_streams, 1);
}

#[test]
fn with_takeover_the_second_publisher_replaces_the_first() {
    let mut config = Config::default();
    config.live.takeover = Takeover::Replace;
    let mut world = World::new(config);
    let first = go_live(&mut world);
    created(world.http(&streamer("ana"), publish("ana")));
    // The replaced resource no longer speaks for the stream.
    let delete = Request::Delete {
        resource: first,
        kind: ResourceKind::Whip,
    };
    world.http(&streamer("ana"), delete);
    assert_eq!(world.hub.stats().live_streams, 1);
}

#[test]
fn a_refused_takeover_leaves_the_first_publisher_in_place() {
    let mut config = Config::default();
    config.live.takeover = Takeover::Replace;
    let mut world = World::new(config);
    go_live(&mut world);
    world.refusal = Some(Refusal::NoCommonCodec("H265".to_owned()));
    assert_eq!(
        code(world.http(&streamer("ana"), publish("ana"))),
        ErrorCode::Unsupported
    );
    world.advance(Duration::from_secs(30));
    assert_eq!(world.hub.stats().live_streams, 1);
}

#[test]
fn a_patch_must_name_the_ice_session() {
    let mut world = World::new(Config::default());
    let (resource, etag) = created(world.http(&streamer("ana"), publish("ana")));
    let patch = |if_match: Option<&str>, fragment: &str| Request::Patch {
        resource: resource.clone(),
        kind: ResourceKind::Whip,
        if_match: if_match.map(str::to_owned),
        fragment: fragment.to_owned(),
    };
    let ana = streamer("ana");
    let missing = world.http(&ana, patch(None, "a=candidate"));
    assert_eq!(code(missing), ErrorCode::PreconditionRequired);
    let wrong = world.http(&ana, patch(Some("\"x\""), "a=candidate"));
    assert_eq!(code(wrong), ErrorCode::PreconditionFailed);
    let quoted = format!("\"{etag}\"");
    let trickled = world.http(&ana, patch(Some(&quoted), "a=candidate"));
    let same = Reply::Patched {
        fragment: None,
        etag: etag.clone(),
    };
    assert_eq!(trickled, Some(Ok(same)));
    match world.http(&ana, patch(Some("*"), "a=ice-ufrag:x")) {
        Some(Ok(Reply::Patched {
            fragment: Some(_),
            etag: new,
        })) => assert_ne!(new, etag),
        other => panic!("expected a restart: {other:?}"),
    }
    let old = world.http(&ana, patch(Some(&quoted), "a=candidate"));
    assert_eq!(code(old), ErrorCode::PreconditionFailed);
}

#[test]
fn a_whep_viewer_waits_for_the_stream_or_is_told_that_it_is_not_live() {
    let mut world = World::new(Config::default());
    let bo = viewer("bo");
    assert_eq!(code(world.http(&bo, watch("ana", 0))), ErrorCode::NotFound);
    let patient = world.http_open(&bo, watch("ana", 20));
    let short = world.http_open(&bo, watch("ana", 5));
    let gone = world.http_open(&bo, watch("ana", 20));
    world.hub.handle_request_gone(world.now, gone);
    world.advance(Duration::from_secs(6));
    assert_eq!(code(world.replies.remove(&short)), ErrorCode::NotFound);
    assert_eq!(world.replies.get(&patient), None);
    go_live(&mut world);
    created(world.replies.remove(&patient));
    assert_eq!(world.replies.get(&gone), None);
    assert_eq!(world.hub.stats().live_viewers, 1);
}

#[test]
fn the_streamer_names_a_stream_that_is_published_by_whip() {
    let mut world = World::new(Config::default());
    go_live(&mut world);
    let ana = world.connect(&streamer("ana"), Some("live:ana"));
    let bo = world.connect(&viewer("bo"), Some("live:ana"));
    world.ask(ana, "live:ana", "start_stream", json!({"title": "Named"}));
    assert_eq!(world.take_kind(bo, "stream_updated")[0]["title"], "Named");
}

fn until(mut caller: Caller, seconds: u64) -> Caller {
    caller.expires_at_ms = START_MS + seconds * 1000;
    caller
}

fn fresh(resource: &str, kind: ResourceKind) -> Request {
    Request::Patch {
        resource: resource.to_owned(),
        kind,
        if_match: Some("*".to_owned()),
        fragment: "a=end-of-candidates".to_owned(),
    }
}

#[test]
fn a_viewer_is_cut_when_its_token_ends() {
    let mut world = World::new(Config::default());
    go_live(&mut world);
    let bo = until(viewer("bo"), 60);
    let (resource, _) = created(world.http(&bo, watch("ana", 0)));
    world.advance(Duration::from_secs(59));
    assert_eq!(world.hub.stats().live_viewers, 1);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.hub.stats().live_viewers, 0);
    assert_eq!(world.hub.stats().media_token_expiries, 1);
    let closed = world.intents.last();
    assert!(matches!(closed, Some(MediaIntent::Close { .. })));
    // With a new token the resource is there to be deleted, and no more.
    let late = world.http(&viewer("bo"), fresh(&resource, ResourceKind::Whep));
    assert_eq!(code(late), ErrorCode::NotFound);
    let kind = ResourceKind::Whep;
    let deleted = world.http(&viewer("bo"), Request::Delete { resource, kind });
    assert_eq!(deleted, Some(Ok(Reply::Done)));
}

#[test]
fn a_publisher_whose_token_ends_has_the_grace_time_to_bring_a_new_one() {
    let mut world = World::new(Config::default());
    let bo = world.connect(&viewer("bo"), Some("live:ana"));
    for comes_back in [true, false] {
        let seconds = (world.now.wall_ms - START_MS) / 1000 + 30;
        created(world.http(&until(streamer("ana"), seconds), publish("ana")));
        let media = world.publisher();
        world.media(MediaReply::Connected { media });
        world.advance(Duration::from_secs(35));
        assert!(world.intents.contains(&MediaIntent::Close { media }));
        assert_eq!(world.hub.stats().live_streams, 1);
        world.send_text(bo, r#"{"type":"pong","data":{}}"#);
        if comes_back {
            go_live(&mut world);
            world.advance(Duration::from_secs(20));
            assert!(world.take_kind(bo, "stream_ended").is_empty());
            world.media(MediaReply::Closed {
                media: world.publisher(),
                reason: "test".to_owned(),
            });
        }
    }
    world.advance(Duration::from_secs(6));
    let ended = world.take_kind(bo, "stream_ended");
    assert_eq!(ended[0]["reason"], "publisher_lost");
}

#[test]
fn a_patch_with_a_fresh_token_of_the_same_user_extends_a_connection() {
    let mut world = World::new(Config::default());
    go_live(&mut world);
    let (resource, _) = created(world.http(&until(viewer("bo"), 60), watch("ana", 0)));
    let mut patch = |caller: &Caller| {
        let reply = world.http(caller, fresh(&resource, ResourceKind::Whep));
        reply.expect("answered").map_err(|error| error.code)
    };
    // Neither somebody else, nor a token without the grant, nor one that ends earlier, changes anything for the better
    // or the worse.
    assert_eq!(patch(&until(viewer("cy"), 900)), Err(ErrorCode::Forbidden));
    assert!(patch(&until(with_grants("root", r#"{"admin":true}"#), 900)).is_ok());
    let elsewhere = until(with_grants("bo", r#"{"watch":["cy"]}"#), 900);
    assert_eq!(patch(&elsewhere), Err(ErrorCode::Forbidden));
    assert!(patch(&until(viewer("bo"), 120)).is_ok());
    assert!(patch(&until(viewer("bo"), 90)).is_ok());
    world.advance(Duration::from_secs(119));
    assert_eq!(world.hub.stats().live_viewers, 1);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.hub.stats().live_viewers, 0);
}

#[test]
fn a_publisher_that_left_its_session_ends_with_the_token_it_had() {
    let mut world = World::new(Config::default());
    let ana = world.connect(&until(streamer("ana"), 300), Some("live:ana"));
    let media = world.go_live(ana, "ana");
    world.leave(ana);
    world.advance(Duration::from_secs(299));
    assert!(!world.intents.contains(&MediaIntent::Close { media }));
    world.advance(Duration::from_secs(1));
    assert!(world.intents.contains(&MediaIntent::Close { media }));
    world.advance(Duration::from_secs(11));
    assert_eq!(world.hub.stats().live_streams, 0);
}
