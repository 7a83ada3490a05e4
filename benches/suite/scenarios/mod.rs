//! The scenarios: one file for each figure, or for a few that share their set-up.

mod access;
mod audit;
mod backlog;
mod board;
mod cached;
mod checkout;
mod compared;
mod events;
mod floor;
mod flow;
mod growing;
mod growth;
mod import;
mod instances;
mod jobs;
mod lists;
mod live;
mod made_sales;
mod many_sales;
mod memory;
mod one_row;
mod open;
mod overload;
mod quiet;
mod refusal;
mod report;
mod retention;
mod returns;
mod rush;
mod start;
mod why;

use crate::outcome::Outcome;
use crate::suite::Scenario;

/// All scenarios, in the order in which they run.
pub(crate) const ALL: &[Scenario] = &[
    refusal::ITEM,
    refusal::SALE,
    refusal::ENDED,
    refusal::FORGED,
    checkout::CHECKOUT,
    flow::FLOW,
    access::FLOW,
    access::REFUSAL,
    rush::RUSH,
    one_row::ONE_ROW,
    open::OPEN,
    quiet::QUIET,
    instances::INSTANCES,
    board::BOARD,
    returns::RETURNS,
    memory::MEMORY,
    start::START,
    audit::AUDIT,
    overload::OVERLOAD,
    events::EVENTS,
    backlog::BACKLOG,
    jobs::JOBS,
    many_sales::MANY_SALES,
    growth::GROWTH,
    lists::LISTS,
    import::IMPORT,
    why::WHY,
    report::REPORT,
    live::LIVE,
    cached::CACHED,
    growing::POOLER,
    growing::CLUSTER,
    growing::TRACES,
    growing::REPLICA,
    retention::RETENTION,
    floor::FLOOR,
];

/// The scenarios whose names begin with one of these; all if there are none.
pub(crate) fn chosen(only: &[String]) -> Outcome<Vec<&'static Scenario>> {
    for wanted in only {
        if !ALL.iter().any(|scenario| scenario.name.starts_with(wanted.as_str())) {
            return Err(format!("there is no scenario {wanted}: see --list").into());
        }
    }
    let is_wanted = |scenario: &&Scenario| {
        only.is_empty() || only.iter().any(|wanted| scenario.name.starts_with(wanted.as_str()))
    };
    Ok(ALL.iter().filter(is_wanted).collect())
}
