//! WHIP and WHEP: who may, conflicts, entity tags, deletion, waiting.

use std::time::Duration;

use redred_signaling::api::{Reply, Request, ResourceKind};
use redred_signaling::config::Takeover;
use redred_signaling::media::{MediaReply, Refusal};
use redred_signaling::sim::{World, streamer, viewer};
use redred_signaling::{Config, Error, ErrorCode, StreamName};
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
