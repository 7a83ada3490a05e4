//! What every [`BusinessMetrics`] guarantees.

use crate::application::ports::{BusinessMetrics, FilterResult, PurchaseAnswer, RefusalReason};
use crate::testing::fakes::Counted;

fn everything_is_counted_as_often_as_it_happened(
    business_metrics: &dyn BusinessMetrics,
    counted: impl Fn(Counted) -> usize,
) {
    business_metrics.checkout(None);
    business_metrics.checkout(Some(RefusalReason::ItemSoldOut));
    business_metrics.purchase(PurchaseAnswer::Bought);
    business_metrics.purchase(PurchaseAnswer::Bought);
    business_metrics.refused(RefusalReason::Ended);
    business_metrics.filter(FilterResult::FalsePositive);

    assert_eq!(counted(Counted::Checkout(None)), 1);
    assert_eq!(counted(Counted::Checkout(Some(RefusalReason::ItemSoldOut))), 1);
    assert_eq!(counted(Counted::Checkout(Some(RefusalReason::Ended))), 0);
    assert_eq!(counted(Counted::Purchase(PurchaseAnswer::Bought)), 2);
    assert_eq!(counted(Counted::Refused(RefusalReason::Ended)), 1);
    assert_eq!(counted(Counted::Filter(FilterResult::FalsePositive)), 1);
    assert_eq!(counted(Counted::Filter(FilterResult::Miss)), 0);
}

#[cfg(test)]
mod tests {
    use prometheus::{Registry, TextEncoder};

    use super::*;
    use crate::infrastructure::monitoring::PrometheusBusinessMetrics;
    use crate::testing::fakes::FakeBusinessMetrics;

    /// The value of a series in the exposition text.
    fn value(registry: &Registry, series: &str) -> usize {
        let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        let line = text.lines().find(|line| line.starts_with(series)).unwrap();
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    fn series(event: Counted) -> String {
        let refused = |reason: Option<RefusalReason>| reason.map_or("accepted", |r| r.as_str());
        match event {
            Counted::Checkout(reason) => {
                format!("flash_sale_checkouts_total{{outcome=\"{}\"}}", refused(reason))
            }
            Counted::Purchase(PurchaseAnswer::Bought) => {
                "flash_sale_purchases_total{outcome=\"bought\"}".to_owned()
            }
            Counted::Refused(reason) => {
                format!("flash_sale_refusals_total{{reason=\"{}\"}}", reason.as_str())
            }
            Counted::Filter(FilterResult::FalsePositive) => {
                "flash_sale_bloom_checks_total{result=\"false_positive\"}".to_owned()
            }
            Counted::Filter(_) => "flash_sale_bloom_checks_total{result=\"miss\"}".to_owned(),
            other => panic!("the suite does not count {other:?}"),
        }
    }

    #[test]
    fn the_fake_counts() {
        let business_metrics = FakeBusinessMetrics::default();

        everything_is_counted_as_often_as_it_happened(&business_metrics, |event| {
            business_metrics.count(event)
        });
    }

    #[test]
    fn prometheus_counts() {
        let registry = Registry::new();
        let business_metrics = PrometheusBusinessMetrics::register(&registry).unwrap();

        everything_is_counted_as_often_as_it_happened(&business_metrics, |event| {
            value(&registry, &series(event))
        });
    }

    #[test]
    fn prometheus_adds_up_sold_pieces() {
        let registry = Registry::new();
        let business_metrics = PrometheusBusinessMetrics::register(&registry).unwrap();

        business_metrics.sold(3);
        business_metrics.sold(4);

        assert_eq!(value(&registry, "flash_sale_items_sold_total"), 7);
    }
}
