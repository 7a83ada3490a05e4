//! CPU time and memory of processes, by the kernel. Linux only, like the service.

use std::fs;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use crate::outcome::Outcome;

/// CPU time of the processes of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// All instances.
    pub(crate) service: Duration,
    /// The postmaster and all of its children, also those that ended.
    pub(crate) postgres: Duration,
    pub(crate) redis: Duration,
}

/// The processes whose CPU time is measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes {
    pub(crate) instances: Vec<u32>,
    pub(crate) postmaster: Option<u32>,
    pub(crate) redis: Option<u32>,
}

/// Fields of `/proc/PID/stat` behind the name.
struct Stat {
    /// A letter; `Z` is a process that has ended and was not waited for.
    state: String,
    parent: u32,
    own_ticks: u64,
    /// Of children that ended and were waited for.
    children_ticks: u64,
}

impl Processes {
    /// Their CPU time since they were started.
    pub(crate) fn cpu(&self) -> Outcome<Cpu> {
        let mut service = 0;
        for instance in &self.instances {
            service += Stat::of(*instance)?.own_ticks;
        }
        let redis = self.redis.map_or(Ok(0), |redis| Stat::of(redis).map(|stat| stat.own_ticks))?;
        let postgres = self.postmaster.map_or(Ok(0), family_ticks)?;
        Ok(Cpu { service: time(service)?, postgres: time(postgres)?, redis: time(redis)? })
    }
}

impl Cpu {
    /// CPU time used since an earlier reading.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            service: self.service.saturating_sub(earlier.service),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            redis: self.redis.saturating_sub(earlier.redis),
        }
    }
}

impl Stat {
    fn of(process: u32) -> Outcome<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        Self::parse(&text).ok_or_else(|| format!("cannot read /proc/{process}/stat").into())
    }

    fn parse(text: &str) -> Option<Self> {
        // The name, in parentheses, may contain anything.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            state: (*fields.first()?).to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            own_ticks: number(11)? + number(12)?,
            children_ticks: number(13)? + number(14)?,
        })
    }
}

/// Resident memory of a process in bytes: now, and its maximum so far.
pub(crate) fn memory(process: u32) -> Outcome<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    match (field("VmRSS:"), field("VmHWM:")) {
        (Some(now), Some(peak)) => Ok((now * 1024, peak * 1024)),
        _ => Err(format!("cannot read /proc/{process}/status").into()),
    }
}

/// Whether a child has ended that was not waited for.
pub(crate) fn has_ended(process: u32) -> Outcome<bool> {
    Ok(Stat::of(process)?.state == "Z")
}

/// The process that started this one.
pub(crate) fn parent(process: u32) -> Outcome<u32> {
    Ok(Stat::of(process)?.parent)
}

fn family_ticks(head: u32) -> Outcome<u64> {
    let stat = Stat::of(head)?;
    let mut ticks = stat.own_ticks + stat.children_ticks;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile counts among the ended children at the next reading.
        let Ok(stat) = Stat::of(process) else { continue };
        if stat.parent == head {
            ticks += stat.own_ticks;
        }
    }
    Ok(ticks)
}

fn time(ticks: u64) -> Outcome<Duration> {
    let a_second = sysconf(SysconfVar::CLK_TCK)?.ok_or("the kernel does not report its tick")?;
    Ok(Duration::from_millis(ticks * 1_000 / a_second.unsigned_abs()))
}
