//! A running server: the service, or a baseline.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::client::Client;
use crate::outcome::{Failure, Outcome};
use crate::program::Program;
use crate::usage;

/// Maximum wait until it listens and is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum wait until it has stopped in order.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause between two probes.
const PAUSE: Duration = Duration::from_millis(10);

/// A child process that serves. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Instance {
    child: Child,
    log: PathBuf,
    /// Address of the buyers' port; a worker has none.
    pub(crate) http: SocketAddr,
    /// Address of the monitoring port; a baseline has none.
    pub(crate) monitoring: Option<SocketAddr>,
}

impl Instance {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(program: &Program, role: &str, log: &Path) -> Outcome<Self> {
        let child = program.start(&[role], log)?;
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut starting = Self { child, log: log.to_owned(), http: unknown, monitoring: None };
        let has_monitoring = !["bare", "redis-only"].contains(&role);
        if role != "worker" {
            starting.http = starting.address_of("http")?;
        }
        if has_monitoring {
            let monitoring = starting.address_of("monitoring")?;
            starting.monitoring = Some(monitoring);
            starting.until("be ready", |_| {
                let answer = Client::connect(monitoring).and_then(|mut it| it.get("/readyz"));
                answer.ok().filter(|answer| answer.status == 200)
            })?;
        }
        Ok(starting)
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// The sum of a metric's samples whose labels contain this text.
    pub(crate) fn metric(&self, name: &str, label: &str) -> Outcome<f64> {
        let monitoring = self.monitoring.ok_or("a baseline has no metrics")?;
        let text = Client::connect(monitoring)?.get("/metrics")?.expect(200)?.body;
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let rest = series.strip_prefix(name)?;
            let is_it = rest.is_empty() || (rest.starts_with('{') && rest.contains(label));
            is_it.then(|| value.parse::<f64>().ok())?
        });
        Ok(samples.sum())
    }

    /// The upper bound of the bucket in which this part of a histogram's observations ends; 0 without any.
    pub(crate) fn percentile(&self, name: &str, label: &str, part: f64) -> Outcome<f64> {
        let monitoring = self.monitoring.ok_or("a baseline has no metrics")?;
        let text = Client::connect(monitoring)?.get("/metrics")?.expect(200)?.body;
        let prefix = format!("{name}_bucket{{");
        let buckets = text.lines().filter_map(|line| {
            let (series, count) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(&prefix).filter(|labels| labels.contains(label))?;
            let (_, bound) = labels.split_once("le=\"")?;
            let bound = bound.split_once('"')?.0.replace("+Inf", "inf");
            Some((bound.parse::<f64>().ok()?, count.parse::<f64>().ok()?))
        });
        let buckets: Vec<(f64, f64)> = buckets.collect();
        let all = buckets.last().map_or(0.0, |(_, count)| *count);
        let reached = buckets.iter().find(|(_, count)| all > 0.0 && *count >= all * part);
        Ok(reached.map_or(0.0, |(bound, _)| *bound))
    }

    /// Fails if it has ended.
    pub(crate) fn runs(&self) -> Outcome<()> {
        if usage::has_ended(self.process())? {
            Err(self.complaint("ended by itself"))
        } else {
            Ok(())
        }
    }

    /// Stops it with `SIGTERM`. Its exit code must be 0.
    pub(crate) fn stop(mut self) -> Outcome<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGTERM)?;
        let end = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return if status.success() {
                    Ok(())
                } else {
                    Err(self.complaint("did not stop in order"))
                };
            }
            std::thread::sleep(PAUSE);
        }
        Err(self.complaint("did not stop"))
    }

    fn address_of(&mut self, server: &str) -> Outcome<SocketAddr> {
        self.until("listen", |it| announced(&std::fs::read_to_string(&it.log).ok()?, server))
    }

    fn until<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> Outcome<T> {
        let end = Instant::now() + START_TIMEOUT;
        while Instant::now() < end {
            if let Some(seen) = look(self) {
                return Ok(seen);
            }
            if self.child.try_wait()?.is_some() {
                return Err(self.complaint("ended while it started"));
            }
            std::thread::sleep(PAUSE);
        }
        Err(self.complaint(&format!("did not {what}")))
    }

    fn complaint(&self, what: &str) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        format!("an instance {what}; its log, backwards: {}", last.join(" | ")).into()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a log of one of the instance's servers.
fn announced(log: &str, server: &str) -> Option<SocketAddr> {
    let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut listening =
        records.filter(|record| record["message"] == "listening" && record["server"] == server);
    listening.next()?["address"].as_str()?.parse().ok()
}
