//! Which database a URL means, how it is opened, and the migrations of each.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use sqlx::ConnectOptions;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::time::timeout;

use super::sql::Db;

/// How long SQLite waits for another process that holds the write lock, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection to PostgreSQL may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Memory for pages, in KiB when negative. What a transaction changes should fit, or pages are written more than once;
/// messages have random ids, so each changes pages of its own in the indexes.
const SQLITE_CACHE: &str = "-65536";

/// Pages in the write-ahead log after which they are carried over to the file. More of them let a page that changes
/// often be carried over once, and make the log and the recovery after a crash longer; this is 32 MiB.
const SQLITE_CHECKPOINT: &str = "8192";

/// Statements kept prepared; more than this program has.
const STATEMENTS: usize = 256;

/// The first SQLite without the bug that could corrupt a database when a WAL was reset (3.51.3).
const SQLITE_VERSION_MIN: [u32; 3] = [3, 51, 3];

/// The first PostgreSQL with everything that is asked of it and still cared for by its makers when this was written.
const POSTGRES_VERSION_MIN: u32 = 130_000;

/// Settings of a connection to PostgreSQL. A statement or a lock that takes this long means that something is wrong;
/// the sender is told, and nobody waits behind it. Acknowledged means durable, so a server that is set to commit
/// without waiting for its disk is asked to wait; stronger settings, such as waiting for a standby, stay as they are.
const POSTGRES_SESSION: &str = "
    SET lock_timeout = '2s';
    SET statement_timeout = '4s';
    SET idle_in_transaction_session_timeout = '10s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
";

macro_rules! migrations {
    ($folder:literal) => {
        [
            include_str!(concat!("migrations/", $folder, "/0001_live.sql")),
            include_str!(concat!("migrations/", $folder, "/0002_health.sql")),
            include_str!(concat!("migrations/", $folder, "/0003_chat.sql")),
            include_str!(concat!("migrations/", $folder, "/0004_notifications.sql")),
        ]
    };
}

/// The same step has the same place in both lists.
const NAMES: [&str; 4] = ["live", "health", "chat", "notifications"];
const SQLITE: [&str; NAMES.len()] = migrations!("sqlite");
const POSTGRES: [&str; NAMES.len()] = migrations!("postgres");

/// A database that can be connected to.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    Sqlite(SqliteConnectOptions),
    Postgres(PgConnectOptions),
}

