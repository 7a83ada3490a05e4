//! PostgreSQL alone: the two statements of a batch, one batch after the other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flash_sale::bench::{Statements, statements};

use super::BATCH;
use crate::database::{self, Database};
use crate::outcome::{Failure, Outcome};

/// Creates the batches.
const BATCHES: &str = include_str!("batches.sql");
/// A batch of each kind, for pgbench.
const CHECKOUTS: &str = include_str!("checkouts.sql");
const PURCHASES: &str = include_str!("purchases.sql");
/// Batches for each second of a measurement: about PostgreSQL's rate.
const BATCHES_A_SECOND: u64 = 300;
/// The service's settings (`src/infrastructure/persistence/pool/connection.rs`).
const SETTINGS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off \
                        -c enable_bitmapscan=off -c enable_memoize=off";
/// The partition of sale 1.
const ENDING: &str = "_from_0";

/// PostgreSQL's rates, in requests a second.
#[derive(Debug)]
pub(crate) struct Rates {
    pub(crate) checkouts: f64,
    pub(crate) purchases: f64,
}

/// Measures on a database with the sale 1, each kind for about this long; `None` without pgbench.
pub(crate) fn measure(
    database: &Database,
    time: Duration,
    folder: &Path,
) -> Outcome<Option<Rates>> {
    let Some(pgbench) = pgbench() else { return Ok(None) };
    let batches = (BATCHES_A_SECOND * time.as_secs().max(1)).to_string();
    database::execute(&database.url, &BATCHES.replace("{batches}", &batches))?;
    let Statements { read_checkouts, write_checkouts, read_purchases, write_purchases } =
        statements(ENDING);
    let run = |name: &str, script: &str| -> Outcome<f64> {
        let file = folder.join(name);
        std::fs::write(&file, script)?;
        let mut command = Command::new(&pgbench);
        // One client, as one writer of the service has one connection.
        command.args(["--no-vacuum", "--client=1", "--transactions", &batches]);
        command.args(["--define=batch=0", "--define=prepared=0", "--file"]);
        command.arg(&file).arg(&database.url).env("PGOPTIONS", SETTINGS);
        Ok(rate(command)? * f64::from(BATCH))
    };
    // The purchases buy the open checkouts.
    let checkouts = run("checkouts.sql", &script(&read_checkouts, &write_checkouts, CHECKOUTS))?;
    let purchases = run("purchases.sql", &script(&read_purchases, &write_purchases, PURCHASES))?;
    Ok(Some(Rates { checkouts, purchases }))
}

/// Prepares the statements once, then runs the batch with them.
fn script(read: &str, write: &str, batch: &str) -> String {
    format!(
        "\\if :prepared = 0\nPREPARE read AS {read};\nPREPARE write AS {write};\n\
         \\set prepared 1\n\\endif\n{batch}"
    )
}

/// Batches a second.
fn rate(mut pgbench: Command) -> Outcome<f64> {
    let ran = pgbench.output()?;
    let output = String::from_utf8_lossy(&ran.stdout);
    if !ran.status.success() {
        let complaint = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("pgbench failed: {complaint}").into());
    }
    let rate = output.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    let rate = rate.ok_or_else(|| format!("pgbench reports no rate: {output}"))?;
    rate.parse().map_err(Failure::from)
}

/// pgbench in the path, or in Debian's folder of a PostgreSQL version.
fn pgbench() -> Option<PathBuf> {
    let in_path = Command::new("pgbench").arg("--version").output();
    if in_path.is_ok_and(|ran| ran.status.success()) {
        return Some("pgbench".into());
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut programs: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin/pgbench")))
        .filter(|program| program.is_file())
        .collect();
    programs.sort();
    programs.pop()
}
