//! Whose fault an error is: the request's, which spoils only that request, or the database's, which spoils its
//! transaction and keeps everybody away until it works again.

/// What an error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The request breaks a rule of the schema, holds what this database cannot store, or names a row that cannot be
    /// read. Others may pass.
    Request,
    /// The database cannot serve anybody right now; the text says why, in words fit for a sender.
    Database(&'static str),
}

// What a sender hears; the details stay in the log.
pub(super) const LOST: &str = "the database is lost";
pub(super) const SLOW: &str = "the database does not answer in time";
pub(super) const UNFIT: &str = "the database cannot store this";
const FULL: &str = "the database is full";
const LOCKED: &str = "the database is locked";
const READ_ONLY: &str = "the database is read-only";
const BROKEN: &str = "the database does not work";

/// Judges an error.
pub(super) fn judge(error: &sqlx::Error) -> Fault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "sqlx may add kinds, and what is unknown is taken for the worse"
    )]
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            match code.parse() {
                // PostgreSQL's codes have five characters, some of them all digits; those of SQLite have at most four.
                Ok(number) if code.len() < 5 => sqlite(number),
                _ => postgres(&code),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => {
            Fault::Database(LOST)
        }
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::RowNotFound => Fault::Request,
        _ => Fault::Database(BROKEN),
    }
}

/// By the primary result code, <https://www.sqlite.org/rescode.html>.
fn sqlite(code: u32) -> Fault {
    match code & 0xff {
        5 | 6 => Fault::Database(LOCKED),
        8 => Fault::Database(READ_ONLY),
        13 => Fault::Database(FULL),
        18..=20 => Fault::Request,
        _ => Fault::Database(BROKEN),
    }
}

/// By SQLSTATE, <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn postgres(code: &str) -> Fault {
    match code {
        "25006" => Fault::Database(READ_ONLY),
        "40001" | "40P01" | "55P03" => Fault::Database(LOCKED),
        "53100" => Fault::Database(FULL),
        "57014" => Fault::Database(SLOW),
        _ => match code.get(..2) {
            Some("22" | "23") => Fault::Request,
            Some("08" | "57") => Fault::Database(LOST),
            _ => Fault::Database(BROKEN),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_are_told_apart() {
        for (code, fault) in [
            (5, Fault::Database(LOCKED)),
            (517, Fault::Database(LOCKED)),
            (13, Fault::Database(FULL)),
            (2067, Fault::Request),
            (10, Fault::Database(BROKEN)),
            (6410, Fault::Database(BROKEN)),
        ] {
            assert_eq!(sqlite(code), fault, "{code}");
        }
        for (code, fault) in [
            ("23505", Fault::Request),
            ("22021", Fault::Request),
            ("53100", Fault::Database(FULL)),
            ("57P01", Fault::Database(LOST)),
            ("55P03", Fault::Database(LOCKED)),
            ("57014", Fault::Database(SLOW)),
            ("42P01", Fault::Database(BROKEN)),
        ] {
            assert_eq!(postgres(code), fault, "{code}");
        }
    }
}
