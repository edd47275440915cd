//! What a user who is connected hears, and what one finds who comes back.

use super::*;

#[test]
fn an_urgent_one_is_told_at_once_with_the_count_behind_it() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    let bystander = listen(&mut world, "cy");
    let mut comment = event("comment", "bo", &["ana"]);
    comment.target = json!({"post": 1}).as_object().cloned();
    posted(&mut world, comment);
    let told = world.take(ana);
    assert_eq!(kinds(&told), ["new_notification", "unread_count"]);
    let (about, line) = (&told[0]["metadata"], &told[0]["data"]);
    assert_eq!(about["channel"], "notifications");
    assert_eq!(about["seq"], 1);
    assert_eq!(line["kind"], "comment");
    assert_eq!(line["priority"], "high");
    assert_eq!(line["actor"], json!({"id": "bo", "name": "bo"}));
    assert_eq!(line["target"], json!({"post": 1}));
    assert_eq!(line["count"], 1);
    assert_eq!(told[1]["data"], json!({"count": 1}));
    assert!(world.take(bystander).is_empty());
}

#[test]
fn a_storm_of_a_thousand_likes_is_one_line() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    for n in 0..1000 {
        posted(&mut world, like(&format!("u{n}"), &["ana"]));
    }
    assert!(world.take(ana).is_empty(), "the window is open");
    world.advance(WINDOW);
    let told = world.take(ana);
    assert_eq!(kinds(&told), ["notification_batch", "unread_count"]);
    assert_eq!(told[0]["metadata"]["seq"], 1000);
    let lines = told[0]["data"]["notifications"].as_array().expect("lines");
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["count"], 1000);
    assert_eq!(lines[0]["message"], "u999: like");
    assert_eq!(told[1]["data"]["count"], 1);
    assert_eq!(stored(&world, "ana").len(), 1);
    assert_eq!(world.hub.stats().notification_batches, 1);
}

#[test]
fn events_of_other_kinds_and_groups_stay_apart_in_a_batch() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    posted(&mut world, like("bo", &["ana"]));
    posted(&mut world, event("follow", "bo", &["ana"]));
    let mut badge = like("bo", &["ana"]);
    badge.kind = "badge".to_owned();
    posted(&mut world, badge);
    posted(&mut world, like("cy", &["ana"]));
    world.advance(WINDOW);
    let batch = world.take_kind(ana, "notification_batch");
    let lines = batch[0]["notifications"].as_array().expect("lines");
    let shown = |line: &Value| (line["kind"].clone(), line["count"].clone());
    let shown: Vec<(Value, Value)> = lines.iter().map(shown).collect();
    let expected = [("follow", 1), ("badge", 1), ("like", 2)];
    assert_eq!(shown, expected.map(|(kind, n)| (json!(kind), json!(n))));
}

#[test]
fn an_urgent_one_overtakes_a_batch_and_recovery_misses_neither() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    posted(&mut world, event("comment", "bo", &["ana"]));
    let position = world.take(ana)[0]["metadata"].clone();
    posted(&mut world, like("bo", &["ana"]));
    posted(&mut world, event("reply", "cy", &["ana"]));
    let told = world.take(ana);
    assert_eq!(kinds(&told), ["new_notification", "unread_count"]);
    assert_eq!(told[0]["metadata"]["seq"], Value::Null, "the like is older");
    // The connection breaks before the window ends.
    world.disconnect(ana);
    let (subscribed, missed) = resume(&mut world, "ana", &position);
    assert_eq!(subscribed["recovered"], true);
    let expected = ["unread_count", "notification_batch", "new_notification"];
    assert_eq!(kinds(&missed), expected);
    assert_eq!(missed[1]["data"]["notifications"][0]["kind"], "like");
    assert_eq!(missed[2]["data"]["kind"], "reply");
    assert_eq!(missed[2]["metadata"]["seq"], 3);
}

#[test]
fn who_was_away_finds_everything() {
    let mut world = world();
    posted(&mut world, event("comment", "bo", &["ana"]));
    posted(&mut world, like("bo", &["ana"]));
    posted(&mut world, like("cy", &["ana"]));
    let session = world.connect(&viewer("ana"), Some(CHANNEL));
    let told = world.take(session);
    assert_eq!(told[1]["data"]["state"]["unread"], 2);
    assert_eq!(told[1]["data"]["recovered"], false);
    assert_eq!(told[2]["data"]["count"], 2);
    let ask = Request::ListNotifications {
        unread_only: true,
        before: None,
        limit: 10,
    };
    let Some(Ok(Reply::Notifications {
        notifications,
        unread,
        ..
    })) = world.http(&viewer("ana"), ask)
    else {
        panic!("a page");
    };
    let shown: Vec<(&str, u64)> = notifications
        .iter()
        .map(|line| (line.kind.as_str(), line.count))
        .collect();
    assert_eq!(shown, [("like", 2), ("comment", 1)]);
    assert_eq!(unread, 2);
}

