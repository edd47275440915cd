//! API keys: each opens what its scopes name, and nothing else.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{SECRET, TestServer, check, token};

/// One request for each scope, with whatever it needs in the body.
fn doors() -> [(&'static str, Method, &'static str, &'static str, Value); 9] {
    [
        (
            "rooms",
            Method::GET,
            "/api/v1/rooms/{id}",
            "/api/v1/rooms/r",
            json!(null),
        ),
        (
            "messages",
            Method::GET,
            "/api/v1/rooms/{id}/messages",
            "/api/v1/rooms/r/messages",
            json!(null),
        ),
        (
            "notifications",
            Method::POST,
            "/api/v1/notifications",
            "/api/v1/notifications",
            json!({}),
        ),
        (
            "notifications",
            Method::GET,
            "/api/v1/streams/{id}/followers",
            "/api/v1/streams/ana/followers",
            json!(null),
        ),
        (
            "tokens",
            Method::POST,
            "/api/v1/tokens",
            "/api/v1/tokens",
            json!({}),
        ),
        (
            "users",
            Method::POST,
            "/api/v1/users/{id}/disconnect",
            "/api/v1/users/ana/disconnect",
            json!({}),
        ),
        (
            "publish",
            Method::POST,
            "/api/v1/publish",
            "/api/v1/publish",
            json!({}),
        ),
        (
            "streams",
            Method::GET,
            "/api/v1/streams",
            "/api/v1/streams",
            json!(null),
        ),
        (
            "streams",
            Method::GET,
            "/api/v1/stats",
            "/api/v1/stats",
            json!(null),
        ),
    ]
}

#[tokio::test]
async fn a_key_opens_its_scopes_and_no_others() {
    let scopes = [
        "rooms",
        "messages",
        "notifications",
        "tokens",
        "users",
        "publish",
        "streams",
    ];
    let key = |scope: &str| format!("a-key-that-is-for-{scope}");
    let keys =
        scopes.map(|scope| format!("{{ key = \"{}\", scopes = [\"{scope}\"] }}", key(scope)));
    let server = TestServer::start(&format!(
        "[auth]\nsecret = \"{SECRET}\"\napi_keys = [{}]\n",
        keys.join(", ")
    ))
    .await;
    for (needed, method, route, path, body) in doors() {
        for scope in scopes {
            let mut request = server.request(method.clone(), path).bearer_auth(key(scope));
            if !body.is_null() {
                request = request.json(&body);
            }
            if scope == needed {
                let status = request.send().await.expect("an answer").status();
                let is_let_in =
                    ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
                assert!(is_let_in, "{scope} at {path}: {status}");
                continue;
            }
            let status = StatusCode::FORBIDDEN;
            let refused = check(route, request, status, Some("forbidden")).await;
            let challenge = refused.headers()["www-authenticate"]
                .to_str()
                .expect("text");
            let expected = format!("error=\"insufficient_scope\", scope=\"{needed}\"");
            assert!(challenge.ends_with(&expected), "{challenge}");
            let problem: Value = refused.json().await.expect("JSON");
            assert_eq!(problem["scope"], needed);
        }
    }
}

#[tokio::test]
async fn an_api_key_has_nothing_of_its_own() {
    let server = TestServer::closed().await;
    for (method, route, path) in [
        (Method::GET, "/api/v1/rooms", "/api/v1/rooms"),
        (Method::GET, "/api/v1/blocks", "/api/v1/blocks"),
        (Method::PUT, "/api/v1/blocks/{user}", "/api/v1/blocks/ben"),
        (Method::GET, "/api/v1/search", "/api/v1/search?q=x"),
        (
            Method::GET,
            "/api/v1/notifications",
            "/api/v1/notifications",
        ),
        (
            Method::POST,
            "/api/v1/notifications/read",
            "/api/v1/notifications/read",
        ),
    ] {
        let request = server.request(method, path).bearer_auth(super::API_KEY);
        check(route, request, StatusCode::FORBIDDEN, Some("forbidden")).await;
    }
}

#[tokio::test]
async fn what_other_servers_ask_is_not_for_users() {
    let server = TestServer::closed().await;
    let user = token("ana", redred_signaling::grants::Grants::default());
    let requests = [
        (
            "/api/v1/notifications",
            server
                .post("/api/v1/notifications")
                .json(&json!({ "user_ids": ["ben"], "kind": "like", "message": "Hi" })),
        ),
        (
            "/api/v1/publish",
            server
                .post("/api/v1/publish")
                .json(&json!({ "channel": "streams", "kind": "x" })),
        ),
        (
            "/api/v1/users/{id}/disconnect",
            server.post("/api/v1/users/ben/disconnect"),
        ),
    ];
    for (route, request) in requests {
        let request = request.bearer_auth(&user);
        check(route, request, StatusCode::FORBIDDEN, Some("forbidden")).await;
    }
    let request = server.post("/api/v1/tokens").bearer_auth(&user);
    let status = StatusCode::UNAUTHORIZED;
    check("/api/v1/tokens", request, status, Some("unauthorized")).await;
}

#[tokio::test]
async fn in_dev_mode_any_token_may_do_what_other_servers_ask() {
    let server = TestServer::dev().await;
    let user = server.dev_token("ana", json!({})).await;
    let said = json!({ "channel": "streams", "kind": "hello", "payload": { "a": 1 } });
    let request = server
        .post("/api/v1/publish")
        .bearer_auth(&user)
        .json(&said);
    check("/api/v1/publish", request, StatusCode::ACCEPTED, None).await;
    let nobody = server.post("/api/v1/publish").json(&said);
    let status = StatusCode::UNAUTHORIZED;
    check("/api/v1/publish", nobody, status, Some("unauthorized")).await;
}
