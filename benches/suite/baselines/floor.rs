//! PostgreSQL and Redis alone, with what a full batch of checkouts asks of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use redis::Commands;

use crate::generator::tally;
use crate::{Failure, Outcome};

/// Checkouts of a batch: `batch.checkout_size`.
const BATCH: u32 = 256;
/// Transactions at a time: `batch.checkout_writers`.
const WRITERS: &str = "2";
/// The statements of a batch, for pgbench.
const SCRIPT: &str = include_str!("checkout_batch.sql");
/// Asked before each batch.
const BELIEVE: &str = include_str!("../../../lua/checkout_believe.lua");
/// Bits that an item has in a filter of 10,000 items with one false positive in a thousand, and bits of that filter.
const HASHES: u32 = 10;
const FILTER_BITS: usize = 143_776;
/// Scripts that are sent before the first reply is waited for: Redis shall not wait for us.
const PIPELINE: u32 = 4;

/// Checkouts a second of PostgreSQL, on a database with the sale 1; `None` without pgbench.
pub(crate) fn postgres(url: &str, time: Duration, folder: &Path) -> Outcome<Option<f64>> {
    let Some(pgbench) = pgbench() else { return Ok(None) };
    let script = folder.join("checkout_batch.sql");
    std::fs::write(&script, SCRIPT)?;
    let seconds = time.as_secs().max(1).to_string();
    let ran = Command::new(pgbench)
        .args(["--no-vacuum", "--protocol=prepared", "--client", WRITERS, "--time", &seconds])
        .arg("--file")
        .arg(&script)
        .arg(url)
        .output()?;
    let (told, complaint) =
        (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if !ran.status.success() {
        return Err(format!("pgbench failed: {complaint}").into());
    }
    let rate = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    let rate: f64 = rate.ok_or_else(|| format!("pgbench tells no rate: {told}"))?.parse()?;
    Ok(Some(rate * f64::from(BATCH)))
}

/// Checkouts a second that Redis can tell what is believed of.
pub(crate) fn redis(url: &str, time: Duration) -> Outcome<f64> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let (filter, slot, totals) = ("{floor}:filter", "{floor}:filter:1", "{floor}:totals");
    let _: () = connection.hset(filter, "current", 1)?;
    let _: () = connection.setbit(slot, FILTER_BITS, false)?;
    let _: () = connection.hset_multiple(totals, &[("#sold", 0), ("#stock", 1_000_000)])?;
    let script = redis::Script::new(BELIEVE);
    let mut call = script.key(filter);
    call.key(slot).key("{floor}:filter:2").key(totals).arg(10).arg(HASHES);
    for buyer in 0..BATCH {
        call.key(format!("{{floor}}:standing:b{buyer}")).arg(buyer).arg(1);
        (0..HASHES).for_each(|hash| {
            call.arg((buyer * HASHES + hash) * 7_919 % 143_776);
        });
    }
    call.load(&mut connection)?;
    let mut pipeline = redis::pipe();
    for _ in 0..PIPELINE {
        pipeline.invoke_script(&call);
    }
    let start = Instant::now();
    let mut batches: u64 = 0;
    while start.elapsed() < time {
        let _: Vec<Vec<i64>> = pipeline.query(&mut connection)?;
        batches += u64::from(PIPELINE);
    }
    let rate = tally::float(batches) * f64::from(BATCH) / start.elapsed().as_secs_f64();
    connection.del::<_, ()>(&[filter, slot, totals]).map_err(Failure::from)?;
    Ok(rate)
}

/// In the path, or where Debian puts what belongs to one version.
fn pgbench() -> Option<PathBuf> {
    let in_path = Command::new("pgbench").arg("--version").output();
    if in_path.is_ok_and(|ran| ran.status.success()) {
        return Some("pgbench".into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut programs: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin/pgbench")))
        .filter(|program| program.is_file())
        .collect();
    programs.sort();
    programs.pop()
}
