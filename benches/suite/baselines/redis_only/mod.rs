//! What many would take instead: axum and Redis alone, with a script that checks limit and stock and decrements them.
//!
//! Redis appends each command to its log and, with `appendfsync always`, flushes it before the answer: as durable as the service. With
//! `everysec` a crash loses the last second of sales. It promises less in any case: a code stands for its buyer's cart and is not signed,
//! a repeated purchase is not answered with its outcome, refusals and attempts are not on record, and no sale opens or ends.
//!
//! [`server`]: the server. This file: Redis' log, and the check after a run that nothing was sold twice.

pub(crate) mod server;

use std::time::{Duration, Instant};

use redis::{Commands, Connection};

use crate::outcome::Outcome;
use crate::stage::Terms;

/// Hash of remaining pieces by item.
const STOCK: &str = "redis-only:stock";
/// Hash of bought pieces by buyer.
const BOUGHT: &str = "redis-only:bought";
/// Maximum time for Redis to begin its log.
const LOG_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// When Redis flushes its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Before each answer.
    Always,
    /// Once a second.
    EverySecond,
}

impl Flush {
    /// As `appendfsync` has it.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::EverySecond => "everysec",
        }
    }
}

/// A Redis that keeps a log, with a sale. Dropping it ends the log.
pub(crate) struct Shop {
    connection: Connection,
    terms: Terms,
}

impl Shop {
    /// Empties Redis, lets it keep a log, and puts the items of a sale there.
    pub(crate) fn open(url: &str, flush: Flush, terms: Terms) -> Outcome<Self> {
        let mut connection = redis::Client::open(url)?.get_connection()?;
        redis::cmd("FLUSHALL").arg("SYNC").exec(&mut connection)?;
        set(&mut connection, "appendfsync", flush.setting())?;
        let mut shop = Self { connection, terms };
        set(&mut shop.connection, "appendonly", "yes")?;
        shop.await_log()?;
        let items: Vec<(u32, u32)> = (1..=terms.items).map(|item| (item, terms.stock)).collect();
        let () = shop.connection.hset_multiple(STOCK, &items)?;
        Ok(shop)
    }

    /// Fails unless as many pieces were bought as the stock has lost, and some were.
    pub(crate) fn verify(mut self) -> Outcome<()> {
        let (stock, bought): (Vec<u64>, Vec<u64>) =
            (self.connection.hvals(STOCK)?, self.connection.hvals(BOUGHT)?);
        let all = u64::from(self.terms.items) * u64::from(self.terms.stock);
        let (left, bought): (u64, u64) = (stock.iter().sum(), bought.iter().sum());
        if bought == 0 || left + bought != all {
            return Err(format!("of {all} pieces {bought} are bought and {left} are left").into());
        }
        Ok(())
    }

    /// Waits until the log is whole: Redis writes its first part in a child.
    fn await_log(&mut self) -> Outcome<()> {
        let end = Instant::now() + LOG_TIMEOUT;
        while Instant::now() < end {
            let info: String = redis::cmd("INFO").arg("persistence").query(&mut self.connection)?;
            let says = |line: &str| info.lines().any(|own| own.trim() == line);
            if says("aof_enabled:1")
                && says("aof_rewrite_in_progress:0")
                && says("aof_rewrite_scheduled:0")
            {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err("Redis did not begin its log".into())
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = set(&mut self.connection, "appendonly", "no");
        let _ = redis::cmd("FLUSHALL").arg("SYNC").exec(&mut self.connection);
    }
}

fn set(connection: &mut Connection, name: &str, value: &str) -> Outcome<()> {
    Ok(redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(connection)?)
}
