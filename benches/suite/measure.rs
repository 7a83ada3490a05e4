//! Runs with the CPU time of everybody who takes part.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::generator::{
    Class, GeneratorError, Load, Plan, Tally, Traffic, Window, closed, open, tally,
};
use crate::instance::Instance;
use crate::stage::Stage;
use crate::suite::Suite;
use crate::traffic::{Checkouts, first_buyer};
use crate::usage::{Cpu, Parties};
use crate::{Failure, Outcome};

/// Counted time of a run of the bare server: it varies little.
const BARE: Duration = Duration::from_millis(1_500);
const BARE_WARM_UP: Duration = Duration::from_millis(500);
/// It is asked for as many items as the service: the same bytes.
const BARE_ITEMS: u32 = 10_000;
/// Of the moments at which requests of an open loop arrive.
const SEED: u64 = 1;
/// Counted seconds of a run if the options say nothing else.
const USUAL_SECONDS: f64 = 3.0;

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) load: Load,
    /// CPU time within the counted time.
    pub(crate) cpu: Cpu,
}

/// How load is put on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Loop {
    /// As fast as answers come.
    Closed,
    /// So many requests a second.
    Open(f64),
}

impl Measured {
    /// Answers a second that did not fail: accepted, and refused where that is what was asked for.
    pub(crate) fn rate(&self) -> f64 {
        self.load.rate(&[Class::Accepted, Class::Refused])
    }

    /// CPU time in microseconds for each answer in the counted time.
    pub(crate) fn micros_a_request(&self, cpu: Duration) -> f64 {
        let requests = self.load.tally.requests().max(1);
        cpu.as_secs_f64() * 1e6 / tally::float(requests)
    }
}

impl Suite {
    /// As the options say.
    pub(crate) fn plan(&self, instances: &[Instance]) -> Plan {
        Plan {
            targets: instances.iter().map(|instance| instance.http).collect(),
            connections: self.options.connections.into(),
            warm_up: self.options.warm_up,
            measured: self.options.seconds,
        }
    }

    /// A closed loop; `make` makes the traffic of a generator's thread from the number of its first buyer.
    pub(crate) fn measure<T: Traffic + 'static>(
        &self,
        stage: &Stage,
        make: impl Fn(u64) -> T,
    ) -> Outcome<Measured> {
        self.measure_with(stage, &self.plan(&stage.instances), Loop::Closed, make)
    }

    /// The same by another plan. An open loop has one thread.
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
        let measured = run(plan, stage.parties(), how, traffics.collect());
        // An instance that died says more than what became of its connections.
        stage.instances.iter().try_for_each(Instance::runs)?;
        measured
    }

    /// A time that is this long if the options say nothing else, and in proportion to what they say.
    pub(crate) fn scaled(&self, usual: Duration) -> Duration {
        usual.mul_f64(self.options.seconds.as_secs_f64() / USUAL_SECONDS)
    }

    /// Answers a second of the bare server, now.
    pub(crate) fn bare(&self) -> Outcome<Measured> {
        let program = self.program().binary(std::env::current_exe()?);
        let instances = [Instance::start(&program, "bare", &self.folder.join("bare.log"))?];
        let plan = Plan { warm_up: BARE_WARM_UP, measured: BARE, ..self.plan(&instances) };
        let parties = Parties { instances: vec![instances[0].process()], ..Parties::default() };
        let traffics = (0..self.options.generator_threads()).map(first_buyer);
        let traffics = traffics
            .map(|first| Box::new(Checkouts::of("S-1", BARE_ITEMS, first)) as Box<dyn Traffic>);
        run(&plan, &parties, Loop::Closed, traffics.collect())
    }
}

/// Puts load on, and looks at the clocks of the parties when the counted time begins and ends.
pub(crate) fn run(
    plan: &Plan,
    parties: &Parties,
    how: Loop,
    mut traffics: Vec<Box<dyn Traffic>>,
) -> Outcome<Measured> {
    let (tell, told) = mpsc::channel::<Window>();
    std::thread::scope(|scope| {
        // In a thread of its own: reading /proc takes milliseconds, in which the generator would stand still.
        let observer = scope.spawn(move || observe(parties, &told));
        let on_start = |window| {
            // An observer that failed is heard of when it is joined.
            let _ = tell.send(window);
        };
        let load = match how {
            Loop::Closed => closed::run(plan, traffics, &on_start),
            Loop::Open(a_second) => match traffics.first_mut() {
                Some(traffic) => open::run(plan, traffic.as_mut(), (a_second, SEED), &on_start),
                None => Err(GeneratorError::NoTraffic),
            },
        };
        drop(tell);
        let cpu = observer.join().map_err(|_| Failure::from("the observer panicked"))?;
        Ok(Measured { load: load?, cpu: cpu? })
    })
}

/// CPU time of the parties in the counted time, which ends early when the load does.
fn observe(parties: &Parties, told: &Receiver<Window>) -> Outcome<Cpu> {
    let window = told.recv()?;
    wait_until(window.from, told);
    let before = parties.cpu()?;
    wait_until(window.to, told);
    Ok(parties.cpu()?.since(before))
}

/// Waits for a moment, or until nobody can tell anything more: then the load has ended.
fn wait_until(moment: Instant, told: &Receiver<Window>) {
    // Each thread of the generator tells once.
    while told.recv_timeout(moment.saturating_duration_since(Instant::now())).is_ok() {}
}

/// The run in the middle, by its rate.
pub(crate) fn middle(mut runs: Vec<Measured>) -> Option<Measured> {
    runs.sort_by(|one, other| one.rate().total_cmp(&other.rate()));
    let middle = runs.len() / 2;
    runs.into_iter().nth(middle)
}

/// Nothing may fail in a run that is about something else.
pub(crate) fn without_failures(tally: &Tally) -> Outcome<()> {
    match tally.count(Class::Failed) {
        0 => Ok(()),
        failed => Err(format!("{failed} requests failed: {}", tally.examples.join("; ")).into()),
    }
}
