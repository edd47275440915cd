//! Durable state: opens the database, brings it up to date, and hands what the hub asks to the writer.
//!
//! SQLite in WAL mode with `synchronous=FULL`, or PostgreSQL: what was acknowledged survives a crash of the machine.
//! One connection writes, so that writers never wait for each other's locks and many requests share one commit.

mod backend;
mod chat;
mod fault;
mod live;
mod notifications;
mod request;
mod sql;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::Context;
use redred_signaling::store::{StoreError, StoreReply, StoreRequest};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::metrics::Histogram;

use backend::Backend;
pub(crate) use backend::{is_postgres, is_sqlite};

/// Requests that wait for the writer. One batch takes a fraction of them; when the disk stands still for so long that
/// this fills, further requests are refused as unavailable instead of piling up.
const QUEUE: usize = 8192;

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
    failing: watch::Sender<bool>,
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
    /// Opens the database of a URL such as `sqlite://redred.db` or `postgres://ana:secret@localhost/redred`, and applies
    /// migrations. A file is created if it is missing, a database of PostgreSQL is not.
    /// `latency` gets how long each request took, from the queue to the commit.
    ///
    /// # Errors
    /// When the URL is not understood, the file cannot be used, or its schema is newer than this program.
    pub async fn open(url: &str, latency: Histogram) -> anyhow::Result<Self> {
        Self::open_backend(Backend::parse(url)?, latency).await
    }

    async fn open_backend(backend: Backend, latency: Histogram) -> anyhow::Result<Self> {
        let db = prepare(&backend).await?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let (reply, replies) = mpsc::channel(QUEUE);
        let monitor = Monitor::default();
        let writer = writer::Writer::new(backend, db, monitor.clone(), latency);
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

    /// Waits for answers and adds them to `replies`, at most so many. Nothing is lost when the future is dropped. None
    /// come when the writer is gone.
    pub async fn replies(&mut self, replies: &mut Vec<StoreReply>, limit: usize) -> usize {
        self.replies.recv_many(replies, limit).await
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
    /// Whether the database works, as far as is known.
    pub fn is_healthy(&self) -> bool {
        !*self.inner.failing.borrow()
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

/// Applies migrations and closes the database again. Answers which database it was, in words without a secret.
///
/// # Errors
/// As [`Store::open`].
pub async fn migrate(url: &str) -> anyhow::Result<String> {
    let backend = Backend::parse(url)?;
    let db = prepare(&backend).await?;
    db.close().await.context("closing the database")?;
    Ok(backend.describe())
}

async fn prepare(backend: &Backend) -> anyhow::Result<sql::Db> {
    let prepared = backend.prepare().await;
    prepared.with_context(|| format!("store.url: {}", backend.describe()))
}

#[cfg(test)]
mod tests;
