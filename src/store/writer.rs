//! The one task that talks to the database: it takes what is queued, up to a limit, into one transaction, and answers
//! after the commit. Reads pass through it too, so that they see every write that was asked for before them.
//!
//! While the database fails, requests are refused at once, and the writer tries by itself, with growing pauses, until
//! a write works again.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redred_signaling::store::{StoreError, StoreOk, StoreReply};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::metrics::Histogram;

use super::backend::Backend;
use super::fault::{Fault, LOST, SLOW, UNFIT, judge};
use super::sql::Db;
use super::{Job, Monitor, request};

/// Requests per transaction. A commit costs a wait for the disk whatever is in it, and writes each page once that its
/// requests changed, of which the indexes of busy rooms share many; more than this makes the first ones wait noticeably
/// for the last.
const BATCH: usize = 2048;

/// How long a batch may take. Locks and statements have shorter limits of their own; this one is for a disk or a
/// network that does not answer at all, and leaves room for the longest request, a hundred thousand followers.
const DEADLINE: Duration = Duration::from_secs(8);

/// The pause before the first attempt to get a failing database back, doubled after each up to the longest. Each is
/// shortened by chance by up to a half, so that servers that lost the same database do not come back in step.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

type Answer = Result<StoreOk, StoreError>;

pub(super) struct Writer {
    backend: Backend,
    state: State,
    monitor: Monitor,
    latency: Histogram,
}

enum State {
    Working(Db),
    Failing {
        reason: &'static str,
        /// Ends with a connection that works.
        recovery: Pin<Box<dyn Future<Output = Db> + Send>>,
    },
}

/// Why a transaction came to nothing, and which request it was carrying out, or the first of which requests together.
struct Failure {
    index: usize,
    is_together: bool,
    error: sqlx::Error,
}

