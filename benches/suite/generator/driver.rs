//! Connections, events and accounting: the parts of both loops.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::answer::Answer;
use super::connection::{Connection, Pending};
use super::error::GeneratorError;
use super::load::Load;
use super::plan::{OnStart, Plan, Window};
use super::tally::Tally;
use super::traffic::{Class, Traffic};

/// A request without a response fails after this time; the service itself gives up after 10 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Interval between two searches for such requests.
const LOOK: Duration = Duration::from_secs(1);
/// A connection that is idle for this long is not used any more, because the service closes it after 10 s.
const IDLE: Duration = Duration::from_secs(8);
/// Events handled at a time.
const EVENTS: usize = 1024;
/// A run is given up when each connection has broken this many times on average.
const BROKEN_PER_CONNECTION: u64 = 20;

/// Connections that are opened without a pause, and the pause after them: one that overflows the listener's queue waits for a
/// second.
const CONNECT_BURST: usize = 32;
const CONNECT_PAUSE: Duration = Duration::from_millis(2);

/// Which time of a request must be within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CountBy {
    /// When it was due: each request that should have been served counts, however late its response.
    Due,
    /// When it was answered: a closed loop measures responses a second.
    Answer,
}

/// Connections with their traffic.
pub(crate) struct Driver<'t> {
    pub(crate) poll: Poll,
    targets: Vec<SocketAddr>,
    connections: Vec<Connection>,
    traffic: &'t mut dyn Traffic,
    pub(crate) tally: Tally,
    pub(crate) window: Window,
    count_by: CountBy,
    under_way: usize,
    reopened: u64,
    last_answer: Instant,
    looked: Instant,
    cpu_from: Option<Duration>,
    cpu_to: Option<Duration>,
}

impl<'t> Driver<'t> {
    /// Opens all connections.
    pub(crate) fn open(
        plan: &Plan,
        traffic: &'t mut dyn Traffic,
        count_by: CountBy,
    ) -> Result<Self, GeneratorError> {
        let poll = Poll::new()?;
        let connections = (0..plan.connections).map(|id| {
            if id % CONNECT_BURST == CONNECT_BURST - 1 {
                std::thread::sleep(CONNECT_PAUSE);
            }
            let target = plan.targets[id % plan.targets.len()];
            Connection::open(target, poll.registry(), Token(id))
        });
        let connections = connections.collect::<io::Result<Vec<_>>>()?;
        let now = Instant::now();
        Ok(Self {
            poll,
            targets: plan.targets.clone(),
            connections,
            traffic,
            tally: Tally::new()?,
            window: plan.window(now),
            count_by,
            under_way: 0,
            reopened: 0,
            last_answer: now,
            looked: now,
            cpu_from: None,
            cpu_to: None,
        })
    }

    /// Begins the run, so that the time for connecting does not count, and calls `on_start` with its window.
    pub(crate) fn start(&mut self, plan: &Plan, on_start: OnStart<'_>) {
        let now = Instant::now();
        (self.window, self.last_answer, self.looked) = (plan.window(now), now, now);
        on_start(self.window);
    }

    /// A buffer for events.
    pub(crate) fn events() -> Events {
        Events::with_capacity(EVENTS)
    }

    /// Waits for events, for at most this long.
    pub(crate) fn wait(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> Result<(), GeneratorError> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        let now = Instant::now();
        if self.cpu_from.is_none() && now >= self.window.from {
            self.cpu_from = Some(thread_cpu()?);
        }
        if self.cpu_to.is_none() && now >= self.window.to {
            self.cpu_to = Some(thread_cpu()?);
        }
        Ok(())
    }

