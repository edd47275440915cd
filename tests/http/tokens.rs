//! Bad tokens meet 401 at every door; whoever has a good one is let in.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use redred_signaling::grants::Grants;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{API_KEY, SECRET, TestServer, check, token};

fn now() -> u64 {
    redred::auth::now_ms() / 1000
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(algorithm), claims, &key).expect("a token")
}

fn good_claims() -> Value {
    json!({ "sub": "42", "name": "Ana", "exp": now() + 60 })
}

/// Tokens that must not be accepted, each with what is wrong with it.
fn bad_tokens() -> Vec<(String, String)> {
    let base64 = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    };
    let good = signed(Algorithm::HS256, SECRET, &good_claims());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let claims = base64(&good_claims().to_string());
    let mut bad = vec![
        ("not a token".to_owned(), "nonsense".to_owned()),
        ("no signature".to_owned(), format!("{message}.")),
        ("two parts".to_owned(), message.to_owned()),
        ("four parts".to_owned(), format!("{good}.{signature}")),
        (
            "alg none".to_owned(),
            format!("{}.{claims}.", base64(r#"{"alg":"none"}"#)),
        ),
        (
            "alg none, signed".to_owned(),
            format!("{}.{claims}.{signature}", base64(r#"{"alg":"none"}"#)),
        ),
        (
            "alg RS256 over HMAC".to_owned(),
            format!("{}.{claims}.{signature}", base64(r#"{"alg":"RS256"}"#)),
        ),
        ("swapped payload".to_owned(), {
            let admin = json!({ "sub": "42", "exp": now() + 60, "grants": { "admin": true } });
            let header = message.split('.').next().expect("a header");
            format!("{header}.{}.{signature}", base64(&admin.to_string()))
        }),
        (
            "HS384".to_owned(),
            signed(Algorithm::HS384, SECRET, &good_claims()),
        ),
        (
            "HS512".to_owned(),
            signed(Algorithm::HS512, SECRET, &good_claims()),
        ),
        (
            "another key".to_owned(),
            signed(Algorithm::HS256, "another secret", &good_claims()),
        ),
        (
            "an empty key".to_owned(),
            signed(Algorithm::HS256, "", &good_claims()),
        ),
        ("an API key".to_owned(), "x".repeat(API_KEY.len())),
        ("too long".to_owned(), {
            let mut claims = good_claims();
            claims["padding"] = json!("a".repeat(8 * 1024));
            signed(Algorithm::HS256, SECRET, &claims)
        }),
    ];
    for (claim, value) in [
        ("exp", json!(null)),
        ("exp", json!(now() - 1)),
        ("exp", json!("tomorrow")),
        ("exp", json!(-1)),
        ("nbf", json!(now() + 3600)),
        ("nbf", json!("yesterday")),
        ("iat", json!("yesterday")),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("sub", json!("a b")),
        ("sub", json!("a".repeat(65))),
        ("sub", json!(42)),
        ("name", json!("")),
        ("name", json!("a".repeat(65))),
        ("name", json!("a\u{0}b")),
        ("grants", json!("all")),
        ("grants", json!({ "publish": "*" })),
        ("grants", json!({ "watch": [1] })),
        ("grants", json!({ "admin": "yes" })),
    ] {
        let mut claims = good_claims();
        if value.is_null() {
            claims.as_object_mut().expect("an object").remove(claim);
        } else {
            claims[claim] = value.clone();
        }
        bad.push((
            format!("{claim}: {value}"),
            signed(Algorithm::HS256, SECRET, &claims),
        ));
    }
    bad
}

#[tokio::test]
async fn bad_tokens_are_refused_at_every_door() {
    let server = TestServer::closed().await;
    for (what, token) in bad_tokens() {
        let doors = [
            ("/api/v1/streams", server.get("/api/v1/streams")),
            ("/whip/{stream}", server.post("/whip/ana")),
            ("/whep/{stream}", server.post("/whep/ana")),
            ("/ws", server.get("/ws")),
            ("/ws/live/{stream}/", server.get("/ws/live/ana/")),
        ];
        for (route, request) in doors {
            println!("{what} at {route}");
            let request = request.bearer_auth(&token);
            check(
                route,
                request,
                StatusCode::UNAUTHORIZED,
                Some("unauthorized"),
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_missing_token_is_asked_for() {
    let server = TestServer::closed().await;
    for (route, request) in [
        ("/api/v1/streams", server.get("/api/v1/streams")),
        ("/api/v1/streams/{id}", server.get("/api/v1/streams/ana")),
        ("/api/v1/stats", server.get("/api/v1/stats")),
        ("/whip/{stream}", server.post("/whip/ana")),
        ("/whep/{stream}", server.post("/whep/ana")),
        ("/ws", server.get("/ws")),
        ("/ws/live/{stream}", server.get("/ws/live/ana")),
    ] {
        let answer = check(
            route,
            request,
            StatusCode::UNAUTHORIZED,
            Some("unauthorized"),
        )
        .await;
        let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
        assert!(challenge.starts_with("Bearer"), "{challenge}");
    }
}

#[tokio::test]
async fn a_token_may_come_by_header_subprotocol_or_query() {
    let server = TestServer::closed().await;
    let token = token("42", Grants::default());
    // Past the token the request is found to be no handshake.
    let check = async |request| {
        check(
            "/ws",
            request,
            StatusCode::UPGRADE_REQUIRED,
            Some("upgrade_required"),
        )
        .await
    };
    check(server.get("/ws").bearer_auth(&token)).await;
    check(server.get("/ws").header("authorization", &token)).await;
    let protocols = format!("redred.v1, redred.token.{token}");
    check(
        server
            .get("/ws")
            .header("sec-websocket-protocol", protocols),
    )
    .await;
    check(server.get(&format!("/ws?x=1&token={token}"))).await;
}

#[tokio::test]
async fn a_channel_beyond_the_grants_is_forbidden() {
    let server = TestServer::closed().await;
    let grants = Grants {
        watch: ["bo"].into_iter().collect(),
        ..Grants::default()
    };
    let token = token("42", grants);
    let at = |stream| {
        server
            .get(&format!("/ws/live/{stream}/"))
            .bearer_auth(&token)
    };
    let route = "/ws/live/{stream}/";
    check(route, at("ana"), StatusCode::FORBIDDEN, Some("forbidden")).await;
    check(
        route,
        at("bo"),
        StatusCode::UPGRADE_REQUIRED,
        Some("upgrade_required"),
    )
    .await;
    check(route, at("b%20o"), StatusCode::NOT_FOUND, Some("not_found")).await;
}

#[tokio::test]
async fn other_servers_ask_for_tokens_with_an_api_key() {
    let server = TestServer::closed().await;
    let route = "/api/v1/tokens";
    let ask = |body: Value| server.post(route).bearer_auth(API_KEY).json(&body);
    let asked =
        json!({ "sub": "42", "name": "Ana", "grants": { "publish": ["ana"] }, "ttl_seconds": 60 });
    let answer = check(route, ask(asked), StatusCode::OK, None).await;
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["sub"], "42");
    let expires_at = answer["expires_at"]
        .as_str()
        .and_then(redred_signaling::time::parse_rfc3339);
    let left = expires_at.expect("a time") / 1000 - now();
    assert!((58..=60).contains(&left), "{left}");
    let token = answer["token"].as_str().expect("a token");
    let request = server.get("/ws").bearer_auth(token);
    check(
        "/ws",
        request,
        StatusCode::UPGRADE_REQUIRED,
        Some("upgrade_required"),
    )
    .await;

    for bad in [
        json!({}),
        json!({ "sub": "a b" }),
        json!({ "sub": "42", "grants": { "publish": "ana" } }),
        json!({ "sub": "42", "ttl_seconds": 0 }),
        json!({ "sub": "42", "ttl_seconds": 2_592_001 }),
        json!({ "sub": "42", "admin": true }),
        json!([]),
    ] {
        check(
            route,
            ask(bad),
            StatusCode::BAD_REQUEST,
            Some("invalid_field"),
        )
        .await;
    }
    let unsigned = server.post(route).json(&json!({ "sub": "42" }));
    check(
        route,
        unsigned,
        StatusCode::UNAUTHORIZED,
        Some("unauthorized"),
    )
    .await;
    let user = server
        .post(route)
        .bearer_auth(self::token("42", Grants::default()));
    check(route, user, StatusCode::UNAUTHORIZED, Some("unauthorized")).await;
}

#[tokio::test]
async fn dev_mode_gives_what_is_asked_for_and_others_do_not() {
    let route = "/api/v1/dev/token";
    let dev = TestServer::dev().await;
    let asked = dev.post(route).json(&json!({ "name": "Ana" }));
    let answer = check(route, asked, StatusCode::OK, None).await;
    let answer: Value = answer.json().await.expect("JSON");
    assert!(
        answer["sub"]
            .as_str()
            .is_some_and(|sub| sub.starts_with("guest-")),
        "{answer}"
    );
    for bad in [
        json!({ "name": "" }),
        json!({ "sub": "a b" }),
        json!({ "grants": 1 }),
        json!(1),
    ] {
        check(
            route,
            dev.post(route).json(&bad),
            StatusCode::BAD_REQUEST,
            Some("invalid_field"),
        )
        .await;
    }
    let other = json!({ "sub": "42", "exp": now() + 60 });
    let other = dev
        .get("/ws")
        .bearer_auth(signed(Algorithm::HS256, SECRET, &other));
    check("/ws", other, StatusCode::UNAUTHORIZED, Some("unauthorized")).await;

    let closed = TestServer::closed().await;
    let asked = closed.post(route).json(&json!({ "name": "Ana" }));
    check(route, asked, StatusCode::NOT_FOUND, Some("not_found")).await;
}
