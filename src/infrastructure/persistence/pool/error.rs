//! PostgreSQL's errors, classified by what to do about them.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::application::ports::PortError;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ErrorClass {
    /// It lost a race or a deadlock, or did not get a lock in time: the same transaction may succeed now.
    Transient,
    /// The statement or the pool took too long.
    Timeout,
    /// The connection broke or cannot be made. Whether a commit happened is unknown.
    Connection,
    /// The server is up and refuses: it is read-only, its disk is full, or it does not know the password. Nothing happened, and an
    /// operator has to act.
    Refused,
    /// PostgreSQL is known to be unavailable, so nothing was sent. Nothing happened.
    Away,
    /// It would fail again.
    Permanent,
}

impl ErrorClass {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Transient,
        Self::Timeout,
        Self::Connection,
        Self::Refused,
        Self::Away,
        Self::Permanent,
    ];

    /// The error that the port returns.
    pub(crate) fn port_error(
        self,
        what: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> PortError {
        match self {
            Self::Transient | Self::Timeout | Self::Connection | Self::Refused | Self::Away => {
                PortError::Unavailable { what, source }
            }
            Self::Permanent => PortError::Broken { what, source },
        }
    }

    /// The label in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Refused => "refused",
            Self::Away => "away",
            Self::Permanent => "permanent",
        }
    }
}

/// `read_only_sql_transaction`
const READ_ONLY: &str = "25006";
/// `query_canceled`
const STATEMENT_TIMEOUT: &str = "57014";

const ATTEMPTS_KEY: &str = "checkout_attempts_pkey";
const JOB_KEY: &str = "river_job_unique_idx";

/// Constraints whose violation means a lost race: another transaction wrote first, and the next decision sees what it wrote.
const RACES: [&str; 7] = [
    "purchases_pkey",
    "buyers_pkey",
    ATTEMPTS_KEY,
    "idempotency_keys_pkey",
    JOB_KEY,
    "items_sold_within_stock",
    "buyers_bought_within_limit",
];

/// An error of PostgreSQL, or of the way to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// From the driver or the server.
    #[error(transparent)]
    Sqlx(#[from] sqlx::Error),
    /// No answer came in time. Whether anything happened is unknown.
    #[error("postgresql does not answer")]
    Silent,
    /// The circuit is open.
    #[error("postgresql is away")]
    Away,
    /// The connection writes to another history of the database than the one that this instance works in.
    #[error("the connection writes to an outdated history of the database")]
    Outdated,
    /// Its caller does not want the transaction any more: it is rolled back.
    #[error("the transaction was abandoned")]
    Abandoned,
    /// A row holds values that no version of this service writes.
    #[error("{0}: the row is not readable")]
    Unreadable(&'static str),
}

impl DatabaseError {
    /// What to do about it.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Unreadable(_) | Self::Abandoned => ErrorClass::Permanent,
            Self::Silent | Self::Outdated => ErrorClass::Connection,
            Self::Away => ErrorClass::Away,
            Self::Sqlx(error) => classify(error),
        }
    }

    /// Whether a row lock could not be taken in time.
    pub(crate) fn is_lock_wait(&self) -> bool {
        matches!(self, Self::Sqlx(error) if code(error).as_deref() == Some("55P03"))
    }

    /// Whether it took too long: PostgreSQL cancelled the statement, or did not answer in time.
    pub(crate) fn is_too_slow(&self) -> bool {
        match self {
            Self::Silent => true,
            Self::Sqlx(error) => code(error).as_deref() == Some(STATEMENT_TIMEOUT),
            Self::Away | Self::Outdated | Self::Abandoned | Self::Unreadable(_) => false,
        }
    }

    /// Whether the server is read-only, for example because it has become a standby. A new connection may reach the primary.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Sqlx(error) if code(error).as_deref() == Some(READ_ONLY))
    }

    /// Whether the connection cannot be used any more.
    pub(crate) fn ends_connection(&self) -> bool {
        self.class() == ErrorClass::Connection || self.is_read_only() || self.is_fatal()
    }

    /// Whether the server ended the session, whatever the reason.
    fn is_fatal(&self) -> bool {
        let Self::Sqlx(sqlx::Error::Database(error)) = self else {
            return false;
        };
        let severity = error.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
        matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
    }

    /// Whether another transaction has used the number of a new attempt.
    pub(crate) fn is_clash_of_attempts(&self) -> bool {
        let Self::Sqlx(sqlx::Error::Database(error)) = self else { return false };
        let is_key = |name: &str| {
            name == ATTEMPTS_KEY || is_partition_key_of("checkout_attempts_from_", name)
        };
        error.constraint().is_some_and(is_key)
    }

    /// Whether another job has the key.
    pub(crate) fn is_job_key_in_use(&self) -> bool {
        let Self::Sqlx(sqlx::Error::Database(error)) = self else { return false };
        error.constraint() == Some(JOB_KEY)
    }

    /// Whether it is the violation of this constraint.
    pub(crate) fn violates(&self, constraint: &str) -> bool {
        let Self::Sqlx(sqlx::Error::Database(error)) = self else { return false };
        error.constraint() == Some(constraint)
    }

    /// Whether a table does not exist (any more).
    pub(crate) fn is_missing_table(&self) -> bool {
        matches!(self, Self::Sqlx(error) if code(error).as_deref() == Some("42P01"))
    }

    /// The error that the port returns.
    pub(crate) fn into_port_error(self, what: &'static str) -> PortError {
        self.class().port_error(what, Box::new(self))
    }
}

/// The error of a connection that works and must not be used.
pub(super) fn refused(reason: &str) -> sqlx::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionRefused, reason.to_owned()).into()
}

