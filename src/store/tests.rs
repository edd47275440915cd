//! What is asked of the store, against each database; and what happens when one fails.

mod chat;
mod durability;
mod figures;
mod live;
mod model;
mod notifications;
mod outage;
mod postgres;

use redred_signaling::store::{StoreError, StoreId, StoreOk, StoreOp};
use tempfile::TempDir;

use super::*;

/// Declares tests that take a [`Fixture`], for each database.
macro_rules! on_each_database {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name($crate::store::tests::Fixture::sqlite().await).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test]
                #[ignore = "needs postgres"]
                async fn $name() {
                    super::$name($crate::store::tests::Fixture::postgres().await).await;
                }
            )+
        }
    };
}
pub(super) use on_each_database;

/// A store, and what it needs to be asked conveniently.
struct Fixture {
    /// Of the file, when it is one.
    directory: Option<TempDir>,
    url: String,
    store: Store,
    next: u64,
}

impl Fixture {
    async fn sqlite() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        Self::open(url, Some(directory)).await
    }

    async fn postgres() -> Self {
        Self::open(postgres::database().await, None).await
    }

    async fn memory() -> Self {
        Self::open(String::from("sqlite::memory:"), None).await
    }

    async fn open(url: String, directory: Option<TempDir>) -> Self {
        let store = Store::open(&url, Histogram::default()).await;
        Self {
            directory,
            url,
            store: store.expect("a new database"),
            next: 0,
        }
    }

    async fn reopen(self) -> Self {
        self.store.close().await;
        Self::open(self.url, self.directory).await
    }

    /// Another store of the same kind, with nothing in it.
    async fn emptied(self) -> Self {
        self.store.close().await;
        match self.directory {
            Some(_) => Self::sqlite().await,
            None => Self::postgres().await,
        }
    }

    fn submit(&mut self, op: StoreOp) -> StoreId {
        let id = StoreId(self.next);
        self.next += 1;
        let request = StoreRequest { id, op };
        self.store.submit(request).expect("room in the queue");
        id
    }

    async fn ask(&mut self, op: StoreOp) -> Result<StoreOk, StoreError> {
        let id = self.submit(op);
        let reply = self.store.reply().await.expect("a living writer");
        assert_eq!(reply.id, id);
        reply.result
    }

    async fn done(&mut self, op: StoreOp) {
        assert_eq!(self.ask(op).await, Ok(StoreOk::Done));
    }

    /// Waits until the store believes that its database works, or that it fails.
    async fn until_healthy(&self, is_healthy: bool) {
        let mut failing = self.store.monitor().inner.failing.subscribe();
        let seen = failing.wait_for(|failing| *failing != is_healthy).await;
        seen.expect("a living store");
    }
}

#[tokio::test]
async fn other_databases_and_files_that_are_none_are_refused() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("text");
    std::fs::write(&path, "this is not a database, and long enough to show it").expect("written");
    for url in [
        "mysql://localhost/x",
        "postgres:///x?host=/nowhere",
        &format!("sqlite://{}", path.display()),
    ] {
        let error = migrate(url).await.expect_err("refused");
        assert!(format!("{error:#}").contains("store.url"), "{error:#}");
    }
}
