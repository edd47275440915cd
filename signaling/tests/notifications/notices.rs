//! What the server notices by itself: streams that go live, and that old rows go.

use redred_signaling::ErrorCode;
use redred_signaling::StreamName;
use redred_signaling::sim::streamer;
use redred_signaling::store::StoreOp;
use redred_signaling::store::notifications::{FollowerChange, NotificationOp};

use super::*;

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a stream")
}

fn follow(
    world: &mut World,
    caller: &Caller,
    name: &str,
    change: FollowerChange,
) -> Result<u64, ErrorCode> {
    let ask = Request::ChangeFollowers {
        stream: stream(name),
        change,
    };
    let reply = world.http(caller, ask).expect("an answer");
    let reply = reply.map_err(|error| error.code)?;
    let Reply::Followers { count, .. } = reply else {
        panic!("{reply:?}");
    };
    Ok(count)
}

fn followers(world: &mut World, name: &str, count: usize) {
    let users = (0..count).map(|n| user(&format!("u{n:04}"))).collect();
    let change = FollowerChange::Replace(users);
    assert_eq!(follow(world, &app(), name, change), Ok(count as u64));
}

fn go_live(world: &mut World, name: &str) {
    let channel = format!("live:{name}");
    let session = world.connect(&streamer(name), Some(&channel));
    world.go_live(session, name);
}

fn end(world: &mut World, name: &str) {
    let ask = Request::EndStream {
        stream: stream(name),
    };
    assert_eq!(world.http(&app(), ask), Some(Ok(Reply::Done)));
}

#[test]
fn followers_are_told_when_media_first_flows() {
    let mut world = world();
    followers(&mut world, "ana", 1200);
    let owner = FollowerChange::Add(user("ana"));
    assert_eq!(follow(&mut world, &streamer("ana"), "ana", owner), Ok(1201));
    let listener = listen(&mut world, "u1199");
    go_live(&mut world, "ana");
    let told = world.take_kind(listener, "new_notification");
    assert_eq!(told[0]["kind"], "stream_live");
    assert_eq!(told[0]["message"], "ana is live: Hello");
    assert_eq!(told[0]["target"], json!({"stream": "ana"}));
    assert_eq!(told[0]["group_key"], "live:ana");
    for n in 0..1200 {
        assert_eq!(stored(&world, &format!("u{n:04}")).len(), 1, "{n}");
    }
    assert!(stored(&world, "ana").is_empty(), "not the streamer");
    let pages = world.stored.iter().filter(|op| {
        matches!(op, StoreOp::Notifications(NotificationOp::ListFollowers { limit, .. })
            if *limit == 500)
    });
    assert_eq!(pages.count(), 3);
}

#[test]
fn a_flapping_streamer_does_not_spam() {
    let mut world = world();
    followers(&mut world, "ana", 1);
    for _ in 0..5 {
        go_live(&mut world, "ana");
        end(&mut world, "ana");
    }
    assert_eq!(stored(&world, "u0000")[0].count, 1);
    assert_eq!(world.hub.stats().live_notices_suppressed, 4);
    world.advance(Duration::from_secs(601));
    go_live(&mut world, "ana");
    assert_eq!(stored(&world, "u0000")[0].count, 2);
}

#[test]
fn the_cooldown_of_the_stream_told_longest_ago_is_forgotten_first() {
    let mut config = Config::default();
    config.notifications.live_remembered_max = 1;
    let mut world = World::new(config);
    for name in ["ana", "bo"] {
        followers(&mut world, name, 1);
        go_live(&mut world, name);
        end(&mut world, name);
    }
    go_live(&mut world, "bo");
    assert_eq!(world.hub.stats().live_notices_suppressed, 1);
    go_live(&mut world, "ana");
    let rows = stored(&world, "u0000");
    let counts: Vec<(&str, u64)> = rows.iter().map(|r| (r.message.as_str(), r.count)).collect();
    assert_eq!(
        counts,
        [("bo is live: Hello", 1), ("ana is live: Hello", 2)]
    );
}

#[test]
fn a_few_streams_at_a_time_tell_their_followers() {
    let mut config = Config::default();
    config.notifications.live_jobs_max = 1;
    config.notifications.live_waiting_max = 1;
    let mut world = World::new(config);
    for name in ["ana", "bo", "cy"] {
        followers(&mut world, name, 1);
    }
    let sessions = ["ana", "bo", "cy"].map(|name| {
        let channel = format!("live:{name}");
        (world.connect(&streamer(name), Some(&channel)), name)
    });
    // All of them go live while the store takes its time with the followers of the first.
    let mut media = Vec::new();
    for (session, name) in sessions {
        let channel = format!("live:{name}");
        let start = json!({"title": name});
        let ack = world.ask(session, &channel, "start_stream", start);
        let offer = json!({"session": ack["data"]["session"], "sdp": "v=0"});
        world.ask(session, &channel, "webrtc_offer", offer);
        media.push(world.publisher());
    }
    world.is_store_held = true;
    for media in media {
        world.media(redred_signaling::MediaReply::Connected { media });
    }
    world.is_store_held = false;
    world.run();
    let rows = stored(&world, "u0000");
    let told: Vec<&str> = rows.iter().map(|row| row.message.as_str()).collect();
    assert_eq!(told, ["ana is live: ana", "bo is live: bo"]);
    let stats = world.hub.stats();
    assert_eq!((stats.notices_dropped, stats.limits_hit), (1, 1));
}

