//! Counts that prove most checks at once: a few passes over the tables instead of one or several for each check.
//!
//! Two sets without duplicates are equal if each entry of one has its counterpart in the other and both are equally large. So
//! [`LINES`] walks over all checkouts in the order of their keys, compares each with its outcome and its lines, and counts what it met;
//! the other statements count the tables by themselves. If every comparison holds, all counts agree, and the primary keys are there
//! ([`UNIQUE`]), nothing can be missing, superfluous or twice. Then the checks hold, and the counts say what each has examined. Otherwise
//! nothing is proven, and each check runs its own query, which finds the violations. [`Counts::prove`] has the conclusions.

use crate::infrastructure::persistence::row::from_row;

/// Whether all tables that are counted have their primary keys, and so no row twice.
pub(super) const UNIQUE: &str = r"
SELECT NOT EXISTS (
    SELECT
    FROM (VALUES ('items', 'PRIMARY KEY (sale_id, item_no)'),
                 ('item_stock', 'PRIMARY KEY (sale_id, item_no)'),
                 ('buyers', 'PRIMARY KEY (sale_id, user_id)'),
                 ('checkout_attempts', 'PRIMARY KEY (sale_id, id)'),
                 ('checkout_items', 'PRIMARY KEY (sale_id, attempt_id, item_no)'),
                 ('purchases', 'PRIMARY KEY (sale_id, attempt_id)')) AS expected (parent, key)
    JOIN pg_inherits AS i ON i.inhparent = parent::regclass
    WHERE NOT EXISTS (
        SELECT
        FROM pg_constraint AS c
        JOIN pg_index AS x ON x.indexrelid = c.conindid AND x.indisvalid AND x.indisready
        WHERE c.conrelid = i.inhrelid AND c.contype = 'p' AND pg_get_constraintdef(c.oid) = key
    )
)";

/// Every checkout with its lines and its outcome. In the order of the keys, which all three tables share, so that no row waits in memory
/// for its counterpart, and lines are aggregated in the order in which an outcome has them. Where every line was sold, the totals need
/// no look at each.
pub(super) const LINES: &str = r"
SELECT count(*) AS attempts,
       count(purchased_at) AS outcomes,
       coalesce(sum(collected), 0)::bigint AS collected,
       coalesce(sum(cardinality(purchases.item_nos)), 0)::bigint AS settled,
       count(*) FILTER (WHERE collected IS NULL) AS without_lines,
       count(*) FILTER (WHERE purchased_at IS NOT NULL AND (
           purchases.user_id <> attempts.user_id
           OR purchases.item_nos IS DISTINCT FROM lines.item_nos OR purchases.quantities IS DISTINCT FROM lines.quantities
           OR CASE WHEN btrim(outcomes, 's') = '' THEN pieces <> total_purchased OR failed_count <> 0
                   ELSE (SELECT coalesce(sum(quantity) FILTER (WHERE letter = 's'), 0) <> total_purchased
                                OR count(*) FILTER (WHERE letter <> 's') <> failed_count
                         FROM unnest(purchases.quantities, string_to_array(outcomes, NULL)) AS l (quantity, letter))
              END
       )) AS suspects
FROM checkout_attempts AS attempts
LEFT JOIN purchases USING (sale_id, attempt_id)
LEFT JOIN (
    SELECT sale_id, attempt_id, count(*) AS collected, sum(quantity) AS pieces,
           array_agg(item_no) AS item_nos, array_agg(quantity) AS quantities
    FROM (SELECT * FROM checkout_items ORDER BY sale_id, attempt_id, item_no) AS c
    GROUP BY sale_id, attempt_id
) AS lines USING (sale_id, attempt_id)";

