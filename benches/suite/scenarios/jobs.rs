//! Jobs that do nothing, against graphile-worker and pg-boss, and how soon a job starts on an idle system.
//!
//! The same number of jobs waits in PostgreSQL before each of the three begins, with ten workers each. The two of Node run
//! with what their documentation has for many short jobs; what they need is installed by `scripts/libraries.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::database::{self, Database};
use crate::environment::Environment;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::program::Program;
use crate::report::{Figure, median};
use crate::suite::{Scenario, Suite};

pub(super) const JOBS: Scenario = Scenario {
    name: "jobs",
    about: "jobs a second against graphile-worker and pg-boss; from enqueue to start",
    run: play,
};

/// Jobs of a run.
const JOBS_OF_A_RUN: u32 = 100_000;
/// Jobs enqueued one after the other at an idle worker.
const SINGLE_JOBS: u32 = 100;
const RUN_TIMEOUT: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(10);
/// The folder of the other two, below the project's.
const QUEUES: &str = "benches/suite/baselines/queues";

/// Copies the only job.
const COPY: &str = "INSERT INTO river_job (args, kind, max_attempts, priority, queue, metadata)
    SELECT args, kind, max_attempts, priority, queue, metadata FROM river_job, generate_series(2, ";
// By the indexes of these states, which are small: a look takes no time from the worker.
const UNDONE: &str = "SELECT (EXISTS (SELECT FROM river_job WHERE state = 'available')
    OR EXISTS (SELECT FROM river_job WHERE state = 'running'))::text";
const RATE: &str =
    "SELECT (count(*) / extract(epoch FROM max(finalized_at) - min(attempted_at)))::text
    FROM river_job WHERE kind = 'noop'";
const WAIT: &str = "SELECT (1e3 * percentile_disc(0.99) WITHIN GROUP (
    ORDER BY extract(epoch FROM attempted_at - created_at)))::text FROM river_job WHERE kind = 'noop'";

fn play(suite: &mut Suite) -> Outcome<()> {
    let libraries = installed(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let environment = &suite.environment;
    let (mut ours, mut graphile, mut boss) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        ours.push(rate_of_worker(environment)?);
        graphile.push(rate_of_node(environment, &libraries, "graphile_worker.mjs")?);
        boss.push(rate_of_node(environment, &libraries, "pg_boss.mjs")?);
    }
    let waits = (0..environment.options.runs).map(|_| wait_of_single_jobs(environment));
    let waits = waits.collect::<Outcome<Vec<_>>>()?;
    let better = median(&graphile).max(median(&boss));
    let multiple = ours.iter().map(|rate| rate / better.max(f64::EPSILON)).collect();
    let figure = Figure::new("jobs", "jobs a second, times the better of two", "x", multiple);
    let rates = format!(
        "{:.0}/s; graphile-worker {:.0}/s, pg-boss {:.0}/s",
        median(&ours),
        median(&graphile),
        median(&boss)
    );
    suite.report.figure(figure.at_least(2.0, 4.0).beside(rates));
    let figure = Figure::new("jobs", "enqueue to start, idle, p99", "ms", waits);
    suite.report.figure(figure.at_most(20.0, 5.0));
    Ok(())
}

/// The folder with Node and the packages.
fn installed(project: &Path) -> Outcome<PathBuf> {
    let installed = Command::new(project.join("scripts/libraries.sh")).arg(QUEUES).output()?;
    if !installed.status.success() {
        return Err(String::from_utf8_lossy(&installed.stderr).into_owned().into());
    }
    let folder = PathBuf::from(String::from_utf8(installed.stdout)?.trim());
    // Node looks for packages above the script.
    for script in ["graphile_worker.mjs", "pg_boss.mjs"] {
        std::fs::copy(project.join(QUEUES).join(script), folder.join(script))?;
    }
    Ok(folder)
}

/// A migrated database of its own, and the service's program on it.
fn prepared(environment: &Environment) -> Outcome<(Database, Program)> {
    let database = Database::create(&environment.servers.database_url, "bench_jobs")?;
    let program = environment.program().variable("DATABASE_URL", &database.url);
    program.run(&["migrate"])?;
    Ok((database, program))
}

fn worker(environment: &Environment, program: &Program) -> Outcome<Instance> {
    Instance::start(program, "worker", &environment.folder.join("worker.log"))
}

/// Jobs a second of one worker.
fn rate_of_worker(environment: &Environment) -> Outcome<f64> {
    let (database, program) = prepared(environment)?;
    program.run(&["job", "enqueue", "noop"])?;
    database::execute(&database.url, &format!("{COPY} {JOBS_OF_A_RUN}); ANALYZE"))?;
    let worker = worker(environment, &program)?;
    until_done(&database)?;
    let rate = database::text(&database.url, RATE)?.parse()?;
    worker.stop()?;
    Ok(rate)
}

/// The 99th percentile from enqueue to start, in milliseconds.
fn wait_of_single_jobs(environment: &Environment) -> Outcome<f64> {
    let (database, program) = prepared(environment)?;
    let worker = worker(environment, &program)?;
    for _ in 0..SINGLE_JOBS {
        program.run(&["job", "enqueue", "noop"])?;
    }
    until_done(&database)?;
    let wait = database::text(&database.url, WAIT)?.parse()?;
    worker.stop()?;
    Ok(wait)
}

fn until_done(database: &Database) -> Outcome<()> {
    let end = Instant::now() + RUN_TIMEOUT;
    while database::text(&database.url, UNDONE)? != "false" {
        if Instant::now() > end {
            return Err("the jobs are not done in time".into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Jobs a second of a program in Node.
fn rate_of_node(environment: &Environment, libraries: &Path, script: &str) -> Outcome<f64> {
    let database = Database::create(&environment.servers.database_url, "bench_node")?;
    let ran = Command::new(libraries.join("bin/node"))
        .arg(libraries.join(script))
        .args([database.url.as_str(), &JOBS_OF_A_RUN.to_string()])
        .output()?;
    if !ran.status.success() {
        return Err(format!("{script}: {}", String::from_utf8_lossy(&ran.stderr)).into());
    }
    Ok(String::from_utf8(ran.stdout)?.trim().parse()?)
}
