//! Redis alone: the locks of a batch of purchases, acquired by one script and released by another.

use std::time::{Duration, Instant};

use redis::{Script, Value};

use super::BATCH;
use crate::generator::tally;
use crate::outcome::Outcome;

const ACQUIRE: &str = include_str!("../../../../lua/lock_acquire.lua");
const RELEASE: &str = include_str!("../../../../lua/lock_release.lua");
/// `redis.lock_ttl`, in milliseconds.
const TTL_MS: u32 = 1_500;
/// Batches sent before the first reply is read, so that Redis does not wait for this process.
const PIPELINE: u32 = 4;

/// Purchases a second that Redis can lock and release.
pub(crate) fn measure(url: &str, time: Duration) -> Outcome<f64> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let (acquire, release) = (Script::new(ACQUIRE), Script::new(RELEASE));
    let (mut taking, mut giving) = (acquire.prepare_invoke(), release.prepare_invoke());
    taking.arg(TTL_MS);
    for attempt in 0..BATCH {
        // As long as the service's keys and owners.
        let lock = format!("flash-sale:{{sale:1}}:lock:{attempt:08}");
        let owner = format!("{:032x}-{attempt:08}", 1);
        taking.key(&lock).arg(&owner);
        giving.key(&lock).arg(&owner);
    }
    taking.load(&mut connection)?;
    giving.load(&mut connection)?;
    let mut pipeline = redis::pipe();
    for _ in 0..PIPELINE {
        pipeline.invoke_script(&taking).invoke_script(&giving);
    }
    let start = Instant::now();
    let mut batches: u64 = 0;
    while start.elapsed() < time {
        let replies: Vec<Value> = pipeline.query(&mut connection)?;
        // A script that has released all locks had acquired all.
        if !replies.iter().skip(1).step_by(2).all(|reply| *reply == Value::Int(BATCH.into())) {
            return Err("Redis did not acquire and release every lock".into());
        }
        batches += u64::from(PIPELINE);
    }
    Ok(tally::float(batches) * f64::from(BATCH) / start.elapsed().as_secs_f64())
}
