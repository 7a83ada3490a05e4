//! Whether a replica may be read from, and why not.

use std::fmt;

use crate::infrastructure::circuit::Reason;

/// What is known of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReplicaState {
    /// It has not been examined yet.
    Unknown,
    /// It is read from.
    Up,
    /// It lags by more than the limit, or the position of the primary is not known.
    Lagging,
    /// It does not answer.
    Away(Reason),
    /// It accepts writes, so it follows the primary no more.
    Promoted,
    /// It is no copy of the database.
    Foreign(&'static str),
    /// It follows a server that this instance's primary has left behind, or has not caught up with a failover yet.
    OtherHistory,
}

impl ReplicaState {
    /// Whether two of them are the same for a reader of the log: reasons and numbers may differ.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether a read that has begun may go on: what it sees was recent when it began.
    pub(crate) fn lets_reads_finish(&self) -> bool {
        matches!(self, Self::Up | Self::Lagging)
    }
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it has not been examined yet"),
            Self::Up => f.write_str("up"),
            Self::Lagging => f.write_str("it lags by more than database.replica_max_lag"),
            Self::Away(reason) => write!(f, "it does not answer: {reason}"),
            Self::Promoted => f.write_str("it is no standby: it has been promoted"),
            Self::Foreign(what) => write!(f, "it is no copy of the database: {what}"),
            Self::OtherHistory => {
                f.write_str("it does not follow the primary: it lacks the latest epoch, or is on a newer timeline")
            }
        }
    }
}