#[test]
fn nothing_is_pushed_to_those_who_do_not_listen() {
    let mut world = world();
    let elsewhere = world.connect(&viewer("ana"), None);
    let gone = listen(&mut world, "ana");
    posted(&mut world, like("bo", &["ana"]));
    world.send(gone, CHANNEL, "unsubscribe", json!({"channel": CHANNEL}));
    world.take(gone);
    world.take(elsewhere);
    world.advance(WINDOW);
    posted(&mut world, event("comment", "bo", &["ana"]));
    assert!(world.take(gone).is_empty() && world.take(elsewhere).is_empty());
    assert_eq!(world.hub.stats().notification_batches, 0);
    assert_eq!(stored(&world, "ana").len(), 2);
}

#[test]
fn who_subscribes_within_a_window_is_not_told_twice() {
    let mut world = world();
    let early = listen(&mut world, "ana");
    posted(&mut world, event("follow", "bo", &["ana"]));
    let late = world.connect(&viewer("ana"), Some(CHANNEL));
    assert_eq!(world.take(late)[1]["data"]["seq"], 1);
    posted(&mut world, event("follow", "cy", &["ana"]));
    world.advance(WINDOW);
    let lines = |batch: &Value| batch["notifications"].as_array().map(Vec::len);
    let to_early = world.take_kind(early, "notification_batch");
    assert_eq!(lines(&to_early[0]), Some(2));
    let to_late = world.take_kind(late, "notification_batch");
    assert_eq!(lines(&to_late[0]), Some(1));
    assert_eq!(to_late[0]["notifications"][0]["actor"]["id"], "cy");
}

#[test]
fn a_full_batch_goes_out_early() {
    let mut config = Config::default();
    config.notifications.batch_max = 3;
    let mut world = World::new(config);
    let ana = listen(&mut world, "ana");
    for n in 0..4 {
        posted(&mut world, event("follow", &format!("u{n}"), &["ana"]));
    }
    assert_eq!(world.take_kind(ana, "notification_batch").len(), 1);
    assert_eq!(world.hub.stats().notification_batches_full, 1);
    world.advance(WINDOW);
    let rest = world.take_kind(ana, "notification_batch");
    assert_eq!(rest[0]["notifications"][0]["actor"]["id"], "u3");
}

#[test]
fn what_was_missed_comes_in_order_or_it_is_told_that_it_does_not() {
    let mut config = Config::default();
    config.notifications.recovery_max = 3;
    let mut world = World::new(config);
    let ana = listen(&mut world, "ana");
    posted(&mut world, event("comment", "bo", &["ana"]));
    let position = world.take(ana)[0]["metadata"].clone();
    world.disconnect(ana);
    for actor in ["u1", "u2", "u3"] {
        posted(&mut world, event("mention_post", actor, &["ana"]));
    }
    let (subscribed, missed) = resume(&mut world, "ana", &position);
    assert_eq!(subscribed["recovered"], true);
    assert_eq!(subscribed["seq"], 1);
    let seqs: Vec<&Value> = missed[1..].iter().map(|m| &m["metadata"]["seq"]).collect();
    assert_eq!(seqs, [2, 3, 4]);
    posted(&mut world, event("mention_post", "u4", &["ana"]));
    let (subscribed, missed) = resume(&mut world, "ana", &position);
    assert_eq!(subscribed["recovered"], false, "four are too many");
    assert_eq!(subscribed["seq"], 5);
    assert_eq!(kinds(&missed), ["unread_count"]);
    for since in [
        json!({"epoch": position["epoch"], "seq": 99}),
        json!({"epoch": "another", "seq": 4}),
    ] {
        let (subscribed, _) = resume(&mut world, "ana", &since);
        assert_eq!(subscribed["recovered"], false, "{since}");
    }
    let stats = world.hub.stats();
    assert_eq!((stats.recoveries, stats.recovery_failures), (1, 3));
}

#[test]
fn more_than_an_outbox_should_take_is_not_recovered() {
    let mut config = Config::default();
    config.channel.history_bytes = 1000;
    let mut world = World::new(config);
    let ana = listen(&mut world, "ana");
    posted(&mut world, event("comment", "bo", &["ana"]));
    let position = world.take(ana)[0]["metadata"].clone();
    let mut long = event("comment", "bo", &["ana"]);
    long.message = "x".repeat(500);
    posted(&mut world, long.clone());
    assert_eq!(resume(&mut world, "ana", &position).0["recovered"], true);
    posted(&mut world, long);
    assert_eq!(resume(&mut world, "ana", &position).0["recovered"], false);
}

