//! The built server as a process: started, frozen, killed and started again on the same database.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redred_signaling::Channel;
use serde_json::Value;
use tempfile::TempDir;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The clients write as fast as they are acknowledged, which no person does.
const UNLIMITED: [&str; 8] = [
    "CHAT__MESSAGES_PER_SECOND",
    "CHAT__MESSAGES_BURST",
    "LIMITS__MESSAGES_PER_SECOND",
    "LIMITS__MESSAGES_BURST",
    "LIMITS__USER_MESSAGES_PER_SECOND",
    "LIMITS__USER_MESSAGES_BURST",
    "LIMITS__USER_REQUESTS_PER_SECOND",
    "LIMITS__USER_REQUESTS_BURST",
];

fn redred(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redred"));
    command.args(arguments).env_clear();
    command.env("REDRED_AUTH__SECRET", SECRET);
    command
}

/// A token that outlives the server that is asked with it.
pub(crate) fn token(user: &str) -> String {
    let output = redred(&["token", "--sub", user]).output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).expect("text");
    token.trim().to_owned()
}

pub(crate) struct Server {
    store: String,
    /// With the log of every process that was started.
    directory: TempDir,
    process: Child,
    /// Kept open: the server must not find that nobody reads what it prints.
    _output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts one on a database and waits until it says where it listens.
    pub(crate) fn start(store: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let (process, output, address) = spawn(store, &directory);
        Self {
            store: store.to_owned(),
            directory,
            process,
            _output: output,
            address,
        }
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a process of ours");
        self.process.wait().expect("gone");
    }

    /// Starts it again after [`Server::kill`].
    pub(crate) fn restart(&mut self) {
        let (process, output, address) = spawn(&self.store, &self.directory);
        self.process = process;
        self._output = output;
        self.address = address;
    }

    /// Takes the processor from it, as a machine that is out of memory or a paused virtual machine does.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).expect("process ids are small");
        kill(Pid::from_raw(pid), signal).expect("a process of ours");
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Value {
        self.ask(reqwest::Client::new().get(self.url(path)), token)
            .await
    }

    pub(crate) async fn post(&self, path: &str, token: &str, body: &Value) -> Value {
        self.ask(
            reqwest::Client::new().post(self.url(path)).json(body),
            token,
        )
        .await
    }

    /// Every message of a room, oldest first.
    pub(crate) async fn messages(&self, room: &str, token: &str) -> Vec<Value> {
        let Ok(Channel::Chat(id)) = Channel::parse(room) else {
            panic!("{room} is no room");
        };
        let mut messages: Vec<Value> = Vec::new();
        loop {
            let after = messages
                .last()
                .map_or(0, |last| last["seq"].as_u64().expect("a position"));
            let path = format!("/api/v1/rooms/{id}/messages?after_seq={after}&limit=200");
            let mut page = self.get(&path, token).await;
            let more = page["messages"].as_array_mut().expect("a list");
            messages.append(more);
            if page["has_more"] != true {
                return messages;
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn ask(&self, request: reqwest::RequestBuilder, token: &str) -> Value {
        let answer = request.bearer_auth(token).send().await.expect("an answer");
        let status = answer.status();
        let body: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{status} {body}");
        body
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory.path().join("log"));
            eprintln!("the server's log:\n{}", log.unwrap_or_default());
        }
    }
}

fn spawn(store: &str, directory: &TempDir) -> (Child, BufReader<ChildStdout>, SocketAddr) {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.path().join("log"))
        .expect("a log");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--udp-port-base", "0"];
    let mut process = redred(&serve)
        .args(["--store", store, "--log-level", "warn"])
        .envs(UNLIMITED.map(|key| (format!("REDRED_{key}"), "10000")))
        .env("REDRED_SFU__WORKERS", "1")
        .env("REDRED_SFU__LISTEN_IP", "127.0.0.1")
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("runs");
    let mut output = BufReader::new(process.stdout.take().expect("a pipe"));
    let said = output.by_ref().lines().find_map(|line| {
        let line = line
            .ok()
            .filter(|line| line.contains("redred is live at"))?;
        line.split_once("http://")
            .map(|(_, address)| address.trim().to_owned())
    });
    let Some(address) = said else {
        let log = std::fs::read_to_string(directory.path().join("log"));
        panic!("the server did not start: {log:?}");
    };
    let address = address.trim_end_matches('/').parse();
    (process, output, address.expect("an address"))
}
