//! Autobahn's cases, driven by `kosoku` from PyPI, against an echo that is served exactly as sessions are: the same
//! handshake, guard, reader and writer. Only the limits differ, for Autobahn sends messages of 16 MiB and of 65 536
//! fragments.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::process::Command;
use std::sync::Mutex;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use serde::Deserialize;
use tokio::net::TcpListener;

use super::payload::Payload;
use super::*;

/// Autobahn's cases, with those of compression.
const CASES: usize = 517;

const CONFIG: Config = Config {
    write_timeout: Duration::from_secs(60),
    message_bytes_max: 32 << 20,
    fragments_max: 1 << 20,
    compress_min_bytes: 512,
};

/// Sends back what comes, one batch at a time as the hub does. Where compression was agreed everything is compressed,
/// what would not shrink too: kosoku 0.1.0 takes text that comes uncompressed in the cases of compression for an error
/// of its own.
struct Echo {
    window: Option<Window>,
    outgoing: mpsc::Sender<Outgoing>,
    queue: Mutex<Queue>,
}

struct Queue {
    waiting: VecDeque<(Kind, Payload)>,
    is_writing: bool,
}

impl Echo {
    fn new(window: Option<Window>, outgoing: mpsc::Sender<Outgoing>) -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            is_writing: false,
        };
        Self {
            window,
            outgoing,
            queue: Mutex::new(queue),
        }
    }

    fn pump(&self, queue: &mut Queue) {
        if queue.is_writing {
            return;
        }
        if let Some((kind, payload)) = queue.waiting.pop_front() {
            queue.is_writing = true;
            let batch = Outgoing::Batch {
                kind,
                payloads: vec![payload],
                accepted: std::time::Instant::now(),
            };
            // A writer that is gone ends the connection.
            let _ = self.outgoing.try_send(batch);
        }
    }
}

impl Session for Echo {
    async fn message(&self, kind: Kind, payload: Bytes) {
        let payload = match self.window {
            Some(window) => Payload::deflated(payload, window),
            None => Payload::Plain(payload),
        };
        let mut queue = self.queue.lock().expect("no panic while locked");
        queue.waiting.push_back((kind, payload));
        self.pump(&mut queue);
    }

    async fn heard(&self) {}

    async fn written(&self, _: std::time::Instant) {
        let mut queue = self.queue.lock().expect("no panic while locked");
        queue.is_writing = false;
        self.pump(&mut queue);
    }

    async fn disconnect(&self, _: Departure) {}

    fn violated(&self) {}
}

async fn echo(request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    let accepted = handshake::accept(&mut request).expect("a handshake");
    tokio::spawn(async move {
        let socket = accepted.upgrading.await.expect("a connection");
        let (outgoing, receiver) = mpsc::channel(OUTGOING);
        let echo = Echo::new(accepted.window, outgoing);
        run(
            TokioIo::new(socket),
            CONFIG,
            accepted.window,
            &echo,
            receiver,
        )
        .await;
    });
    Ok(accepted.response)
}

async fn serve_echo(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service_fn(echo))
                .with_upgrades(),
        );
    }
}

/// One line of Autobahn's `index.json`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    behavior: String,
    behavior_close: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs kosoku, which scripts/test installs; REDRED_KOSOKU says where it is"]
async fn all_cases_of_autobahn_pass() {
    let program = std::env::var("REDRED_KOSOKU").expect("REDRED_KOSOKU: the path of kosoku");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let serving = tokio::spawn(serve_echo(listener));
    let folder = tempfile::tempdir().expect("a folder");
    let reports = folder.path().to_path_buf();
    let run = tokio::task::spawn_blocking(move || {
        Command::new(program)
            .args(["-m", "fuzzingclient", "-p", "2", "-o"])
            .arg(reports)
            .arg(address)
            .output()
    });
    let output = run.await.expect("no panic").expect("kosoku runs");
    assert!(!serving.is_finished(), "the echo ended");
    let index = std::fs::read(folder.path().join("index.json")).expect("a report");
    let agents: BTreeMap<String, BTreeMap<String, Outcome>> =
        serde_json::from_slice(&index).expect("a report");
    let outcomes: Vec<_> = agents.into_values().flatten().collect();
    let mut counts = BTreeMap::<&str, usize>::new();
    for (case, outcome) in &outcomes {
        *counts.entry(&outcome.behavior).or_default() += 1;
        let has_passed = matches!(&*outcome.behavior, "OK" | "NON-STRICT" | "INFORMATIONAL")
            && matches!(&*outcome.behavior_close, "OK" | "INFORMATIONAL");
        if !has_passed {
            println!(
                "case {case}: {}, closing: {}",
                outcome.behavior, outcome.behavior_close
            );
        }
    }
    println!("Autobahn: {} cases, {counts:?}", outcomes.len());
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert_eq!(outcomes.len(), CASES);
}