#[test]
fn what_another_node_told_before_the_store_answered_here_is_not_lost() {
    let mut world = world();
    posted(&mut world, event("comment", "bo", &["ana"]));
    let first = listen(&mut world, "ana");
    // The store's word on a second subscription comes behind what was stored and told after it.
    world.is_store_held = true;
    let second = world.connect(&viewer("ana"), Some(CHANNEL));
    let ask = Request::Notify(Box::new(event("reply", "bo", &["ana"])));
    world.http_open(&app(), ask);
    world.reorder_store_replies();
    world.is_store_held = false;
    world.run();
    assert_eq!(world.take_kind(first, "new_notification").len(), 1);
    let told = world.take(second);
    let expected = ["connection_established", "subscribed", "unread_count"];
    assert_eq!(kinds(&told), expected);
    assert_eq!(told[1]["data"]["seq"], 2, "the state has it");
    assert_eq!(told[2]["data"]["count"], 2);
    posted(&mut world, event("reply", "cy", &["ana"]));
    let next = world.take(second);
    assert_eq!(next[0]["metadata"]["seq"], 3);
}

#[test]
fn a_store_that_fails_refuses_a_subscription_and_the_next_try_works() {
    let mut world = world();
    let ana = world.connect(&viewer("ana"), None);
    world.is_store_down = true;
    let ask = json!({"channel": CHANNEL});
    let answer = world.ask(ana, CHANNEL, "subscribe", ask.clone());
    assert_eq!(answer["data"]["code"], "unavailable");
    assert_eq!(answer["data"]["retryable"], true);
    assert!(world.take_kind(ana, "subscribed").is_empty());
    world.is_store_down = false;
    assert_eq!(world.ask(ana, CHANNEL, "subscribe", ask)["type"], "ack");
    posted(&mut world, event("comment", "bo", &["ana"]));
    assert_eq!(world.take_kind(ana, "new_notification").len(), 1);
}

#[test]
fn what_an_application_publishes_to_a_user_comes_through_this_channel() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    let bystander = listen(&mut world, "cy");
    let ask = Request::Publish {
        channel: redred_signaling::Channel::Notifications,
        user: Some(user("ana")),
        kind: "cart".to_owned(),
        payload: serde_json::Map::new(),
    };
    assert_eq!(world.http(&app(), ask), Some(Ok(Reply::Done)));
    assert_eq!(world.take_kind(ana, "app_message")[0]["kind"], "cart");
    assert!(world.take(bystander).is_empty());
}

#[test]
fn what_was_stored_but_never_told_is_told_with_the_next_one() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    posted(&mut world, event("comment", "bo", &["ana"]));
    world.take(ana);
    // The store's word is lost: two are there that nobody heard of.
    world.is_store_mute = true;
    assert!(post(&mut world, event("reply", "bo", &["ana"])).is_err());
    assert!(post(&mut world, event("follow", "bo", &["ana"])).is_err());
    world.is_store_mute = false;
    assert!(world.take(ana).is_empty());
    posted(&mut world, event("comment", "cy", &["ana"]));
    world.advance(WINDOW);
    let told = world.take(ana);
    let lines = told.iter().filter(|m| m["type"] == "new_notification");
    let kinds: Vec<&Value> = lines.map(|m| &m["data"]["kind"]).collect();
    assert_eq!(kinds, ["reply", "comment"]);
    let batch = told.iter().find(|m| m["type"] == "notification_batch");
    let batch = batch.expect("a batch");
    assert_eq!(batch["data"]["notifications"][0]["kind"], "follow");
    assert_eq!(batch["metadata"]["seq"], 4);
    let count = told.iter().rfind(|m| m["type"] == "unread_count");
    assert_eq!(count.map(|m| &m["data"]["count"]), Some(&json!(4)));
    assert_eq!(world.hub.stats().notification_gaps, 1);
}

#[test]
fn a_gap_that_cannot_be_closed_is_told() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    world.is_store_mute = true;
    assert!(post(&mut world, event("reply", "bo", &["ana"])).is_err());
    world.is_store_mute = false;
    // One more is stored, then the store is gone.
    world.store_fails_after = Some(1);
    posted(&mut world, event("comment", "cy", &["ana"]));
    let told = world.take_kind(ana, "subscribed");
    assert_eq!(told[0]["recovered"], false);
    assert_eq!(told[0]["seq"], 2);
    posted(&mut world, event("comment", "di", &["ana"]));
    assert_eq!(world.take_kind(ana, "new_notification").len(), 1);
}
