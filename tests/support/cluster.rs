//! PostgreSQL for the tests: a real server in a temporary folder, gone with the process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{ConnectOptions, Connection};

/// A server of its own.
pub(crate) struct Cluster {
    keeper: Child,
    answers: BufReader<ChildStdout>,
    folder: String,
}

impl Cluster {
    /// Starts one. Without `is_durable` it does not wait for the disk.
    pub(crate) fn start(is_durable: bool) -> Self {
        let script = include_str!("postgres.sh");
        let fsync = if is_durable { "on" } else { "off" };
        let mut keeper = Command::new("sh")
            .args(["-c", script, script, fsync])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut answers = BufReader::new(keeper.stdout.take().expect("a pipe"));
        let folder = line(&mut answers);
        let mut cluster = Self {
            keeper,
            answers,
            folder,
        };
        cluster.tell("start");
        cluster
    }

    /// Stops it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.tell("kill");
    }

    /// Starts it again.
    pub(crate) fn restart(&mut self) {
        self.tell("start");
    }

    /// The URL of a new, empty database.
    pub(crate) async fn database(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut admin = connect(&self.url("postgres")).await;
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create)
            .execute(&mut admin)
            .await
            .expect("a new database");
        admin.close().await.expect("closed");
        self.url(&name)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=redred", self.folder)
    }

    fn tell(&mut self, command: &str) {
        let orders = self.keeper.stdin.as_mut().expect("a pipe");
        writeln!(orders, "{command}").expect("a living keeper");
        assert_eq!(line(&mut self.answers), "done", "{command}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// A connection besides the server's.
pub(crate) async fn connect(url: &str) -> sqlx::PgConnection {
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a valid URL");
    options.connect().await.expect("a second connection")
}

fn line(answers: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).expect("a living keeper");
    assert!(
        !line.is_empty(),
        "PostgreSQL does not start; is it installed?"
    );
    line.trim_end().to_owned()
}
