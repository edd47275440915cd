//! Chat over HTTP, from the first room to the last message.

use redred_signaling::grants::Grants;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::{API_KEY, TestServer, check, token};

/// Somebody with a token.
struct Person<'a> {
    server: &'a TestServer,
    token: String,
}

impl Person<'_> {
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.server.request(method, path).bearer_auth(&self.token)
    }

    /// Asks and reads the answer, which must have this status and the documented form.
    async fn ask(
        &self,
        method: Method,
        (route, path): (&str, &str),
        body: Value,
        expected: StatusCode,
    ) -> Value {
        let mut request = self.request(method, path);
        if !body.is_null() {
            request = request.json(&body);
        }
        let code = match expected {
            StatusCode::NOT_FOUND => Some("not_found"),
            StatusCode::FORBIDDEN => Some("forbidden"),
            StatusCode::CONFLICT => Some("conflict"),
            StatusCode::TOO_MANY_REQUESTS => Some("rate_limited"),
            _ => None,
        };
        let answer = check(route, request, expected, code).await;
        let text = answer.text().await.expect("a body");
        serde_json::from_str(&text).unwrap_or_default()
    }
}

const ROOMS: (&str, &str) = ("/api/v1/rooms", "/api/v1/rooms");

fn person<'a>(server: &'a TestServer, id: &str) -> Person<'a> {
    Person {
        server,
        token: token(id, Grants::default()),
    }
}

fn ids(members: &Value) -> Vec<&str> {
    let members = members.as_array().expect("members").iter();
    members.filter_map(|member| member["id"].as_str()).collect()
}

#[tokio::test]
async fn a_pair_has_one_room_and_its_messages_have_an_order() {
    let server = TestServer::closed().await;
    let (ana, ben, eve) = (
        person(&server, "ana"),
        person(&server, "ben"),
        person(&server, "eve"),
    );
    let direct = json!({ "kind": "direct", "members": ["ben"] });
    let room = ana
        .ask(Method::POST, ROOMS, direct, StatusCode::CREATED)
        .await;
    assert_eq!(ids(&room["members"]), ["ana", "ben"]);
    let again = json!({ "kind": "direct", "members": ["ana"] });
    let same = ben.ask(Method::POST, ROOMS, again, StatusCode::OK).await;
    assert_eq!(same["id"], room["id"]);

    let id = room["id"].as_str().expect("an id");
    let path = format!("/api/v1/rooms/{id}/messages");
    let messages = ("/api/v1/rooms/{id}/messages", path.as_str());
    let hello = json!({ "text": "Hello Ben", "client_id": "c-1" });
    let first = ana
        .ask(Method::POST, messages, hello.clone(), StatusCode::CREATED)
        .await;
    assert_eq!(first["sender"]["id"], "ana");
    let repeat = ana.ask(Method::POST, messages, hello, StatusCode::OK).await;
    assert_eq!(repeat, first);
    for n in 0..3 {
        let text = json!({ "text": format!("message {n}") });
        ben.ask(Method::POST, messages, text, StatusCode::CREATED)
            .await;
    }
    let page = format!("{path}?limit=2");
    let newest = ana
        .ask(
            Method::GET,
            (messages.0, &page),
            Value::Null,
            StatusCode::OK,
        )
        .await;
    assert_eq!(newest["has_more"], true);
    assert_eq!(newest["messages"][0]["text"], "message 1");
    let before = format!("{path}?before_seq={}", newest["messages"][0]["seq"]);
    let older = ana
        .ask(
            Method::GET,
            (messages.0, &before),
            Value::Null,
            StatusCode::OK,
        )
        .await;
    assert_eq!(older["messages"].as_array().map(Vec::len), Some(2));
    assert_eq!(older["messages"][0], first);
    let after = format!("{path}?after_seq={}&limit=1", first["seq"]);
    let newer = ana
        .ask(
            Method::GET,
            (messages.0, &after),
            Value::Null,
            StatusCode::OK,
        )
        .await;
    assert_eq!(newer["messages"][0]["text"], "message 0");

    let found = ("/api/v1/search", "/api/v1/search?q=hello");
    let found = ben
        .ask(Method::GET, found, Value::Null, StatusCode::OK)
        .await;
    assert_eq!(found["messages"], json!([first]));

    let listed = ana
        .ask(Method::GET, ROOMS, Value::Null, StatusCode::OK)
        .await;
    assert_eq!(listed["rooms"][0]["id"], room["id"]);
    assert_eq!(listed["rooms"][0]["unread"], 3);
    assert_eq!(listed["rooms"][0]["last_message"]["text"], "message 2");
    assert_eq!(listed["next"], Value::Null);

    let refused = eve.request(Method::GET, &path).send().await;
    let status = refused.expect("an answer").status();
    let is_refused = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&status);
    assert!(is_refused, "{status}");
    let empty = eve
        .ask(
            Method::GET,
            ("/api/v1/search", "/api/v1/search?q=hello"),
            Value::Null,
            StatusCode::OK,
        )
        .await;
    assert_eq!(empty["messages"], json!([]));
}

