//! WHIP and WHEP over HTTP, as their documents and the clients in the field want them.

use redred_signaling::grants::Grants;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{OFFER, TestServer, check, token};

const WHIP: &str = "/whip/{stream}";
const WHEP: &str = "/whep/{stream}";
const WHIP_RESOURCE: &str = "/whip/resource/{id}";
const WHEP_RESOURCE: &str = "/whep/resource/{id}";

fn publisher() -> String {
    token(
        "ana",
        Grants {
            publish: ["ana"].into_iter().collect(),
            ..Grants::default()
        },
    )
}

fn post(server: &TestServer, path: &str, token: &str, offer: &str) -> RequestBuilder {
    server
        .post(path)
        .bearer_auth(token)
        .header("content-type", "application/sdp")
        .body(offer.to_owned())
}

/// The offer with another hash of its certificate.
fn with_fingerprint(fingerprint: &str) -> String {
    let lines = OFFER.lines().map(|line| match line.split_once(':') {
        Some(("a=fingerprint", _)) => format!("a=fingerprint:{fingerprint}\r\n"),
        _ => format!("{line}\r\n"),
    });
    lines.collect()
}

fn header(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().expect("text").to_owned()
}

/// Publishes on `ana` and returns the path of the resource and its entity tag.
async fn publish(server: &TestServer, token: &str) -> (String, String) {
    let answer = check(
        WHIP,
        post(server, "/whip/ana", token, OFFER),
        StatusCode::CREATED,
        None,
    )
    .await;
    (header(&answer, "location"), header(&answer, "etag"))
}

fn patch(server: &TestServer, path: &str, token: &str, fragment: &str) -> RequestBuilder {
    server
        .request(Method::PATCH, path)
        .bearer_auth(token)
        .header("content-type", "application/trickle-ice-sdpfrag")
        .body(fragment.to_owned())
}

const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2130706431 127.0.0.1 40000 typ host\r\n";
const RESTART: &str =
    "a=ice-ufrag:NewU\r\na=ice-pwd:AnotherPasswordOf24Chars\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n";

#[tokio::test]
async fn a_publication_lives_from_post_to_delete() {
    let ice = "[sfu]\nice_servers = [\"stun:stun.example.org:3478\"]\n";
    let auth = format!("[auth]\nsecret = \"{}\"\n", super::SECRET);
    let server = TestServer::start(&format!("{ice}{auth}")).await;
    let token = publisher();
    let answer = check(
        WHIP,
        post(&server, "/whip/ana", &token, OFFER),
        StatusCode::CREATED,
        None,
    )
    .await;
    assert_eq!(header(&answer, "content-type"), "application/sdp");
    assert_eq!(
        header(&answer, "accept-patch"),
        "application/trickle-ice-sdpfrag"
    );
    assert_eq!(
        header(&answer, "link"),
        "<stun:stun.example.org:3478>; rel=\"ice-server\""
    );
    let (location, etag) = (header(&answer, "location"), header(&answer, "etag"));
    let id = location
        .strip_prefix("/whip/resource/")
        .expect("a path")
        .to_owned();
    assert!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert!(
        etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'),
        "{etag}"
    );
    let sdp = answer.text().await.expect("a body");
    assert!(
        sdp.starts_with("v=0") && sdp.contains("a=ice-lite"),
        "{sdp}"
    );

    // Trickle, with the tag in If-Match or, as one client does, in ETag.
    for name in ["if-match", "etag"] {
        let trickle = patch(&server, &location, &token, TRICKLE).header(name, &etag);
        check(WHIP_RESOURCE, trickle, StatusCode::NO_CONTENT, None).await;
    }
    // A restart brings new credentials and a new tag.
    let restart = patch(&server, &location, &token, RESTART).header("if-match", "*");
    let restarted = check(WHIP_RESOURCE, restart, StatusCode::OK, None).await;
    assert_eq!(
        header(&restarted, "content-type"),
        "application/trickle-ice-sdpfrag"
    );
    let fresh = header(&restarted, "etag");
    assert_ne!(fresh, etag);
    let fragment = restarted.text().await.expect("a body");
    assert!(
        fragment.contains("a=ice-ufrag:") && fragment.contains("a=ice-pwd:"),
        "{fragment}"
    );
    let stale = patch(&server, &location, &token, TRICKLE).header("if-match", &etag);
    check(
        WHIP_RESOURCE,
        stale,
        StatusCode::PRECONDITION_FAILED,
        Some("precondition_failed"),
    )
    .await;
    let missing = patch(&server, &location, &token, TRICKLE);
    check(
        WHIP_RESOURCE,
        missing,
        StatusCode::PRECONDITION_REQUIRED,
        Some("precondition_required"),
    )
    .await;

    let stranger = super::token("bo", Grants::default());
    let end = |token: &str| server.request(Method::DELETE, &location).bearer_auth(token);
    check(
        WHIP_RESOURCE,
        end(&stranger),
        StatusCode::FORBIDDEN,
        Some("forbidden"),
    )
    .await;
    check(
        WHIP_RESOURCE,
        end("x"),
        StatusCode::UNAUTHORIZED,
        Some("unauthorized"),
    )
    .await;
    let foreign = patch(&server, &location, &stranger, TRICKLE).header("if-match", &fresh);
    check(
        WHIP_RESOURCE,
        foreign,
        StatusCode::FORBIDDEN,
        Some("forbidden"),
    )
    .await;
    for _ in 0..2 {
        check(WHIP_RESOURCE, end(&token), StatusCode::OK, None).await;
    }
}

