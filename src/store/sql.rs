//! One connection to whichever database it is, and queries that are written once for both: `$1` is a parameter to
//! SQLite and to PostgreSQL. Where their languages differ, [`Db::pick`] chooses between two texts.
//!
//! Numbers are stored as 64-bit integers everywhere, because PostgreSQL does not convert between widths.

use sqlx::postgres::{PgArguments, PgConnection, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Connection, Decode, Encode, Row as _, Type};

/// A text for each database, which differ only in how a parameter that is a JSON array of texts becomes rows with the
/// column `value`.
macro_rules! with_list {
    ($db:expr, $before:literal, $parameter:literal, $after:literal) => {
        $db.pick(
            concat!(
                $before,
                "(SELECT value FROM json_each(",
                $parameter,
                "))",
                $after
            ),
            concat!(
                $before,
                "(SELECT value FROM json_array_elements_text(",
                $parameter,
                "::json) AS listed (value))",
                $after
            ),
        )
    };
}
pub(super) use with_list;

/// The same for a JSON array of arrays of two, with the columns `one` and `other`.
macro_rules! with_pairs {
    ($db:expr, $before:literal, $parameter:literal, $after:literal) => {
        $db.pick(
            concat!(
                $before,
                "(SELECT value ->> 0 AS one, value ->> 1 AS other FROM json_each(",
                $parameter,
                "))",
                $after
            ),
            concat!(
                $before,
                "(SELECT value ->> 0 AS one, value ->> 1 AS other FROM json_array_elements(",
                $parameter,
                "::json) AS listed (value))",
                $after
            ),
        )
    };
}
pub(super) use with_pairs;

/// An open connection.
#[derive(Debug)]
pub(super) enum Db {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// A query with its parameters. Its statement is prepared once for each connection.
pub(super) enum Query<'c> {
    Sqlite(
        &'c mut SqliteConnection,
        sqlx::query::Query<'static, Sqlite, SqliteArguments>,
    ),
    Postgres(
        &'c mut PgConnection,
        sqlx::query::Query<'static, Postgres, PgArguments>,
    ),
}

/// A row of the answer.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What both databases can store.
pub(super) trait Storable<'t>:
    Encode<'t, Sqlite> + Type<Sqlite> + Encode<'t, Postgres> + Type<Postgres>
{
}

impl<'t, T> Storable<'t> for T where
    T: Encode<'t, Sqlite> + Type<Sqlite> + Encode<'t, Postgres> + Type<Postgres>
{
}

/// What both databases can give back.
pub(super) trait Loadable<'r>:
    Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

impl<'r, T> Loadable<'r> for T where
    T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>
{
}

impl Db {
    /// Begins a query.
    pub(super) fn query(&mut self, sql: &'static str) -> Query<'_> {
        match self {
            Self::Sqlite(connection) => Query::Sqlite(connection, sqlx::query(sql)),
            Self::Postgres(connection) => Query::Postgres(connection, sqlx::query(sql)),
        }
    }

    /// The text that this database understands.
    pub(super) fn pick(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self {
            Self::Sqlite(_) => sqlite,
            Self::Postgres(_) => postgres,
        }
    }

    /// Begins a transaction. SQLite takes the write lock at once: a transaction that only later finds itself writing
    /// could not wait for it.
    pub(super) async fn begin(&mut self) -> sqlx::Result<()> {
        self.run(self.pick("BEGIN IMMEDIATE", "BEGIN")).await
    }

    /// Ends a transaction; what it wrote is durable when this returns. An error leaves open whether it is.
    pub(super) async fn commit(&mut self) -> sqlx::Result<()> {
        self.run("COMMIT").await
    }

    /// Ends a transaction as if it had never begun.
    pub(super) async fn rollback(&mut self) -> sqlx::Result<()> {
        self.run("ROLLBACK").await
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&mut self, sql: &'static str) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()),
            Self::Postgres(connection) => sqlx::raw_sql(sql).execute(connection).await.map(|_| ()),
        }
    }

    /// Takes leave of the database.
    pub(super) async fn close(self) -> sqlx::Result<()> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
    }
}

impl Query<'_> {
    /// Sets the next parameter.
    pub(super) fn bind<'t, T: Storable<'t>>(self, value: T) -> Self {
        match self {
            Self::Sqlite(connection, query) => Self::Sqlite(connection, query.bind(value)),
            Self::Postgres(connection, query) => Self::Postgres(connection, query.bind(value)),
        }
    }

    /// Sets the next parameter to a moment, a count or a position. What does not fit into 63 bits becomes the largest
    /// number that does.
    pub(super) fn number(self, value: u64) -> Self {
        self.bind(signed(value))
    }

    /// Runs it and says how many rows it changed.
    pub(super) async fn execute(self) -> sqlx::Result<u64> {
        match self {
            Self::Sqlite(connection, query) => Ok(query.execute(connection).await?.rows_affected()),
            Self::Postgres(connection, query) => {
                Ok(query.execute(connection).await?.rows_affected())
            }
        }
    }

    /// Every row. Where a text of SQLite's has several statements, all are run, and their rows come one after the other.
    pub(super) async fn rows<T>(self, read: fn(&Row) -> sqlx::Result<T>) -> sqlx::Result<Vec<T>> {
        match self {
            Self::Sqlite(connection, query) => {
                let rows = query.fetch_all(connection).await?;
                rows.into_iter()
                    .map(|row| read(&Row::Sqlite(row)))
                    .collect()
            }
            Self::Postgres(connection, query) => {
                let rows = query.fetch_all(connection).await?;
                rows.into_iter()
                    .map(|row| read(&Row::Postgres(row)))
                    .collect()
            }
        }
    }

    /// The first row, if there is one. Of one statement only.
    pub(super) async fn row<T>(self, read: fn(&Row) -> sqlx::Result<T>) -> sqlx::Result<Option<T>> {
        let row = match self {
            Self::Sqlite(connection, query) => {
                query.fetch_optional(connection).await?.map(Row::Sqlite)
            }
            Self::Postgres(connection, query) => {
                query.fetch_optional(connection).await?.map(Row::Postgres)
            }
        };
        row.as_ref().map(read).transpose()
    }
}

impl Row {
    /// The value of a column.
    pub(super) fn get<'r, T: Loadable<'r>>(&'r self, column: &str) -> sqlx::Result<T> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }

    /// A moment, a count or a position.
    pub(super) fn number(&self, column: &str) -> sqlx::Result<u64> {
        Ok(unsigned(self.get(column)?))
    }

    /// The same where there may be none.
    pub(super) fn optional_number(&self, column: &str) -> sqlx::Result<Option<u64>> {
        Ok(self.get::<Option<i64>>(column)?.map(unsigned))
    }

    /// A value that was checked before it was stored: an id or a name.
    pub(super) fn checked<T, E>(
        &self,
        column: &str,
        check: impl Fn(String) -> Result<T, E>,
    ) -> sqlx::Result<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        check(self.get(column)?).map_err(|error| sqlx::Error::Decode(error.into()))
    }
}

/// The databases' integers are signed; unix milliseconds use 41 bits of them.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}