#[tokio::test]
async fn groups_change_by_the_roles_of_their_members() {
    let server = TestServer::closed().await;
    let (ana, ben) = (person(&server, "ana"), person(&server, "ben"));
    let group = json!({ "kind": "group", "members": ["ben"], "title": "Weekend" });
    let room = ana
        .ask(Method::POST, ROOMS, group, StatusCode::CREATED)
        .await;
    let id = room["id"].as_str().expect("an id");
    let path = format!("/api/v1/rooms/{id}");
    let one = ("/api/v1/rooms/{id}", path.as_str());
    let title = json!({ "title": "Sunday" });
    ben.ask(Method::PATCH, one, title.clone(), StatusCode::FORBIDDEN)
        .await;
    let renamed = ana.ask(Method::PATCH, one, title, StatusCode::OK).await;
    assert_eq!(renamed["title"], "Sunday");

    let members = format!("{path}/members");
    let added = ana
        .ask(
            Method::POST,
            ("/api/v1/rooms/{id}/members", &members),
            json!({ "user_ids": ["eva", "ivo"] }),
            StatusCode::OK,
        )
        .await;
    assert_eq!(ids(&added["members"]), ["ana", "ben", "eva", "ivo"]);
    let member = |user: &str| format!("{members}/{user}");
    let route = "/api/v1/rooms/{id}/members/{user}";
    let role = json!({ "role": "admin" });
    ana.ask(Method::PATCH, (route, &member("ben")), role, StatusCode::OK)
        .await;
    let left = ben
        .ask(
            Method::DELETE,
            (route, &member("ivo")),
            Value::Null,
            StatusCode::OK,
        )
        .await;
    assert_eq!(ids(&left["members"]), ["ana", "ben", "eva"]);
    ben.ask(
        Method::DELETE,
        (route, &member("ben")),
        Value::Null,
        StatusCode::NO_CONTENT,
    )
    .await;
    let now = ana.ask(Method::GET, one, Value::Null, StatusCode::OK).await;
    assert_eq!(ids(&now["members"]), ["ana", "eva"]);
}