fn classify(error: &sqlx::Error) -> ErrorClass {
    match error {
        sqlx::Error::PoolTimedOut => ErrorClass::Timeout,
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => ErrorClass::Connection,
        sqlx::Error::Database(database) => {
            let lost_race = database.constraint().is_some_and(|name| {
                // A partition's constraint has its parent's name, or for a primary key the partition's.
                RACES.contains(&name) || is_partition_key(name)
            });
            if lost_race { ErrorClass::Transient } else { classify_code(code(error).as_deref()) }
        }
        _ => ErrorClass::Permanent,
    }
}

/// Primary keys of partitions: `purchases_from_100_pkey`, `buyers_from_0_pkey`.
fn is_partition_key(name: &str) -> bool {
    let parents = ["purchases_from_", "buyers_from_", "checkout_attempts_from_"];
    parents.iter().any(|parent| is_partition_key_of(parent, name))
}

fn is_partition_key_of(parent: &str, name: &str) -> bool {
    name.starts_with(parent) && name.ends_with("_pkey")
}

/// By SQLSTATE: <https://www.postgresql.org/docs/current/errcodes-appendix.html>. Codes that differ from their class come first.
fn classify_code(code: Option<&str>) -> ErrorClass {
    let Some(code) = code else { return ErrorClass::Permanent };
    match code {
        // lock_not_available; object_in_use: another session has what this one needs, and gives it back.
        "55P03" | "55006" => ErrorClass::Transient,
        // query_canceled: statement_timeout
        STATEMENT_TIMEOUT => ErrorClass::Timeout,
        // The session is over: a transaction idled or took too long, the session idled, the server stops, crashes or starts, or the
        // database was dropped. Or the connection is in a transaction that this caller did not begin. Another connection is better.
        "25P03" | "25P04" | "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25001" | "25P02" => {
            ErrorClass::Connection
        }
        // statement_completion_unknown; too_many_connections, which passes
        "40003" | "53300" => ErrorClass::Connection,
        // Also invalid_catalog_name: the database does not exist (any more).
        READ_ONLY | "3D000" => ErrorClass::Refused,
        // A constraint that was deferred to the commit, which is no race; cant_change_runtime_param and unsafe_new_enum_value_usage
        "40002" | "55P02" | "55P04" => ErrorClass::Permanent,
        _ => match code.get(..2) {
            // connection_exception
            Some("08") => ErrorClass::Connection,
            // transaction_rollback: serialization_failure, deadlock_detected
            Some("40") => ErrorClass::Transient,
            // invalid_authorization; insufficient_resources: disk_full, out_of_memory; object_not_in_prerequisite_state, such as a
            // server in recovery; operator_intervention; system_error: io_error, a file that is missing
            Some("28" | "53" | "55" | "57" | "58") => ErrorClass::Refused,
            // Also the other invalid_transaction_states, which are mistakes of the service, and internal_error with data_corrupted
            // and index_corrupted (XX): a damaged row fails its own requests alone, because a batch is split.
            _ => ErrorClass::Permanent,
        },
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// The error of a statement that lost a race.
#[cfg(test)]
pub(crate) fn lost_race() -> DatabaseError {
    #[derive(Debug, thiserror::Error)]
    #[error("another transaction was faster")]
    struct LostRace;

    impl sqlx::error::DatabaseError for LostRace {
        fn message(&self) -> &'static str {
            "another transaction was faster"
        }
        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some("40001".into())
        }
        fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
            self
        }
        fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
            self
        }
        fn kind(&self) -> sqlx::error::ErrorKind {
            sqlx::error::ErrorKind::Other
        }
    }

    DatabaseError::Sqlx(sqlx::Error::Database(Box::new(LostRace)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::servers::PostgresShop;

    #[test]
    fn codes_are_classified_by_what_to_do_about_them() {
        // Every code of the classes 08, 25, 28, 40, 53, 55, 57, 58 and XX, and examples of others.
        let expected = [
            ("transient", "40000 40001 40P01 55006 55P03"),
            ("timeout", "57014"),
            ("connection", "08000 08001 08003 08004 08006 08007 08P01"),
            ("connection", "25001 25P02 25P03 25P04 40003 53300"),
            ("connection", "57P01 57P02 57P03 57P04 57P05"),
            ("refused", "25006 28000 28P01 3D000 53000 53100 53200 53400"),
            ("refused", "55000 57000 58000 58030 58P01 58P02 58P03"),
            ("permanent", "25000 25002 25003 25004 25005 25007 25008 25P01 40002 55P02 55P04"),
            ("permanent", "XX000 XX001 XX002"),
            ("permanent", "22P05 23505 23514 42501 42P01 54001"),
        ];

        for (class, codes) in expected {
            for code in codes.split(' ') {
                assert_eq!(classify_code(Some(code)).as_str(), class, "{code}");
            }
        }
    }

    #[tokio::test]
    async fn a_session_that_the_server_ended_is_not_used_again() {
        let shop = PostgresShop::open().await;
        let mut session = shop.pool.acquire().await.unwrap();
        let terminate = "SELECT pg_terminate_backend(pg_backend_pid())";
        let fatal = sqlx::query(terminate).execute(&mut *session).await.unwrap_err();
        let error = sqlx::query("SELECT 1 / 0").execute(&shop.pool).await.unwrap_err();

        assert!(DatabaseError::from(fatal).is_fatal());
        assert!(!DatabaseError::from(error).is_fatal());
    }

    #[test]
    fn a_violated_key_of_a_partition_is_a_lost_race() {
        assert!(is_partition_key("purchases_from_100_pkey"));
        assert!(is_partition_key("checkout_attempts_from_0_pkey"));
        assert!(!is_partition_key("checkout_items_from_100_pkey"));
    }
}
