//! The closed loop: each connection sends its next request as soon as the last one is answered.
//!
//! It measures throughput, not how long a buyer waits: a slow service gets fewer requests.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::driver::{CountBy, Driver};
use super::error::GeneratorError;
use super::load::Load;
use super::plan::{OnStart, Plan};
use super::traffic::Traffic;

/// Maximum wait before the clock is read again.
const TICK: Duration = Duration::from_millis(20);

/// Runs one thread for each traffic, with its share of the connections, until the time is up or the traffic has ended, and every
/// request is answered.
pub(crate) fn run(
    plan: &Plan,
    traffics: Vec<Box<dyn Traffic>>,
    on_start: OnStart<'_>,
) -> Result<Load, GeneratorError> {
    let threads = traffics.len().max(1);
    let share = Plan { connections: (plan.connections / threads).max(1), ..plan.clone() };
    let connected = Barrier::new(threads);
    let loads = std::thread::scope(|scope| {
        let (share, connected) = (&share, &connected);
        let running = traffics.into_iter().map(|mut traffic| {
            scope.spawn(move || {
                let driver = Driver::open(share, traffic.as_mut(), CountBy::Answer);
                // Even if it failed, because the other threads wait.
                connected.wait();
                let mut driver = driver?;
                driver.start(share, on_start);
                one_thread(driver, share.connections)
            })
        });
        let running: Vec<_> = running.collect();
        let ended = running
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(GeneratorError::Panicked)));
        ended.collect::<Result<Vec<Load>, _>>()
    })?;
    let mut loads = loads.into_iter();
    let mut all = loads.next().ok_or(GeneratorError::NoTraffic)?;
    loads.try_for_each(|load| all.absorb(&load))?;
    Ok(all)
}

fn one_thread(mut driver: Driver<'_>, connections: usize) -> Result<Load, GeneratorError> {
    let mut events = Driver::events();
    for id in 0..connections {
        driver.send(id, Instant::now())?;
    }
    while driver.is_busy() {
        driver.wait(&mut events, Some(TICK))?;
        for event in &events {
            let id = event.token().0;
            if driver.handle(id)? {
                again(&mut driver, id)?;
            }
        }
        for id in driver.expire(Instant::now())? {
            again(&mut driver, id)?;
        }
    }
    driver.finish()
}

fn again(driver: &mut Driver<'_>, id: usize) -> Result<(), GeneratorError> {
    let now = Instant::now();
    if now < driver.window.to {
        driver.send(id, now)?;
    }
    Ok(())
}
