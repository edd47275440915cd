//! Durable state: opens the database, brings it up to date, and hands what the hub asks to the writer.
//!
//! SQLite in WAL mode with `synchronous=FULL`: what was acknowledged survives a crash of the machine. One connection
//! writes, so that writers never wait for each other's locks and many requests share one commit.

mod live;
mod writer;

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use redred_signaling::store::{StoreError, StoreReply, StoreRequest};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::metrics::Histogram;

/// Requests that wait for the writer. One batch takes a fraction of them; when the disk stands still for so long that
/// this fills, further requests are refused as unavailable instead of piling up.
const QUEUE: usize = 8192;

/// How long SQLite waits for another process that holds the write lock, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// The first SQLite without the bug that could corrupt a database when a WAL was reset (3.51.3).
const SQLITE_VERSION_MIN: [u32; 3] = [3, 51, 3];

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations");

/// The open database. Dropping it lets the writer finish what is queued.
#[derive(Debug)]
pub struct Store {
    queue: mpsc::Sender<Job>,
    replies: mpsc::Receiver<StoreReply>,
    monitor: Monitor,
    writer: JoinHandle<()>,
}

/// A request on its way to the writer.
#[derive(Debug)]
struct Job {
    request: StoreRequest,
    queued: Instant,
}

/// How the store fares; may be asked from anywhere.
#[derive(Clone, Debug, Default)]
pub struct Monitor {
    inner: Arc<MonitorInner>,
}

#[derive(Debug, Default)]
struct MonitorInner {
    failing: AtomicBool,
    requests: AtomicU64,
    commits: AtomicU64,
    failures: AtomicU64,
    refused: AtomicU64,
}

/// Counters of the store. All only rise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests answered, failed ones included.
    pub requests: u64,
    /// Transactions committed; each carried one or more requests.
    pub commits: u64,
    /// Requests that failed because the database did.
    pub failures: u64,
    /// Requests refused because the queue was full.
    pub refused: u64,
}

impl Store {
    /// Opens the database of a URL such as `sqlite://redred.db`, creates it if it is missing, and applies migrations.
    /// `latency` gets how long each request took, from the queue to the commit.
    ///
    /// # Errors
    /// When the URL is not understood, the file cannot be used, or its schema is newer than this program.
    pub async fn open(url: &str, latency: Histogram) -> anyhow::Result<Self> {
        let options = connect_options(url)?;
        let connection = prepare(&options)
            .await
            .with_context(|| format!("store.url {url}"))?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (reply, replies) = mpsc::channel(QUEUE);
        let monitor = Monitor::default();
        let writer = writer::Writer::new(options, connection, monitor.clone(), latency);
        let writer = tokio::spawn(writer.run(jobs, reply));
        Ok(Self {
            queue,
            replies,
            monitor,
            writer,
        })
    }

    /// Queues a request. The answer comes by [`Self::reply`].
    ///
    /// # Errors
    /// When the queue is full; then there is no other answer.
    pub fn submit(&self, request: StoreRequest) -> Result<(), StoreError> {
        let job = Job {
            request,
            queued: Instant::now(),
        };
        self.queue.try_send(job).map_err(|_| {
            self.monitor.inner.refused.fetch_add(1, Ordering::Relaxed);
            StoreError::Unavailable(String::from("too many requests are waiting"))
        })
    }

    /// Waits for the next answer. Nothing is lost when the future is dropped. None when the writer is gone.
    pub async fn reply(&mut self) -> Option<StoreReply> {
        self.replies.recv().await
    }

    /// How it fares.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// Waits until everything queued is written and the database is closed.
    pub async fn close(self) {
        drop(self.queue);
        drop(self.replies);
        if let Err(error) = self.writer.await {
            tracing::error!(%error, "the store's writer did not end well");
        }
    }
}

impl Monitor {
    /// Whether the last transaction worked.
    pub fn is_healthy(&self) -> bool {
        !self.inner.failing.load(Ordering::Relaxed)
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        let inner = &*self.inner;
        Stats {
            requests: inner.requests.load(Ordering::Relaxed),
            commits: inner.commits.load(Ordering::Relaxed),
            failures: inner.failures.load(Ordering::Relaxed),
            refused: inner.refused.load(Ordering::Relaxed),
        }
    }
}

/// Applies migrations and closes the database again.
///
/// # Errors
/// As [`Store::open`].
pub async fn migrate(url: &str) -> anyhow::Result<()> {
    let options = connect_options(url)?;
    let connection = prepare(&options)
        .await
        .with_context(|| format!("store.url {url}"))?;
    connection.close().await.context("closing the database")
}

/// What a URL of the configuration means for SQLite.
fn connect_options(url: &str) -> anyhow::Result<SqliteConnectOptions> {
    if !url.starts_with("sqlite:") {
        bail!("store.url: expected sqlite://FILE");
    }
    let options = SqliteConnectOptions::from_str(url)
        .with_context(|| format!("store.url: expected sqlite://FILE, got {url}"))?;
    Ok(options
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging())
}

/// Connects, checks the library and applies migrations.
async fn prepare(options: &SqliteConnectOptions) -> anyhow::Result<SqliteConnection> {
    let mut connection = options.connect().await.context("cannot be opened")?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut connection)
        .await
        .context("the SQLite version")?;
    if !is_recent(&version) {
        bail!("SQLite {version} can corrupt databases in WAL mode, 3.51.3 or newer is needed");
    }
    MIGRATIONS
        .run(&mut connection)
        .await
        .context("migrations")?;
    Ok(connection)
}

fn is_recent(version: &str) -> bool {
    let numbers: Vec<u32> = version
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect();
    numbers[..] >= SQLITE_VERSION_MIN[..]
}

#[cfg(test)]
mod tests;
