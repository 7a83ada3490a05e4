//! Why Redis fails, in the words of an operator.
//!
//! A server's own text is not repeated as it is: it may quote the arguments of a command, and among them a buyer.

use std::fmt::Display;

use deadpool_redis::PoolError;
use redis::{ErrorKind, RedisError};

use crate::infrastructure::circuit::Reason;

/// Error codes of a server, with what they mean.
const CODES: [(&str, &str); 15] = [
    ("NOAUTH", "redis requires a password"),
    ("WRONGPASS", "wrong user or password"),
    ("NOPERM", "the user lacks a right"),
    ("OOM", "redis is full: maxmemory is reached"),
    ("READONLY", "it is a replica, which takes no writes"),
    ("NOREPLICAS", "redis takes no writes: it has too few replicas"),
    ("MISCONF", "redis takes no writes: it cannot save its data to disk"),
    ("LOADING", "redis is still loading its data"),
    ("BUSY", "redis is busy with a script"),
    ("MASTERDOWN", "it is a replica whose master is away"),
    ("CLUSTERDOWN", "the cluster is down"),
    ("CROSSSLOT", CLUSTER),
    ("MOVED", CLUSTER),
    ("ASK", CLUSTER),
    ("TRYAGAIN", "keys are moving to another node of the cluster"),
];
const CLUSTER: &str = "it is a node of a cluster: set redis.mode to cluster";

/// How the driver reports that a connection could not choose its database.
const DATABASE_REFUSED: &str = "Redis server refused to switch database";

/// How Redis 7.0 begins its refusal of a command in a script. It has no code of its own, and does not name the command.
const IN_A_SCRIPT: &str = "The user executing the script can't";
/// How later versions do.
const IN_A_SCRIPT_SINCE_7_2: &str = "ACL failure in script";

/// Whether Redis answers, and only refuses a right.
pub(super) fn is_refusal(error: &RedisError) -> bool {
    let in_a_script =
        |text: &str| text.starts_with(IN_A_SCRIPT) || text.contains(IN_A_SCRIPT_SINCE_7_2);
    error.code() == Some("NOPERM") || error.detail().is_some_and(in_a_script)
}

/// Why a call failed.
pub(super) fn of(error: &RedisError) -> Reason {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return with_code("wrong user or password", "WRONGPASS");
    }
    if error.is_timeout() {
        return Reason::new("no answer in time");
    }
    if error.is_connection_refusal() {
        return Reason::new("connection refused");
    }
    // Of the operating system or of TLS: neither has seen a command.
    if error.is_io_error() {
        return Reason::new(&error.to_string());
    }
    if error.to_string().starts_with(DATABASE_REFUSED) {
        return Reason::new(
            "redis refuses the database number of redis.url (does the user have +select?)",
        );
    }
    let Some(code) = error.code() else { return Reason::new(error.category()) };
    match CODES.iter().find(|(known, _)| *known == code) {
        Some((_, meaning)) => with_code(meaning, code),
        None => with_code("redis answers with an error", code),
    }
}

/// Why a pooled connection cannot be had.
pub(super) fn of_pool(error: &PoolError) -> Reason {
    match error {
        PoolError::Backend(error) => of(error),
        PoolError::Timeout(_) => Reason::new("no answer in time"),
        PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Reason::new("the pool has no connection")
        }
    }
}

fn with_code(meaning: &str, code: impl Display) -> Reason {
    Reason::new(&format!("{meaning} ({code})"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use redis::{ServerErrorKind, Value};

    use super::*;

    /// The error of a server, as it answers it.
    fn answered(line: &str) -> RedisError {
        let Ok(Value::ServerError(error)) =
            redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
        else {
            panic!("{line:?} is no error");
        };
        error.into()
    }

    #[test]
    fn the_codes_of_a_server_are_explained() {
        for (answer, reason) in [
            ("NOAUTH Authentication required.", "redis requires a password (NOAUTH)"),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                "redis is full: maxmemory is reached (OOM)",
            ),
            (
                "READONLY You can't write against a read only replica.",
                "it is a replica, which takes no writes (READONLY)",
            ),
            ("CLUSTERDOWN Hash slot not served", "the cluster is down (CLUSTERDOWN)"),
            ("NEWCODE what a later server says", "redis answers with an error (NEWCODE)"),
        ] {
            assert_eq!(of(&answered(answer)).to_string(), reason);
        }
    }

    #[test]
    fn what_a_server_quotes_of_a_command_is_not_repeated() {
        let unknown = "ERR unknown command 'EVALSHA', with args beginning with: 'ann' 'hunter2'";

        assert_eq!(of(&answered(unknown)).to_string(), "redis answers with an error (ERR)");
    }

    #[test]
    fn the_way_to_the_server_is_explained() {
        let io = |kind, text: &str| of(&io::Error::new(kind, text.to_owned()).into()).to_string();
        let login = (ErrorKind::AuthenticationFailed, "Password authentication failed").into();
        let select = (
            ErrorKind::Server(ServerErrorKind::ResponseError),
            DATABASE_REFUSED,
            "DB index is out of range".to_owned(),
        );

        assert_eq!(of(&login).to_string(), "wrong user or password (WRONGPASS)");
        assert_eq!(io(io::ErrorKind::ConnectionRefused, "x"), "connection refused");
        assert_eq!(io(io::ErrorKind::TimedOut, "x"), "no answer in time");
        let certificate = "invalid peer certificate: UnknownIssuer";
        assert_eq!(io(io::ErrorKind::InvalidData, certificate), certificate);
        assert!(of(&select.into()).to_string().contains("database number"));
    }
}
