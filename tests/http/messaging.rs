//! Rooms, messages and notifications: what is refused at the door.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{TestServer, check};

#[tokio::test]
async fn bad_bodies_and_queries_are_told_what_was_expected() {
    let server = TestServer::dev().await;
    let ana = server.dev_token("ana", json!({})).await;
    let long = "a".repeat(5000);
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let post = Method::POST;
    let get = Method::GET;
    let put = Method::PUT;
    let patch = Method::PATCH;
    for (method, route, path, body, expected) in [
        (&post, "/api/v1/rooms", "", json!({ "members": [] }), "kind"),
        (
            &post,
            "/api/v1/rooms",
            "",
            json!({ "kind": "party", "members": [] }),
            "kind",
        ),
        (
            &post,
            "/api/v1/rooms",
            "",
            json!({ "kind": "group", "members": ["a b"] }),
            "members[0]",
        ),
        (
            &post,
            "/api/v1/rooms",
            "",
            json!({ "kind": "group", "members": [], "owner": "ana" }),
            "owner",
        ),
        (
            &post,
            "/api/v1/rooms",
            "",
            json!({ "kind": "group", "members": [], "title": "" }),
            "title: expected 1 to 100 characters",
        ),
        (
            &get,
            "/api/v1/rooms",
            "?limit=0",
            json!(null),
            "limit: expected 1 to 200",
        ),
        (&get, "/api/v1/rooms", "?limit=many", json!(null), "limit"),
        (&get, "/api/v1/rooms", "?before=x", json!(null), "before"),
        (&get, "/api/v1/rooms", "?page=2", json!(null), "page"),
        (
            &patch,
            "/api/v1/rooms/{id}",
            "r",
            json!({ "title": long }),
            "title",
        ),
        (
            &post,
            "/api/v1/rooms/{id}/members",
            "r",
            json!({ "user_ids": [] }),
            "user_ids",
        ),
        (
            &patch,
            "/api/v1/rooms/{id}/members/{user}",
            "r/ben",
            json!({ "role": "king" }),
            "role",
        ),
        (
            &get,
            "/api/v1/rooms/{id}/messages",
            "r?before_seq=2&after_seq=1",
            json!(null),
            "not both",
        ),
        (
            &get,
            "/api/v1/rooms/{id}/messages",
            "r?before_seq=-1",
            json!(null),
            "before_seq",
        ),
        (
            &post,
            "/api/v1/rooms/{id}/messages",
            "r",
            json!({ "text": long }),
            "text",
        ),
        (
            &post,
            "/api/v1/rooms/{id}/messages",
            "r",
            json!({ "text": "a\u{0}b" }),
            "text",
        ),
        (
            &post,
            "/api/v1/rooms/{id}/messages",
            "r",
            json!({ "txt": "hi" }),
            "txt",
        ),
        (
            &post,
            "/api/v1/rooms/{id}/messages",
            "r",
            json!({ "attachments": vec![json!({ "url": "https://a/b", "type": "a/b", "size": 1 }); 11] }),
            "attachments",
        ),
        (&get, "/api/v1/search", "", json!(null), "q"),
        (
            &get,
            "/api/v1/search",
            "?q=x&before=yesterday",
            json!(null),
            "before",
        ),
        (
            &get,
            "/api/v1/search",
            "?q=x&limit=101",
            json!(null),
            "limit",
        ),
        (
            &post,
            "/api/v1/notifications",
            "",
            json!({ "user_ids": [] }),
            "kind",
        ),
        (
            &post,
            "/api/v1/notifications",
            "",
            json!({ "user_ids": [], "kind": "like", "message": "x" }),
            "user_ids: expected 1 to 10000",
        ),
        (
            &post,
            "/api/v1/notifications",
            "",
            json!({ "user_ids": many, "kind": "like", "message": "x" }),
            "user_ids: expected 1 to 10000",
        ),
        (
            &post,
            "/api/v1/notifications",
            "",
            json!({ "user_ids": ["ben"], "kind": "Like it", "message": "x" }),
            "kind",
        ),
        (
            &post,
            "/api/v1/notifications",
            "",
            json!({ "user_ids": ["ben"], "kind": "like", "message": "x", "target": { "a": long } }),
            "target",
        ),
        (
            &post,
            "/api/v1/notifications",
            "",
            json!({ "user_ids": ["ben"], "kind": "like", "message": "x", "actor": { "id": "" } }),
            "actor.id",
        ),
        (
            &get,
            "/api/v1/notifications",
            "?unread=perhaps",
            json!(null),
            "unread",
        ),
        (
            &put,
            "/api/v1/notifications/preferences",
            "",
            json!({ "muted": [] }),
            "muted",
        ),
        (
            &put,
            "/api/v1/streams/{id}/followers",
            "ana",
            json!({ "users": [] }),
            "users",
        ),
        (
            &get,
            "/api/v1/streams/{id}/followers",
            "ana?limit=1001",
            json!(null),
            "limit",
        ),
        (
            &post,
            "/api/v1/publish",
            "",
            json!({ "channel": "tv:1", "kind": "x" }),
            "channel",
        ),
        (
            &post,
            "/api/v1/publish",
            "",
            json!({ "channel": "streams", "kind": "x", "payload": { "a": "a".repeat(17_000) } }),
            "payload",
        ),
        (
            &post,
            "/api/v1/publish",
            "",
            json!({ "channel": "chats", "kind": "x" }),
            "user",
        ),
    ] {
        let names = path.split('?').next().unwrap_or_default().split('/');
        let mut filled = route.to_owned();
        for (name, place) in names.zip(["{id}", "{user}"]) {
            filled = filled.replace(place, name);
        }
        if let Some((_, query)) = path.split_once('?') {
            filled = format!("{filled}?{query}");
        }
        let mut request = server.request(method.clone(), &filled).bearer_auth(&ana);
        if !body.is_null() {
            request = request.json(&body);
        }
        let status = StatusCode::BAD_REQUEST;
        let refused = check(route, request, status, Some("invalid_field")).await;
        let problem: Value = refused.json().await.expect("JSON");
        let detail = problem["detail"].as_str().expect("text");
        assert!(
            detail.contains(expected),
            "{filled}: {expected} is not in {detail:?}"
        );
        assert!(detail.len() < 1000, "{filled}: {detail:?}");
    }
}