#[tokio::test]
async fn the_list_of_rooms_is_paged_by_an_opaque_cursor() {
    let server = TestServer::closed().await;
    let ana = person(&server, "ana");
    for n in 0..5 {
        let group = json!({ "kind": "group", "members": [], "title": format!("Room {n}") });
        ana.ask(Method::POST, ROOMS, group, StatusCode::CREATED)
            .await;
    }
    let mut titles = Vec::new();
    let mut path = "/api/v1/rooms?limit=2".to_owned();
    loop {
        let page = ana
            .ask(Method::GET, (ROOMS.0, &path), Value::Null, StatusCode::OK)
            .await;
        let rooms = page["rooms"].as_array().expect("rooms").iter();
        titles.extend(rooms.map(|room| room["title"].as_str().expect("text").to_owned()));
        let Some(next) = page["next"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        path = format!("/api/v1/rooms?limit=2&before={next}");
    }
    titles.sort();
    assert_eq!(titles, ["Room 0", "Room 1", "Room 2", "Room 3", "Room 4"]);
}

#[tokio::test]
async fn another_server_writes_in_the_name_of_its_users() {
    let server = TestServer::closed().await;
    let shop = Person {
        server: &server,
        token: API_KEY.to_owned(),
    };
    let group = json!({ "kind": "group", "members": ["ana", "ben"], "title": "Order 17" });
    let room = shop
        .ask(Method::POST, ROOMS, group, StatusCode::CREATED)
        .await;
    assert_eq!(ids(&room["members"]), ["ana", "ben"]);
    assert_eq!(room["members"][0]["role"], "owner");
    let path = format!(
        "/api/v1/rooms/{}/messages",
        room["id"].as_str().expect("an id")
    );
    let messages = ("/api/v1/rooms/{id}/messages", path.as_str());
    let said = json!({ "text": "Where is it?", "sender": "ben" });
    let written = shop
        .ask(Method::POST, messages, said, StatusCode::CREATED)
        .await;
    assert_eq!(written["sender"]["id"], "ben");
    let anonymous = shop
        .request(Method::POST, &path)
        .json(&json!({ "text": "Hi" }));
    check(
        messages.0,
        anonymous,
        StatusCode::BAD_REQUEST,
        Some("invalid_field"),
    )
    .await;
    let read = shop
        .ask(Method::GET, messages, Value::Null, StatusCode::OK)
        .await;
    assert_eq!(read["messages"], json!([written]));
}

#[tokio::test]
async fn users_block_and_unblock() {
    let server = TestServer::closed().await;
    let ana = person(&server, "ana");
    let ben = ("/api/v1/blocks/{user}", "/api/v1/blocks/ben");
    let all = ("/api/v1/blocks", "/api/v1/blocks");
    ana.ask(Method::PUT, ben, Value::Null, StatusCode::NO_CONTENT)
        .await;
    let blocked = ana.ask(Method::GET, all, Value::Null, StatusCode::OK).await;
    assert_eq!(ids(&blocked["users"]), ["ben"]);
    ana.ask(Method::DELETE, ben, Value::Null, StatusCode::NO_CONTENT)
        .await;
    let blocked = ana.ask(Method::GET, all, Value::Null, StatusCode::OK).await;
    assert_eq!(blocked["users"], json!([]));
}

#[tokio::test]
async fn presence_is_for_those_who_share_a_room_and_for_keys() {
    let server = TestServer::closed().await;
    let route = "/api/v1/users/{id}/presence";
    let presence = (route, "/api/v1/users/ben/presence");
    let shop = Person {
        server: &server,
        token: API_KEY.to_owned(),
    };
    let ben = shop
        .ask(Method::GET, presence, Value::Null, StatusCode::OK)
        .await;
    assert_eq!(
        ben,
        json!({ "user_id": "ben", "status": "offline", "last_seen": null })
    );
    let disconnect = (
        "/api/v1/users/{id}/disconnect",
        "/api/v1/users/ben/disconnect",
    );
    let gone = shop
        .ask(Method::POST, disconnect, Value::Null, StatusCode::OK)
        .await;
    assert_eq!(gone, json!({ "sessions": 0 }));
}

#[tokio::test]
async fn a_user_who_asks_too_often_is_told_when_to_come_back() {
    let server = TestServer::start(&format!(
        "[auth]\nsecret = \"{}\"\n[limits]\nuser_requests_per_second = 1\nuser_requests_burst = 2\n",
        super::SECRET
    ))
    .await;
    let ana = person(&server, "ana");
    let blocks = ("/api/v1/blocks", "/api/v1/blocks");
    for _ in 0..2 {
        ana.ask(Method::GET, blocks, Value::Null, StatusCode::OK)
            .await;
    }
    let problem = ana
        .ask(
            Method::GET,
            blocks,
            Value::Null,
            StatusCode::TOO_MANY_REQUESTS,
        )
        .await;
    let wait = problem["retry_after_ms"].as_u64().expect("a wait");
    assert!(wait <= 1000, "{problem}");
}
