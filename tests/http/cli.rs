//! The binary: its exit codes, what it prints, how it stops.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn redred(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redred"));
    command.args(arguments).env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    redred(arguments).output().expect("runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A server that has said where it listens.
fn serving(more: &[&str]) -> (Child, String) {
    let mut arguments = vec![
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--udp-port-base",
        "0",
        "--store",
        "sqlite::memory:",
    ];
    arguments.extend(more);
    let mut server = redred(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let mut lines = BufReader::new(server.stdout.as_mut().expect("piped")).lines();
    let said = lines.find_map(|line| line.ok().filter(|line| line.contains("redred is live at")));
    let said = said.expect("says where it listens");
    let url = said
        .split_whitespace()
        .last()
        .expect("an address")
        .to_owned();
    (server, url)
}

#[test]
fn a_bad_configuration_prints_every_fault_and_exits_64() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("bad.toml");
    std::fs::write(
        &file,
        "[http]\nlisten = 1\nlistne = 2\n[cluster]\nnode_id = \"a\"\n",
    )
    .expect("writes");
    let path = file.to_str().expect("text");
    for command in ["serve", "check-config", "migrate"] {
        let output = run(&[command, "--config", path]);
        assert_eq!(output.status.code(), Some(64), "{command}");
        let said = text(&output.stderr);
        for expected in [
            "http.listen (in ",
            "http.listne (in ",
            "cluster.node_id (in ",
        ] {
            assert!(said.contains(expected), "{said}");
        }
    }
    let output = run(&["check-config", "--config", "/nowhere.toml"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("/nowhere.toml"));
    let open = run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(open.status.code(), Some(64));
    assert!(
        text(&open.stderr).contains("beyond loopback"),
        "{}",
        text(&open.stderr)
    );
}

#[test]
fn check_config_shows_what_is_in_effect_and_no_secrets() {
    let output = redred(&["check-config", "--listen", "127.0.0.1:9"])
        .env("REDRED_AUTH__SECRET", SECRET)
        .env("REDRED_LOG__LEVEL", "warn")
        .output()
        .expect("runs");
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for expected in [
        "listen = \"127.0.0.1:9\"",
        "level = \"warn\"",
        "secret = \"********\"",
        "dev = false",
    ] {
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    assert!(!said.contains(SECRET));
}

#[test]
fn token_signs_with_the_secret_or_explains() {
    let arguments = [
        "token",
        "--sub",
        "42",
        "--name",
        "Ana",
        "--publish",
        "ana",
        "--ttl",
        "1h",
    ];
    let output = redred(&arguments)
        .env("REDRED_AUTH__SECRET", SECRET)
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let token = text(&output.stdout);
    let config = super::configuration(&format!("[auth]\nsecret = \"{SECRET}\""));
    let caller = redred::auth::Verifier::new(&config)
        .expect("a secret")
        .verify(token.trim());
    let caller = caller.expect("a good token");
    let stream = redred_signaling::StreamName::new("ana").expect("a name");
    assert!(caller.grants.may_publish(&stream) && caller.grants.may_watch(&stream));
    assert!(!caller.grants.admin);

    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("/api/v1/dev/token"),
        "{}",
        text(&output.stderr)
    );
    let output = redred(&["token", "--sub", "a b"])
        .env("REDRED_AUTH__SECRET", SECRET)
        .output();
    assert_eq!(output.expect("runs").status.code(), Some(1));
}

#[test]
fn migrate_prepares_a_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("redred.db");
    let url = format!("sqlite://{}", file.display());
    for _ in 0..2 {
        let output = run(&["migrate", "--store", &url]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert!(file.exists());
}

#[test]
fn sigterm_drains_and_exits_0() {
    let (mut server, url) = serving(&["--log-format", "text"]);
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).expect("signals");
    let status = server.wait().expect("exits");
    let mut log = String::new();
    server
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut log)
        .expect("a log");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("draining"), "{log}");
}

#[test]
fn sighup_reloads_what_there_is_and_never_ends_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made.expect("a certificate");
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&cert, made.cert.pem()).expect("writes");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writes");
    let file = folder.path().join("redred.toml");
    let toml = format!("[http.tls]\ncert = {cert:?}\nkey = {key:?}\n");
    std::fs::write(&file, toml).expect("writes");
    let with_tls = ["--config", file.to_str().expect("text")];
    for (more, said) in [
        (&[][..], "all else takes a restart"),
        (&with_tls[..], "the certificate has not changed"),
    ] {
        let (mut server, _) = serving(more);
        let pid = Pid::from_raw(server.id() as i32);
        let mut log = BufReader::new(server.stderr.take().expect("piped")).lines();
        // Twice: handling one must not bring back the default.
        for _ in 0..2 {
            kill(pid, Signal::SIGHUP).expect("signals");
            assert!(log.any(|line| line.is_ok_and(|line| line.contains(said))));
        }
        kill(pid, Signal::SIGTERM).expect("signals");
        assert_eq!(server.wait().expect("exits").code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("redred.toml");
    std::fs::write(&file, "[shutdown]\ngrace = \"10m\"\n").expect("writes");
    let (mut server, url) = serving(&["--config", file.to_str().expect("text")]);
    // An open WebSocket keeps the server draining.
    let http = reqwest::Client::new();
    let asked = serde_json::json!({ "name": "Ana" });
    let answer = http
        .post(format!("{url}/api/v1/dev/token"))
        .json(&asked)
        .send()
        .await;
    let answer: serde_json::Value = answer.expect("answers").json().await.expect("JSON");
    let token = answer["token"].as_str().expect("a token");
    let address = format!("{}/ws?token={token}", url.replace("http", "ws"));
    let (_socket, _) = tokio_tungstenite::connect_async(address)
        .await
        .expect("connects");
    let pid = Pid::from_raw(server.id() as i32);
    kill(pid, Signal::SIGTERM).expect("signals");
    let mut log = BufReader::new(server.stderr.take().expect("piped")).lines();
    assert!(log.any(|line| line.is_ok_and(|line| line.contains("draining"))));
    kill(pid, Signal::SIGINT).expect("signals");
    let status = server.wait().expect("exits");
    assert_eq!(status.code(), Some(130));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&[
        "serve",
        "--listen",
        &address,
        "--udp-port-base",
        "0",
        "--store",
        "sqlite::memory:",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains(&address),
        "{}",
        text(&output.stderr)
    );
}
