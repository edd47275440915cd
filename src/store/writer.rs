//! The one task that talks to the database: it takes what is queued, up to a limit, into one transaction, and answers
//! after the commit. Reads pass through it too, so that they see every write that was asked for before them.

use std::sync::atomic::Ordering;

use redred_signaling::store::{StoreError, StoreOk, StoreReply};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::mpsc;

use crate::metrics::Histogram;

use super::{Job, Monitor, live};

/// Requests per transaction. A commit costs a wait for the disk whatever is in it; more than this makes the first ones
/// wait noticeably for the last.
const BATCH: usize = 512;

pub(super) struct Writer {
    options: SqliteConnectOptions,
    /// None after a failure, until it is opened again for the next batch.
    connection: Option<SqliteConnection>,
    /// A database in memory would be gone with its connection.
    in_memory: bool,
    monitor: Monitor,
    latency: Histogram,
}

impl Writer {
    pub(super) fn new(
        options: SqliteConnectOptions,
        connection: SqliteConnection,
        monitor: Monitor,
        latency: Histogram,
    ) -> Self {
        let name = options.get_filename().to_string_lossy();
        let in_memory = name.contains(":memory:") || name.contains("sqlx-in-memory");
        Self {
            options,
            connection: Some(connection),
            in_memory,
            monitor,
            latency,
        }
    }

    /// Serves until nobody can ask any more.
    pub(super) async fn run(
        mut self,
        mut jobs: mpsc::Receiver<Job>,
        replies: mpsc::Sender<StoreReply>,
    ) {
        let mut batch = Vec::with_capacity(BATCH);
        while jobs.recv_many(&mut batch, BATCH).await > 0 {
            let results = self.transact(&batch).await;
            for (job, result) in batch.drain(..).zip(results) {
                self.latency.observe(job.queued.elapsed());
                // Nobody waits for answers any more while the process shuts down; the writes still count.
                let _ = replies
                    .send(StoreReply {
                        id: job.request.id,
                        result,
                    })
                    .await;
            }
        }
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }

    /// One result for each job. A failure of the database is a failure of all of them, and nothing was written.
    async fn transact(&mut self, batch: &[Job]) -> Vec<Result<StoreOk, StoreError>> {
        let counters = self.monitor.inner.clone();
        counters
            .requests
            .fetch_add(batch.len() as u64, Ordering::Relaxed);
        match self.try_transact(batch).await {
            Ok(results) => {
                counters.commits.fetch_add(1, Ordering::Relaxed);
                if counters.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the database works again");
                }
                results
            }
            Err(error) => {
                counters
                    .failures
                    .fetch_add(batch.len() as u64, Ordering::Relaxed);
                if !counters.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, requests = batch.len(), "the database failed");
                }
                self.recover().await;
                let error = StoreError::Unavailable(error.to_string());
                batch.iter().map(|_| Err(error.clone())).collect()
            }
        }
    }

    async fn try_transact(
        &mut self,
        batch: &[Job],
    ) -> sqlx::Result<Vec<Result<StoreOk, StoreError>>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.options.connect().await?),
        };
        // The write lock is taken first: a transaction that only later finds itself writing could not wait for it.
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let mut results = Vec::with_capacity(batch.len());
        for job in batch {
            results.push(live::execute(&mut transaction, &job.request.op).await?);
        }
        transaction.commit().await?;
        Ok(results)
    }

    /// After a failure a fresh connection is the safest state; one that lives in memory can only be rolled back, which
    /// dropping its transaction did.
    async fn recover(&mut self) {
        if self.in_memory {
            return;
        }
        if let Some(connection) = self.connection.take() {
            // It has failed before; how it ends changes nothing.
            let _ = connection.close().await;
        }
    }
}