#[test]
fn a_store_that_fails_for_a_moment_is_asked_again() {
    let mut world = world();
    followers(&mut world, "ana", 1200);
    let listener = listen(&mut world, "u0000");
    let session = world.connect(&streamer("ana"), Some("live:ana"));
    // The record of the stream, a page, a part; then it fails at the second page.
    world.ask(session, "live:ana", "start_stream", json!({"title": "x"}));
    world.disconnect(session);
    world.store_fails_after = Some(3);
    go_live(&mut world, "ana");
    world.advance(Duration::from_secs(2));
    for n in 0..1200 {
        let rows = stored(&world, &format!("u{n:04}"));
        assert_eq!(rows.len(), 1, "{n}");
        assert_eq!(rows[0].count, 1, "{n}");
    }
    assert_eq!(world.hub.stats().store_failures, 1);
    assert_eq!(world.take_kind(listener, "new_notification").len(), 1);
}

#[test]
fn what_the_store_never_takes_is_given_up_and_counted() {
    let mut world = world();
    followers(&mut world, "ana", 3);
    let session = world.connect(&streamer("ana"), Some("live:ana"));
    world.is_store_down = true;
    world.go_live(session, "ana");
    world.advance(Duration::from_secs(20));
    assert_eq!(world.hub.stats().notices_dropped, 1);
    world.is_store_down = false;
    world.advance(Duration::from_secs(20));
    assert!(stored(&world, "u0000").is_empty());
}

#[test]
fn followers_are_changed_by_the_streamer_the_application_and_oneself() {
    let mut world = world();
    let add = |id| FollowerChange::Add(user(id));
    let remove = |id| FollowerChange::Remove(user(id));
    let all = || FollowerChange::Replace(vec![user("cy"), user("bo")]);
    let no = Err(ErrorCode::Forbidden);
    let world = &mut world;
    assert_eq!(follow(world, &viewer("bo"), "ana", add("bo")), Ok(1));
    assert_eq!(follow(world, &viewer("bo"), "ana", add("bo")), Ok(1));
    assert_eq!(follow(world, &viewer("bo"), "ana", add("cy")), no);
    assert_eq!(follow(world, &viewer("cy"), "ana", remove("bo")), no);
    assert_eq!(follow(world, &viewer("bo"), "ana", all()), no);
    assert_eq!(follow(world, &viewer("bo"), "ana", remove("bo")), Ok(0));
    assert_eq!(follow(world, &streamer("ana"), "ana", all()), Ok(2));
    assert_eq!(follow(world, &streamer("bo"), "ana", all()), no);
    assert_eq!(follow(world, &app(), "ana", add("di")), Ok(3));
    let list = |after: Option<&str>, limit| Request::ListFollowers {
        stream: stream("ana"),
        after: after.map(user),
        limit,
    };
    let page = world.http(&streamer("ana"), list(None, 2));
    let expected = Reply::Followers {
        users: vec![user("bo"), user("cy")],
        count: 3,
        has_more: true,
    };
    assert_eq!(page, Some(Ok(expected)));
    let page = world.http(&app(), list(Some("cy"), 2));
    let Some(Ok(Reply::Followers { users, .. })) = page else {
        panic!("{page:?}");
    };
    assert_eq!(users, [user("di")]);
    let refused = world.http(&viewer("bo"), list(None, 2));
    assert!(refused.is_some_and(|r| r.is_err_and(|e| e.code == ErrorCode::Forbidden)));
    let refused = world.http(&app(), list(None, 1001));
    assert!(refused.is_some_and(|r| r.is_err_and(|e| e.message.starts_with("limit"))));
}

#[test]
fn a_stream_has_a_bounded_number_of_followers() {
    let mut config = Config::default();
    config.notifications.followers_max = 2;
    let mut world = World::new(config);
    let three = ["bo", "cy", "di"].map(user).to_vec();
    let all = FollowerChange::Replace(three);
    let refused = follow(&mut world, &app(), "ana", all);
    assert_eq!(refused, Err(ErrorCode::InvalidField));
    let twice = FollowerChange::Replace(vec![user("bo"), user("bo")]);
    let refused = follow(&mut world, &app(), "ana", twice);
    assert_eq!(refused, Err(ErrorCode::InvalidField));
    for (id, expected) in [
        ("bo", Ok(1)),
        ("cy", Ok(2)),
        ("di", Err(ErrorCode::Conflict)),
        // Nobody new.
        ("bo", Ok(2)),
    ] {
        let add = FollowerChange::Add(user(id));
        assert_eq!(follow(&mut world, &viewer(id), "ana", add), expected);
    }
    assert_eq!(world.hub.stats().limits_hit, 2);
}

#[test]
fn old_rows_go_a_few_at_a_time() {
    let mut config = Config::default();
    config.notifications.purge_rows_max = 10;
    let mut world = World::new(config);
    let users = (0..35).map(|n| user(&format!("u{n}"))).collect();
    let mut notify = event("like", "bo", &[]);
    notify.users = users;
    notify.idempotency_key = Some("k1".to_owned());
    assert_eq!(post(&mut world, notify), Ok(35));
    world.advance(Duration::from_secs(25 * 3600));
    assert_eq!(world.store.notifications.rows(), (35, 0), "the key is old");
    world.advance(Duration::from_secs(60 * 24 * 3600));
    assert_eq!(post(&mut world, event("like", "bo", &["ana"])), Ok(1));
    world.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(
        world.store.notifications.rows(),
        (1, 0),
        "a younger one stays"
    );
    assert_eq!(world.hub.stats().notifications_purged, 36);
    let purges = world.stored.iter().filter(|op| {
        matches!(op, StoreOp::Notifications(NotificationOp::Purge { limit, .. })
            if *limit == 10)
    });
    assert!(purges.count() > 4);
}