impl Writer {
    pub(super) fn new(backend: Backend, db: Db, monitor: Monitor, latency: Histogram) -> Self {
        Self {
            backend,
            state: State::Working(db),
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
        loop {
            let count = match &mut self.state {
                State::Working(_) => jobs.recv_many(&mut batch, BATCH).await,
                State::Failing { recovery, .. } => tokio::select! {
                    biased;
                    db = recovery => {
                        self.resume(db);
                        continue;
                    }
                    count = jobs.recv_many(&mut batch, BATCH) => count,
                },
            };
            if count == 0 {
                break;
            }
            self.serve(&mut batch, &replies).await;
        }
        if let State::Working(db) = self.state
            && let Err(error) = db.close().await
        {
            tracing::warn!(%error, "the database did not close cleanly");
        }
    }

    async fn serve(&mut self, batch: &mut Vec<Job>, replies: &mpsc::Sender<StoreReply>) {
        let answers = self.transact(batch).await;
        let counters = self.monitor.inner.clone();
        for (job, result) in batch.drain(..).zip(answers) {
            counters.requests.fetch_add(1, Ordering::Relaxed);
            if matches!(result, Err(StoreError::Unavailable(_))) {
                counters.failures.fetch_add(1, Ordering::Relaxed);
            }
            self.latency.observe(job.queued.elapsed());
            let id = job.request.id;
            // Nobody waits for answers any more while the process shuts down; the writes still count.
            let _ = replies.send(StoreReply { id, result }).await;
        }
    }

    /// One answer for each job. A request that the database cannot carry out spoils its own answer only; a failure of
    /// the database spoils those of everything that is not committed yet.
    async fn transact(&mut self, batch: &[Job]) -> Vec<Answer> {
        let deadline = Instant::now() + DEADLINE;
        let mut answers = Vec::with_capacity(batch.len());
        // Where the next transaction ends: behind the last job, or before one that cannot be carried out.
        let mut end = batch.len();
        // Until the database cannot carry out one of several messages: then they are tried one by one, to find it.
        let mut may_join = true;
        while answers.len() < batch.len() {
            let begin = answers.len();
            let db = match &mut self.state {
                State::Working(db) => db,
                State::Failing { reason, .. } => {
                    let error = StoreError::Unavailable((*reason).to_owned());
                    answers.resize(batch.len(), Err(error));
                    break;
                }
            };
            let work = transaction(&self.backend, db, &batch[begin..end], may_join);
            let outcome = if self.backend.is_in_memory() {
                Ok(work.await)
            } else {
                timeout_at(deadline, work).await
            };
            let failure = match outcome {
                Ok(Ok(committed)) => {
                    self.monitor.inner.commits.fetch_add(1, Ordering::Relaxed);
                    answers.extend(committed);
                    if end < batch.len() {
                        answers.push(Err(StoreError::Unavailable(UNFIT.to_owned())));
                        end = batch.len();
                    }
                    continue;
                }
                Ok(Err(failure)) => failure,
                Err(_) => {
                    self.fail(SLOW, "no answer");
                    continue;
                }
            };
            match judge(&failure.error) {
                Fault::Request => {
                    if failure.is_together {
                        may_join = false;
                    } else {
                        tracing::error!(error = %failure.error, "a request that the database cannot carry out");
                        end = begin + failure.index;
                    }
                    if let Err(error) = db.rollback().await {
                        self.fail(LOST, &error.to_string());
                    }
                }
                // What is in memory is gone with its connection, so that one is kept.
                Fault::Database(reason) if self.backend.is_in_memory() => {
                    tracing::error!(error = %failure.error, "{reason}");
                    if let Err(error) = db.rollback().await {
                        tracing::debug!(%error, "no transaction to end");
                    }
                    answers.resize(batch.len(), Err(StoreError::Unavailable(reason.to_owned())));
                }
                Fault::Database(reason) => self.fail(reason, &failure.error.to_string()),
            }
        }
        answers
    }

    /// Gives up the connection, whatever state it is in: a fresh one is the safest to go on with.
    fn fail(&mut self, reason: &'static str, detail: &str) {
        tracing::error!(detail, "{reason}");
        self.monitor.inner.failing.send_replace(true);
        let recovery = Box::pin(recover(self.backend.clone()));
        self.state = State::Failing { reason, recovery };
    }

    fn resume(&mut self, db: Db) {
        tracing::info!("the database works again");
        self.state = State::Working(db);
        self.monitor.inner.failing.send_replace(false);
    }
}

/// Carries out requests together. With an error nothing of them is written, unless it came from the commit: then
/// nobody knows, nothing is acknowledged, and a sender that repeats its request finds what is there.
async fn transaction(
    backend: &Backend,
    db: &mut Db,
    batch: &[Job],
    may_join: bool,
) -> Result<Vec<Answer>, Failure> {
    let failure = |index, is_together, error| Failure {
        index,
        is_together,
        error,
    };
    let spoiled = |error| failure(0, false, error);
    let mut answers = Vec::with_capacity(batch.len());
    if batch.is_empty() {
        return Ok(answers);
    }
    if let Err(error) = db.begin().await {
        // A server that was restarted while nobody asked is noticed here, and nothing is lost yet.
        if judge(&error) != Fault::Database(LOST) {
            return Err(spoiled(error));
        }
        *db = backend.connect().await.map_err(spoiled)?;
        db.begin().await.map_err(spoiled)?;
    }
    while let Some(job) = batch.get(answers.len()) {
        let index = answers.len();
        if may_join {
            let ops = batch[index..].iter().map(|job| &job.request.op);
            let messages = request::leading_messages(ops);
            if messages.len() > 1 {
                let added = request::add_messages(db, &messages).await;
                answers.extend(added.map_err(|error| failure(index, true, error))?);
                continue;
            }
        }
        let answer = request::carry_out(db, &job.request.op).await;
        answers.push(answer.map_err(|error| failure(index, false, error))?);
    }
    db.commit().await.map_err(spoiled)?;
    Ok(answers)
}

/// Tries until a write works.
async fn recover(backend: Backend) -> Db {
    let mut pause = PAUSE_FIRST;
    loop {
        sleep(pause.mul_f64(1.0 - rand::random_range(0.0..0.5))).await;
        match timeout(DEADLINE, write(&backend)).await {
            Ok(Ok(db)) => return db,
            Ok(Err(error)) => tracing::debug!(%error, "the database still fails"),
            Err(_) => tracing::debug!("the database still does not answer"),
        }
        pause = PAUSE_LONGEST.min(pause * 2);
    }
}

async fn write(backend: &Backend) -> sqlx::Result<Db> {
    let mut db = backend.connect().await?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    db.begin().await?;
    db.query(
        "INSERT INTO health (id, checked_at_ms) VALUES (1, $1)
         ON CONFLICT (id) DO UPDATE SET checked_at_ms = excluded.checked_at_ms",
    )
    .number(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    .execute()
    .await?;
    db.commit().await?;
    Ok(db)
}
