//! Runs with the CPU time of everybody who takes part.

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::generator::{Class, Load, Plan, Tally, Traffic, closed, open, tally};
use crate::instance::Instance;
use crate::stage::Stage;
use crate::suite::Suite;
use crate::traffic::{Checkouts, first_buyer};
use crate::usage::{Cpu, Parties};
use crate::{Failure, Outcome};

/// Counted time of a run of the bare server: it varies little.
const BARE: Duration = Duration::from_millis(1_500);
const BARE_WARM_UP: Duration = Duration::from_millis(500);

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
        let threads = 0..self.options.generator_threads();
        let traffics =
            threads.map(|thread| Box::new(make(first_buyer(thread))) as Box<dyn Traffic>);
        run(&self.plan(&stage.instances), stage.parties(), Loop::Closed, traffics.collect())
    }

    /// Answers a second of the bare server, now.
    pub(crate) fn bare(&self) -> Outcome<Measured> {
        let program = self.program().binary(std::env::current_exe()?);
        let instance = Instance::start(&program, "bare", &self.folder.join("bare.log"))?;
        let instances = [instance];
        let plan = Plan { warm_up: BARE_WARM_UP, measured: BARE, ..self.plan(&instances) };
        let parties = Parties { instances: vec![instances[0].process()], ..Parties::default() };
        let threads = 0..self.options.generator_threads();
        let traffics = threads.map(|thread| {
            Box::new(Checkouts::of("S-1", 10_000, first_buyer(thread))) as Box<dyn Traffic>
        });
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
    let (ended, when_ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        // In a thread of its own: reading /proc takes milliseconds, in which the generator would stand still.
        let observer = scope.spawn(move || observe(plan, parties, &when_ended));
        let load = match how {
            Loop::Closed => closed::run(plan, traffics),
            Loop::Open(a_second) => match traffics.first_mut() {
                Some(traffic) => open::run(plan, traffic.as_mut(), a_second, 1),
                None => return Err("an open loop without traffic".into()),
            },
        };
        drop(ended);
        let cpu = observer.join().map_err(|_| Failure::from("the observer panicked"))??;
        Ok(Measured { load: load?, cpu })
    })
}

/// CPU time of the parties in the counted time, which ends early when the load does.
fn observe(plan: &Plan, parties: &Parties, ended: &Receiver<()>) -> Outcome<Cpu> {
    // Nothing is ever sent: it returns when the time is up, or when the sender is gone.
    let _ = ended.recv_timeout(plan.warm_up);
    let before = parties.cpu()?;
    let _ = ended.recv_timeout(plan.measured);
    Ok(parties.cpu()?.since(before))
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
