//! Takes the purchases of a file back: each by itself, with a line of the output for each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZeroUsize;
use std::pin::pin;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::app::{Offline, Signals};
use crate::application::bulk::Bulk;
use crate::application::operators::cancel_purchase::{
    CancelCommand, CancelPurchase, CancelPurchaseError,
};
use crate::application::ports::Causes;
use crate::cli::actor::actor;
use crate::cli::failure::{BAD_ARGUMENTS, COULD_NOT, FAILED, Failure};
use crate::cli::output::{self, Format};
use crate::cli::time::until_instances_know;
use crate::config::Config;
use crate::domain::cancellation::Wanted;
use crate::domain::code::CodeClaim;

use super::printed::{row, unknown};

/// Maximum number of codes of a file, and of bytes: a code has less than 64.
const MAX_CODES: usize = 1_000_000;
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// A worker informs the instances after this number of purchases: seldom enough that they need not read each one by itself, and soon
/// enough that pieces are on sale again within a tenth of a second.
const BATCH: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// A line of the file.
struct Entry {
    line: usize,
    text: String,
}

/// What became of an entry.
enum Tried {
    Done {
        row: Value,
        is_announced: bool,
    },
    Refused(Value),
    /// PostgreSQL failed. It is unknown whether the purchase was taken back.
    Failed(Value),
    /// Left alone, because PostgreSQL failed before.
    LeftAlone,
}

/// What became of all of them.
#[derive(Default)]
struct Counts {
    done: usize,
    refused: usize,
    failed: usize,
    is_unannounced: bool,
}

pub(super) async fn cancel(
    from: &str,
    workers: NonZeroUsize,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let entries = entries(from)?;
    let total = entries.len();
    let cannot = |error| Failure::because(COULD_NOT, &error);
    let mut signals = Signals::listen().map_err(cannot)?;
    let offline =
        Offline::connect(config).await.map_err(|error| Failure::because(COULD_NOT, &error))?;
    offline.returns.prepare_change().await;
    let (failed, actor) = (CancellationToken::new(), actor());
    let stopped = async {
        tokio::select! {
            () = signals.next() => {}
            () = failed.cancelled() => {}
        }
    };
    let counts = {
        let cancel = &offline.returns.cancel;
        let work = |batch| take_back(cancel, batch, &actor, &failed);
        let tried = pin!(Bulk { batch: BATCH, workers }.run(entries, stopped, work));
        print(tried, format).await
    };
    offline.close().await;
    let counts = counts?;
    if counts.is_unannounced {
        until_instances_know(config).await;
    }
    counts.verdict(total)
}

/// The codes of the file, with the numbers of their lines. Empty lines are none.
fn entries(from: &str) -> Result<Vec<Entry>, Failure> {
    let cannot =
        |error: io::Error| Failure::new(BAD_ARGUMENTS, format!("cannot read {from}: {error}"));
    let input: Box<dyn Read> = if from == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(from).map_err(cannot)?)
    };
    let mut input = BufReader::new(input.take(MAX_BYTES));
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(input.by_ref().lines()) {
        let text = text.map_err(cannot)?;
        if !text.trim().is_empty() {
            entries.push(Entry { line, text: text.trim().to_owned() });
        }
    }
    if entries.len() > MAX_CODES || input.get_ref().limit() == 0 {
        let text = format!("{from} has more than {MAX_CODES} codes: split it");
        return Err(Failure::new(BAD_ARGUMENTS, text));
    }
    Ok(entries)
}

/// Takes a batch back. The first failure of PostgreSQL cancels `failed`, which begins no further batch.
async fn take_back(
    cancel: &CancelPurchase,
    batch: Vec<Entry>,
    actor: &str,
    failed: &CancellationToken,
) -> Vec<Tried> {
    let codes: Vec<_> = batch.iter().map(|entry| CodeClaim::parse(&entry.text)).collect();
    let command = |code: &CodeClaim| CancelCommand { code: *code, wanted: Wanted::All };
    let commands: Vec<_> = codes.iter().flatten().map(command).collect();
    let mut results = cancel.execute_all(&commands, actor).await.into_iter();
    let tried = batch.iter().zip(codes).map(|(entry, code)| {
        let is = |why: String| json!({ "line": entry.line, "code": entry.text, "error": why });
        let Some(code) = code else { return Tried::Refused(is(unknown(&entry.text))) };
        match results.next() {
            None => Tried::LeftAlone,
            Some(Ok(cancelled)) => {
                let mut row = row(code, &cancelled);
                row["line"] = json!(entry.line);
                Tried::Done { row, is_announced: cancelled.is_announced }
            }
            Some(Err(CancelPurchaseError::UnknownCode)) => Tried::Refused(is(unknown(&entry.text))),
            Some(Err(CancelPurchaseError::Refused(refusal))) => {
                Tried::Refused(is(refusal.to_string()))
            }
            Some(Err(CancelPurchaseError::Port(error))) => {
                failed.cancel();
                Tried::Failed(is(Causes(&error).to_string()))
            }
        }
    });
    tried.collect()
}

/// Prints each result as soon as it is there; a table at the end.
async fn print(
    mut tried: impl StreamExt<Item = Tried> + Unpin,
    format: Format,
) -> Result<Counts, Failure> {
    let (mut counts, mut rows) = (Counts::default(), Vec::new());
    while let Some(tried) = tried.next().await {
        let row = match tried {
            Tried::Done { row, is_announced } => {
                counts.done += 1;
                counts.is_unannounced |= !is_announced;
                row
            }
            Tried::Refused(row) => {
                counts.refused += 1;
                row
            }
            Tried::Failed(row) => {
                counts.failed += 1;
                row
            }
            Tried::LeftAlone => continue,
        };
        match format {
            Format::Json => output::json(&row)?,
            Format::Table => rows.push(row),
        }
    }
    if format == Format::Table {
        let columns = ["line", "code", "buyer_id", "cancelled_at", "pieces_cancelled", "error"];
        output::table(&columns, &rows)?;
    }
    Ok(counts)
}

impl Counts {
    fn verdict(&self, total: usize) -> Result<(), Failure> {
        let Self { done, refused, failed, .. } = self;
        if *done == total {
            return Ok(());
        }
        let not_tried = total - done - refused - failed;
        let code = if *failed > 0 { COULD_NOT } else { FAILED };
        let text = format!(
            "{done} of {total} purchases were taken back; {refused} refused, {failed} failed, {not_tried} not tried"
        );
        Err(Failure::new(code, text))
    }
}
