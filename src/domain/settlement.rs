//! Settlement: the decision over a batch of purchases, as a pure function.
//!
//! Requests are served in arrival order, the lines of a request in the order in which they were collected. A line sells
//! whole or fails, and a failed line takes nothing from the lines after it.

use std::collections::HashMap;
use std::sync::Arc;

use super::checkout::Line;
use super::ids::{AttemptId, BuyerId, ItemNo};
use super::purchase::{LineOutcome, SettledLine};
use super::terms::{Declined, PurchaseTerms};

/// Pieces left, by item. An item that is not listed has none.
pub type RemainingStock = HashMap<ItemNo, i32>;

/// Allowances by buyer.
pub type Allowances = HashMap<BuyerId, Allowance>;

/// The pieces that a buyer has bought, and the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Pieces bought so far.
    pub bought: i32,
    /// Maximum number of pieces, including those bought.
    pub limit: i32,
}

/// The purchase of one checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The attempt; it may appear twice in a batch.
    pub attempt: AttemptId,
    /// Its buyer.
    pub buyer: BuyerId,
    /// Its lines, in the order in which they were collected.
    pub lines: Vec<Line>,
    /// What must hold, if the client wants anything to.
    pub terms: Option<Arc<PurchaseTerms>>,
}

/// The decisions over a batch.
#[derive(Debug, Default)]
pub struct Settlement {
    /// Every attempt once, with its lines in order of item number.
    pub decided: HashMap<AttemptId, Vec<SettledLine>>,
    /// Requests whose terms are not met, by their place in the batch. They take nothing from those after them.
    pub declined: HashMap<usize, Declined>,
    /// Pieces sold by this batch, by item: the update of the item rows.
    pub sold: HashMap<ItemNo, i32>,
    /// Pieces bought in this batch, by buyer: the update of the buyer rows.
    pub bought: HashMap<BuyerId, i32>,
}

/// Decides a batch. A buyer without an allowance cannot buy.
#[must_use]
pub fn settle(
    mut remaining: RemainingStock,
    mut allowances: Allowances,
    requests: &[Request],
) -> Settlement {
    let mut settlement = Settlement::default();
    for (place, request) in requests.iter().enumerate() {
        if settlement.decided.contains_key(&request.attempt) {
            continue;
        }
        let terms = request.terms.as_deref();
        if let Some(Err(declined)) = terms.map(|terms| terms.check(&request.lines)) {
            settlement.declined.insert(place, declined);
            continue;
        }
        let mut nothing = Allowance { bought: 0, limit: 0 };
        let allowance = allowances.get_mut(&request.buyer).unwrap_or(&mut nothing);
        let settle = |line: &Line| SettledLine {
            line: *line,
            outcome: settle_line(*line, &mut remaining, allowance),
        };
        let mut lines: Vec<SettledLine> = request.lines.iter().map(settle).collect();
        lines.sort_unstable_by_key(|settled| settled.line.item);
        let sold = || lines.iter().filter(|settled| settled.outcome == LineOutcome::Sold);
        if terms.is_some_and(|terms| terms.all_or_nothing) && sold().count() < lines.len() {
            for SettledLine { line, .. } in sold() {
                *remaining.entry(line.item).or_default() += line.quantity.get();
                allowance.bought -= line.quantity.get();
            }
            settlement.declined.insert(place, Declined::Unavailable(lines));
            continue;
        }
        for SettledLine { line, .. } in sold() {
            *settlement.sold.entry(line.item).or_default() += line.quantity.get();
            *settlement.bought.entry(request.buyer.clone()).or_default() += line.quantity.get();
        }
        settlement.decided.insert(request.attempt, lines);
    }
    settlement
}

