//! The live channel over real sockets: comments, moderation, slow and silent clients, restarts.

use std::time::Duration;

use redred::server::Exit;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::server::{Client, TestServer, metrics};

const CLIENT_ID: &str = "6f1d5c1e-0000-4000-8000-000000000001";

async fn comment(client: &mut Client, text: &str, number: u32) -> Result<Value, Value> {
    let client_id = format!("6f1d5c1e-0000-4000-8000-{number:012}");
    client
        .request("comment", json!({ "text": text, "client_id": client_id }))
        .await
}

fn texts(subscribed: &Value) -> Vec<&str> {
    let comments = subscribed["data"]["state"]["comments"]
        .as_array()
        .expect("comments");
    comments
        .iter()
        .map(|comment| comment["text"].as_str().expect("text"))
        .collect()
}

fn http_status(error: &Error) -> Option<u16> {
    let Error::Http(response) = error else {
        return None;
    };
    Some(response.status().as_u16())
}

#[tokio::test]
async fn a_comment_reaches_everybody_once_and_is_acknowledged() {
    let server = TestServer::start().await;
    let mut ana = server.streamer().await;
    let mut bo = server.viewer("bo").await;
    ana.next("subscribed").await;
    bo.next("subscribed").await;
    let ack = comment(&mut bo, "hello ana", 1).await.expect("accepted");
    let seen = ana.next("comment").await;
    assert_eq!(seen["data"]["text"], "hello ana");
    assert_eq!(seen["data"]["user"]["id"], "bo");
    assert_eq!(seen["metadata"]["channel"], "live:ana");
    assert_eq!(seen["data"]["id"], ack["id"]);
    // The same client_id again is the same comment.
    assert_eq!(
        comment(&mut bo, "hello ana", 1).await.expect("accepted")["id"],
        ack["id"]
    );
    comment(&mut bo, "second", 2).await.expect("accepted");
    assert_eq!(ana.next("comment").await["data"]["text"], "second");
}

#[tokio::test]
async fn bad_input_is_answered_and_ends_nothing() {
    let server = TestServer::start().await;
    let mut bo = server.viewer("bo").await;
    bo.next("subscribed").await;
    bo.send_text("{not json").await;
    assert_eq!(bo.next("error").await["data"]["code"], "bad_message");
    bo.send_text("[]").await;
    assert_eq!(bo.next("error").await["data"]["code"], "bad_message");
    let unknown = bo
        .request("make_coffee", json!({}))
        .await
        .expect_err("refused");
    assert_eq!(unknown["code"], "unknown_type");
    let long = json!({ "text": "x".repeat(501), "client_id": CLIENT_ID });
    assert_eq!(
        bo.request("comment", long).await.expect_err("refused")["code"],
        "invalid_field"
    );
    let kick = bo
        .request("kick", json!({ "user_id": "ana" }))
        .await
        .expect_err("refused");
    assert_eq!(kick["code"], "forbidden");
    comment(&mut bo, "still here", 3).await.expect("accepted");
}

