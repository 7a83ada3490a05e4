//! The cost of each kind of fault, as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::checker::Findings;
use super::exchange::Verdict;
use super::fault::Fault;
use super::history::Event;

/// One fault, from its begin to full recovery.
#[derive(Debug, Clone, Default)]
pub(crate) struct Round {
    acknowledged: usize,
    refused: usize,
    failed: usize,
    /// The longest time without a good response from any instance.
    pub(crate) gap: Duration,
    /// From the end of the fault to the first half second at the wanted rate.
    pub(crate) to_full_speed: Duration,
    /// The checker's findings after it.
    pub(crate) found: Findings,
}

impl Round {
    /// From the events that ended between two times of the history.
    pub(crate) fn of(events: &[Arc<Event>], (from, to): (Duration, Duration)) -> Self {
        let mut round = Self::default();
        let mut good = vec![from, to];
        for event in events.iter().filter(|event| from <= event.ended_at && event.ended_at < to) {
            match event.verdict() {
                Verdict::Acknowledged => round.acknowledged += 1,
                Verdict::Refused => round.refused += 1,
                Verdict::Failed => round.failed += 1,
            }
            if event.verdict() != Verdict::Failed {
                good.push(event.ended_at);
            }
        }
        good.sort_unstable();
        round.gap =
            good.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default();
        round
    }
}

/// Rounds by kind of fault.
#[derive(Debug, Default)]
pub(crate) struct Report(BTreeMap<Fault, Vec<Round>>);

impl Report {
    /// Adds a round.
    pub(crate) fn add(&mut self, fault: Fault, round: Round) {
        self.0.entry(fault).or_default().push(round);
    }

    /// Adds the rounds of another run.
    pub(crate) fn merge(&mut self, other: Self) {
        for (fault, rounds) in other.0 {
            self.0.entry(fault).or_default().extend(rounds);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| fault | rounds | requests | acknowledged | refused | failed | oversold | stranded item-s | lost | \
             beyond limit | longest gap, s | to full speed, s |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
        )?;
        for (fault, rounds) in &self.0 {
            let sum = |of: fn(&Round) -> usize| rounds.iter().map(of).sum::<usize>();
            let pieces =
                |of: fn(&Findings) -> i64| rounds.iter().map(|round| of(&round.found)).sum::<i64>();
            let longest =
                |of: fn(&Round) -> Duration| rounds.iter().map(of).max().unwrap_or_default();
            let stranded = rounds.iter().fold(0.0, |sum, round| sum + round.found.stranded);
            let (acknowledged, refused, failed) = (
                sum(|round| round.acknowledged),
                sum(|round| round.refused),
                sum(|round| round.failed),
            );
            writeln!(
                f,
                "| {fault:?} | {} | {} | {acknowledged} | {refused} | {failed} | {} | {stranded:.3} | {} | {} | {:.2} | {:.2} |",
                rounds.len(),
                acknowledged + refused + failed,
                pieces(|found| found.oversold),
                pieces(|found| found.lost),
                pieces(|found| found.beyond_limit),
                longest(|round| round.gap).as_secs_f64(),
                longest(|round| round.to_full_speed).as_secs_f64(),
            )?;
        }
        Ok(())
    }
}