fn settle_line(
    line: Line,
    remaining: &mut RemainingStock,
    allowance: &mut Allowance,
) -> LineOutcome {
    let pieces = line.quantity.get();
    let Some(left) = remaining.get_mut(&line.item).filter(|left| **left >= pieces) else {
        return LineOutcome::SoldOut;
    };
    if pieces > allowance.limit.saturating_sub(allowance.bought) {
        return LineOutcome::BuyerLimit;
    }
    *left -= pieces;
    allowance.bought += pieces;
    LineOutcome::Sold
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::Quantity;

    fn buyer(name: &str) -> BuyerId {
        BuyerId::parse(name).unwrap()
    }

    fn request(attempt: i64, name: &str, lines: &[(i32, i32)]) -> Request {
        let lines = lines.iter().map(|(item, pieces)| Line {
            item: ItemNo(*item),
            quantity: Quantity::new(*pieces).unwrap(),
        });
        Request {
            attempt: AttemptId::new(attempt).unwrap(),
            buyer: buyer(name),
            lines: lines.collect(),
            terms: None,
        }
    }

    fn remaining(items: &[(i32, i32)]) -> RemainingStock {
        items.iter().map(|(item, left)| (ItemNo(*item), *left)).collect()
    }

    fn allowances(names: &[(&str, i32)]) -> HashMap<BuyerId, Allowance> {
        let allowance = |bought| Allowance { bought, limit: 10 };
        names.iter().map(|(name, bought)| (buyer(name), allowance(*bought))).collect()
    }

    fn line_outcomes(settlement: &Settlement, attempt: i64) -> Vec<LineOutcome> {
        let lines = &settlement.decided[&AttemptId::new(attempt).unwrap()];
        lines.iter().map(|settled| settled.outcome).collect()
    }

    #[test]
    fn available_items_are_bought_and_the_rest_fails() {
        let settlement = settle(
            remaining(&[(1, 1), (3, 2)]),
            allowances(&[("ann", 0)]),
            &[request(1, "ann", &[(1, 1), (2, 1), (3, 3)])],
        );

        assert_eq!(
            line_outcomes(&settlement, 1),
            [LineOutcome::Sold, LineOutcome::SoldOut, LineOutcome::SoldOut]
        );
        assert_eq!(settlement.bought[&buyer("ann")], 1);
    }

    fn all_or_nothing(request: Request) -> Request {
        let terms = PurchaseTerms { all_or_nothing: true, ..PurchaseTerms::default() };
        Request { terms: Some(Arc::new(terms)), ..request }
    }

    #[test]
    fn a_purchase_of_all_or_nothing_takes_nothing_if_a_line_fails() {
        let settlement = settle(
            remaining(&[(1, 1), (2, 1)]),
            allowances(&[("ann", 8), ("bob", 0)]),
            &[
                all_or_nothing(request(1, "ann", &[(1, 1), (3, 1)])),
                all_or_nothing(request(1, "ann", &[(1, 1), (2, 1)])),
                all_or_nothing(request(2, "bob", &[(1, 1)])),
            ],
        );

        let Some(Declined::Unavailable(lines)) = settlement.declined.get(&0) else {
            panic!("{settlement:?}");
        };
        let outcomes: Vec<_> = lines.iter().map(|settled| settled.outcome).collect();
        assert_eq!(outcomes, [LineOutcome::Sold, LineOutcome::SoldOut]);
        assert_eq!(line_outcomes(&settlement, 1), [LineOutcome::Sold; 2]);
        assert_eq!(settlement.bought[&buyer("ann")], 2);
        assert!(settlement.declined.contains_key(&2) && settlement.declined.len() == 2);
    }

    #[test]
    fn a_purchase_of_other_lines_than_expected_is_declined() {
        let terms = PurchaseTerms { lines: Some(Vec::new()), ..PurchaseTerms::default() };
        let declined = Request { terms: Some(Arc::new(terms)), ..request(1, "ann", &[(1, 1)]) };

        let settlement = settle(remaining(&[(1, 1)]), allowances(&[("ann", 0)]), &[declined]);

        assert_eq!(settlement.declined, HashMap::from([(0, Declined::OtherLines)]));
        assert!(settlement.decided.is_empty() && settlement.sold.is_empty());
    }

    #[test]
    fn the_last_piece_goes_to_the_first_request() {
        let settlement = settle(
            remaining(&[(1, 1)]),
            allowances(&[("ann", 0), ("bob", 0)]),
            &[request(2, "bob", &[(1, 1)]), request(1, "ann", &[(1, 1)])],
        );

        assert_eq!(line_outcomes(&settlement, 2), [LineOutcome::Sold]);
        assert_eq!(line_outcomes(&settlement, 1), [LineOutcome::SoldOut]);
    }

    #[test]
    fn a_line_over_the_limit_fails_and_a_smaller_one_behind_it_is_bought() {
        let settlement = settle(
            remaining(&[(1, 50), (2, 50)]),
            allowances(&[("ann", 7)]),
            &[request(1, "ann", &[(1, 4), (2, 3)])],
        );

        assert_eq!(line_outcomes(&settlement, 1), [LineOutcome::BuyerLimit, LineOutcome::Sold]);
    }

    #[test]
    fn a_code_that_comes_twice_in_a_batch_is_settled_once() {
        let twice = request(1, "ann", &[(1, 1)]);

        let settlement =
            settle(remaining(&[(1, 5)]), allowances(&[("ann", 0)]), &[twice.clone(), twice]);

        assert_eq!(settlement.sold[&ItemNo(1)], 1);
        assert_eq!(settlement.decided.len(), 1);
    }

    #[test]
    fn two_codes_of_one_buyer_share_one_limit() {
        let settlement = settle(
            remaining(&[(1, 50)]),
            allowances(&[("ann", 0)]),
            &[request(1, "ann", &[(1, 6)]), request(2, "ann", &[(1, 6)])],
        );

        assert_eq!(line_outcomes(&settlement, 2), [LineOutcome::BuyerLimit]);
        assert_eq!(settlement.bought[&buyer("ann")], 6);
    }

    #[test]
    fn a_line_that_is_sold_out_and_over_the_limit_is_sold_out() {
        let settlement =
            settle(remaining(&[]), allowances(&[("ann", 10)]), &[request(1, "ann", &[(1, 1)])]);

        assert_eq!(line_outcomes(&settlement, 1), [LineOutcome::SoldOut]);
    }

    #[test]
    fn lines_are_reported_by_item_number_whatever_the_order_of_collecting() {
        let settlement = settle(
            remaining(&[(1, 1), (2, 1)]),
            allowances(&[("ann", 9)]),
            &[request(1, "ann", &[(2, 1), (1, 1)])],
        );

        assert_eq!(line_outcomes(&settlement, 1), [LineOutcome::BuyerLimit, LineOutcome::Sold]);
    }

    fn batches() -> impl Strategy<Value = (Vec<i32>, Vec<i32>, Vec<Request>)> {
        let stock = prop::collection::vec(0..6_i32, 1..8);
        let bought = prop::collection::vec(0..=10_i32, 1..5);
        let lines = prop::collection::btree_map(0..10_i32, 1..5_i32, 1..6);
        let wishes = prop::collection::vec((1..12_i64, 0..5_usize, lines), 0..30);
        (stock, bought, wishes).prop_map(|(stock, bought, wishes)| {
            let requests = wishes.into_iter().map(|(attempt, who, lines)| {
                let lines: Vec<_> = lines.into_iter().collect();
                // One attempt belongs to one buyer, always.
                let who = (who + usize::try_from(attempt).unwrap()) % bought.len();
                request(attempt * 10 + i64::try_from(who).unwrap(), &format!("b{who}"), &lines)
            });
            let requests = requests.collect();
            (stock, bought, requests)
        })
    }

    proptest! {
        #[test]
        fn never_more_than_the_stock_never_more_than_the_limit_and_nothing_refused_for_nothing(
            (stock, bought, requests) in batches()
        ) {
            let remaining: RemainingStock = stock.iter().zip(0..).map(|(left, item)| (ItemNo(item), *left)).collect();
            let allowances: HashMap<_, _> = bought
                .iter()
                .enumerate()
                .map(|(who, bought)| (buyer(&format!("b{who}")), Allowance { bought: *bought, limit: 10 }))
                .collect();

            let settlement = settle(remaining.clone(), allowances.clone(), &requests);

            for (item, sold) in &settlement.sold {
                prop_assert!(*sold <= remaining.get(item).copied().unwrap_or(0));
            }
            for (buyer, pieces) in &settlement.bought {
                prop_assert!(allowances[buyer].bought + pieces <= 10);
            }
            // Stock and allowances only shrink, so a line that fits at the end fitted when it was decided.
            for request in &requests {
                for settled in &settlement.decided[&request.attempt] {
                    let item = settled.line.item;
                    let left = remaining.get(&item).copied().unwrap_or(0)
                        - settlement.sold.get(&item).copied().unwrap_or(0);
                    let allowance = allowances[&request.buyer];
                    let room = allowance.limit - allowance.bought
                        - settlement.bought.get(&request.buyer).copied().unwrap_or(0);
                    let pieces = settled.line.quantity.get();
                    prop_assert!(settled.outcome == LineOutcome::Sold || pieces > left || pieces > room);
                }
            }
        }
    }
}
