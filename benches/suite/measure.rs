//! Runs, with the CPU time of every process that takes part.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::baselines::redis_only::{Flush, Shop};
use crate::environment::Environment;
use crate::generator::{
    Class, GeneratorError, Load, Plan, Tally, Traffic, Window, closed, open, tally,
};
use crate::instance::Instance;
use crate::outcome::{Failure, Outcome};
use crate::stage::{Stage, Terms};
use crate::traffic::{Checkouts, first_buyer};
use crate::usage::{Cpu, Processes};

/// Counted time of a run of the bare server: short, because its rate varies little.
const BARE: Duration = Duration::from_millis(1_500);
const BARE_WARM_UP: Duration = Duration::from_millis(500);
/// Items in the requests to it: as many as in those to the service, so that they have the same size.
const BARE_ITEMS: u32 = 10_000;
/// Seed of the arrival times of an open loop.
const SEED: u64 = 1;
/// Default of the option `--seconds`.
const USUAL_SECONDS: f64 = 3.0;

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) load: Load,
    /// CPU time within the counted time.
    pub(crate) cpu: Cpu,
}

/// The kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loop {
    /// The next request follows a response.
    Closed,
    /// This many requests a second.
    Open(f64),
}

impl Measured {
    /// Responses a second that did not fail: accepted ones, and refusals that were expected.
    pub(crate) fn rate(&self) -> f64 {
        self.load.rate(&[Class::Accepted, Class::Refused])
    }

    /// CPU time in microseconds for each response in the counted time.
    pub(crate) fn micros_a_request(&self, cpu: Duration) -> f64 {
        let requests = self.load.tally.requests().max(1);
        cpu.as_secs_f64() * 1e6 / tally::float(requests)
    }
}

impl Environment {
    /// The plan by the options.
    pub(crate) fn plan(&self, instances: &[Instance]) -> Plan {
        Plan {
            targets: instances.iter().map(|instance| instance.http).collect(),
            connections: self.options.connections.into(),
            warm_up: self.options.warm_up,
            measured: self.options.seconds,
        }
    }

    /// Measures a closed loop. `make` creates the traffic of a generator's thread from the number of its first buyer.
    pub(crate) fn measure<T: Traffic + 'static>(
        &self,
        stage: &Stage,
        make: impl Fn(u64) -> T,
    ) -> Outcome<Measured> {
        self.measure_with(stage, &self.plan(&stage.instances), Loop::Closed, make)
    }

    /// Measures by another plan. An open loop has one thread.
    pub(crate) fn measure_with<T: Traffic + 'static>(
        &self,
        stage: &Stage,
        plan: &Plan,
        how: Loop,
        make: impl Fn(u64) -> T,
    ) -> Outcome<Measured> {
        let threads = match how {
            Loop::Closed => self.options.generator_threads(),
            Loop::Open(_) => 1,
        };
        let traffics = (0..threads).map(first_buyer);
        let traffics = traffics.map(|first| Box::new(make(first)) as Box<dyn Traffic>);
        let measured = run(plan, stage.processes(), how, traffics.collect());
        // The failure of an instance explains more than the failure of its connections.
        stage.instances.iter().try_for_each(Instance::runs)?;
        measured
    }

    /// A time that is `usual` by default, and in proportion to the option `--seconds`.
    pub(crate) fn scaled(&self, usual: Duration) -> Duration {
        usual.mul_f64(self.options.seconds.as_secs_f64() / USUAL_SECONDS)
    }

    /// Measures the baseline on Redis alone in a closed loop. `make` creates the traffic of a generator's thread.
    pub(crate) fn redis_only<T: Traffic + 'static>(
        &self,
        (flush, terms): (Flush, Terms),
        make: impl Fn(u64) -> T,
    ) -> Outcome<Measured> {
        let shop = Shop::open(&self.servers.redis_url, flush, terms)?;
        let program = self.program().binary(std::env::current_exe()?);
        let log = self.folder.join("redis-only.log");
        let instances = [Instance::start(&program, "redis-only", &log)?];
        let mut processes = self.servers.processes(vec![instances[0].process()]);
        processes.postmaster = None;
        let traffics = (0..self.options.generator_threads()).map(first_buyer);
        let traffics = traffics.map(|first| Box::new(make(first)) as Box<dyn Traffic>);
        let plan = self.plan(&instances);
        let measured = run(&plan, &processes, Loop::Closed, traffics.collect());
        instances[0].runs()?;
        shop.verify()?;
        measured
    }

    /// Measures the bare server.
    pub(crate) fn bare(&self) -> Outcome<Measured> {
        let program = self.program().binary(std::env::current_exe()?);
        let instances = [Instance::start(&program, "bare", &self.folder.join("bare.log"))?];
        let plan = Plan { warm_up: BARE_WARM_UP, measured: BARE, ..self.plan(&instances) };
        let processes =
            Processes { instances: vec![instances[0].process()], ..Processes::default() };
        let traffics = (0..self.options.generator_threads()).map(first_buyer);
        let traffics = traffics
            .map(|first| Box::new(Checkouts::of("S-1", BARE_ITEMS, first)) as Box<dyn Traffic>);
        run(&plan, &processes, Loop::Closed, traffics.collect())
    }
}

/// Runs the load, and reads the CPU time of the processes when the counted time begins and ends.
pub(crate) fn run(
    plan: &Plan,
    processes: &Processes,
    how: Loop,
    mut traffics: Vec<Box<dyn Traffic>>,
) -> Outcome<Measured> {
    let (sender, windows) = mpsc::channel::<Window>();
    std::thread::scope(|scope| {
        // In a thread of its own, because reading /proc takes milliseconds, in which the generator would stand still.
        let observer = scope.spawn(move || observe(processes, &windows));
        let on_start = |window| {
            // An observer that has failed is joined below.
            let _ = sender.send(window);
        };
        let load = match how {
            Loop::Closed => closed::run(plan, traffics, &on_start),
            Loop::Open(a_second) => match traffics.first_mut() {
                Some(traffic) => open::run(plan, traffic.as_mut(), (a_second, SEED), &on_start),
                None => Err(GeneratorError::NoTraffic),
            },
        };
        drop(sender);
        let cpu = observer.join().map_err(|_| Failure::from("the observer panicked"))?;
        Ok(Measured { load: load?, cpu: cpu? })
    })
}

/// CPU time of the processes in the counted time, which ends early when the load does.
fn observe(processes: &Processes, windows: &Receiver<Window>) -> Outcome<Cpu> {
    let window = windows.recv()?;
    wait_until(window.from, windows);
    let before = processes.cpu()?;
    wait_until(window.to, windows);
    Ok(processes.cpu()?.since(before))
}

/// Waits until this time, or until all senders are gone, because then the load has ended.
fn wait_until(moment: Instant, windows: &Receiver<Window>) {
    // Each thread of the generator sends once.
    while windows.recv_timeout(moment.saturating_duration_since(Instant::now())).is_ok() {}
}

/// The median run by its rate.
pub(crate) fn middle(mut runs: Vec<Measured>) -> Option<Measured> {
    runs.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle)
}

/// Fails if a request of the run has failed.
pub(crate) fn without_failures(tally: &Tally) -> Outcome<()> {
    match tally.count(Class::Failed) {
        0 => Ok(()),
        failed => Err(format!("{failed} requests failed: {}", tally.examples.join("; ")).into()),
    }
}
