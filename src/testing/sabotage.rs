//! SQL that breaks each promise, to prove that every check of the inspector can fail.
//!
//! It needs a database with one sale, its items, outcomes (one buyer has bought something), a buyer whose checkout is
//! open, and details of refusals. Each sabotage runs in its own copy (`CREATE DATABASE … TEMPLATE`), because the
//! inspector reads only what is committed.

/// One way to break a promise.
#[derive(Debug)]
pub(crate) struct Sabotage {
    /// What is wrong with the data.
    pub(crate) name: &'static str,
    /// The promise that it breaks, or `bookkeeping`.
    pub(crate) promise: &'static str,
    /// A check that finds it.
    pub(crate) check: &'static str,
    /// Drops the constraint that forbids it, then changes the data.
    pub(crate) sql: &'static [&'static str],
}

const BOOKKEEPING: &str = "bookkeeping";

/// At least one for every check, in the order of the checks.
pub(crate) const SABOTAGES: &[Sabotage] = &[
    Sabotage {
        name: "an item is sold once more than there are pieces",
        promise: "I1",
        check: "no item's stock is oversold",
        sql: &[
            "ALTER TABLE item_stock DROP CONSTRAINT items_sold_within_stock",
            r"
               UPDATE item_stock
               SET sold = stock + 1
               WHERE item_no = (SELECT min(item_no) FROM item_stock)",
        ],
    },
    Sabotage {
        name: "an item's sold count is negative",
        promise: "I1",
        check: "no item's stock is oversold",
        sql: &[
            "ALTER TABLE item_stock DROP CONSTRAINT items_sold_within_stock",
            r"
               UPDATE item_stock
               SET sold = -1
               WHERE item_no = (SELECT min(item_no) FROM item_stock)",
        ],
    },
    Sabotage {
        name: "two buyers own one piece",
        promise: "I1",
        check: "no item's sold lines pass its stock",
        sql: &[
            "ALTER TABLE item_stock DROP CONSTRAINT items_sold_within_stock",
            r"
               UPDATE item_stock
               SET stock = sold - 1
               WHERE item_no = (SELECT min(item_no) FROM purchase_items WHERE outcome = 'sold')",
        ],
    },
    Sabotage {
        name: "a sold item loses its stock",
        promise: "I1",
        check: "no item's sold lines pass its stock",
        sql: &[r"
               DELETE FROM item_stock
               WHERE item_no = (SELECT min(item_no) FROM purchase_items WHERE outcome = 'sold')"],
    },
    Sabotage {
        name: "a sold piece is put back on the remaining",
        promise: BOOKKEEPING,
        check: "an item's sold count is the sum of its sold lines",
        sql: &[r"
               UPDATE item_stock
               SET sold = sold - 1
               WHERE item_no = (SELECT min(item_no) FROM item_stock WHERE sold > 0)"],
    },
    Sabotage {
        name: "a sold piece has no buyer",
        promise: BOOKKEEPING,
        check: "an item's sold count is the sum of its sold lines",
        sql: &[r"
               UPDATE item_stock
               SET stock = stock + 1, sold = sold + 1
               WHERE item_no = (SELECT min(item_no) FROM item_stock)"],
    },
    Sabotage {
        name: "an item is sold that has no stock",
        promise: BOOKKEEPING,
        check: "an item's sold count is the sum of its sold lines",
        sql: &[r"
               DELETE FROM item_stock
               WHERE item_no = (SELECT min(item_no) FROM purchase_items WHERE outcome = 'sold')"],
    },
    Sabotage {
        name: "a buyer's own limit is raised and used",
        promise: "I3",
        check: "no buyer has bought more than the sale's limit",
        sql: &[r"
               UPDATE buyers
               SET buyer_limit = 2 * buyer_limit, bought = 2 * buyer_limit
               WHERE user_id = (SELECT min(user_id) FROM buyers)"],
    },
    Sabotage {
        name: "a buyer passes the limit",
        promise: "I3",
        check: "no buyer has bought more than the sale's limit",
        sql: &[
            "ALTER TABLE buyers DROP CONSTRAINT buyers_bought_within_limit",
            r"
               UPDATE buyers
               SET bought = buyer_limit + 1
               WHERE user_id = (SELECT min(user_id) FROM buyers)",
        ],
    },
    Sabotage {
        name: "a buyer's limit is not the sale's",
        promise: "I3",
        check: "a buyer's limit is the sale's",
        sql: &[r"
               UPDATE buyers
               SET buyer_limit = buyer_limit + 1
               WHERE user_id = (SELECT min(user_id) FROM buyers)"],
    },
    Sabotage {
        name: "the sale's limit is changed under its buyers",
        promise: "I3",
        check: "a buyer's limit is the sale's",
        sql: &[r"
               UPDATE sales
               SET buyer_limit = buyer_limit + 1"],
    },
    Sabotage {
        name: "a buyer's purchases add up beyond the limit",
        promise: "I3",
        check: "no buyer's purchases pass the sale's limit",
        sql: &[r"
               UPDATE purchases
               SET total_purchased = 1 + (SELECT buyer_limit FROM sales)
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "what a buyer bought is forgotten",
        promise: BOOKKEEPING,
        check: "a buyer's bought count is the sum of their sold lines",
        sql: &[r"
               UPDATE buyers
               SET bought = bought - 1
               WHERE user_id = (SELECT min(user_id) FROM buyers WHERE bought > 0)"],
    },
    Sabotage {
        name: "a buyer with purchases is lost",
        promise: BOOKKEEPING,
        check: "a buyer's bought count is the sum of their sold lines",
        sql: &[r"
               DELETE FROM buyers
               WHERE user_id = (SELECT min(user_id) FROM buyers WHERE bought > 0)"],
    },
    Sabotage {
        name: "a sold line becomes a failed one",
        promise: BOOKKEEPING,
        check: "a buyer's bought count is the sum of their sold lines",
        sql: &[r"
               UPDATE purchases
               SET outcomes = translate(outcomes, 's', 'o')
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchase_items WHERE outcome = 'sold')"],
    },
    Sabotage {
        name: "a code is redeemed twice",
        promise: "I4",
        check: "an attempt has at most one outcome",
        sql: &[
            "ALTER TABLE purchases DROP CONSTRAINT purchases_pkey",
            r"
               INSERT INTO purchases
               SELECT *
               FROM purchases
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)",
        ],
    },
    Sabotage {
        name: "a line is written twice",
        promise: "I4",
        check: "an outcome has at most one line for an item",
        sql: &[r"
               UPDATE purchases
               SET item_nos = item_nos || item_nos, quantities = quantities || quantities, outcomes = outcomes || outcomes
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "an outcome's total is one too many",
        promise: "I4",
        check: "an outcome's totals are those of its lines",
        sql: &[r"
               UPDATE purchases
               SET total_purchased = total_purchased + 1
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "an outcome counts a failure that no line has",
        promise: "I4",
        check: "an outcome's totals are those of its lines",
        sql: &[r"
               UPDATE purchases
               SET failed_count = failed_count + 1
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "an outcome loses all of its lines",
        promise: "I4",
        check: "an outcome's totals are those of its lines",
        sql: &[r"
               UPDATE purchases
               SET item_nos = '{}', quantities = '{}', outcomes = ''
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "an acknowledged item is left out of the outcome",
        promise: "I4",
        check: "an outcome has exactly the lines of its checkout",
        sql: &[r"
               UPDATE purchases
               SET item_nos = item_nos[2:], quantities = quantities[2:], outcomes = substr(outcomes, 2)
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "an outcome has an item that was not collected",
        promise: "I4",
        check: "an outcome has exactly the lines of its checkout",
        sql: &[r"
               DELETE FROM checkout_items
               WHERE (attempt_id, item_no) = (
                   SELECT attempt_id, item_no
                   FROM purchase_items
                   ORDER BY attempt_id, item_no
                   LIMIT 1
               )"],
    },
    Sabotage {
        name: "an item is added after the outcome",
        promise: "I4",
        check: "an outcome has exactly the lines of its checkout",
        sql: &[r"
               INSERT INTO checkout_items (sale_id, attempt_id, item_no, quantity, added_at)
               SELECT sale_id, attempt_id, 1000000, 1, purchased_at
               FROM purchases
               ORDER BY attempt_id
               LIMIT 1"],
    },
    Sabotage {
        name: "another quantity is settled than was collected",
        promise: "I4",
        check: "an outcome has exactly the lines of its checkout",
        sql: &[r"
               UPDATE purchases
               SET quantities[1] = quantities[1] + 1
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "a line that was not sold is taken back",
        promise: "I4",
        check: "what was cancelled is a whole line that its buyer had bought",
        sql: &[r"
               INSERT INTO purchase_cancellations
               SELECT sale_id, attempt_id, item_no, quantity, user_id, clock_timestamp(), 'nobody'
               FROM purchase_items
               WHERE outcome <> 'sold'
               LIMIT 1"],
    },
    Sabotage {
        name: "more is taken back than was sold",
        promise: "I4",
        check: "what was cancelled is a whole line that its buyer had bought",
        sql: &["UPDATE purchase_cancellations SET quantity = quantity + 1"],
    },
    Sabotage {
        name: "another buyer's line is taken back",
        promise: "I4",
        check: "what was cancelled is a whole line that its buyer had bought",
        sql: &["UPDATE purchase_cancellations SET user_id = 'mallory'"],
    },
    Sabotage {
        name: "a cancellation is forgotten",
        promise: BOOKKEEPING,
        check: "an item's sold count is the sum of its sold lines",
        sql: &["DELETE FROM purchase_cancellations"],
    },
    Sabotage {
        name: "a cancellation gives no limit back",
        promise: BOOKKEEPING,
        check: "a buyer's bought count is the sum of their sold lines",
        sql: &[r"
               UPDATE buyers AS b
               SET bought = b.bought + c.quantity
               FROM purchase_cancellations AS c
               WHERE b.sale_id = c.sale_id AND b.user_id = c.user_id"],
    },
    Sabotage {
        name: "the attempt of an outcome is lost",
        promise: "I6",
        check: "an outcome has its attempt, of the same buyer",
        sql: &[r"
               DELETE FROM checkout_attempts
               WHERE id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "an outcome belongs to another buyer",
        promise: "I6",
        check: "an outcome has its attempt, of the same buyer",
        sql: &[r"
               UPDATE purchases
               SET user_id = 'another-buyer'
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "a settled attempt loses its items",
        promise: "I6",
        check: "a settled attempt has an item, and a collected item its attempt",
        sql: &[r"
               DELETE FROM checkout_items
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "collected items lose their attempt",
        promise: "I6",
        check: "a settled attempt has an item, and a collected item its attempt",
        sql: &[r"
               DELETE FROM checkout_attempts
               WHERE id = (SELECT min(open_attempt) FROM buyers)"],
    },
    Sabotage {
        name: "the buyer of an attempt is lost",
        promise: "I6",
        check: "an attempt's buyer is on record",
        sql: &[r"
               DELETE FROM buyers
               WHERE user_id = (SELECT min(user_id) FROM checkout_attempts)"],
    },
    Sabotage {
        name: "a detail of a refusal is lost",
        promise: "I6",
        check: "refusal totals count every detail on record",
        sql: &[r"
               DELETE FROM checkout_refusals
               WHERE (instance, sequence, position) = (
                   SELECT instance, sequence, position
                   FROM checkout_refusals
                   ORDER BY instance, sequence, position
                   LIMIT 1
               )"],
    },
    Sabotage {
        name: "a flush of refusals is counted twice",
        promise: "I6",
        check: "refusal totals count every detail on record",
        sql: &[r"
               UPDATE refusal_totals
               SET total = 2 * total, detailed = 2 * detailed
               WHERE detailed > 0"],
    },
    Sabotage {
        name: "refusals are not counted at all",
        promise: "I6",
        check: "refusal totals count every detail on record",
        sql: &["DELETE FROM refusal_totals"],
    },
    Sabotage {
        name: "more refusals have details than there were",
        promise: "I6",
        check: "refusal totals count every detail on record",
        sql: &[
            "ALTER TABLE refusal_totals DROP CONSTRAINT refusal_totals_detailed_within_total",
            r"
               UPDATE refusal_totals
               SET total = detailed - 1
               WHERE detailed > 0",
        ],
    },
    Sabotage {
        name: "an item is collected that the sale does not have",
        promise: BOOKKEEPING,
        check: "a collected item is one of the sale's",
        sql: &[r"
               UPDATE checkout_items
               SET item_no = 1000000
               WHERE (attempt_id, item_no) = (
                   SELECT attempt_id, item_no
                   FROM checkout_items
                   ORDER BY attempt_id, item_no
                   LIMIT 1
               )"],
    },
    Sabotage {
        name: "a collected item is lost",
        promise: BOOKKEEPING,
        check: "a collected item is one of the sale's",
        sql: &[r"
               DELETE FROM items
               WHERE item_no = (SELECT min(item_no) FROM checkout_items)"],
    },
    Sabotage {
        name: "an item is settled that the sale does not have",
        promise: BOOKKEEPING,
        check: "a settled item is one of the sale's",
        sql: &[r"
               UPDATE purchases
               SET item_nos[1] = 1000000
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "a settled item loses its stock",
        promise: BOOKKEEPING,
        check: "a settled item is one of the sale's",
        sql: &[r"
               DELETE FROM item_stock
               WHERE item_no = (SELECT min(item_no) FROM purchase_items)"],
    },
    Sabotage {
        name: "an item loses its stock",
        promise: BOOKKEEPING,
        check: "an item has its stock, and a stock its item",
        sql: &[r"
               DELETE FROM item_stock
               WHERE item_no = (SELECT max(item_no) FROM item_stock)"],
    },
    Sabotage {
        name: "a stock loses its item",
        promise: BOOKKEEPING,
        check: "an item has its stock, and a stock its item",
        sql: &[r"
               DELETE FROM items
               WHERE item_no = (SELECT max(item_no) FROM items)"],
    },
    Sabotage {
        name: "a sale opens with an item too few",
        promise: BOOKKEEPING,
        check: "a sale has as many items as it says",
        sql: &[
            r"
               DELETE FROM item_stock
               WHERE item_no = (SELECT max(item_no) FROM item_stock)",
            r"
               DELETE FROM items
               WHERE item_no = (SELECT max(item_no) FROM items)",
        ],
    },
    Sabotage {
        name: "a sale's item count is one too many",
        promise: BOOKKEEPING,
        check: "a sale has as many items as it says",
        sql: &[r"
               UPDATE sales
               SET items = items + 1"],
    },
    Sabotage {
        name: "a sale is lost and its rows are not",
        promise: BOOKKEEPING,
        check: "every row's sale exists",
        sql: &["DELETE FROM sales"],
    },
    Sabotage {
        name: "a sale is archived and stays among the sales",
        promise: BOOKKEEPING,
        check: "an archived sale is no sale any more",
        sql: &[
            "INSERT INTO archived_sales (id, name, starts_at, ends_at) SELECT id, name, starts_at, ends_at FROM sales",
        ],
    },
    Sabotage {
        name: "the open attempt does not exist",
        promise: BOOKKEEPING,
        check: "an open attempt exists, is its buyer's and has no outcome",
        sql: &[r"
               DELETE FROM checkout_attempts
               WHERE id = (SELECT min(open_attempt) FROM buyers)"],
    },
    Sabotage {
        name: "a settled attempt is still open",
        promise: BOOKKEEPING,
        check: "an open attempt exists, is its buyer's and has no outcome",
        sql: &[r"
               UPDATE buyers
               SET open_attempt = purchases.attempt_id
               FROM purchases
               WHERE purchases.attempt_id = (SELECT min(attempt_id) FROM purchases)
                 AND purchases.user_id = buyers.user_id"],
    },
    Sabotage {
        name: "a buyer has the open checkout of another buyer",
        promise: BOOKKEEPING,
        check: "an open attempt exists, is its buyer's and has no outcome",
        sql: &[r"
               UPDATE buyers
               SET user_id = 'another-buyer'
               WHERE open_attempt = (SELECT min(open_attempt) FROM buyers)"],
    },
    Sabotage {
        name: "an open checkout is forgotten",
        promise: BOOKKEEPING,
        check: "an attempt without an outcome is its buyer's open one",
        sql: &[r"
               UPDATE buyers
               SET open_attempt = NULL
               WHERE open_attempt = (SELECT min(open_attempt) FROM buyers)"],
    },
    Sabotage {
        name: "an outcome is lost",
        promise: BOOKKEEPING,
        check: "an attempt without an outcome is its buyer's open one",
        sql: &[r"
               DELETE FROM purchases
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "a key is written without its checkout",
        promise: "I4",
        check: "what an idempotency key stands for is there, and its buyer's",
        sql: &[r"
               INSERT INTO idempotency_keys
                   (user_id, key, content, sale_id, attempt_id, created, item_nos, quantities)
               SELECT 'ann', 'k', decode(repeat('00', 32), 'hex'), id, 9000000000, true, '{1}', '{1}'
               FROM sales"],
    },
    Sabotage {
        name: "a key records the purchase of an open checkout",
        promise: "I4",
        check: "what an idempotency key stands for is there, and its buyer's",
        sql: &[r"
               INSERT INTO idempotency_keys (user_id, key, content, sale_id, attempt_id, created)
               SELECT user_id, 'k', decode(repeat('00', 32), 'hex'), sale_id, open_attempt, false
               FROM buyers
               WHERE open_attempt = (SELECT min(open_attempt) FROM buyers)"],
    },
    Sabotage {
        name: "a key belongs to another buyer's checkout",
        promise: "I4",
        check: "what an idempotency key stands for is there, and its buyer's",
        sql: &[r"
               INSERT INTO idempotency_keys
                   (user_id, key, content, sale_id, attempt_id, created, item_nos, quantities)
               SELECT user_id || '-other', 'k', decode(repeat('00', 32), 'hex'), sale_id, open_attempt,
                      true, '{1}', '{1}'
               FROM buyers
               WHERE open_attempt = (SELECT min(open_attempt) FROM buyers)"],
    },
    Sabotage {
        name: "an acknowledged purchase was lost in a failover",
        promise: "I5",
        check: "nothing that was acknowledged is known to be lost in a failover",
        sql: &[r"
               INSERT INTO lost_writes (epoch, sale_id, attempt_id, purchased)
               SELECT 2, sale_id, attempt_id + 1, true FROM purchases LIMIT 1"],
    },
    Sabotage {
        name: "a code is redeemed before the sale",
        promise: "I8",
        check: "an outcome was decided while the sale was open",
        sql: &[r"
               UPDATE purchases
               SET purchased_at = (SELECT starts_at - interval '1 microsecond' FROM sales)
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "a code is redeemed at the end of the sale",
        promise: "I8",
        check: "an outcome was decided while the sale was open",
        sql: &[r"
               UPDATE purchases
               SET purchased_at = (SELECT ends_at FROM sales)
               WHERE attempt_id = (SELECT min(attempt_id) FROM purchases)"],
    },
    Sabotage {
        name: "an item is collected before the sale",
        promise: "I8",
        check: "an item was collected while the sale was open",
        sql: &[r"
               UPDATE checkout_items
               SET added_at = (SELECT starts_at - interval '1 microsecond' FROM sales)
               WHERE attempt_id = (SELECT min(attempt_id) FROM checkout_items)"],
    },
    Sabotage {
        name: "an item is collected at the end of the sale",
        promise: "I8",
        check: "an item was collected while the sale was open",
        sql: &[r"
               UPDATE checkout_items
               SET added_at = (SELECT ends_at FROM sales)
               WHERE attempt_id = (SELECT min(attempt_id) FROM checkout_items)"],
    },
    Sabotage {
        name: "the start is moved behind what was collected",
        promise: "I8",
        check: "an item was collected while the sale was open",
        sql: &[
            "DROP TRIGGER sales_window_keeps_record ON sales",
            r"
               UPDATE sales
               SET starts_at = ends_at - interval '1 microsecond'",
        ],
    },
    Sabotage {
        name: "two instances open one hour twice",
        promise: BOOKKEEPING,
        check: "a start of a schedule has one sale",
        sql: &[
            "ALTER TABLE sales DROP CONSTRAINT sales_one_per_start",
            r"
               UPDATE sales
               SET schedule = 'hourly'",
            r"
               INSERT INTO sales (id, public_id, name, schedule, starts_at, ends_at, buyer_limit, items)
               SELECT id + 1, public_id || '-again', name, schedule, starts_at, ends_at, buyer_limit, items
               FROM sales",
        ],
    },
    Sabotage {
        name: "a sale's creation is not on record",
        promise: BOOKKEEPING,
        check: "a sale's creation is on record",
        sql: &["DELETE FROM sale_audit"],
    },
    Sabotage {
        name: "a report is made before the last purchase is committed",
        promise: BOOKKEEPING,
        check: "a closed sale's report counts the pieces that its purchases sold",
        sql: &[
            r"
               INSERT INTO sale_reports (sale_id, report)
               SELECT sale_id, jsonb_build_object('sold', sum(total_purchased) - 1)
               FROM purchases
               GROUP BY sale_id",
            "UPDATE sales SET closed_end = ends_at",
        ],
    },
];
