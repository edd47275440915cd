//! Requests to notify: who may, what is checked, and that a repeat completes what a failure cut short.

use redred_signaling::store::StoreOp;
use redred_signaling::store::notifications::NotificationOp;
use redred_signaling::{ErrorCode, RequestId};

use super::*;

fn many(count: usize) -> Vec<UserId> {
    (0..count).map(|n| user(&format!("u{n:05}"))).collect()
}

fn to_many(count: usize, key: Option<&str>) -> Notify {
    Notify {
        users: many(count),
        idempotency_key: key.map(str::to_owned),
        ..event("like", "bo", &[])
    }
}

fn parts(world: &World) -> usize {
    let is_part = |op: &&StoreOp| {
        matches!(op, StoreOp::Notifications(NotificationOp::Add(new))
            if new.recipients.len() <= 500)
    };
    world.stored.iter().filter(is_part).count()
}

#[test]
fn ten_thousand_are_notified_in_parts() {
    let mut world = world();
    let listener = listen(&mut world, "u09999");
    assert_eq!(post(&mut world, to_many(10_000, None)), Ok(10_000));
    assert_eq!(parts(&world), 20);
    world.advance(WINDOW);
    assert_eq!(world.take_kind(listener, "notification_batch").len(), 1);
    let stats = world.hub.stats();
    assert_eq!(stats.notifications, 10_000);
    assert_eq!(stats.notification_batches, 1);
}

#[test]
fn what_folds_is_counted_apart() {
    let mut world = world();
    for (actor, folded) in [("bo", 0), ("cy", 2), ("di", 4)] {
        posted(&mut world, like(actor, &["ana", "eve"]));
        assert_eq!(world.hub.stats().notifications_folded, folded);
    }
    assert_eq!(world.hub.stats().notifications, 6);
    assert_eq!(stored(&world, "ana")[0].count, 3);
}

#[test]
fn a_repeat_after_a_failure_halfway_completes_and_never_duplicates() {
    let mut world = world();
    let listener = listen(&mut world, "u00000");
    world.store_fails_after = Some(2);
    let error = post(&mut world, to_many(1200, Some("k1"))).expect_err("the store fails");
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert!(error.code.is_retryable());
    assert!(error.message.contains("1000 of 1200"), "{error}");
    assert_eq!(world.store.notifications.rows(), (1000, 2));
    // The application repeats it, with the recipients in another order.
    let mut again = to_many(1200, Some("k1"));
    again.users.reverse();
    assert_eq!(post(&mut world, again.clone()), Ok(1200));
    assert_eq!(post(&mut world, again), Ok(1200));
    assert_eq!(world.store.notifications.rows(), (1200, 3));
    for n in 0..1200 {
        let rows = stored(&world, &format!("u{n:05}"));
        assert_eq!(rows.len(), 1, "{n}");
        assert_eq!(rows[0].count, 1, "{n}");
    }
    world.advance(WINDOW);
    let batches = world.take_kind(listener, "notification_batch");
    assert_eq!(batches.len(), 1);
    assert_eq!(world.hub.stats().notification_repeats, 2 + 3);
}

#[test]
fn an_answer_lost_on_its_way_from_the_store_duplicates_nothing() {
    let mut world = world();
    world.is_store_mute = true;
    assert!(post(&mut world, to_many(3, Some("k1"))).is_err());
    world.is_store_mute = false;
    assert_eq!(post(&mut world, to_many(3, Some("k1"))), Ok(3));
    assert_eq!(world.store.notifications.rows(), (3, 1));
}

#[test]
fn a_key_with_another_content_is_another_request() {
    let mut world = world();
    assert_eq!(post(&mut world, to_many(3, Some("k1"))), Ok(3));
    let mut other = to_many(3, Some("k1"));
    other.message = "something else".to_owned();
    assert_eq!(post(&mut world, other), Ok(3));
    assert_eq!(world.store.notifications.rows(), (6, 2));
}

#[test]
fn without_a_key_the_refusal_says_who_would_be_told_twice() {
    let mut world = world();
    world.store_fails_after = Some(1);
    let error = post(&mut world, to_many(600, None)).expect_err("the store fails");
    assert!(error.message.contains("500 of 600"), "{error}");
    world.is_store_down = true;
    let error = post(&mut world, to_many(600, None)).expect_err("the store fails");
    assert_eq!(error.message, "the store is unavailable");
}

#[test]
fn only_an_application_notifies() {
    let mut world = world();
    let ask = Request::Notify(Box::new(like("bo", &["ana"])));
    let result = world.http(&viewer("bo"), ask).expect("an answer");
    let error = result.expect_err("refused");
    assert_eq!(error.code, ErrorCode::Forbidden);
    assert!(stored(&world, "ana").is_empty());
}

#[test]
fn what_is_out_of_shape_is_refused_by_name() {
    let mut world = world();
    let good = || like("bo", &["ana"]);
    let big = json!({"text": "x".repeat(4096)});
    let mut twice = good();
    twice.users.push(user("ana"));
    let mut nameless = good();
    if let Some(actor) = &mut nameless.actor {
        actor.name = String::new();
    }
    let bad = [
        (
            "user_ids: expected 1",
            Notify {
                users: many(0),
                ..good()
            },
        ),
        (
            "user_ids: expected 1",
            Notify {
                users: many(10_001),
                ..good()
            },
        ),
        ("user_ids: expected no", twice),
        (
            "kind",
            Notify {
                kind: "Like!".to_owned(),
                ..good()
            },
        ),
        (
            "message",
            Notify {
                message: "x".repeat(501),
                ..good()
            },
        ),
        (
            "message",
            Notify {
                message: " ".to_owned(),
                ..good()
            },
        ),
        ("actor.name", nameless),
        (
            "target",
            Notify {
                target: big.as_object().cloned(),
                ..good()
            },
        ),
        (
            "group_key",
            Notify {
                group_key: Some("x".repeat(129)),
                ..good()
            },
        ),
        (
            "Idempotency-Key",
            Notify {
                idempotency_key: Some("x".repeat(129)),
                ..good()
            },
        ),
    ];
    for (field, notify) in bad {
        let error = post(&mut world, notify).expect_err(field);
        assert_eq!(error.code, ErrorCode::InvalidField);
        assert!(error.message.starts_with(field), "{field}: {error}");
    }
    assert_eq!(parts(&world), 0);
    assert_eq!(world.hub.stats().limits_hit, 2);
}

#[test]
fn too_many_requests_at_a_time_are_refused() {
    let mut config = Config::default();
    config.notifications.notify_jobs_max = 2;
    let mut world = World::new(config);
    world.is_store_held = true;
    let open: Vec<RequestId> = (0..3)
        .map(|_| {
            let ask = Request::Notify(Box::new(like("bo", &["ana"])));
            world.http_open(&app(), ask)
        })
        .collect();
    let refused = world.replies.get(&open[2]).cloned().expect("an answer");
    assert_eq!(
        refused.map_err(|error| error.code),
        Err(ErrorCode::Unavailable)
    );
    assert_eq!(world.hub.stats().limits_hit, 1);
    world.is_store_held = false;
    world.run();
    assert_eq!(world.replies.len(), 3);
    assert_eq!(post(&mut world, like("bo", &["ana"])), Ok(1));
}
