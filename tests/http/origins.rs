//! Pages of other sites cannot use a visitor's session, and pages of allowed ones can.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{TestServer, check};

/// Tries the WebSocket with an Origin. What is let through is then found to be no handshake.
async fn verdict(server: &TestServer, origin: Option<&str>) -> StatusCode {
    let token = server.dev_token("42", json!({})).await;
    let mut request = server.get("/ws").bearer_auth(token);
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn a_foreign_origin_is_refused_before_the_upgrade() {
    let server = TestServer::dev().await;
    let port = server.address.port();
    let own = format!("http://127.0.0.1:{port}");
    for (origin, is_allowed) in [
        (None, true),
        (Some(own.clone()), true),
        (Some(own.to_uppercase()), true),
        (Some(format!("https://127.0.0.1:{port}")), false),
        (Some(format!("http://127.0.0.1:{}", port ^ 1)), false),
        (Some("http://127.0.0.1".to_owned()), false),
        (Some(format!("http://localhost:{port}")), false),
        (Some(format!("http://a.127.0.0.1:{port}")), false),
        (Some(format!("http://127.0.0.1.evil.example:{port}")), false),
        (Some(format!("http://127.0.0.1:{port}.evil.example")), false),
        (Some(format!("http://127.0.0.1:{port}@evil.example")), false),
        (Some(format!("{own}/")), false),
        (Some("null".to_owned()), false),
        (Some(String::new()), false),
        (Some("https://evil.example".to_owned()), false),
    ] {
        let expected = if is_allowed {
            StatusCode::UPGRADE_REQUIRED
        } else {
            StatusCode::FORBIDDEN
        };
        assert_eq!(
            verdict(&server, origin.as_deref()).await,
            expected,
            "{origin:?}"
        );
    }
    let token = server.dev_token("42", json!({})).await;
    let request = server
        .get("/ws")
        .bearer_auth(token)
        .header("origin", "null");
    check("/ws", request, StatusCode::FORBIDDEN, Some("forbidden")).await;
}

#[tokio::test]
async fn listed_origins_and_the_star_open_the_door() {
    let listed = TestServer::start("[http]\nallowed_origins = [\"https://app.example\"]").await;
    for (origin, expected) in [
        ("https://app.example", StatusCode::UPGRADE_REQUIRED),
        ("https://app.example:443", StatusCode::UPGRADE_REQUIRED),
        ("http://app.example", StatusCode::FORBIDDEN),
        ("https://x.app.example", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(verdict(&listed, Some(origin)).await, expected, "{origin}");
    }
    let open = TestServer::start("[http]\nallowed_origins = [\"*\"]").await;
    assert_eq!(
        verdict(&open, Some("https://anywhere.example")).await,
        StatusCode::UPGRADE_REQUIRED
    );
}

#[tokio::test]
async fn allowed_pages_may_read_what_whip_answers() {
    let server = TestServer::start("[http]\nallowed_origins = [\"https://app.example\"]").await;
    let preflight = |origin: &str| {
        server
            .request(Method::OPTIONS, "/whip/ana")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
    };
    let route = "/whip/{stream}";
    let answer = check(
        route,
        preflight("https://app.example"),
        StatusCode::NO_CONTENT,
        None,
    )
    .await;
    let header = |name: &str| {
        answer.headers()[name]
            .to_str()
            .expect("text")
            .to_lowercase()
    };
    assert_eq!(header("access-control-allow-origin"), "https://app.example");
    for method in ["post", "patch", "delete", "options"] {
        assert!(
            header("access-control-allow-methods").contains(method),
            "{method}"
        );
    }
    for name in ["authorization", "content-type", "if-match", "etag"] {
        assert!(
            header("access-control-allow-headers").contains(name),
            "{name}"
        );
    }
    for name in ["location", "etag", "link"] {
        assert!(
            header("access-control-expose-headers").contains(name),
            "{name}"
        );
    }
    assert_eq!(header("accept-post"), "application/sdp");

    let answer = check(
        route,
        preflight("https://evil.example"),
        StatusCode::NO_CONTENT,
        None,
    )
    .await;
    assert!(!answer.headers().contains_key("access-control-allow-origin"));
    // An OPTIONS that is no preflight is answered as well: not only browsers ask.
    let plain = server.request(Method::OPTIONS, "/whep/resource/0");
    let answer = check("/whep/resource/{id}", plain, StatusCode::NO_CONTENT, None).await;
    assert_eq!(
        answer.headers()["accept-patch"],
        "application/trickle-ice-sdpfrag"
    );
}

#[tokio::test]
async fn dev_mode_answers_to_local_names_only() {
    let server = TestServer::dev().await;
    for (host, expected) in [
        ("localhost", StatusCode::OK),
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1.evil.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let answer = server.get("/healthz").header("host", host).send().await;
        assert_eq!(answer.expect("an answer").status(), expected, "{host}");
    }
    let closed = TestServer::closed().await;
    let answer = closed
        .get("/healthz")
        .header("host", "live.example")
        .send()
        .await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
}