/// Every buyer with their outcomes, as far as the sale exists: rows of archived ones may remain.
pub(super) const BUYERS: &str = r"
SELECT count(bought) AS buyers,
       count(open_attempt) AS open_attempts,
       count(bought) FILTER (WHERE starts_at IS NOT NULL) AS buyers_of_sales,
       count(first) FILTER (WHERE starts_at IS NOT NULL) AS with_outcome_of_sales,
       coalesce(sum(outcomes), 0)::bigint AS outcomes,
       coalesce(sum(outcomes) FILTER (WHERE starts_at IS NOT NULL), 0)::bigint AS outcomes_of_sales,
       count(*) FILTER (WHERE
           bought IS NULL OR bought <> coalesce(pieces, 0) OR first < starts_at OR last >= ends_at
           OR bought NOT BETWEEN 0 AND sales.buyer_limit OR buyers.buyer_limit <> sales.buyer_limit) AS suspects
FROM buyers
FULL JOIN (
    SELECT sale_id, user_id, count(purchased_at) AS outcomes, sum(pieces) AS pieces,
           min(purchased_at) AS first, max(purchased_at) AS last
    FROM (
        SELECT sale_id, user_id, total_purchased AS pieces, purchased_at FROM purchases
        UNION ALL
        SELECT sale_id, user_id, -quantity, NULL FROM purchase_cancellations
    ) AS changes
    GROUP BY sale_id, user_id
) AS totals USING (sale_id, user_id)
LEFT JOIN sales USING (sale_id)";

/// Every item with its stock, the settled lines with it, and those that were taken back or are in an open checkout. Outcomes of which
/// every line was sold are apart: lines without letters cost a fourth of what those of the view do.
pub(super) const ITEMS: &str = r"
SELECT count(stock) AS stocks,
       count(*) FILTER (WHERE item_id IS NOT NULL OR stock IS NOT NULL) AS items,
       count(*) FILTER (WHERE settled > 0 OR open > 0) AS collected_items,
       count(settled) AS settled_items,
       coalesce(sum(settled), 0)::bigint AS settled,
       count(*) FILTER (WHERE item_id IS NULL OR stock IS NULL OR sold NOT BETWEEN 0 AND stock
                              OR sold <> coalesce(pieces, 0) - coalesce(cancelled, 0)) AS suspects
FROM items
FULL JOIN item_stock USING (sale_id, item_no)
FULL JOIN (
    SELECT sale_id, item_no, count(*) AS settled, sum(quantity) FILTER (WHERE letter = 's') AS pieces
    FROM (
        SELECT sale_id, unnest(item_nos) AS item_no, unnest(quantities) AS quantity, 's' AS letter
        FROM purchases
        WHERE btrim(outcomes, 's') = ''
        UNION ALL
        SELECT sale_id, unnest(item_nos), unnest(quantities), unnest(string_to_array(outcomes, NULL))
        FROM purchases
        WHERE btrim(outcomes, 's') <> ''
    ) AS every_line
    GROUP BY sale_id, item_no
) AS lines USING (sale_id, item_no)
FULL JOIN (
    SELECT sale_id, item_no, sum(cancelled) AS cancelled, sum(open) AS open
    FROM (
        SELECT sale_id, item_no, quantity AS cancelled, 0 AS open FROM purchase_cancellations
        UNION ALL
        SELECT sale_id, item_no, 0, 1 FROM checkout_items JOIN open_attempts USING (sale_id, attempt_id)
    ) AS few
    GROUP BY sale_id, item_no
) AS others USING (sale_id, item_no)";

/// The lines of each sale, and when they were collected.
pub(super) const COLLECTED: &str = r"
SELECT coalesce(sum(lines), 0)::bigint AS collected,
       coalesce(sum(lines) FILTER (WHERE starts_at IS NOT NULL), 0)::bigint AS collected_of_sales,
       count(*) FILTER (WHERE first < starts_at OR last >= ends_at) AS suspects
FROM (
    SELECT sale_id, count(*) AS lines, min(added_at) AS first, max(added_at) AS last
    FROM checkout_items
    GROUP BY sale_id
) AS of_sale
LEFT JOIN sales USING (sale_id)";

from_row! {
    /// The row of [`LINES`].
    #[derive(Debug, Clone, Copy)]
    pub(super) struct LineRow {
        attempts: i64,
        outcomes: i64,
        collected: i64,
        settled: i64,
        without_lines: i64,
        suspects: i64,
    }
}

