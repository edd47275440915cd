//! Key sets from an issuer that changes its mind, is ill or is gone.

use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// What an issuer answers, and how often it was asked.
#[derive(Clone)]
struct Issuer {
    address: SocketAddr,
    state: Arc<Mutex<(String, usize)>>,
}

impl Issuer {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let issuer = Self {
            address: listener.local_addr().expect("an address"),
            state: Arc::new(Mutex::new((answer, 0))),
        };
        let serving = issuer.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.expect("a request"));
                }
                let answer = serving.answer();
                // Who gave up on a long answer is gone.
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        issuer
    }

    fn answer(&self) -> String {
        let mut state = self.state.lock().expect("no panic while locked");
        state.1 += 1;
        state.0.clone()
    }

    fn change(&self, answer: String) {
        self.state.lock().expect("no panic while locked").0 = answer;
    }

    fn asked(&self) -> usize {
        self.state.lock().expect("no panic while locked").1
    }

    fn remote(&self, unknown_pause: Duration) -> Remote {
        let url = format!("http://{}/jwks.json", self.address);
        let url = url.parse().expect("a URL");
        let remote = Remote::new(url, Duration::from_secs(60), Outcomes::default());
        Remote {
            unknown_pause,
            ..remote.expect("a client")
        }
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A set of Ed25519 keys (RFC 8037 appendix A) with these names, and some that are not for us.
fn set(names: &[&str]) -> String {
    let known = names.iter().map(|name| {
        format!(
            r#"{{"kty":"OKP","crv":"Ed25519","kid":"{name}","use":"sig",
                "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}"#
        )
    });
    let others = [
        r#"{"kty":"OKP","crv":"Ed25519","kid":"enc","use":"enc",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"oct","kid":"shared","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}"#,
        r#"{"kty":"of later times","kid":"new"}"#,
    ];
    let keys: Vec<String> = known.chain(others.map(str::to_owned)).collect();
    response("200 OK", &format!(r#"{{"keys":[{}]}}"#, keys.join(",")))
}

fn names(remote: &Remote) -> Vec<String> {
    let keys = remote.keys();
    keys.iter().filter_map(|key| key.id.clone()).collect()
}

#[tokio::test]
async fn keys_are_fetched_and_those_not_for_us_passed_over() {
    let issuer = Issuer::start(set(&["a", "b"])).await;
    let remote = issuer.remote(UNKNOWN_PAUSE);
    assert!(names(&remote).is_empty());
    remote.refresh().await.expect("fetched");
    assert_eq!(names(&remote), ["a", "b"]);
    issuer.change(set(&["b", "c"]));
    remote.refresh().await.expect("fetched");
    assert_eq!(names(&remote), ["b", "c"]);
    assert_eq!(remote.outcomes.done.count(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_ill_leaves_the_last_good_set() {
    let issuer = Issuer::start(set(&["a"])).await;
    let remote = issuer.remote(UNKNOWN_PAUSE);
    remote.refresh().await.expect("fetched");
    let long = "x".repeat(BODY_BYTES_MAX + 1);
    let cut = response("200 OK", r#"{"keys":[]}"#).replace("Length: 11", "Length: 12");
    for (name, answer, expected) in [
        (
            "an error",
            response("500 Oh", "{}"),
            "expected 200, got 500",
        ),
        (
            "a redirection",
            response("302 Found", ""),
            "expected 200, got 302",
        ),
        ("no JSON", response("200 OK", "<html>"), "JSON Web Key Set"),
        (
            "no keys",
            response("200 OK", r#"{"keys":[]}"#),
            "at least one signing key",
        ),
        ("none for us", set(&[]), "expected kty"),
        (
            "too long",
            response("200 OK", &long),
            "at most 262144 bytes",
        ),
        ("cut off", cut, "at most 262144 bytes"),
        ("nothing", String::new(), "connecting"),
    ] {
        issuer.change(answer);
        let error = remote.refresh().await.expect_err(name);
        let error = format!("{error:#}");
        assert!(
            error.starts_with("auth.jwks_url: http://127.0.0.1:"),
            "{error}"
        );
        assert!(error.contains(expected), "{name}: {error}");
        assert_eq!(names(&remote), ["a"], "{name}");
    }
    assert_eq!(remote.outcomes.failed.count(), 8);
}

#[tokio::test]
async fn unknown_keys_are_asked_for_once_in_a_while() {
    let issuer = Issuer::start(set(&["a"])).await;
    let remote = issuer.remote(UNKNOWN_PAUSE);
    remote.refresh_for_unknown().await;
    assert_eq!(names(&remote), ["a"]);
    issuer.change(set(&["b"]));
    let asking = (0..100).map(|_| remote.refresh_for_unknown());
    futures_util::future::join_all(asking).await;
    assert_eq!(issuer.asked(), 1);
    assert_eq!(names(&remote), ["a"]);

    let impatient = issuer.remote(Duration::ZERO);
    impatient.refresh_for_unknown().await;
    assert_eq!(names(&impatient), ["b"]);
    // That the issuer does not have the key is no reason to lose the others.
    issuer.change(response("500 Oh", ""));
    impatient.refresh_for_unknown().await;
    assert_eq!(names(&impatient), ["b"]);
    assert_eq!(issuer.asked(), 3);
}

#[tokio::test]
async fn keys_are_fetched_again_at_the_interval() {
    let issuer = Issuer::start(set(&["a"])).await;
    let mut remote = issuer.remote(UNKNOWN_PAUSE);
    remote.interval = Duration::from_millis(1);
    remote.refresh().await.expect("fetched");
    issuer.change(set(&["b"]));
    tokio::select! {
        () = remote.keep_fresh() => unreachable!("it goes on for good"),
        () = async {
            while names(&remote) != ["b"] {
                tokio::task::yield_now().await;
            }
        } => {}
    }
}
