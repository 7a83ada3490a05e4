//! The load generator: plain HTTP/1.1 over kept connections, cheap enough not to be what is measured.
//!
//! One thread drives all of its connections with epoll. Requests are written into buffers that are used again, answers
//! are looked at where they were received: nothing is allocated for a request. What it costs itself is part of every
//! [`Load`], so that a run in which the generator was the limit can be told from one in which the service was.
//!
//! - [`closed`]: every connection sends its next request as soon as it has the answer to the last one.
//! - [`open`]: requests arrive by a clock, whether the service keeps up or not; latency counts from that clock.
//! - [`traffic`]: what is asked, and what an answer means. [`tally`]: what came of it.
//! - [`driver`], [`connection`], [`answer`]: the machinery of both loops. [`dice`]: chance that is the same every time.

pub(crate) mod answer;
pub(crate) mod closed;
pub(crate) mod connection;
pub(crate) mod dice;
pub(crate) mod driver;
pub(crate) mod open;
pub(crate) mod tally;
pub(crate) mod traffic;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(crate) use answer::Answer;
pub(crate) use tally::{Latency, Tally};
pub(crate) use traffic::{Class, Kind, Traffic};

/// Whom to ask, over how many connections, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Instances; connections are spread over them in turn.
    pub(crate) targets: Vec<SocketAddr>,
    /// Connections in all.
    pub(crate) connections: usize,
    /// Time at the start that is not counted.
    pub(crate) warm_up: Duration,
    /// Time that is counted; the end of the traffic may come sooner.
    pub(crate) measured: Duration,
}

/// The part of a run that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// Is told once the load begins, which part of it will be counted; by every thread of the generator.
pub(crate) type OnStart<'a> = &'a (dyn Fn(Window) + Sync);

/// What a run came to.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// What was asked and answered.
    pub(crate) tally: Tally,
    /// Time that was counted: the window, or up to the last answer when the traffic ended before it.
    pub(crate) elapsed: Duration,
    /// CPU time of the generator's threads within the window.
    pub(crate) generator_cpu: Duration,
    /// Threads that generated.
    pub(crate) threads: usize,
    /// Connections that were closed by the service, or broke, and were opened again.
    pub(crate) reopened: u64,
}

/// The generator itself cannot go on: what it measured says nothing about the service.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GeneratorError {
    #[error("the load generator: {0}")]
    Io(#[from] std::io::Error),
    #[error("the load generator: {0}")]
    Clock(#[from] nix::Error),
    #[error("connections broke {0} times: is the service gone?")]
    Broken(u64),
    #[error("a histogram of latencies: {0}")]
    Histogram(String),
    #[error("nobody asks: no traffic was given")]
    NoTraffic,
    #[error("a thread of the load generator panicked")]
    Panicked,
}

impl Plan {
    /// The counted part of a run that starts now.
    fn window(&self, start: Instant) -> Window {
        let from = start + self.warm_up;
        Window { from, to: from + self.measured }
    }
}

impl Load {
    /// Answers a second of these classes.
    pub(crate) fn rate(&self, classes: &[Class]) -> f64 {
        let answers: u64 = classes.iter().map(|class| self.tally.count(*class)).sum();
        tally::float(answers) / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    /// Adds what another thread did in the same window.
    fn absorb(&mut self, other: &Self) -> Result<(), GeneratorError> {
        self.tally.absorb(&other.tally)?;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.generator_cpu += other.generator_cpu;
        self.threads += other.threads;
        self.reopened += other.reopened;
        Ok(())
    }
}
