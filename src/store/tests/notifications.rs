//! Notifications: many recipients, many followers, and forgetting in parts.

use redred_signaling::id::{StreamName, UserId};
use redred_signaling::store::notifications::{
    Delivered, FollowerChange, NewNotification, NotificationOk, NotificationOp, Priority,
};
use redred_signaling::store::{StoreOk, StoreOp};

use super::live::user;
use super::{Fixture, on_each_database};

on_each_database! {
    many_recipients_each_get_a_line_of_their_own,
    what_is_old_goes_in_parts_the_oldest_first,
    a_hundred_thousand_followers_are_replaced_and_listed_in_pages,
}

async fn many_recipients_each_get_a_line_of_their_own(mut fixture: Fixture) {
    let recipients: Vec<(UserId, String)> = (0..500)
        .map(|number| {
            (
                user(&format!("user-{}", (number * 7) % 500)),
                format!("id-{number}"),
            )
        })
        .collect();
    for count in 1..3 {
        let stored = add(&mut fixture, recipients.clone(), 5).await;
        // In the order asked for; the second time everybody's line is folded into.
        assert_eq!(stored.len(), 500);
        for (delivered, (user, id)) in stored.iter().zip(&recipients) {
            assert_eq!((&delivered.user, delivered.unread), (user, 1));
            let notification = &delivered.notification;
            assert_eq!((&notification.id, notification.seq), (id, count));
            assert_eq!(notification.count, count);
        }
    }
}

async fn what_is_old_goes_in_parts_the_oldest_first(mut fixture: Fixture) {
    let names = ["ana", "bo"];
    for number in 0..6 {
        let name = names[number % 2];
        let recipient = vec![(user(name), format!("id-{number}"))];
        add_with(&mut fixture, recipient, number as u64, None, Some(number)).await;
    }
    read(&mut fixture, "ana", "id-0").await;
    let purge = |limit| NotificationOp::Purge {
        created_before_ms: 4,
        keys_before_ms: 5,
        limit,
    };
    // Four notifications and five keys are old.
    for (limit, rows) in [(3, 3), (3, 3), (2, 2), (2, 1), (2, 0)] {
        let purged = ask(&mut fixture, purge(limit)).await;
        assert_eq!(purged, NotificationOk::Purged { rows });
        if limit == 3 && rows == 3 {
            continue;
        }
        assert_eq!(
            list(&mut fixture, "ana").await,
            (vec![String::from("id-4")], 1)
        );
        assert_eq!(
            list(&mut fixture, "bo").await,
            (vec![String::from("id-5")], 1)
        );
    }
}

async fn a_hundred_thousand_followers_are_replaced_and_listed_in_pages(mut fixture: Fixture) {
    let names = |from: u32, to: u32| -> Vec<UserId> {
        (from..to)
            .map(|number| user(&format!("user-{number:06}")))
            .collect()
    };
    let all = names(0, 100_000);
    assert_eq!(
        change(&mut fixture, FollowerChange::Replace(all.clone())).await,
        100_000
    );
    let mut listed = Vec::new();
    loop {
        let page = NotificationOp::ListFollowers {
            stream: stream(),
            after: listed.last().cloned(),
            limit: 9_000,
        };
        let NotificationOk::Followers {
            users,
            count: 100_000,
            has_more,
        } = ask(&mut fixture, page).await
        else {
            panic!("expected a page of all followers");
        };
        listed.extend(users);
        if !has_more {
            break;
        }
    }
    assert_eq!(listed, all);
    // Half go, a few come, some come and go twice.
    let half = names(50_000, 100_010);
    assert_eq!(
        change(&mut fixture, FollowerChange::Replace(half)).await,
        50_010
    );
    for change_once in [
        (FollowerChange::Add(user("user-000001")), 50_011),
        (FollowerChange::Add(user("user-000001")), 50_011),
        (FollowerChange::Remove(user("user-000001")), 50_010),
        (FollowerChange::Remove(user("user-000001")), 50_010),
        (FollowerChange::Replace(Vec::new()), 0),
    ] {
        assert_eq!(change(&mut fixture, change_once.0).await, change_once.1);
    }
}

async fn ask(fixture: &mut Fixture, op: NotificationOp) -> NotificationOk {
    match fixture.ask(StoreOp::Notifications(op)).await {
        Ok(StoreOk::Notifications(ok)) => ok,
        other => panic!("expected an answer about notifications, got {other:?}"),
    }
}

async fn add(
    fixture: &mut Fixture,
    recipients: Vec<(UserId, String)>,
    at_ms: u64,
) -> Vec<Delivered> {
    add_with(fixture, recipients, at_ms, Some("post:1"), None).await
}

async fn add_with(
    fixture: &mut Fixture,
    recipients: Vec<(UserId, String)>,
    at_ms: u64,
    group_key: Option<&str>,
    key: Option<usize>,
) -> Vec<Delivered> {
    let new = NewNotification {
        recipients,
        kind: String::from("like"),
        priority: Priority::Medium,
        message: String::from("liked"),
        actor: None,
        target: None,
        group_key: group_key.map(str::to_owned),
        at_ms,
        idempotency_key: key.map(|key| format!("key-{key}")),
    };
    let NotificationOk::Added {
        stored,
        is_repeat: false,
        ..
    } = ask(fixture, NotificationOp::Add(new)).await
    else {
        panic!("expected it to be stored");
    };
    stored
}

async fn read(fixture: &mut Fixture, who: &str, id: &str) {
    let op = NotificationOp::MarkRead {
        user: user(who),
        id: id.to_owned(),
        at_ms: 9,
    };
    ask(fixture, op).await;
}

/// The ids of a user, the newest first, and how many are not read.
async fn list(fixture: &mut Fixture, who: &str) -> (Vec<String>, u64) {
    let op = NotificationOp::List {
        user: user(who),
        unread_only: false,
        before: None,
        limit: 10,
    };
    let NotificationOk::Listed {
        notifications,
        unread,
        ..
    } = ask(fixture, op).await
    else {
        panic!("expected a list");
    };
    (notifications.into_iter().map(|it| it.id).collect(), unread)
}

/// How many followers there are after a change.
async fn change(fixture: &mut Fixture, change: FollowerChange) -> u64 {
    let op = NotificationOp::ChangeFollowers {
        stream: stream(),
        change,
        limit: 100_000,
        at_ms: 1,
    };
    let NotificationOk::Followers { count, .. } = ask(fixture, op).await else {
        panic!("expected a count");
    };
    count
}

fn stream() -> StreamName {
    StreamName::new("ana").expect("a valid name")
}
