//! An import of a million items from CSV, beside `psql \copy` of the same rows into tables of the same shape, indexes and checks.
//!
//! psql has nothing to check or to number: its two files have the columns of the two tables. Both write the same rows in one
//! transaction, in turns, into tables without other rows. Memory is the highest of the command, and of psql; what PostgreSQL takes
//! is the same for both.

use std::fmt::Write as _;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::database;
use crate::environment::Environment;
use crate::generator::tally;
use crate::outcome::Outcome;
use crate::report::{Figure, median};
use crate::stage::{Stage, Topology};
use crate::suite::{Scenario, Suite};
use crate::usage::memory;

pub(super) const IMPORT: Scenario = Scenario {
    name: "import",
    about: "1,000,000 rows of CSV by `sale import`, beside `psql \\copy` of the same rows",
    run: play,
};

/// Pause between two looks at the memory of a program.
const LOOK: Duration = Duration::from_millis(5);
const MIB: f64 = 1_048_576.0;
/// Targets: of psql's time, and above psql's memory.
const MUST_TIME: f64 = 2.0;
const AIM_TIME: f64 = 1.3;
const MUST_MIB: f64 = 64.0;

/// psql's tables: the partitions of a sale, by another name.
const TABLES: &str = "
    DROP TABLE IF EXISTS copied_items, copied_stock;
    CREATE TABLE copied_items (LIKE items INCLUDING ALL);
    CREATE TABLE copied_stock (LIKE item_stock INCLUDING ALL) WITH (fillfactor = 50);
    CHECKPOINT
";

/// The files: for the service, and for each table of psql.
struct Files {
    items: PathBuf,
    copied_items: PathBuf,
    copied_stock: PathBuf,
}

/// What a program took.
struct Took {
    seconds: f64,
    mebibytes: f64,
}

fn play(suite: &mut Suite) -> Outcome<()> {
    let environment = &suite.environment;
    let rows = environment.options.import_rows;
    let files = Files::write(&environment.folder, rows)?;
    let (mut imports, mut copies) = (Vec::new(), Vec::new());
    for _ in 0..environment.options.runs {
        copies.push(copied(environment, &files)?);
        imports.push(imported(environment, &files, rows)?);
    }
    let of = |runs: &[Took], what: fn(&Took) -> f64| runs.iter().map(what).collect::<Vec<_>>();
    let base = of(&copies, |took| took.seconds);
    let base_seconds = median(&base);
    let seconds = of(&imports, |took| took.seconds);
    let beside = format!("{rows} rows in {:.1} s, psql {base_seconds:.1} s", median(&seconds));
    let ratios = seconds.iter().map(|time| time / base_seconds.max(f64::EPSILON)).collect();
    let time = Figure::new("import", "time, of psql \\copy", "x", ratios);
    let base_memory = median(&of(&copies, |took| took.mebibytes));
    let above = imports.iter().map(|took| took.mebibytes - base_memory).collect();
    let memory = Figure::new("import", "memory above psql's", "MiB", above);
    suite.report.figure(time.at_most(MUST_TIME, AIM_TIME).beside(beside));
    let beside = format!("psql has {base_memory:.1} MiB");
    suite.report.figure(memory.at_most(MUST_MIB, MUST_MIB).beside(beside));
    Ok(())
}

/// Imports into a new sale, which starts in an hour.
fn imported(environment: &Environment, files: &Files, rows: u32) -> Outcome<Took> {
    let stage = Stage::open(environment, Topology::Service(0))?;
    let query = "SELECT to_char(now() AT TIME ZONE 'UTC' + interval '1 h', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    let starts_at = database::text(&stage.database.url, query)?;
    let file = path(&files.items)?;
    let import = ["sale", "import", file, "--starts-at", &starts_at, "--output", "json"];
    let (took, printed) = watched(stage.program.command(&import))?;
    let printed: serde_json::Value = serde_json::from_str(&printed)?;
    if printed["imported"] != rows {
        return Err(format!("the import says {printed}").into());
    }
    let sale = printed["sale_id"].as_str().ok_or("the import names no sale")?.to_owned();
    stage.close(&sale)?;
    Ok(took)
}

/// Copies by psql.
fn copied(environment: &Environment, files: &Files) -> Outcome<Took> {
    let stage = Stage::open(environment, Topology::Service(0))?;
    database::execute(&stage.database.url, TABLES)?;
    let copy = |table: &str, file: &Path| -> Outcome<String> {
        Ok(format!("\\copy {table} FROM '{}' WITH (FORMAT csv)", path(file)?))
    };
    let mut psql = Command::new("psql");
    psql.args(["--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1"]);
    psql.args(["--command", &copy("copied_items", &files.copied_items)?]);
    let stock = "copied_stock (sale_id, item_no, stock)";
    psql.args(["--command", &copy(stock, &files.copied_stock)?]);
    psql.args(["--dbname", &stage.database.url]);
    let (took, _) = watched(psql)?;
    Ok(took)
}

/// Runs a program to its end. Returns what it took, and its standard output.
fn watched(mut command: Command) -> Outcome<(Took, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let mut highest = 0;
    while child.try_wait()?.is_none() {
        // It may end meanwhile. The kernel keeps the maximum, so that only what it takes in its last moments is missed.
        if let Ok((_, peak)) = memory(child.id()) {
            highest = highest.max(peak);
        }
        std::thread::sleep(LOOK);
    }
    let seconds = start.elapsed().as_secs_f64();
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((Took { seconds, mebibytes: tally::float(highest) / MIB }, printed))
}

impl Files {
    fn write(folder: &Path, rows: u32) -> Outcome<Self> {
        let files = Self {
            items: folder.join("items.csv"),
            copied_items: folder.join("copied_items.csv"),
            copied_stock: folder.join("copied_stock.csv"),
        };
        let open = |file: &Path| -> Outcome<_> { Ok(BufWriter::new(std::fs::File::create(file)?)) };
        let (mut items, mut copied) = (open(&files.items)?, open(&files.copied_items)?);
        let mut stock = open(&files.copied_stock)?;
        writeln!(items, "id,name,image_url,stock")?;
        let mut row = String::new();
        for number in 1..=rows {
            row.clear();
            write!(
                row,
                "SKU-{number},\"Item {number}, in a box\",https://images.example.com/items/{number}.jpg"
            )?;
            writeln!(items, "{row},{}", number % 9 + 1)?;
            writeln!(copied, "1,{number},{row}")?;
            writeln!(stock, "1,{number},{}", number % 9 + 1)?;
        }
        for mut file in [items, copied, stock] {
            file.flush()?;
        }
        Ok(files)
    }
}

fn path(file: &Path) -> Outcome<&str> {
    file.to_str().ok_or_else(|| "a path is no text".into())
}