#[tokio::test]
async fn a_session_that_sends_too_much_at_once_is_told_to_wait() {
    let server = TestServer::start_with(|config| {
        config.limits.messages.per_second = 1;
        config.limits.messages.burst = 16;
    })
    .await;
    let mut bo = server.viewer("bo").await;
    let mut refused = None;
    for _ in 0..20 {
        if let Err(error) = bo.request("ping", json!({})).await {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("one over the burst");
    assert_eq!(error["code"], "rate_limited");
    assert!(error["retry_after_ms"].as_u64().is_some(), "{error}");
}

#[tokio::test]
async fn an_offer_that_could_never_connect_is_refused_and_a_good_one_is_answered() {
    const OFFER: &str = include_str!("../http/offer.sdp");
    let server = TestServer::start().await;
    let mut ana = server.streamer().await;
    for (offer, expected) in [
        (
            OFFER.replace("fingerprint:sha-256", "fingerprint:md5"),
            Err("invalid_field"),
        ),
        ("hello".to_owned(), Err("invalid_field")),
        (OFFER.to_owned(), Ok(())),
    ] {
        let started = ana
            .request("start_stream", json!({ "title": "Hello" }))
            .await;
        let session = started.expect("may publish")["session"].clone();
        let offer = json!({ "session": session, "sdp": offer });
        match (ana.request("webrtc_offer", offer).await, expected) {
            (Ok(_), Ok(())) => {
                let answer = ana.next("webrtc_answer").await;
                let sdp = answer["data"]["sdp"].as_str().expect("text");
                assert!(sdp.contains("a=ice-lite"), "{sdp}");
            }
            (Err(error), Err(code)) => assert_eq!(error["code"], code, "{error}"),
            (answer, expected) => panic!("{answer:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_ban_cuts_at_once_and_survives_reconnects_new_tokens_and_a_restart() {
    let server = TestServer::start().await;
    let mut ana = server.streamer().await;
    let mut bo = server.viewer("bo").await;
    comment(&mut bo, "buy my things", 1)
        .await
        .expect("accepted");
    ana.request("ban", json!({ "user_id": "bo", "reason": "spam" }))
        .await
        .expect("banned");
    assert_eq!(bo.closed().await, 4503);
    refused_as_banned(&server).await;

    drop((ana, bo));
    let server = server.restart().await;
    refused_as_banned(&server).await;
    let mut ana = server.streamer().await;
    ana.request("unban", json!({ "user_id": "bo" }))
        .await
        .expect("unbanned");
    let mut bo = server.viewer("bo").await;
    let subscribed = bo.next("subscribed").await;
    assert_eq!(texts(&subscribed), ["buy my things"]);
}

/// Turned away from the path before the upgrade, and from the channel on a connection without one.
async fn refused_as_banned(server: &TestServer) {
    let token = server.token("bo", json!({})).await;
    for path in ["/ws/live/ana/", "/ws/live/ana"] {
        let error = server.try_connect(path, &token).await.err();
        let error = error.expect("refused before the upgrade");
        assert_eq!(http_status(&error), Some(403), "{error}");
    }
    let url = format!("http://{}/ws/live/ana/?token={token}", server.address);
    let problem = reqwest::get(url).await.expect("an answer");
    let problem: Value = problem.json().await.expect("JSON");
    assert_eq!(problem["code"], "forbidden");
    assert_eq!(problem["reason"], "banned");
    let mut bo = server.connect("/ws", &token).await;
    let refused = bo
        .request("subscribe", json!({ "channel": "live:ana" }))
        .await;
    assert_eq!(refused.expect_err("refused")["code"], "forbidden");
}

#[tokio::test]
async fn comments_outlive_a_restart_and_deleted_ones_do_not() {
    let server = TestServer::start().await;
    let mut ana = server.streamer().await;
    for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
        let id = comment(&mut ana, text, number as u32)
            .await
            .expect("accepted")["id"]
            .clone();
        if text == "two" {
            ana.request("delete_comment", json!({ "id": id }))
                .await
                .expect("deleted");
        }
    }
    drop(ana);
    let server = server.restart().await;
    let subscribed = server.viewer("bo").await.next("subscribed").await;
    assert_eq!(texts(&subscribed), ["one", "three"]);
}

#[tokio::test]
async fn a_silent_client_is_closed_as_idle_and_one_that_answers_pings_is_not() {
    let server = TestServer::start_with(|config| {
        config.websocket.heartbeat = Duration::from_millis(300);
        config.websocket.idle_timeout = Duration::from_millis(1500);
    })
    .await;
    let mut answering = server.viewer("bo").await;
    let silent = server.viewer("cy").await;
    // A client that is not polled answers no pings; this one is, for longer than the idle timeout.
    let quiet = tokio::time::timeout(Duration::from_secs(3), answering.next("nothing")).await;
    assert!(quiet.is_err());
    let mut silent = silent;
    assert_eq!(silent.closed().await, 4008);
    comment(&mut answering, "I am here", 1)
        .await
        .expect("accepted");
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_closed_with_4002_and_others_are_not_held_up() {
    let server = TestServer::start_with(|config| {
        config.websocket.outbox_bytes = 64 * 1024;
        config.websocket.outbox_messages = 64;
        for rate in [
            &mut config.limits.messages,
            &mut config.limits.user_messages,
        ] {
            rate.per_second = 10_000;
            rate.burst = 10_000;
        }
    })
    .await;
    let mut ana = server.streamer().await;
    let mut quick = server.viewer("quick").await;
    quick.next("subscribed").await;
    let token = server.token("slow", json!({})).await;
    let mut slow = server.connect_narrow("/ws/live/ana/", &token).await;
    let text = "\u{1f600}".repeat(500);
    let mut number = 0;
    let metrics = loop {
        comment(&mut ana, &text, number).await.expect("accepted");
        quick.next("comment").await;
        number += 1;
        if number % 20 == 0 {
            let metrics = metrics(&server).await;
            if metrics.contains("redred_ws_slow_consumers_total 1") {
                break metrics;
            }
        }
        assert!(number < 500, "never found to be slow");
    };
    assert!(metrics.contains("redred_ws_delivery_seconds"), "{metrics}");
    assert_eq!(slow.closed().await, 4002);
    comment(&mut quick, "goes on", number)
        .await
        .expect("accepted");
}

#[tokio::test]
async fn a_drain_tells_clients_when_to_come_back() {
    let server = TestServer::start().await;
    let mut bo = server.viewer("bo").await;
    bo.next("subscribed").await;
    server.drain().await;
    let draining = bo.next("draining").await;
    assert!(
        draining["data"]["reconnect_after_ms"].as_u64().is_some(),
        "{draining}"
    );
    assert_eq!(bo.closed().await, 4001);
    drop(bo);
    assert_eq!(server.stopped().await, Exit::Drained);
}

#[tokio::test]
async fn a_session_is_taken_up_again_with_its_resume_token() {
    let server = TestServer::start().await;
    let token = server.token("bo", json!({})).await;
    let mut first = server.connect("/ws/live/ana/", &token).await;
    let subscribed = first.next("subscribed").await;
    let resume = first.session["resume_token"]
        .as_str()
        .expect("a resume token")
        .to_owned();
    let session_id = first.session["session_id"].clone();
    drop(first);
    let mut ana = server.streamer().await;
    comment(&mut ana, "missed", 1).await.expect("accepted");

    let mut second = server
        .connect(&format!("/ws/live/ana/?resume={resume}"), &token)
        .await;
    assert_eq!(second.session["session_id"], session_id);
    let since = json!({ "epoch": subscribed["data"]["epoch"], "seq": subscribed["data"]["seq"] });
    let subscribe = json!({ "channel": "live:ana", "since": since });
    second
        .request("subscribe", subscribe)
        .await
        .expect("subscribed");
}

#[tokio::test]
async fn the_door_is_closed_to_bad_tokens_and_foreign_pages() {
    let server = TestServer::start().await;
    let refused = server
        .try_connect("/ws", "not-a-token")
        .await
        .err()
        .expect("refused");
    assert_eq!(http_status(&refused), Some(401));
    let token = server.token("bo", json!({ "watch": ["cy"] })).await;
    let refused = server
        .try_connect("/ws/live/ana/", &token)
        .await
        .err()
        .expect("refused");
    assert_eq!(http_status(&refused), Some(403));
}