from_row! {
    /// The row of [`BUYERS`].
    #[derive(Debug, Clone, Copy)]
    pub(super) struct BuyerRow {
        buyers: i64,
        open_attempts: i64,
        buyers_of_sales: i64,
        with_outcome_of_sales: i64,
        outcomes: i64,
        outcomes_of_sales: i64,
        suspects: i64,
    }
}

from_row! {
    /// The row of [`ITEMS`].
    #[derive(Debug, Clone, Copy)]
    pub(super) struct ItemRow {
        stocks: i64,
        items: i64,
        collected_items: i64,
        settled_items: i64,
        settled: i64,
        suspects: i64,
    }
}

from_row! {
    /// The row of [`COLLECTED`].
    #[derive(Debug, Clone, Copy)]
    pub(super) struct CollectedRow {
        collected: i64,
        collected_of_sales: i64,
        suspects: i64,
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    lines: LineRow,
    others: OtherCounts,
}

/// What was counted beside [`LINES`].
#[derive(Debug, Clone, Copy)]
pub(super) struct OtherCounts {
    pub(super) buyers: BuyerRow,
    pub(super) items: ItemRow,
    pub(super) collected: CollectedRow,
    /// Whether no row is there twice, open checkouts are of their buyers and have no outcome, and what was cancelled is a line that its
    /// buyer had bought.
    pub(super) has_premises: bool,
}

/// What each proven check has examined.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proven {
    pub(crate) attempts: i64,
    pub(crate) outcomes: i64,
    pub(crate) outcomes_of_sales: i64,
    pub(crate) collected: i64,
    pub(crate) collected_of_sales: i64,
    /// Collected lines, and attempts without one.
    pub(crate) collected_or_none: i64,
    pub(crate) settled: i64,
    pub(crate) buyers: i64,
    pub(crate) buyers_of_sales: i64,
    pub(crate) buyers_with_outcome: i64,
    pub(crate) stocks: i64,
    pub(crate) items: i64,
    pub(crate) collected_items: i64,
    pub(crate) settled_items: i64,
}

impl OtherCounts {
    pub(super) fn with(self, lines: LineRow) -> Counts {
        Counts { lines, others: self }
    }
}

impl Counts {
    /// The proof, if there is one.
    ///
    /// - [`LINES`] met as many outcomes, collected lines and settled lines as exist, so none is without its attempt. Where there is an
    ///   outcome, its lines are those that were collected, and so none is there twice.
    /// - As many attempts have no outcome as are open, and each open one is among them. So all of them are open, of their buyers.
    /// - So a buyer of an attempt is either one of an outcome, which [`BUYERS`] found on record, or on record by their open attempt.
    /// - The totals of outcomes are those of their lines, so [`BUYERS`] may add up totals instead of lines.
    /// - The lines of open checkouts and the settled ones are all that were collected, so [`ITEMS`] has seen the items of both.
    pub(super) fn prove(&self) -> Option<Proven> {
        let Self { lines, others: OtherCounts { buyers, items, collected, has_premises } } = self;
        let is_proven = *has_premises
            && [lines.suspects, buyers.suspects, items.suspects, collected.suspects] == [0; 4]
            && lines.outcomes == buyers.outcomes
            && lines.collected == collected.collected
            && lines.settled == items.settled
            && lines.attempts - lines.outcomes == buyers.open_attempts;
        is_proven.then(|| Proven {
            attempts: lines.attempts,
            outcomes: lines.outcomes,
            outcomes_of_sales: buyers.outcomes_of_sales,
            collected: lines.collected,
            collected_of_sales: collected.collected_of_sales,
            collected_or_none: lines.collected + lines.without_lines,
            settled: lines.settled,
            buyers: buyers.buyers,
            buyers_of_sales: buyers.buyers_of_sales,
            buyers_with_outcome: buyers.with_outcome_of_sales,
            stocks: items.stocks,
            items: items.items,
            collected_items: items.collected_items,
            settled_items: items.settled_items,
        })
    }
}