#[tokio::test]
async fn only_lists_of_users_may_be_long() {
    let server = TestServer::dev().await;
    let ana = server.dev_token("ana", json!({})).await;
    let padding = |bytes| format!("{{\"a\":\"{}\"}}", "a".repeat(bytes));
    for (method, route, path, bytes) in [
        (Method::POST, "/api/v1/rooms", "/api/v1/rooms", 65 * 1024),
        (
            Method::POST,
            "/api/v1/publish",
            "/api/v1/publish",
            65 * 1024,
        ),
        (
            Method::POST,
            "/api/v1/notifications",
            "/api/v1/notifications",
            1025 * 1024,
        ),
        (
            Method::PUT,
            "/api/v1/streams/{id}/followers",
            "/api/v1/streams/ana/followers",
            8193 * 1024,
        ),
    ] {
        let request = server.request(method, path).bearer_auth(&ana);
        let request = request.body(padding(bytes));
        let status = StatusCode::PAYLOAD_TOO_LARGE;
        check(route, request, status, Some("too_large")).await;
    }
}

#[tokio::test]
async fn idempotency_keys_are_visible_ascii() {
    let server = TestServer::dev().await;
    let ana = server.dev_token("ana", json!({})).await;
    let body = json!({ "user_ids": ["ben"], "kind": "like", "message": "x" });
    for bad in ["", "é", &"a".repeat(129)] {
        let request = server.post("/api/v1/notifications").bearer_auth(&ana);
        let request = request.header("idempotency-key", bad).json(&body);
        let status = StatusCode::BAD_REQUEST;
        check(
            "/api/v1/notifications",
            request,
            status,
            Some("invalid_field"),
        )
        .await;
    }
}