#[tokio::test]
async fn bad_offers_are_refused_and_break_nothing() {
    let server = TestServer::closed().await;
    let token = publisher();
    let offer = |body: &str| post(&server, "/whip/ana", &token, body);
    for bad in [
        "",
        "v=0",
        "hello",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
        &OFFER.replace("a=ice-ufrag:EsAw", ""),
        &OFFER.replace("a=fingerprint:", "a=x:"),
        "\u{0}\u{1}\u{2}",
    ] {
        let answer = offer(bad).send().await.expect("an answer");
        let status = answer.status();
        assert!(
            status == StatusCode::BAD_REQUEST || status == StatusCode::NOT_ACCEPTABLE,
            "{status} for {bad:?}"
        );
        assert_eq!(header(&answer, "content-type"), "application/problem+json");
    }
    check(
        WHIP,
        offer("no SDP"),
        StatusCode::BAD_REQUEST,
        Some("invalid_field"),
    )
    .await;
    // A connection that could never be made is refused now, and the answer says why.
    for fingerprint in [
        "md5 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B",
        "sha-256 49:66",
    ] {
        let bad = offer(&with_fingerprint(fingerprint));
        let (bad_request, code) = (StatusCode::BAD_REQUEST, Some("invalid_field"));
        let refused = check(WHIP, bad, bad_request, code).await;
        let problem: Value = refused.json().await.expect("JSON");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("a=fingerprint"), "{detail}");
    }
    let bytes = offer("").body(vec![0xff, 0xfe]);
    check(WHIP, bytes, StatusCode::BAD_REQUEST, Some("invalid_field")).await;
    let long = offer(&"a".repeat(64 * 1024 + 1));
    check(WHIP, long, StatusCode::PAYLOAD_TOO_LARGE, Some("too_large")).await;
    let html = server
        .post("/whip/ana")
        .bearer_auth(&token)
        .header("content-type", "text/html")
        .body(OFFER);
    let answer = check(
        WHIP,
        html,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Some("unsupported_media_type"),
    )
    .await;
    assert_eq!(header(&answer, "accept-post"), "application/sdp");
    let exotic = OFFER
        .replace("opus/48000/2", "speex/48000/2")
        .replace("VP8", "H266");
    check(
        WHIP,
        offer(&exotic),
        StatusCode::NOT_ACCEPTABLE,
        Some("unsupported"),
    )
    .await;
    let parameters = server
        .post("/whip/ana")
        .header("authorization", &token)
        .header("content-type", "Application/SDP; charset=utf-8")
        .body(OFFER);
    check(WHIP, parameters, StatusCode::CREATED, None).await;
}

