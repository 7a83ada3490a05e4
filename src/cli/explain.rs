//! `flash-sale explain`.

use clap::Args;
use serde_json::{Value, json};

use super::failure::{COULD_NOT, FAILED, Failure};
use super::output::{self, Format};
use crate::app::{ExplainFailure, explain_statements};
use crate::config::Config;
use crate::infrastructure::persistence::{
    ExplainError, Explained, Named, PlanFormat, Wanted, named_statements,
};

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// Name of a statement, as in the log of slow ones or in the metrics; all by default.
    name: Option<String>,
    /// Runs each statement on a sale, in a transaction that is rolled back, and shows what it really did.
    #[arg(long)]
    analyze: bool,
}

pub(super) async fn run(
    args: &ExplainArgs,
    config: &Config,
    format: Format,
) -> Result<(), Failure> {
    let name = args.name.as_deref();
    let statements = statements(name)?;
    let shown = match format {
        Format::Json => PlanFormat::Json,
        Format::Table => PlanFormat::Text,
    };
    let wanted = Wanted { analyze: args.analyze, format: shown };
    let explained = explain_statements(config, &statements, wanted).await.map_err(|error| {
        let is_refusal = matches!(error, ExplainFailure::Explain(ExplainError::NoSale));
        Failure::because(if is_refusal { FAILED } else { COULD_NOT }, &error)
    })?;
    match format {
        Format::Json => {
            let rows: Vec<Value> = explained.iter().map(row).collect();
            match (&rows[..], name) {
                ([only], Some(_)) => output::json(only)?,
                _ => output::page(Format::Json, &[], &rows, None)?,
            }
        }
        Format::Table => explained.iter().try_for_each(|one| output::text(&text(one)))?,
    }
    match explained.iter().find_map(|one| Some((one.name, one.plan.as_ref().err()?))) {
        None => Ok(()),
        Some((name, why)) => Err(Failure::new(FAILED, format!("{name} has no plan: {why}"))),
    }
}

/// The statement of this name, or all.
fn statements(name: Option<&str>) -> Result<Vec<&'static Named>, Failure> {
    let Some(name) = name else {
        return Ok(named_statements().collect());
    };
    let exact: Vec<_> = named_statements().filter(|named| named.name == name).collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let names: Vec<_> = named_statements().map(|named| named.name).collect();
    let names = names.join(", ");
    Err(Failure::new(FAILED, format!("there is no statement {name}; there are: {names}")))
}

fn row(explained: &Explained) -> Value {
    let mut row = json!({
        "name": explained.name,
        "kind": explained.kind,
        "fingerprint": explained.fingerprint,
        "statement": explained.statement,
    });
    match &explained.plan {
        Ok(plan) => row["plan"] = plan.clone(),
        Err(why) => (row["plan"], row["error"]) = (Value::Null, why.as_str().into()),
    }
    row
}

/// A plan is too wide for a column.
fn text(explained: &Explained) -> String {
    let Explained { name, fingerprint, .. } = explained;
    let plan = match &explained.plan {
        Ok(plan) => plan.as_str().unwrap_or_default(),
        Err(why) => why,
    };
    let plan: Vec<String> = plan.lines().map(|line| format!("  {line}")).collect();
    format!("{name} ({fingerprint})\n{}\n", plan.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_statement_and_none_all_of_them() {
        let named = |name| statements(name).map_err(|failure| failure.message).unwrap();

        assert_eq!(named(Some("write_purchases")).len(), 1);
        assert_eq!(named(Some("write_purchases.unread")).len(), 1);
        assert_eq!(named(None).len(), named_statements().count());
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_exist() {
        let refusal = statements(Some("dishes")).err().unwrap();

        assert_eq!(refusal.code, FAILED);
        assert!(refusal.message.contains("dishes"), "{}", refusal.message);
        assert!(refusal.message.contains("write_purchases.unread"), "{}", refusal.message);
    }
}
