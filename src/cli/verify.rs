//! `flash-sale verify`.

use std::fmt::Display;

use clap::Args;
use serde_json::{Value, json};

use super::failure::{BAD_ARGUMENTS, FAILED, Failure};
use super::ids::parse_sale;
use super::output::{self, Format};
use crate::app::Offline;
use crate::application::ports::{Causes, Finding};
use crate::config::Config;
use crate::domain::ids::SaleId;

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Audits only this sale instead of the whole history.
    #[arg(long, value_name = "S-…", value_parser = parse_sale)]
    sale: Option<SaleId>,
}

pub(super) async fn run(args: &VerifyArgs, config: &Config, format: Format) -> Result<(), Failure> {
    let offline = Offline::connect(config).await.map_err(|error| could_not_run(Causes(&error)))?;
    if let Some(sale) = args.sale {
        let found = offline.sales.find(sale).await;
        match found.map_err(|error| could_not_run(Causes(&error)))? {
            Some(_) => {}
            None => return Err(could_not_run(absence(&offline, sale).await)),
        }
    }
    let findings = offline.verify.execute(args.sale).await;
    offline.close().await;
    let findings = findings.map_err(|error| could_not_run(Causes(&error)))?;
    let rows: Vec<Value> = findings.iter().map(row).collect();
    match format {
        Format::Json => rows.iter().try_for_each(output::json)?,
        Format::Table => {
            output::table(&["promise", "check", "ok", "counted", "broken", "examples"], &rows)?;
        }
    }
    if findings.iter().all(|finding| finding.broken == 0) {
        return Ok(());
    }
    let broken = findings.iter().filter(|finding| finding.broken > 0).count();
    Err(Failure::new(FAILED, format!("{broken} checks failed")))
}

/// Why a sale is not found.
async fn absence(offline: &Offline, sale: SaleId) -> String {
    match offline.sales.is_archived(sale).await {
        Ok(true) => format!("the sale {sale} was archived, and its record is gone"),
        Ok(false) => format!("there is no sale {sale}"),
        Err(error) => Causes(&error).to_string(),
    }
}

fn could_not_run(reason: impl Display) -> Failure {
    Failure::new(BAD_ARGUMENTS, format!("the audit could not run: {reason}"))
}

fn row(finding: &Finding) -> Value {
    json!({
        "promise": finding.promise,
        "check": finding.check,
        "ok": finding.broken == 0,
        "counted": finding.counted,
        "broken": finding.broken,
        "examples": finding.examples,
    })
}