#[tokio::test]
async fn publishing_needs_the_grant_and_a_name() {
    let server = TestServer::closed().await;
    let token = publisher();
    check(
        WHIP,
        post(&server, "/whip/bo", &token, OFFER),
        StatusCode::FORBIDDEN,
        Some("forbidden"),
    )
    .await;
    check(
        WHIP,
        post(&server, "/whip/a%20b", &token, OFFER),
        StatusCode::NOT_FOUND,
        Some("not_found"),
    )
    .await;
    let long = format!("/whip/{}", "a".repeat(65));
    check(
        WHIP,
        post(&server, &long, &token, OFFER),
        StatusCode::NOT_FOUND,
        Some("not_found"),
    )
    .await;
    let get = server.get("/whip/ana").send().await.expect("an answer");
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(header(&get, "allow").contains("POST"));
    assert_eq!(header(&get, "content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_second_publisher_is_refused() {
    let server = TestServer::closed().await;
    let token = publisher();
    publish(&server, &token).await;
    check(
        WHIP,
        post(&server, "/whip/ana", &token, OFFER),
        StatusCode::CONFLICT,
        Some("conflict"),
    )
    .await;
}

#[tokio::test]
async fn a_second_publisher_takes_over_where_that_is_configured() {
    let auth = format!(
        "[auth]\nsecret = \"{}\"\n[live]\ntakeover = \"replace\"\n",
        super::SECRET
    );
    let server = TestServer::start(&auth).await;
    let token = publisher();
    let (first, _) = publish(&server, &token).await;
    let (second, _) = publish(&server, &token).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn watching_a_stream_that_is_not_live_is_not_found() {
    let server = TestServer::closed().await;
    let viewer = super::token("bo", Grants::default());
    let offer = OFFER.replace("a=sendonly", "a=recvonly");
    check(
        WHEP,
        post(&server, "/whep/ana", &viewer, &offer),
        StatusCode::NOT_FOUND,
        Some("not_found"),
    )
    .await;
    let waiting = post(&server, "/whep/ana", &viewer, &offer).header("prefer", "wait=1");
    check(WHEP, waiting, StatusCode::NOT_FOUND, Some("not_found")).await;
    let narrow = super::token(
        "bo",
        Grants {
            watch: ["x"].into_iter().collect(),
            ..Grants::default()
        },
    );
    check(
        WHEP,
        post(&server, "/whep/ana", &narrow, &offer),
        StatusCode::FORBIDDEN,
        Some("forbidden"),
    )
    .await;
}

#[tokio::test]
async fn unknown_resources_are_not_found() {
    let server = TestServer::closed().await;
    let token = publisher();
    for (route, path) in [
        (WHIP_RESOURCE, format!("/whip/resource/{}", "0".repeat(32))),
        (WHEP_RESOURCE, "/whep/resource/nonsense".to_owned()),
    ] {
        let end = server.request(Method::DELETE, &path).bearer_auth(&token);
        check(route, end, StatusCode::NOT_FOUND, Some("not_found")).await;
        let trickle = patch(&server, &path, &token, TRICKLE).header("if-match", "\"x\"");
        check(route, trickle, StatusCode::NOT_FOUND, Some("not_found")).await;
        let html = server
            .request(Method::PATCH, &path)
            .bearer_auth(&token)
            .body("x");
        check(
            route,
            html,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Some("unsupported_media_type"),
        )
        .await;
    }
}

#[tokio::test]
async fn a_draining_server_takes_no_new_publisher() {
    let server = TestServer::closed().await;
    server.phase.enter(redred::shutdown::Phase::Draining);
    let refused = post(&server, "/whip/ana", &publisher(), OFFER);
    let answer = check(
        WHIP,
        refused,
        StatusCode::SERVICE_UNAVAILABLE,
        Some("unavailable"),
    )
    .await;
    assert!(
        header(&answer, "retry-after")
            .parse::<u32>()
            .is_ok_and(|seconds| seconds > 0)
    );
    let socket = server.get("/ws").bearer_auth(publisher());
    check(
        "/ws",
        socket,
        StatusCode::SERVICE_UNAVAILABLE,
        Some("unavailable"),
    )
    .await;
    let ready = check(
        "/readyz",
        server.get("/readyz"),
        StatusCode::SERVICE_UNAVAILABLE,
        Some("unavailable"),
    )
    .await;
    let ready: Value = ready.json().await.expect("JSON");
    assert_eq!(ready["reasons"], json!(["draining"]));
    check("/healthz", server.get("/healthz"), StatusCode::OK, None).await;
}
