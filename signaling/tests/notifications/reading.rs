//! Marks, counters on several devices, preferences and quiet hours.

use super::*;

#[test]
fn reading_on_one_device_is_seen_on_the_others() {
    let mut world = world();
    let phone = listen(&mut world, "ana");
    let laptop = listen(&mut world, "ana");
    for actor in ["bo", "cy"] {
        posted(&mut world, event("comment", actor, &["ana"]));
    }
    world.take(laptop);
    let line = world.take(phone)[0]["data"].clone();
    let read = json!({"id": line["id"]});
    let answer = world.ask(phone, CHANNEL, "notification_read", read.clone());
    assert_eq!(answer["data"], json!({"unread": 1}));
    assert_eq!(kinds(&world.take(phone)), ["unread_count"]);
    let told = world.take(laptop);
    assert_eq!(kinds(&told), ["notification_read", "unread_count"]);
    assert_eq!(told[0]["data"], read);
    assert_eq!(told[1]["data"]["count"], 1);
    // Once more changes nothing.
    let answer = world.ask(phone, CHANNEL, "notification_read", read);
    assert_eq!(answer["data"], json!({"unread": 1}));
    assert!(world.take(laptop).is_empty());
    let answer = world.ask(laptop, CHANNEL, "mark_all_read", json!({}));
    assert_eq!(answer["data"], json!({"unread": 0}));
    assert_eq!(kinds(&world.take(phone)), ["mark_all_read", "unread_count"]);
    assert_eq!(kinds(&world.take(laptop)), ["unread_count"]);
    assert!(
        stored(&world, "ana")
            .iter()
            .all(|row| row.read_at_ms.is_some())
    );
}

#[test]
fn marks_over_http_reach_every_device() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    posted(&mut world, event("comment", "bo", &["ana"]));
    let id = world.take(ana)[0]["data"]["id"].clone();
    let id = id.as_str().expect("an id").to_owned();
    let ask = Request::MarkNotificationRead { id };
    assert_eq!(world.http(&viewer("ana"), ask), Some(Ok(Reply::Unread(0))));
    let told = kinds(&world.take(ana));
    assert_eq!(told, ["notification_read", "unread_count"]);
    posted(&mut world, event("comment", "bo", &["ana"]));
    world.take(ana);
    let ask = Request::MarkAllNotificationsRead;
    assert_eq!(world.http(&viewer("ana"), ask), Some(Ok(Reply::Unread(0))));
    assert_eq!(kinds(&world.take(ana)), ["mark_all_read", "unread_count"]);
}

#[test]
fn nobody_reads_what_belongs_to_somebody_else() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    let bo = listen(&mut world, "bo");
    posted(&mut world, event("comment", "cy", &["ana"]));
    let id = world.take(ana)[0]["data"]["id"].clone();
    for id in [id, json!("nonsense")] {
        let answer = world.ask(bo, CHANNEL, "notification_read", json!({"id": id}));
        assert_eq!(answer["data"]["code"], "not_found");
    }
    assert_eq!(stored(&world, "ana")[0].read_at_ms, None);
    assert!(world.take(ana).is_empty());
}

#[test]
fn a_mark_that_is_not_stored_is_not_told() {
    let mut world = world();
    let phone = listen(&mut world, "ana");
    let laptop = listen(&mut world, "ana");
    posted(&mut world, event("comment", "bo", &["ana"]));
    world.take(phone);
    world.take(laptop);
    world.is_store_down = true;
    let answer = world.ask(phone, CHANNEL, "mark_all_read", json!({}));
    assert_eq!(answer["data"]["code"], "unavailable");
    assert!(world.take(laptop).is_empty());
    assert!(world.hub.stats().store_failures > 0);
}

#[test]
fn once_read_the_next_of_its_group_is_a_new_line() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    posted(&mut world, like("bo", &["ana"]));
    posted(&mut world, like("cy", &["ana"]));
    let reader = listen(&mut world, "ana");
    world.ask(reader, CHANNEL, "mark_all_read", json!({}));
    posted(&mut world, like("di", &["ana"]));
    world.advance(WINDOW);
    let batch = world.take_kind(ana, "notification_batch");
    let lines = batch[0]["notifications"].as_array().expect("lines");
    let shown: Vec<(&Value, &Value)> = lines.iter().map(|l| (&l["count"], &l["read"])).collect();
    assert_eq!(
        shown,
        [(&json!(2), &json!(true)), (&json!(1), &json!(false))]
    );
}

#[test]
fn muted_kinds_are_not_even_stored() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    let muted = json!({"muted_kinds": ["like"]});
    assert!(preferences(&mut world, "ana", muted.clone()).is_ok());
    let told = world.take_kind(ana, "preferences_updated");
    assert_eq!(told[0]["muted_kinds"], muted["muted_kinds"]);
    assert_eq!(post(&mut world, like("bo", &["ana", "cy"])), Ok(1));
    assert!(stored(&world, "ana").is_empty());
    posted(&mut world, event("follow", "bo", &["ana"]));
    world.advance(WINDOW);
    assert_eq!(world.take_kind(ana, "notification_batch").len(), 1);
    let get = world.http(&viewer("ana"), Request::GetPreferences);
    let Some(Ok(Reply::Preferences(kept))) = get else {
        panic!("{get:?}");
    };
    assert_eq!(kept.muted_kinds, ["like"]);
}