impl Backend {
    /// What a URL of the configuration means.
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        // The URL itself stays out of the message: it may hold a password.
        if is_sqlite(url) {
            let options = SqliteConnectOptions::from_str(url)
                .context("store.url: expected sqlite://FILE")?
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(BUSY_TIMEOUT)
                .statement_cache_capacity(STATEMENTS)
                .pragma("cache_size", SQLITE_CACHE)
                .pragma("wal_autocheckpoint", SQLITE_CHECKPOINT)
                .disable_statement_logging();
            Ok(Self::Sqlite(options))
        } else if is_postgres(url) {
            let options = PgConnectOptions::from_str(url)
                .context("store.url: expected postgres://USER:PASSWORD@HOST/DATABASE")?
                .application_name("redred")
                .statement_cache_capacity(STATEMENTS)
                .disable_statement_logging();
            Ok(Self::Postgres(options))
        } else {
            bail!("store.url: expected sqlite://FILE or postgres://USER:PASSWORD@HOST/DATABASE");
        }
    }

    /// Its name for people, without anything secret.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Sqlite(options) => format!("SQLite, {}", options.get_filename().display()),
            Self::Postgres(options) => {
                let database = options.get_database().unwrap_or(options.get_username());
                format!("PostgreSQL, database {database}")
            }
        }
    }

    /// Whether everything is gone with its connection.
    pub(super) fn is_in_memory(&self) -> bool {
        match self {
            Self::Sqlite(options) => {
                let name = options.get_filename().to_string_lossy();
                name.contains(":memory:") || name.contains("sqlx-in-memory")
            }
            Self::Postgres(_) => false,
        }
    }

    /// Connects, checks the version and applies migrations.
    pub(super) async fn prepare(&self) -> anyhow::Result<Db> {
        let mut db = self.open().await.context("cannot be opened")?;
        check_version(&mut db).await?;
        let migrator = self.migrator();
        match &mut db {
            Db::Sqlite(connection) => migrator.run(connection).await,
            Db::Postgres(connection) => migrator.run(connection).await,
        }
        .context("migrations")?;
        configure(&mut db).await.context("cannot be set up")?;
        Ok(db)
    }

    /// Connects to a database that is prepared.
    pub(super) async fn connect(&self) -> sqlx::Result<Db> {
        let mut db = self.open().await?;
        configure(&mut db).await?;
        Ok(db)
    }

    async fn open(&self) -> sqlx::Result<Db> {
        match self {
            Self::Sqlite(options) => Ok(Db::Sqlite(options.connect().await?)),
            Self::Postgres(options) => match timeout(CONNECT_TIMEOUT, options.connect()).await {
                Ok(connected) => Ok(Db::Postgres(connected?)),
                Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
            },
        }
    }

    fn migrator(&self) -> Migrator {
        let texts = match self {
            Self::Sqlite(_) => SQLITE,
            Self::Postgres(_) => POSTGRES,
        };
        let step = |((version, name), text): ((i64, &'static str), &'static str)| {
            let kind = MigrationType::Simple;
            Migration::new(
                version,
                name.into(),
                kind,
                sqlx::SqlSafeStr::into_sql_str(text),
                false,
            )
        };
        Migrator::with_migrations((1..).zip(NAMES).zip(texts).map(step).collect())
    }
}

/// Whether a URL names an SQLite database.
pub(crate) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
}

/// Whether a URL names a PostgreSQL database.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

async fn configure(db: &mut Db) -> sqlx::Result<()> {
    match db {
        Db::Sqlite(_) => Ok(()),
        Db::Postgres(_) => db.run(POSTGRES_SESSION).await,
    }
}

async fn check_version(db: &mut Db) -> anyhow::Result<()> {
    let sql = db.pick(
        "SELECT sqlite_version() AS version, 'UTF8' AS encoding",
        "SELECT current_setting('server_version_num') AS version,
                current_setting('server_encoding') AS encoding",
    );
    let read = |row: &super::sql::Row| Ok((row.get("version")?, row.get("encoding")?));
    let (version, encoding): (String, String) = db
        .query(sql)
        .row(read)
        .await
        .context("its version")?
        .context("it does not tell its version")?;
    match db {
        Db::Sqlite(_) if !is_recent(&version) => {
            bail!("SQLite {version} can corrupt databases in WAL mode, 3.51.3 or newer is needed")
        }
        Db::Postgres(_)
            if !version
                .parse()
                .is_ok_and(|it: u32| it >= POSTGRES_VERSION_MIN) =>
        {
            bail!("PostgreSQL 13 or newer is needed, this is {version}")
        }
        Db::Sqlite(_) | Db::Postgres(_) if encoding != "UTF8" => {
            bail!("the database's encoding must be UTF8, this is {encoding}")
        }
        Db::Sqlite(_) | Db::Postgres(_) => Ok(()),
    }
}

fn is_recent(version: &str) -> bool {
    let numbers: Vec<u32> = version
        .split('.')
        .map_while(|number| number.parse().ok())
        .collect();
    numbers[..] >= SQLITE_VERSION_MIN[..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        for (version, recent) in [
            ("3.51.3", true),
            ("3.54.0", true),
            ("4.0.0", true),
            ("3.51.2", false),
            ("3.9.9", false),
        ] {
            assert_eq!(is_recent(version), recent, "{version}");
        }
    }

    #[test]
    fn a_password_is_not_described() {
        let url = "postgres://ana:hush@db.example/redred";
        let backend = Backend::parse(url).expect("a valid URL");
        assert_eq!(backend.describe(), "PostgreSQL, database redred");
    }
}
