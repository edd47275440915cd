//! Notifications over HTTP: an application tells, a user reads.

use std::time::Duration;

use futures_util::StreamExt;
use redred_signaling::grants::Grants;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{API_KEY, SECRET, TestServer, check, token};

async fn ask(
    server: &TestServer,
    bearer: &str,
    method: Method,
    (route, path): (&str, &str),
    body: Value,
    expected: StatusCode,
) -> Value {
    let mut request = server.request(method, path).bearer_auth(bearer);
    if !body.is_null() {
        request = request.json(&body);
    }
    let answer = check(route, request, expected, None).await;
    answer.json().await.expect("JSON")
}

const NOTIFICATIONS: (&str, &str) = ("/api/v1/notifications", "/api/v1/notifications");

#[tokio::test]
async fn likes_fold_into_one_line_that_is_read_once() {
    let server = TestServer::closed().await;
    let ana = token("ana", Grants::default());
    for liker in ["ben", "eva", "ivo"] {
        let like = json!({
            "user_ids": ["ana", "ana"], "kind": "like", "message": format!("{liker} liked your post"),
            "actor": { "id": liker }, "target": { "post": "p-9" }, "group_key": "like:p-9",
        });
        let told = ask(
            &server,
            API_KEY,
            Method::POST,
            NOTIFICATIONS,
            like,
            StatusCode::ACCEPTED,
        )
        .await;
        assert_eq!(told, json!({ "accepted": 1 }));
    }
    let listed = ask(
        &server,
        &ana,
        Method::GET,
        NOTIFICATIONS,
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(listed["unread"], 1, "{listed}");
    let line = &listed["notifications"][0];
    assert_eq!(line["count"], 3);
    assert_eq!(line["actor"]["id"], "ivo");
    let path = format!(
        "/api/v1/notifications/{}/read",
        line["id"].as_str().expect("an id")
    );
    let read = ("/api/v1/notifications/{id}/read", path.as_str());
    let left = ask(
        &server,
        &ana,
        Method::POST,
        read,
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(left, json!({ "unread": 0 }));
    let unread = (NOTIFICATIONS.0, "/api/v1/notifications?unread=true");
    let unread = ask(
        &server,
        &ana,
        Method::GET,
        unread,
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(unread["notifications"], json!([]));
}

#[tokio::test]
async fn a_repeat_with_the_same_idempotency_key_is_not_stored_again() {
    let server = TestServer::closed().await;
    let ana = token("ana", Grants::default());
    let body = json!({ "user_ids": ["ana"], "kind": "comment", "message": "Ben commented" });
    for _ in 0..2 {
        let request = server
            .post("/api/v1/notifications")
            .bearer_auth(API_KEY)
            .header("idempotency-key", "comment-17")
            .json(&body);
        let told = check(NOTIFICATIONS.0, request, StatusCode::ACCEPTED, None).await;
        assert_eq!(
            told.json::<Value>().await.expect("JSON"),
            json!({ "accepted": 1 })
        );
    }
    let listed = ask(
        &server,
        &ana,
        Method::GET,
        NOTIFICATIONS,
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(listed["unread"], 1);
    let all = ("/api/v1/notifications/read", "/api/v1/notifications/read");
    let left = ask(
        &server,
        &ana,
        Method::POST,
        all,
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(left, json!({ "unread": 0 }));
}

#[tokio::test]
async fn who_muted_a_kind_is_not_told() {
    let server = TestServer::closed().await;
    let ana = token("ana", Grants::default());
    let path = "/api/v1/notifications/preferences";
    let wanted = json!({
        "muted_kinds": ["like"],
        "quiet_hours": { "from_minute": 1320, "to_minute": 420, "utc_offset_minutes": 60 },
    });
    let kept = ask(
        &server,
        &ana,
        Method::PUT,
        (path, path),
        wanted.clone(),
        StatusCode::OK,
    )
    .await;
    assert_eq!(kept, wanted);
    let like = json!({ "user_ids": ["ana", "ben"], "kind": "like", "message": "Eva liked it" });
    let told = ask(
        &server,
        API_KEY,
        Method::POST,
        NOTIFICATIONS,
        like,
        StatusCode::ACCEPTED,
    )
    .await;
    assert_eq!(told, json!({ "accepted": 1 }));
    let now = ask(
        &server,
        &ana,
        Method::GET,
        (path, path),
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(now, wanted);
}

#[tokio::test]
async fn ten_thousand_recipients_fit_in_one_request() {
    let server = TestServer::closed().await;
    let users: Vec<String> = (0..10_000).map(|n| format!("{n:0>64}")).collect();
    let body = json!({ "user_ids": users, "kind": "news", "message": "We are live" });
    let told = ask(
        &server,
        API_KEY,
        Method::POST,
        NOTIFICATIONS,
        body,
        StatusCode::ACCEPTED,
    )
    .await;
    assert_eq!(told, json!({ "accepted": 10_000 }));
}

#[tokio::test]
async fn followers_are_replaced_added_removed_and_listed() {
    let server = TestServer::closed().await;
    let route = "/api/v1/streams/{id}/followers";
    let path = "/api/v1/streams/ana/followers";
    let count = |count: u64| json!({ "count": count });
    let all = json!({ "user_ids": ["ben", "eva", "ben"] });
    let now = ask(
        &server,
        API_KEY,
        Method::PUT,
        (route, path),
        all,
        StatusCode::OK,
    )
    .await;
    assert_eq!(now, count(2));
    let one = "/api/v1/streams/{id}/followers/{user}";
    let ivo = token("ivo", Grants::default());
    let itself = "/api/v1/streams/ana/followers/ivo";
    let now = ask(
        &server,
        &ivo,
        Method::PUT,
        (one, itself),
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(now, count(3));
    let page = format!("{path}?limit=2&after=ben");
    let listed = ask(
        &server,
        API_KEY,
        Method::GET,
        (route, &page),
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(
        listed,
        json!({ "users": ["eva", "ivo"], "count": 3, "has_more": false })
    );
    let now = ask(
        &server,
        &ivo,
        Method::DELETE,
        (one, itself),
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(now, count(2));
}

/// Minutes that `hours` from now begin in a zone this far from UTC.
fn minute_of_day(utc_offset_minutes: i64, hours: i64) -> i64 {
    let now = redred::auth::now_ms() / 60_000;
    let now = i64::try_from(now).expect("not so far in the future");
    (now + utc_offset_minutes + hours * 60).rem_euclid(24 * 60)
}

#[tokio::test]
async fn what_comes_in_quiet_hours_is_kept_and_counted_and_not_pushed() {
    let server = TestServer::start(&format!(
        "[auth]\nsecret = \"{SECRET}\"\napi_keys = [\"{API_KEY}\"]\n\
         [notifications]\nbatch_window_ms = 50\n"
    ))
    .await;
    let ana = token("ana", Grants::default());
    let url = format!("ws://{}/ws/notifications/?token={ana}", server.address);
    let (mut socket, _) = tokio_tungstenite::connect_async(url)
        .await
        .expect("a WebSocket");
    let mut heard: Vec<Value> = Vec::new();
    // Hears messages until one is as wanted, and returns all that came.
    let mut until = async |wanted: &dyn Fn(&Value) -> bool| {
        let hearing = async {
            loop {
                let message = socket.next().await.expect("open").expect("a message");
                let Ok(text) = message.to_text() else {
                    continue;
                };
                let Ok(message) = serde_json::from_str::<Value>(text) else {
                    continue;
                };
                heard.push(message);
                if heard.last().is_some_and(wanted) {
                    return std::mem::take(&mut heard);
                }
            }
        };
        let heard = tokio::time::timeout(Duration::from_secs(10), hearing).await;
        heard.expect("a message in time")
    };
    let count = |wanted: u64| {
        move |message: &Value| {
            message["type"] == "unread_count" && message["data"]["count"] == wanted
        }
    };
    let tell = async |kind: &str, message: &str| {
        let body = json!({ "user_ids": ["ana"], "kind": kind, "message": message });
        let told = ask(
            &server,
            API_KEY,
            Method::POST,
            NOTIFICATIONS,
            body,
            StatusCode::ACCEPTED,
        )
        .await;
        assert_eq!(told, json!({ "accepted": 1 }));
    };
    let be_quiet = async |from: i64, to: i64| {
        let path = "/api/v1/notifications/preferences";
        // Kathmandu: the hours are those of the user's day, not of ours.
        let zone = 345;
        let wanted = json!({
            "muted_kinds": [],
            "quiet_hours": {
                "from_minute": minute_of_day(zone, from), "to_minute": minute_of_day(zone, to),
                "utc_offset_minutes": zone,
            },
        });
        let kept = ask(
            &server,
            &ana,
            Method::PUT,
            (path, path),
            wanted.clone(),
            StatusCode::OK,
        )
        .await;
        assert_eq!(kept, wanted);
    };
    let of_kind = |heard: &[Value], kind: &str| -> Vec<Value> {
        let of_kind = heard.iter().filter(|message| message["type"] == kind);
        of_kind.map(|message| message["data"].clone()).collect()
    };
    let is_updated = |message: &Value| message["type"] == "preferences_updated";
    until(&count(0)).await;

    be_quiet(-1, 1).await;
    until(&is_updated).await;
    tell("comment", "while it is quiet").await;
    until(&count(1)).await;
    tell("like", "while it is quiet").await;
    let mut heard = until(&count(2)).await;
    let listed = ask(
        &server,
        &ana,
        Method::GET,
        NOTIFICATIONS,
        Value::Null,
        StatusCode::OK,
    )
    .await;
    assert_eq!(listed["unread"], 2);
    let kinds = [0, 1].map(|line| listed["notifications"][line]["kind"].clone());
    assert_eq!(kinds, [json!("like"), json!("comment")]);

    // Nothing is made up for when the quiet hours end.
    be_quiet(2, 4).await;
    heard.extend(until(&is_updated).await);
    tell("like", "when it is loud").await;
    heard.extend(until(&count(3)).await);
    tell("comment", "when it is loud").await;
    heard.extend(until(&count(4)).await);
    let pushed = of_kind(&heard, "new_notification");
    assert_eq!(pushed.len(), 1, "{heard:#?}");
    assert_eq!(pushed[0]["message"], "when it is loud");
    let batches = of_kind(&heard, "notification_batch");
    assert_eq!(batches.len(), 1, "{heard:#?}");
    let lines = batches[0]["notifications"].as_array().expect("lines");
    assert_eq!(lines.len(), 1, "{heard:#?}");
    assert_eq!(lines[0]["message"], "when it is loud");
}
