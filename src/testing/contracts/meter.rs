//! What every [`Meter`] keeps.

use crate::application::ports::{FilterResult, Meter, PurchaseAnswer, RefusalReason};
use crate::testing::fakes::Metered;

fn everything_is_counted_as_often_as_it_happened(
    meter: &dyn Meter,
    counted: impl Fn(Metered) -> usize,
) {
    meter.checkout(None);
    meter.checkout(Some(RefusalReason::ItemSoldOut));
    meter.purchase(PurchaseAnswer::Bought);
    meter.purchase(PurchaseAnswer::Bought);
    meter.refused(RefusalReason::Ended);
    meter.filter(FilterResult::FalsePositive);

    assert_eq!(counted(Metered::Checkout(None)), 1);
    assert_eq!(counted(Metered::Checkout(Some(RefusalReason::ItemSoldOut))), 1);
    assert_eq!(counted(Metered::Checkout(Some(RefusalReason::Ended))), 0);
    assert_eq!(counted(Metered::Purchase(PurchaseAnswer::Bought)), 2);
    assert_eq!(counted(Metered::Refused(RefusalReason::Ended)), 1);
    assert_eq!(counted(Metered::Filter(FilterResult::FalsePositive)), 1);
    assert_eq!(counted(Metered::Filter(FilterResult::Miss)), 0);
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::infrastructure::monitoring::PrometheusMeter;
    use crate::testing::fakes::FakeMeter;

    /// The number behind a series in Prometheus's text.
    fn value(registry: &Registry, series: &str) -> usize {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with(series)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    fn series(metered: Metered) -> String {
        let refused = |reason: Option<RefusalReason>| reason.map_or("accepted", |r| r.as_str());
        match metered {
            Metered::Checkout(reason) => {
                format!("flash_sale_checkouts_total{{outcome=\"{}\"}}", refused(reason))
            }
            Metered::Purchase(PurchaseAnswer::Bought) => {
                "flash_sale_purchases_total{outcome=\"bought\"}".to_owned()
            }
            Metered::Refused(reason) => {
                format!("flash_sale_refusals_total{{reason=\"{}\"}}", reason.as_str())
            }
            Metered::Filter(FilterResult::FalsePositive) => {
                "flash_sale_bloom_checks_total{result=\"false_positive\"}".to_owned()
            }
            Metered::Filter(_) => "flash_sale_bloom_checks_total{result=\"miss\"}".to_owned(),
            other => panic!("the suite does not ask for {other:?}"),
        }
    }

    #[test]
    fn the_fake_counts() {
        let meter = FakeMeter::default();

        everything_is_counted_as_often_as_it_happened(&meter, |metered| meter.count(metered));
    }

    #[test]
    fn prometheus_counts() {
        let registry = Registry::new();
        let meter = PrometheusMeter::register(&registry).unwrap();

        everything_is_counted_as_often_as_it_happened(&meter, |metered| {
            value(&registry, &series(metered))
        });
    }

    #[test]
    fn prometheus_adds_up_sold_pieces() {
        let registry = Registry::new();
        let meter = PrometheusMeter::register(&registry).unwrap();

        meter.sold(3);
        meter.sold(4);

        assert_eq!(value(&registry, "flash_sale_items_sold_total"), 7);
    }
}