    /// Whether any request is without a response.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way > 0
    }

    /// Sends the next request over an idle connection. Returns whether there was one.
    pub(crate) fn send(&mut self, id: usize, due: Instant) -> Result<bool, GeneratorError> {
        if due.saturating_duration_since(self.connections[id].used) > IDLE {
            self.reopen(id)?;
        }
        let connection = &mut self.connections[id];
        let Some(kind) = self.traffic.ask(id, connection.blank()) else {
            return Ok(false);
        };
        connection.pending = Some(Pending { kind, due });
        self.under_way += 1;
        if let Err(error) = connection.send() {
            self.broken(id, &error)?;
        }
        Ok(true)
    }

    /// Handles an event. Returns whether its connection became idle.
    pub(crate) fn handle(&mut self, id: usize) -> Result<bool, GeneratorError> {
        match self.receive(id) {
            Ok(is_idle) => Ok(is_idle),
            Err(error) => {
                let was_busy = self.connections[id].pending.is_some();
                self.broken(id, &error)?;
                Ok(was_busy)
            }
        }
    }

    /// Gives up requests that have waited for too long. Returns the connections that became idle.
    pub(crate) fn expire(&mut self, now: Instant) -> Result<Vec<usize>, GeneratorError> {
        if now.duration_since(self.looked) < LOOK {
            return Ok(Vec::new());
        }
        self.looked = now;
        let is_late = |connection: &Connection| {
            let pending = connection.pending;
            pending.is_some_and(|it| now.saturating_duration_since(it.due) > ANSWER_TIMEOUT)
        };
        let all = self.connections.iter().enumerate();
        let late: Vec<usize> = all.filter(|(_, c)| is_late(c)).map(|(id, _)| id).collect();
        for id in &late {
            self.broken(*id, &ErrorKind::TimedOut.into())?;
        }
        Ok(late)
    }

    /// The result of the run.
    pub(crate) fn finish(self) -> Result<Load, GeneratorError> {
        let now = thread_cpu()?;
        let (from, to) = (self.cpu_from.unwrap_or(now), self.cpu_to.unwrap_or(now));
        Ok(Load {
            elapsed: self.last_answer.min(self.window.to).duration_since(self.window.from),
            tally: self.tally,
            generator_cpu: to.saturating_sub(from),
            threads: 1,
            reopened: self.reopened,
        })
    }

    fn receive(&mut self, id: usize) -> io::Result<bool> {
        let connection = &mut self.connections[id];
        connection.send()?;
        while connection.fill()? {
            let Some(pending) = connection.pending else {
                return Err(io::Error::new(ErrorKind::InvalidData, "a response without a request"));
            };
            let answer = Answer::read(connection.received())
                .map_err(|_| io::Error::new(ErrorKind::InvalidData, "not an HTTP response"))?;
            let Some(answer) = answer else { continue };
            if answer.length < connection.received().len() {
                return Err(io::Error::new(ErrorKind::InvalidData, "more than one response"));
            }
            let now = Instant::now();
            let class = self.traffic.take(id, &answer);
            if class == Class::Failed {
                self.tally.fail(pending.kind, || describe(&answer));
            } else {
                let at = if self.count_by == CountBy::Due { pending.due } else { now };
                if self.window.from <= at && at < self.window.to {
                    let latency = now.saturating_duration_since(pending.due);
                    self.tally.record(pending.kind, class, latency, now - self.window.from);
                }
            }
            self.under_way -= 1;
            self.last_answer = now;
            let closes = answer.closes;
            // Nothing follows a response before the next request, and new bytes make a new event.
            connection.finish(now);
            if closes {
                self.reopen(id).map_err(io::Error::other)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Handles a connection that broke: its request has failed, and it is opened again.
    fn broken(&mut self, id: usize, error: &io::Error) -> Result<(), GeneratorError> {
        if let Some(pending) = self.connections[id].pending {
            self.tally.fail(pending.kind, || format!("{:?}: {error}", pending.kind));
            self.traffic.lose(id);
            self.under_way -= 1;
        }
        self.reopen(id)
    }

    fn reopen(&mut self, id: usize) -> Result<(), GeneratorError> {
        self.reopened += 1;
        let most = u64::try_from(self.connections.len()).unwrap_or(u64::MAX);
        if self.reopened > most.saturating_mul(BROKEN_PER_CONNECTION) {
            return Err(GeneratorError::Broken(self.reopened));
        }
        let target = self.targets[id % self.targets.len()];
        self.connections[id].reopen(target, self.poll.registry(), Token(id))?;
        Ok(())
    }
}

fn describe(answer: &Answer<'_>) -> String {
    format!("{} {}", answer.status, String::from_utf8_lossy(answer.body))
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu() -> nix::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
