//! The open loop: requests arrive by a clock that does not wait for responses, as buyers do.
//!
//! An arrival takes an idle connection. If there is none, it waits in a queue of the generator, and its latency counts from when
//! it was due: a stall of the service counts for every request that arrived meanwhile (no "coordinated omission"). An arrival
//! that could not be sent within [`PATIENCE`] is dropped and counted as unsent.

use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timer::TimerSetTimeFlags;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags};

use super::dice::Dice;
use super::driver::{CountBy, Driver};
use super::error::GeneratorError;
use super::load::Load;
use super::plan::{OnStart, Plan};
use super::traffic::Traffic;

/// An arrival is sent for at most this long after it was due.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);
/// Resolution of arrivals; epoll's own timeout has a resolution of a millisecond.
const GRAIN: Duration = Duration::from_micros(200);
const CLOCK: Token = Token(usize::MAX);

/// Arrivals at random times with a mean rate (a Poisson process), the same for the same seed.
#[derive(Debug)]
pub(crate) struct Arrivals {
    next: Instant,
    mean_gap: f64,
    dice: Dice,
}

/// Arrivals that are due and not sent.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: VecDeque<Instant>,
}

impl Arrivals {
    /// Arrivals from this time on, at this rate.
    pub(crate) fn new(start: Instant, a_second: f64, seed: u64) -> Self {
        Self { next: start, mean_gap: 1.0 / a_second.max(f64::MIN_POSITIVE), dice: Dice::new(seed) }
    }

    /// Moves all arrivals that are due, and before the end, into the queue.
    pub(crate) fn arrive(&mut self, now: Instant, end: Instant, queue: &mut Queue) {
        while self.next <= now && self.next < end {
            queue.due.push_back(self.next);
            let gap = -self.dice.fraction().ln() * self.mean_gap;
            self.next += Duration::from_secs_f64(gap);
        }
    }
}

impl Queue {
    /// Takes the next arrival that may still be sent; calls `unsent` for those that are too late.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        mut unsent: impl FnMut(Instant),
    ) -> Option<Instant> {
        while let Some(due) = self.due.pop_front() {
            if now.saturating_duration_since(due) <= PATIENCE {
                return Some(due);
            }
            unsent(due);
        }
        None
    }

    /// Puts back an arrival for which there was no connection.
    pub(crate) fn put_back(&mut self, due: Instant) {
        self.due.push_front(due);
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

/// Offers this many requests a second, at times drawn from the seed, until the time is up, and waits for the last responses.
pub(crate) fn run(
    plan: &Plan,
    traffic: &mut dyn Traffic,
    (a_second, seed): (f64, u64),
    on_start: OnStart<'_>,
) -> Result<Load, GeneratorError> {
    let mut driver = Driver::open(plan, traffic, CountBy::Due)?;
    driver.start(plan, on_start);
    let clock = clock(&driver)?;
    let mut events = Driver::events();
    let mut arrivals = Arrivals::new(Instant::now(), a_second, seed);
    let mut queue = Queue::default();
    // Used in turn, because the service closes idle connections, and opening hundreds at once, as after a stall, would cost more
    // than the requests.
    let mut idle: VecDeque<usize> = (0..plan.connections).collect();
    let end = driver.window.to;
    while Instant::now() < end || driver.is_busy() || !queue.is_empty() {
        driver.wait(&mut events, None)?;
        for event in &events {
            let id = event.token().0;
            if event.token() == CLOCK {
                // A timer that is not read does not fire again.
                match clock.wait() {
                    Ok(()) | Err(Errno::EAGAIN) => {}
                    Err(error) => return Err(error.into()),
                }
            } else if driver.handle(id)? {
                idle.push_back(id);
            }
        }
        let now = Instant::now();
        idle.extend(driver.expire(now)?);
        arrivals.arrive(now, end, &mut queue);
        send_due(&mut driver, &mut queue, &mut idle, now)?;
    }
    let mut load = driver.finish()?;
    // The offered load filled the whole window, whenever the last response came.
    load.elapsed = plan.measured;
    Ok(load)
}

fn send_due(
    driver: &mut Driver<'_>,
    queue: &mut Queue,
    idle: &mut VecDeque<usize>,
    now: Instant,
) -> Result<(), GeneratorError> {
    let window = driver.window;
    loop {
        let unsent = &mut driver.tally.unsent;
        let due =
            queue.take(now, |due| *unsent += u64::from(window.from <= due && due < window.to));
        let Some(due) = due else { return Ok(()) };
        let Some(id) = idle.pop_front() else {
            queue.put_back(due);
            return Ok(());
        };
        if !driver.send(id, due)? {
            idle.push_back(id);
        }
    }
}

/// A timer that wakes the loop every [`GRAIN`].
fn clock(driver: &Driver<'_>) -> Result<TimerFd, GeneratorError> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
    let every = Expiration::Interval(TimeSpec::from_duration(GRAIN));
    timer.set(every, TimerSetTimeFlags::empty())?;
    let descriptor = timer.as_fd().as_raw_fd();
    driver.poll.registry().register(&mut SourceFd(&descriptor), CLOCK, Interest::READABLE)?;
    Ok(timer)
}
