//! A running transaction, and the options of one that is to run.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::{PgConnection, Postgres, SqlSafeStr, Transaction};

use super::connections::Lent;
use super::error::ErrorClass;
use super::turns::Turn;

/// How often a statement or transaction that cannot have written is repeated after its connection broke.
pub(crate) const READ_RETRIES: u32 = 2;

/// How often a change is repeated. Others hold a row for milliseconds, but for seconds where a disk is slow to commit.
const RETRIES: u32 = 5;

/// How often a serializable transaction is repeated. Of several that meet, one commits each time.
const SERIALIZABLE_RETRIES: u32 = 20;

/// A running transaction. Dropping it rolls it back, and returns the connection to the pool.
#[derive(Debug)]
pub(crate) struct Tx {
    transaction: Transaction<'static, Postgres>,
    _turn: Turn,
}

impl Tx {
    /// Begins a transaction.
    pub(super) async fn begin(connection: Lent, statement: &'static str) -> sqlx::Result<Self> {
        let (connection, turn) = connection.into_parts();
        let statement = Some(statement.into_sql_str());
        let transaction = Transaction::begin(connection, statement).await?;
        Ok(Self { transaction, _turn: turn })
    }

    /// Commits.
    pub(crate) async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// How isolated a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// Every statement sees everything committed before it.
    ReadCommitted,
    /// All statements see one moment.
    RepeatableRead,
    /// As if no two such transactions ran at the same time: for a rule about rows that others may add, which no lock covers. It may
    /// lose a race at any statement, and at the commit.
    Serializable,
}

/// How a transaction runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// The isolation level.
    pub(crate) isolation: Isolation,
    /// Whether it may only read.
    pub(crate) read_only: bool,
    /// Longest time of one statement, and of the whole transaction; the session's if `None`. `lock_timeout` and
    /// `idle_in_transaction_session_timeout` stay as they are: an instance that stops must not block others for longer.
    pub(crate) timeout: Option<Duration>,
    /// How often it is repeated after a transient error (40001, 40P01, 55P03, a lost race).
    pub(crate) retries: u32,
}

impl Options {
    /// Reads and writes, READ COMMITTED, the session's timeouts, no retry.
    pub(crate) const WRITE: Self =
        Self { isolation: Isolation::ReadCommitted, read_only: false, timeout: None, retries: 0 };

    /// The same, repeated after a lost race for a row, or a lock that was not free in time: for operators and background tasks, whose
    /// callers would only ask again.
    pub(crate) const RETRIED: Self = Self { retries: RETRIES, ..Self::WRITE };

    /// Reads as of one moment.
    pub(crate) const SNAPSHOT: Self =
        Self { isolation: Isolation::RepeatableRead, read_only: true, timeout: None, retries: 0 };

    /// Reads and writes as if alone, and is repeated after a lost race.
    pub(crate) const SERIALIZABLE: Self =
        Self { isolation: Isolation::Serializable, retries: SERIALIZABLE_RETRIES, ..Self::WRITE };

    /// Whether the transaction may be repeated: after a lost race as often as the options allow, after a broken connection only
    /// if it cannot have written, because it may only read, or was open still: its commit was not sent.
    pub(super) fn may_retry(self, class: ErrorClass, tries: u32, is_open: bool) -> bool {
        match class {
            ErrorClass::Transient => tries < self.retries,
            ErrorClass::Connection => (self.read_only || is_open) && tries < READ_RETRIES,
            ErrorClass::Timeout
            | ErrorClass::Refused
            | ErrorClass::Away
            | ErrorClass::Permanent => false,
        }
    }

    pub(crate) fn begin(self) -> &'static str {
        match (self.isolation, self.read_only) {
            (Isolation::ReadCommitted, false) => "BEGIN ISOLATION LEVEL READ COMMITTED",
            (Isolation::ReadCommitted, true) => "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
            (Isolation::RepeatableRead, false) => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            (Isolation::RepeatableRead, true) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            (Isolation::Serializable, false) => "BEGIN ISOLATION LEVEL SERIALIZABLE",
            (Isolation::Serializable, true) => "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        }
    }
}