#[test]
fn in_quiet_hours_only_the_count_is_told() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    posted(&mut world, event("comment", "bo", &["ana"]));
    let position = world.take(ana)[0]["metadata"].clone();
    // The simulated day begins at noon; it is quiet until one.
    let quiet = json!({"quiet_hours":
        {"from_minute": 719, "to_minute": 780, "utc_offset_minutes": 0}});
    assert!(preferences(&mut world, "ana", quiet).is_ok());
    world.take(ana);
    posted(&mut world, like("bo", &["ana"]));
    posted(&mut world, event("comment", "bo", &["ana"]));
    world.advance(WINDOW);
    let told = world.take(ana);
    assert_eq!(kinds(&told), ["unread_count", "unread_count"]);
    assert_eq!(told[1]["data"]["count"], 3);
    let (subscribed, missed) = resume(&mut world, "ana", &position);
    assert_eq!(subscribed["recovered"], false, "nothing is pushed");
    assert_eq!(kinds(&missed), ["unread_count"]);
    assert_eq!(stored(&world, "ana").len(), 3);
    // Somebody who answers pings is still there when it ends.
    let ana = listen(&mut world, "ana");
    for _ in 0..72 {
        world.advance(Duration::from_secs(50));
        world.ask(ana, CHANNEL, "ping", json!({}));
    }
    world.take(ana);
    posted(&mut world, event("comment", "bo", &["ana"]));
    assert_eq!(world.take_kind(ana, "new_notification").len(), 1);
}

#[test]
fn what_is_collected_when_quiet_hours_begin_is_not_pushed() {
    let mut world = world();
    let ana = listen(&mut world, "ana");
    posted(&mut world, like("bo", &["ana"]));
    let quiet = json!({"quiet_hours":
        {"from_minute": 719, "to_minute": 780, "utc_offset_minutes": 0}});
    assert!(preferences(&mut world, "ana", quiet).is_ok());
    world.take(ana);
    world.advance(WINDOW);
    let told = world.take(ana);
    assert_eq!(kinds(&told), ["unread_count"]);
    assert_eq!(told[0]["data"]["count"], 1);
}

#[test]
fn preferences_are_checked_and_one_does_not_set_those_of_others() {
    let mut world = world();
    let kinds: Vec<String> = (0..101).map(|n| format!("k{n}")).collect();
    for (bad, field) in [
        (json!({"muted_kinds": kinds}), "muted_kinds"),
        (json!({"muted_kinds": ["Not a kind"]}), "muted_kinds"),
        (
            json!({"quiet_hours":
                {"from_minute": 1440, "to_minute": 0, "utc_offset_minutes": 0}}),
            "quiet_hours",
        ),
    ] {
        let error = preferences(&mut world, "ana", bad).expect_err("refused");
        assert!(error.message.starts_with(field), "{error}");
    }
    world.is_store_down = true;
    let error = preferences(&mut world, "ana", json!({})).expect_err("not stored");
    assert!(error.code.is_retryable());
}

#[test]
fn pages_of_the_list_meet_without_overlap() {
    let mut world = world();
    for n in 0..5 {
        posted(&mut world, event("comment", &format!("u{n}"), &["ana"]));
    }
    let mut before = None;
    let mut seen = Vec::new();
    loop {
        let ask = Request::ListNotifications {
            unread_only: false,
            before,
            limit: 2,
        };
        let Some(Ok(Reply::Notifications {
            notifications,
            has_more,
            ..
        })) = world.http(&viewer("ana"), ask)
        else {
            panic!("a page");
        };
        seen.extend(notifications.iter().map(|line| line.seq));
        before = notifications.last().map(|line| line.seq);
        if !has_more {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    for limit in [0, 201] {
        let ask = Request::ListNotifications {
            unread_only: false,
            before: None,
            limit,
        };
        let error = world.http(&viewer("ana"), ask).expect("an answer");
        assert!(error.is_err_and(|error| error.message.starts_with("limit")));
    }
}

#[test]
fn too_much_that_waits_for_the_store_is_refused() {
    let mut config = Config::default();
    config.notifications.pending_max = 2;
    let mut world = World::new(config);
    let ana = listen(&mut world, "ana");
    world.is_store_held = true;
    for _ in 0..2 {
        world.send(ana, CHANNEL, "mark_all_read", json!({}));
    }
    let answer = world.ask(ana, CHANNEL, "mark_all_read", json!({}));
    assert_eq!(answer["data"]["code"], "unavailable");
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.is_store_held = false;
    world.run();
    let answer = world.ask(ana, CHANNEL, "mark_all_read", json!({}));
    assert_eq!(answer["type"], "ack");
}
