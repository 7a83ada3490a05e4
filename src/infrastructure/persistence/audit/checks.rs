//! The checks of an inspection: what must hold in the database, as queries that find every violation.

use super::counts::Proven;

/// A rule, with the query that checks it.
#[derive(Debug)]
pub(crate) struct Check {
    /// The promise that the rule belongs to, or `bookkeeping`.
    pub(crate) promise: &'static str,
    /// The rule.
    pub(crate) what: &'static str,
    /// How many objects were examined, where [`Proven`] says that none breaks the rule. `None`: only the query can tell.
    pub(crate) proven: Option<fn(&Proven) -> i64>,
    /// Returns one row for every object checked: whether it breaks the rule, and a text that identifies it.
    pub(crate) sql: &'static str,
}

const BOOKKEEPING: &str = "bookkeeping";
/// A proof of the other checks needs this one and the next.
pub(super) const OPEN_ATTEMPTS: &str = "an open attempt exists, is its buyer's and has no outcome";
pub(super) const CANCELLED_LINES: &str =
    "what was cancelled is a whole line that its buyer had bought";

/// Every check, in the order of the report.
pub(crate) const CHECKS: &[Check] = &[
    Check {
        promise: "I1",
        what: "no item's stock is oversold",
        proven: Some(|proven| proven.stocks),
        sql: r"
    SELECT sold NOT BETWEEN 0 AND stock,
           format('sale %s item %s: sold %s of %s', sale_id, item_no, sold, stock)
    FROM item_stock",
    },
    Check {
        promise: "I1",
        what: "no item's sold lines pass its stock",
        proven: Some(|proven| proven.stocks),
        sql: r"
    SELECT coalesce(pieces, 0) > coalesce(stock, 0),
           format('sale %s item %s: lines sold %s of %s', sale_id, item_no, pieces, stock)
    FROM item_stock
    FULL JOIN sold_of_item USING (sale_id, item_no)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "an item's sold count is the sum of its sold lines",
        proven: Some(|proven| proven.stocks),
        sql: r"
    SELECT coalesce(sold, 0) <> coalesce(pieces, 0),
           format('sale %s item %s: counts %s, lines say %s', sale_id, item_no, sold, pieces)
    FROM item_stock
    FULL JOIN sold_of_item USING (sale_id, item_no)",
    },
    Check {
        promise: "I3",
        what: "no buyer has bought more than the sale's limit",
        proven: Some(|proven| proven.buyers_of_sales),
        sql: r"
    SELECT bought NOT BETWEEN 0 AND sales.buyer_limit,
           format('sale %s buyer %s: bought %s of %s', sale_id, user_id, bought, sales.buyer_limit)
    FROM buyers
    JOIN sales USING (sale_id)",
    },
    Check {
        promise: "I3",
        what: "a buyer's limit is the sale's",
        proven: Some(|proven| proven.buyers_of_sales),
        sql: r"
    SELECT buyers.buyer_limit <> sales.buyer_limit,
           format('sale %s buyer %s: limit %s, the sale has %s',
                  sale_id, user_id, buyers.buyer_limit, sales.buyer_limit)
    FROM buyers
    JOIN sales USING (sale_id)",
    },
    Check {
        promise: "I3",
        what: "no buyer's purchases pass the sale's limit",
        proven: Some(|proven| proven.buyers_with_outcome),
        sql: r"
    SELECT pieces > buyer_limit,
           format('sale %s buyer %s: purchases of %s of %s', sale_id, user_id, pieces, buyer_limit)
    FROM (
        SELECT sale_id, user_id, sum(pieces) AS pieces
        FROM (
            SELECT sale_id, user_id, total_purchased AS pieces FROM purchases
            UNION ALL
            SELECT sale_id, user_id, -quantity FROM purchase_cancellations
        ) AS changes
        GROUP BY sale_id, user_id
    ) AS totals
    JOIN sales USING (sale_id)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "a buyer's bought count is the sum of their sold lines",
        proven: Some(|proven| proven.buyers),
        sql: r"
    SELECT coalesce(bought, 0) <> coalesce(pieces, 0),
           format('sale %s buyer %s: counts %s, lines say %s', sale_id, user_id, bought, pieces)
    FROM buyers
    FULL JOIN (
        SELECT sale_id, user_id, sum(quantity) AS pieces
        FROM sold_lines
        JOIN purchases USING (sale_id, attempt_id)
        GROUP BY sale_id, user_id
    ) AS lines USING (sale_id, user_id)",
    },
    Check {
        promise: "I4",
        what: "an attempt has at most one outcome",
        proven: Some(|proven| proven.outcomes),
        sql: r"
    SELECT copy = 2,
           format('sale %s attempt %s: more than one outcome', sale_id, attempt_id)
    FROM (
        SELECT sale_id, attempt_id,
               row_number() OVER (PARTITION BY sale_id, attempt_id) AS copy
        FROM purchases
    ) AS copies",
    },
    Check {
        promise: "I4",
        what: "an outcome has at most one line for an item",
        proven: Some(|proven| proven.settled),
        sql: r"
    SELECT copy = 2,
           format('sale %s attempt %s item %s: more than one line', sale_id, attempt_id, item_no)
    FROM (
        SELECT sale_id, attempt_id, item_no,
               row_number() OVER (PARTITION BY sale_id, attempt_id, item_no) AS copy
        FROM purchase_items
    ) AS copies",
    },
    Check {
        promise: "I4",
        what: "an outcome's totals are those of its lines",
        proven: Some(|proven| proven.outcomes),
        sql: r"
    SELECT total_purchased <> coalesce(pieces, 0) OR failed_count <> coalesce(failed, 0),
           format('sale %s attempt %s: total %s and %s failed, lines say %s and %s',
                  sale_id, attempt_id, total_purchased, failed_count,
                  coalesce(pieces, 0), coalesce(failed, 0))
    FROM purchases
    LEFT JOIN (
        SELECT sale_id, attempt_id,
               sum(quantity) FILTER (WHERE outcome = 'sold') AS pieces,
               count(*) FILTER (WHERE outcome <> 'sold') AS failed
        FROM purchase_items
        GROUP BY sale_id, attempt_id
    ) AS lines USING (sale_id, attempt_id)",
    },
    // A checkout that is not open any more has an outcome (by a check below), so only open ones may have lines that are not settled.
    Check {
        promise: "I4",
        what: "an outcome has exactly the lines of its checkout",
        proven: Some(|proven| proven.collected),
        sql: r"
    SELECT collected.quantity IS DISTINCT FROM settled.quantity
               AND (settled.quantity IS NOT NULL OR open.attempt_id IS NULL),
           format('sale %s attempt %s item %s: collected %s, settled %s',
                  sale_id, attempt_id, item_no, collected.quantity, settled.quantity)
    FROM checkout_items AS collected
    FULL JOIN purchase_items AS settled USING (sale_id, attempt_id, item_no)
    LEFT JOIN open_attempts AS open USING (sale_id, attempt_id)",
    },
    Check {
        promise: "I4",
        what: CANCELLED_LINES,
        proven: None,
        sql: r"
    SELECT line.outcome IS DISTINCT FROM 'sold' OR line.quantity <> taken.quantity
               OR line.user_id <> taken.user_id,
           format('sale %s attempt %s item %s: cancelled %s of %s, bought %s by %s, %s', sale_id, attempt_id, item_no,
                  taken.quantity, taken.user_id, line.quantity, line.user_id, line.outcome)
    FROM purchase_cancellations AS taken
    LEFT JOIN purchase_items AS line USING (sale_id, attempt_id, item_no)",
    },
    Check {
        promise: "I6",
        what: "an outcome has its attempt, of the same buyer",
        proven: Some(|proven| proven.outcomes),
        sql: r"
    SELECT attempts.user_id IS DISTINCT FROM purchases.user_id,
           format('sale %s attempt %s: settled for %s, made by %s',
                  sale_id, attempt_id, purchases.user_id, attempts.user_id)
    FROM purchases
    LEFT JOIN checkout_attempts AS attempts USING (sale_id, attempt_id)",
    },
    Check {
        promise: "I6",
        what: "a settled attempt has an item, and a collected item its attempt",
        proven: Some(|proven| proven.collected_or_none),
        // An open attempt may be empty: its buyer has removed every line.
        sql: r"
    SELECT attempts.user_id IS NULL OR (item_no IS NULL AND purchased_at IS NOT NULL),
           format('sale %s attempt %s: of %s, item %s', sale_id, attempt_id, attempts.user_id, item_no)
    FROM checkout_attempts AS attempts
    FULL JOIN checkout_items USING (sale_id, attempt_id)
    LEFT JOIN purchases USING (sale_id, attempt_id)",
    },
    Check {
        promise: "I6",
        what: "an attempt's buyer is on record",
        proven: Some(|proven| proven.attempts),
        sql: r"
    SELECT bought IS NULL,
           format('sale %s attempt %s: no buyer %s', sale_id, attempt_id, user_id)
    FROM checkout_attempts
    LEFT JOIN buyers USING (sale_id, user_id)",
    },
    Check {
        promise: "I6",
        what: "refusal totals count every detail on record",
        proven: None,
        sql: r"
    SELECT coalesce(detailed, 0) <> coalesce(kept, 0) OR detailed > total,
           format('sale %s %s %s: total %s, detailed %s, on record %s',
                  sale_id, operation, reason, total, detailed, coalesce(kept, 0))
    FROM refusal_totals
    FULL JOIN (
        SELECT sale_id, operation, reason, count(*) AS kept
        FROM checkout_refusals
        GROUP BY sale_id, operation, reason
    ) AS details USING (sale_id, operation, reason)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "a collected item is one of the sale's",
        proven: Some(|proven| proven.collected_items),
        sql: r"
    SELECT item_id IS NULL OR stock IS NULL,
           format('sale %s item %s: collected, id %s, stock %s', sale_id, item_no, item_id, stock)
    FROM (
        SELECT sale_id, item_no
        FROM checkout_items
        GROUP BY sale_id, item_no
    ) AS collected
    LEFT JOIN items USING (sale_id, item_no)
    LEFT JOIN item_stock USING (sale_id, item_no)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "a settled item is one of the sale's",
        proven: Some(|proven| proven.settled_items),
        sql: r"
    SELECT item_id IS NULL OR stock IS NULL,
           format('sale %s item %s: settled, id %s, stock %s', sale_id, item_no, item_id, stock)
    FROM (
        SELECT sale_id, item_no
        FROM purchase_items
        GROUP BY sale_id, item_no
    ) AS settled
    LEFT JOIN items USING (sale_id, item_no)
    LEFT JOIN item_stock USING (sale_id, item_no)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "an item has its stock, and a stock its item",
        proven: Some(|proven| proven.items),
        sql: r"
    SELECT item_id IS NULL OR stock IS NULL,
           format('sale %s item %s: id %s, stock %s', sale_id, item_no, item_id, stock)
    FROM items
    FULL JOIN item_stock USING (sale_id, item_no)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "a sale has as many items as it says",
        proven: None,
        sql: r"
    SELECT items_promised <> coalesce(present, 0),
           format('sale %s: says %s, has %s', sale_id, items_promised, coalesce(present, 0))
    FROM sales
    LEFT JOIN (
        SELECT sale_id, count(*) AS present
        FROM items
        GROUP BY sale_id
    ) AS counts USING (sale_id)",
    },
    // Other checks connect the other tables to these: lines to attempts, attempts to buyers, stocks to items, details of refusals to
    // totals.
    Check {
        promise: BOOKKEEPING,
        what: "every row's sale exists",
        proven: None,
        sql: r"
    SELECT starts_at IS NULL AND archived.sale_id IS NULL,
           format('sale %s: in %s, not in sales', sale_id, place)
    FROM (
        SELECT 'items' AS place, sale_id FROM items GROUP BY sale_id
        UNION ALL SELECT 'buyers', sale_id FROM buyers GROUP BY sale_id
        UNION ALL SELECT 'refusal_totals', sale_id FROM refusal_totals GROUP BY sale_id
        UNION ALL SELECT 'sale_audit', sale_id FROM sale_audit GROUP BY sale_id
    ) AS places
    LEFT JOIN sales USING (sale_id)
    LEFT JOIN archived_sales AS archived USING (sale_id)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "an archived sale is no sale any more",
        proven: None,
        sql: r"
    SELECT starts_at IS NOT NULL,
           format('sale %s: archived, and among the sales', sale_id)
    FROM archived_sales
    LEFT JOIN sales USING (sale_id)",
    },
    Check {
        promise: BOOKKEEPING,
        what: OPEN_ATTEMPTS,
        proven: None,
        sql: r"
    SELECT attempts.user_id IS DISTINCT FROM open.user_id OR purchased_at IS NOT NULL,
           format('sale %s attempt %s: open for %s, made by %s, settled %s',
                  sale_id, attempt_id, open.user_id, attempts.user_id, purchased_at)
    FROM open_attempts AS open
    LEFT JOIN checkout_attempts AS attempts USING (sale_id, attempt_id)
    LEFT JOIN purchases USING (sale_id, attempt_id)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "an attempt without an outcome is its buyer's open one",
        proven: Some(|proven| proven.attempts),
        sql: r"
    SELECT purchased_at IS NULL AND open.user_id IS DISTINCT FROM attempts.user_id,
           format('sale %s attempt %s of %s: neither open nor settled',
                  sale_id, attempt_id, attempts.user_id)
    FROM checkout_attempts AS attempts
    LEFT JOIN purchases USING (sale_id, attempt_id)
    LEFT JOIN open_attempts AS open USING (sale_id, attempt_id)",
    },
    Check {
        promise: "I4",
        what: "what an idempotency key stands for is there, and its buyer's",
        proven: None,
        sql: r"
    SELECT attempts.user_id IS DISTINCT FROM keys.user_id
           OR (keys.purchased AND purchases.purchased_at IS NULL),
           format('sale %s attempt %s: key of %s, attempt of %s, settled %s',
                  sale_id, attempt_id, keys.user_id, attempts.user_id, purchased_at)
    FROM idempotency_keys AS keys
    LEFT JOIN checkout_attempts AS attempts USING (sale_id, attempt_id)
    LEFT JOIN purchases USING (sale_id, attempt_id)",
    },
    Check {
        promise: "I5",
        what: "nothing that was acknowledged is known to be lost in a failover",
        proven: None,
        sql: r"
    SELECT true,
           format('sale %s attempt %s: its %s is not in epoch %s', sale_id, attempt_id,
                  CASE WHEN purchased THEN 'purchase' ELSE 'checkout' END, epoch)
    FROM lost_writes",
    },
    Check {
        promise: "I8",
        what: "an outcome was decided while the sale was open",
        proven: Some(|proven| proven.outcomes_of_sales),
        sql: r"
    SELECT purchased_at < starts_at OR purchased_at >= ends_at,
           format('sale %s attempt %s: settled %s', sale_id, attempt_id, purchased_at)
    FROM purchases
    JOIN sales USING (sale_id)",
    },
    Check {
        promise: "I8",
        what: "an item was collected while the sale was open",
        proven: Some(|proven| proven.collected_of_sales),
        sql: r"
    SELECT added_at < starts_at OR added_at >= ends_at,
           format('sale %s attempt %s item %s: collected %s', sale_id, attempt_id, item_no, added_at)
    FROM checkout_items
    JOIN sales USING (sale_id)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "a start of a schedule has one sale",
        proven: None,
        sql: r"
    SELECT twin.sale_id IS NOT NULL,
           format('sale %s: starts %s of %s, as sale %s does',
                  sales.sale_id, sales.starts_at, sales.schedule, twin.sale_id)
    FROM sales
    LEFT JOIN every_sale AS twin
           ON twin.schedule = sales.schedule
          AND twin.starts_at = sales.starts_at
          AND twin.sale_id <> sales.sale_id",
    },
    Check {
        promise: BOOKKEEPING,
        what: "a sale's creation is on record",
        proven: None,
        sql: r"
    SELECT created.sale_id IS NULL,
           format('sale %s: no entry says who created it', sale_id)
    FROM sales
    LEFT JOIN (
        SELECT DISTINCT sale_id
        FROM sale_audit
        WHERE action = 'created'
    ) AS created USING (sale_id)",
    },
    Check {
        promise: BOOKKEEPING,
        what: "a closed sale's report counts the pieces that its purchases sold",
        proven: None,
        sql: r"
    SELECT reported + reported_cancelled <> coalesce(pieces, 0),
           format('sale %s: the report says %s and %s cancelled, purchases say %s',
                  sale_id, reported, reported_cancelled, pieces)
    FROM sale_reports
    LEFT JOIN (
        SELECT sale_id, sum(total_purchased) AS pieces
        FROM purchases
        GROUP BY sale_id
    ) AS totals USING (sale_id)",
    },
];
