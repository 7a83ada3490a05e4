//! Business metrics. Every child is resolved once, so that a count is one atomic addition.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::application::ports::{
    BusinessMetrics, FilterResult, PurchaseAnswer, RefusalReason, SoldOutHint,
};

const ANSWERS: [(PurchaseAnswer, &str); 13] = [
    (PurchaseAnswer::Bought, "bought"),
    (PurchaseAnswer::SoldOut, "sold_out"),
    (PurchaseAnswer::BuyerLimit, "buyer_limit"),
    (PurchaseAnswer::Replayed, "replayed"),
    (PurchaseAnswer::UnknownCode, "unknown_code"),
    (PurchaseAnswer::OtherBuyer, "not_your_checkout"),
    (PurchaseAnswer::Ended, "sale_ended"),
    (PurchaseAnswer::NotStarted, "sale_not_started"),
    (PurchaseAnswer::InProgress, "in_progress"),
    (PurchaseAnswer::Empty, "checkout_empty"),
    (PurchaseAnswer::Changed, "checkout_changed"),
    (PurchaseAnswer::ItemsUnavailable, "items_unavailable"),
    (PurchaseAnswer::Unavailable, "unavailable"),
];
const FILTER_RESULTS: [(FilterResult, &str); 4] = [
    (FilterResult::Miss, "miss"),
    (FilterResult::Confirmed, "confirmed"),
    (FilterResult::FalsePositive, "false_positive"),
    (FilterResult::Cold, "cold"),
];

const SOLD_OUT_HINTS: [(SoldOutHint, &str); 6] = [
    (SoldOutHint::Known, "known"),
    (SoldOutHint::Confirmed, "confirmed"),
    (SoldOutHint::Refuted, "refuted"),
    (SoldOutHint::Foreign, "foreign"),
    (SoldOutHint::Unreadable, "unreadable"),
    (SoldOutHint::Dropped, "dropped"),
];

/// Counts for Prometheus.
pub(crate) struct PrometheusBusinessMetrics {
    accepted: IntCounter,
    refused_checkouts: [IntCounter; RefusalReason::ALL.len()],
    purchases: [IntCounter; ANSWERS.len()],
    sold: IntCounter,
    refusals: [IntCounter; RefusalReason::ALL.len()],
    filter: [IntCounter; FILTER_RESULTS.len()],
    sold_out_hints: [IntCounter; SOLD_OUT_HINTS.len()],
}

impl PrometheusBusinessMetrics {
    /// Registers the metrics, and the build's version.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let checkouts =
            counters(registry, "flash_sale_checkouts_total", "Checkouts, by outcome.", "outcome")?;
        let purchases =
            counters(registry, "flash_sale_purchases_total", "Purchases, by outcome.", "outcome")?;
        let refusals = counters(
            registry,
            "flash_sale_refusals_total",
            "Refused attempts, by reason.",
            "reason",
        )?;
        let filter = counters(
            registry,
            "flash_sale_bloom_checks_total",
            "Looks into the filter of sold-out items, by result.",
            "result",
        )?;
        let hints = counters(
            registry,
            "flash_sale_sold_out_hints_total",
            "Items that other instances announced as sold out, by what came of it.",
            "result",
        )?;
        let sold = IntCounter::new("flash_sale_items_sold_total", "Pieces sold.")?;
        registry.register(Box::new(sold.clone()))?;
        let build = IntGaugeVec::new(
            Opts::new("flash_sale_build_info", "1, labelled with the build."),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let by_reason = |vec: &IntCounterVec| {
            RefusalReason::ALL.map(|reason| vec.with_label_values(&[reason.as_str()]))
        };
        Ok(Self {
            accepted: checkouts.with_label_values(&["accepted"]),
            refused_checkouts: by_reason(&checkouts),
            purchases: ANSWERS.map(|(_, name)| purchases.with_label_values(&[name])),
            sold,
            refusals: by_reason(&refusals),
            filter: FILTER_RESULTS.map(|(_, name)| filter.with_label_values(&[name])),
            sold_out_hints: SOLD_OUT_HINTS.map(|(_, name)| hints.with_label_values(&[name])),
        })
    }
}

impl BusinessMetrics for PrometheusBusinessMetrics {
    fn checkout(&self, refused: Option<RefusalReason>) {
        match refused {
            None => self.accepted.inc(),
            Some(reason) => self.refused_checkouts[reason as usize].inc(),
        }
    }

    fn purchase(&self, answer: PurchaseAnswer) {
        self.purchases[answer as usize].inc();
    }

    fn sold(&self, pieces: i32) {
        self.sold.inc_by(u64::try_from(pieces).unwrap_or(0));
    }

    fn refused(&self, reason: RefusalReason) {
        self.refusals[reason as usize].inc();
    }

    fn filter(&self, result: FilterResult) {
        self.filter[result as usize].inc();
    }

    fn sold_out_hints(&self, hint: SoldOutHint, items: usize) {
        self.sold_out_hints[hint as usize].inc_by(u64::try_from(items).unwrap_or(u64::MAX));
    }
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> prometheus::Result<IntCounterVec> {
    let vec = IntCounterVec::new(Opts::new(name, help), &[label])?;
    registry.register(Box::new(vec.clone()))?;
    Ok(vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_has_the_index_of_its_variant() {
        for (index, (answer, name)) in ANSWERS.iter().enumerate() {
            assert_eq!(*answer as usize, index, "{name}");
        }
        for (index, (result, name)) in FILTER_RESULTS.iter().enumerate() {
            assert_eq!(*result as usize, index, "{name}");
        }
        for (index, reason) in RefusalReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index, "{}", reason.as_str());
        }
    }
}
