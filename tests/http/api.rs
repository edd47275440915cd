//! The directory, statistics, operations and files.

use redred_signaling::grants::Grants;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{API_KEY, TestServer, check, token};

#[tokio::test]
async fn the_directory_is_empty_at_first() {
    let server = TestServer::closed().await;
    for bearer in [token("42", Grants::default()), API_KEY.to_owned()] {
        let request = server.get("/api/v1/streams").bearer_auth(&bearer);
        let answer = check("/api/v1/streams", request, StatusCode::OK, None).await;
        assert_eq!(
            answer.json::<Value>().await.expect("JSON"),
            json!({ "streams": [] })
        );
        for method in [Method::GET, Method::DELETE] {
            let request = server
                .request(method, "/api/v1/streams/ana")
                .bearer_auth(API_KEY);
            check(
                "/api/v1/streams/{id}",
                request,
                StatusCode::NOT_FOUND,
                Some("not_found"),
            )
            .await;
        }
    }
    let odd = server.get("/api/v1/streams/a%20b").bearer_auth(API_KEY);
    check(
        "/api/v1/streams/{id}",
        odd,
        StatusCode::NOT_FOUND,
        Some("not_found"),
    )
    .await;
}

#[tokio::test]
async fn dev_mode_shows_the_directory_to_everybody_on_the_machine() {
    let server = TestServer::dev().await;
    check(
        "/api/v1/streams",
        server.get("/api/v1/streams"),
        StatusCode::OK,
        None,
    )
    .await;
    let stats = check(
        "/api/v1/stats",
        server.get("/api/v1/stats"),
        StatusCode::OK,
        None,
    )
    .await;
    let stats: Value = stats.json().await.expect("JSON");
    assert_eq!(stats["live_streams"], 0);
    assert_eq!(stats["latency_seconds"]["sfu_forward"]["count"], 0);
    assert!(
        stats["connections"]["http"]
            .as_u64()
            .is_some_and(|count| count >= 1),
        "{stats}"
    );
}

#[tokio::test]
async fn a_server_that_can_serve_is_ready() {
    let server = TestServer::dev().await;
    let ready = check("/readyz", server.get("/readyz"), StatusCode::OK, None).await;
    assert_eq!(
        ready.json::<Value>().await.expect("JSON"),
        json!({ "ready": true, "reasons": [] })
    );
    check("/healthz", server.get("/healthz"), StatusCode::OK, None).await;
}

#[tokio::test]
async fn a_server_with_nobody_left_drains_at_once() {
    let server = TestServer::start("[shutdown]\ngrace = \"10m\"").await;
    check("/healthz", server.get("/healthz"), StatusCode::OK, None).await;
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(20), server.stopped());
    assert_eq!(stopped.await, Ok(redred::server::Exit::Drained));
}

#[tokio::test]
async fn every_metric_of_the_contract_is_there() {
    let server = TestServer::dev().await;
    let refused = server.get("/ws").send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    let text = check("/metrics", server.get("/metrics"), StatusCode::OK, None).await;
    let text = text.text().await.expect("a body");
    for sample in [
        "redred_ws_connections{kind=\"live\"} 0",
        "redred_ws_connections{kind=\"multiplexed\"} 0",
        "redred_ws_connections{kind=\"chat\"} 0",
        "redred_ws_connections{kind=\"notifications\"} 0",
        "redred_ws_limits_hit_total 0",
        "redred_ws_messages_total{direction=\"in\",type=\"comment\"} 0",
        "redred_ws_delivery_seconds_bucket{le=\"+Inf\"} 0",
        "redred_ws_handshake_failures_total{reason=\"token\"} 1",
        "redred_ws_handshake_failures_total{reason=\"origin\"} 0",
        "redred_ws_reconnects_total 0",
        "redred_ws_slow_consumers_total 0",
        "redred_live_streams 0",
        "redred_live_viewers 0",
        "redred_sfu_packets_forwarded_total{kind=\"video\"} 0",
        "redred_sfu_bytes_forwarded_total{kind=\"audio\"} 0",
        "redred_sfu_forward_seconds_bucket{le=\"0.001\"} 0",
        "redred_sfu_packets_dropped_total{reason=\"unverified\"} 0",
        "redred_sfu_keyframe_requests_total{reason=\"viewer\"} 0",
        "redred_sfu_nack_total{direction=\"in\"} 0",
        "redred_sfu_layer_switches_total 0",
        "redred_sfu_sessions{role=\"publisher\"} 0",
        "redred_store_write_seconds_count",
        "redred_relay_bytes_total{direction=\"in\"} 0",
        "redred_build_info{version=\"",
        "process_open_fds ",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.contains(sample), "{sample} is not in\n{text}");
    }
}

#[tokio::test]
async fn errors_of_the_router_are_problems_too() {
    let server = TestServer::dev().await;
    for (method, path, expected, code) in [
        (
            Method::GET,
            "/nothing/here",
            StatusCode::NOT_FOUND,
            "not_found",
        ),
        (Method::POST, "/nothing", StatusCode::NOT_FOUND, "not_found"),
        (
            Method::GET,
            "/sdk/nothing.js",
            StatusCode::NOT_FOUND,
            "not_found",
        ),
        (
            Method::GET,
            "/sdk/../Cargo.toml",
            StatusCode::NOT_FOUND,
            "not_found",
        ),
        (
            Method::GET,
            "/app/%2e%2e/%2e%2e/Cargo.toml",
            StatusCode::NOT_FOUND,
            "not_found",
        ),
        (
            Method::PUT,
            "/healthz",
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
        ),
        (
            Method::DELETE,
            "/api/v1/streams",
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
        ),
        (
            Method::GET,
            "/api/v1/streams/%ff",
            StatusCode::BAD_REQUEST,
            "bad_request",
        ),
    ] {
        let answer = server
            .request(method.clone(), path)
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), expected, "{method} {path}");
        assert_eq!(
            answer.headers()["content-type"],
            "application/problem+json",
            "{method} {path}"
        );
        if expected == StatusCode::METHOD_NOT_ALLOWED {
            assert!(answer.headers().contains_key("allow"), "{method} {path}");
        }
        let problem: Value = answer.json().await.expect("JSON");
        assert_eq!(problem["code"], code, "{method} {path}: {problem}");
    }
}

#[tokio::test]
async fn pages_and_scripts_come_with_their_types_and_protections() {
    let server = TestServer::dev().await;
    for (path, mime) in [
        ("/", "text/html; charset=utf-8"),
        ("/studio", "text/html; charset=utf-8"),
        ("/watch/ana", "text/html; charset=utf-8"),
        ("/sdk/redred.js", "text/javascript; charset=utf-8"),
        ("/favicon.ico", "image/svg+xml"),
    ] {
        let answer = server.get(path).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!(header("content-type"), mime, "{path}");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").contains("default-src 'self'"));
        assert!(header("permissions-policy").contains("camera=(self)"));
        let etag = header("etag");
        let again = server.get(path).header("if-none-match", &etag).send().await;
        let again = again.expect("an answer");
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{path}");
        assert!(again.bytes().await.expect("no body").is_empty());
    }
    let tests = server
        .get("/sdk/test/fakes.js")
        .send()
        .await
        .expect("an answer");
    assert_eq!(tests.status(), StatusCode::NOT_FOUND);
}
