//! `flash-sale retention run` beside the flow: a hundred old sales leave while another one sells.
//!
//! Closed loop, on one instance, in turn with the command and without, until the command has ended: a machine's speed changes by a fifth
//! within a minute. Without means that the command is stopped with `SIGSTOP` as soon as PostgreSQL runs nothing for it. Its rests go on
//! meanwhile, so it drops about twice as much in the time that counts as it does in the same time otherwise. The sales have their
//! reports; the tables of all hundred are dropped.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::compared::show;
use super::flow;
use super::made_sales::Sales;
use crate::database;
use crate::environment::Environment;
use crate::measure::Measured;
use crate::outcome::Outcome;
use crate::report::Figure;
use crate::stage::{Stage, Terms, Topology};
use crate::suite::{Scenario, Suite};
use crate::traffic::Shoppers;

pub(super) const RETENTION: Scenario = Scenario {
    name: "retention",
    about: "the flow while a hundred old sales are archived and dropped, in turn with without",
    run: play,
};

/// Old sales that share their tables.
const OLD: Sales =
    Sales { first: 100, last: 199, step: 1, items: 1_000, stock: 1_000_000, window: (-3, -2) };

/// Sessions in which a table leaves.
const BUSY: &str = "SELECT count(*)::text FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'
       AND (query LIKE '%drop_partition%' OR query LIKE '%detach_partition%' OR query LIKE '%DETACH PARTITION%')";
/// No statement of the command takes longer.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

fn play(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let purchases = environment.options.old_purchases;
    let stage = Stage::open(environment, Topology::Service(1))?;
    OLD.create(&stage.database)?;
    record(purchases).iter().try_for_each(|part| database::execute(&stage.database.url, part))?;
    let sale = stage.sale(Terms::PLENTY)?;
    let program = stage.program.clone().set("retention.keep", "1h");
    let log = environment.folder.join("retention.log");
    let mut command = Command(program.start(&["retention", "run"], &log)?);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    while beside.is_empty() || command.runs()? {
        command.pause(&stage.database.url)?;
        alone.push(flow_on(environment, &stage, &sale)?);
        command.signal(Signal::SIGCONT)?;
        beside.push(flow_on(environment, &stage, &sale)?);
    }
    if !command.0.wait()?.success() {
        return Err(std::fs::read_to_string(&log)?.into());
    }
    let left = "SELECT count(*)::text FROM purchases WHERE sale_id BETWEEN 100 AND 199";
    let left = database::text(&stage.database.url, left)?;
    if left != "0" {
        return Err(format!("{left} purchases of old sales are left").into());
    }
    stage.close(&sale)?;

    let in_turn = beside.iter().zip(&alone);
    let kept = in_turn.map(|(beside, alone)| beside.rate() / alone.rate().max(f64::EPSILON));
    let figure =
        Figure::new("retention", "flow while 100 old sales leave, of without", "x", kept.collect());
    suite.report.figure(figure.at_least(0.95, 0.98).beside(format!("{purchases} purchases each")));
    let slowest =
        |runs: &[Measured]| runs.iter().map(|run| run.load.tally.served().max).fold(0.0, f64::max);
    let figure =
        Figure::new("retention", "slowest request meanwhile", "ms", vec![slowest(&beside)]);
    let without = format!("{:.1} ms without", slowest(&alone));
    suite.report.figure(figure.at_most(250.0, 100.0).beside(without));
    show(suite, "retention", "flow without", alone);
    show(suite, "retention", "flow while 100 old sales leave", beside);
    Ok(())
}

/// The running command. It is killed if this is dropped before it has ended.
struct Command(Child);

impl Command {
    fn runs(&mut self) -> Outcome<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// Stops it where PostgreSQL runs no statement for it.
    fn pause(&mut self, database: &str) -> Outcome<()> {
        let end = Instant::now() + STATEMENT_TIMEOUT;
        while Instant::now() < end {
            self.signal(Signal::SIGSTOP)?;
            if database::text(database, BUSY)? == "0" {
                return Ok(());
            }
            self.signal(Signal::SIGCONT)?;
            sleep(PAUSE);
        }
        Err("the command runs a statement without end".into())
    }

    fn signal(&mut self, signal: Signal) -> Outcome<()> {
        if self.runs()? {
            kill(Pid::from_raw(self.0.id().try_into()?), signal)?;
        }
        Ok(())
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn flow_on(environment: &Environment, stage: &Stage, sale: &str) -> Outcome<Measured> {
    let connections = environment.options.connections.into();
    environment.measure(stage, |first_buyer| {
        Shoppers::new(sale, flow::wants(Terms::PLENTY), first_buyer, connections)
    })
}

/// Statements that make so many purchases of each old sale, of one piece by a buyer each.
fn record(purchases: u32) -> Vec<String> {
    let rows = format!("sales AS s, generate_series(1::bigint, {purchases}) AS n");
    let insert = |table: &str, columns: &str| {
        format!("INSERT INTO {table} SELECT {columns} FROM {rows} WHERE s.id BETWEEN 100 AND 199")
    };
    let at = "s.starts_at + interval '1 minute'";
    vec![
        insert("checkout_attempts", &format!("s.id, n, 'b' || n, {at}")),
        insert("checkout_items", &format!("s.id, n, n % 1000 + 1, 1, {at}")),
        insert(
            "purchases",
            &format!("s.id, n, 'b' || n, {at}, 1, 0, ARRAY[n % 1000 + 1], '{{1}}', 's'"),
        ),
        format!(
            "INSERT INTO buyers (sale_id, user_id, bought, buyer_limit)
             SELECT s.id, 'b' || n, 1, 10 FROM {rows} WHERE s.id BETWEEN 100 AND 199"
        ),
        format!(
            "UPDATE item_stock SET sold = {purchases} / 1000
                 + (item_no BETWEEN 2 AND {purchases} % 1000 + 1)::int
             WHERE sale_id BETWEEN 100 AND 199"
        ),
        // Their reports were written when they ended.
        "UPDATE sales SET closed_end = ends_at WHERE id BETWEEN 100 AND 199".to_owned(),
        "VACUUM ANALYZE".to_owned(),
        "CHECKPOINT".to_owned(),
    ]
}
