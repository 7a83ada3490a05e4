//! Locks in Redis: a key whose value is its owner. It expires by itself, and only its owner releases it. One script call
//! acquires or releases many of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::Script;
use uuid::Uuid;

use super::connection::Redis;
use super::script::script;
use crate::application::ports::PortError;

static ACQUIRE: LazyLock<Script> = script!("lock_acquire");
static RELEASE: LazyLock<Script> = script!("lock_release");

/// Acquires locks, given as keys and owners. Returns for each whether its owner holds it now.
pub(crate) async fn acquire(
    redis: &Redis,
    what: &'static str,
    ttl: Duration,
    locks: impl IntoIterator<Item = (String, &str)>,
) -> Result<Vec<bool>, PortError> {
    let mut call = ACQUIRE.prepare_invoke();
    call.arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let mut wanted = 0;
    for (key, owner) in locks {
        call.key(key).arg(owner);
        wanted += 1;
    }
    let acquired: Vec<i64> = redis.invoke(what, &call).await?;
    if acquired.len() != wanted {
        return Err(PortError::Broken { what, source: "wrong number of replies".into() });
    }
    Ok(acquired.into_iter().map(|acquired| acquired == 1).collect())
}

/// Releases locks, given as keys and owners; a lock that has another owner by now stays.
pub(crate) async fn release(
    redis: &Redis,
    what: &'static str,
    locks: impl IntoIterator<Item = (String, &str)>,
) -> Result<(), PortError> {
    let mut call = RELEASE.prepare_invoke();
    for (key, owner) in locks {
        call.key(key).arg(owner);
    }
    redis.invoke::<i64>(what, &call).await?;
    Ok(())
}

/// Names of owners: unique over all instances.
pub(crate) struct Owners {
    instance: Uuid,
    count: AtomicU64,
}

impl Owners {
    pub(crate) fn new() -> Self {
        Self { instance: Uuid::now_v7(), count: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> String {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.instance.simple())
    }
}
