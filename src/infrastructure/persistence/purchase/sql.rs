//! The SQL of a batch of purchases: one statement locks, one reads, one writes.

use super::outcomes::STORED;

/// Looks up attempts before the lock, because they never change.
pub(crate) const LOCK_BUYERS: &str = r#"
    SELECT count(*)
    FROM (
        SELECT c.user_id
        FROM unnest($2::bigint[]) AS t(attempt_id)
        CROSS JOIN LATERAL (
            SELECT user_id FROM checkout_attempts{of_sale}
            WHERE sale_id = $1 AND id = t.attempt_id
            OFFSET 0
        ) AS c
        ORDER BY c.user_id COLLATE "C"
        OFFSET 0
    ) AS a
    CROSS JOIN LATERAL (
        SELECT 1 FROM buyers{of_sale}
        WHERE sale_id = $1 AND user_id = a.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
"#;

/// Reads at most `$3` lines of each attempt: one more than it may have in this batch, so that a longer one shows.
///
/// The aggregate over `item` is complete before the outer row reads the clock: a statement that locks holds all its locks by then.
macro_rules! read {
    ($lock:literal) => {
        concat!(
            r"
    WITH buyer AS MATERIALIZED (
        SELECT t.attempt_id, b.*
        FROM unnest($2::bigint[]) AS t(attempt_id)
        CROSS JOIN LATERAL (
            SELECT user_id FROM checkout_attempts{of_sale}
            WHERE sale_id = $1 AND id = t.attempt_id
            OFFSET 0
        ) AS c
        CROSS JOIN LATERAL (
            SELECT user_id, ctid AS place, version, open_attempt, bought, buyer_limit
            FROM buyers{of_sale}
            WHERE sale_id = $1 AND user_id = c.user_id
            OFFSET 0
        ) AS b
    ), basket AS MATERIALIZED (
        SELECT b.attempt_id, l.item_no, l.quantity
        FROM buyer AS b
        CROSS JOIN LATERAL (
            SELECT item_no, quantity, added_at FROM checkout_items{of_sale}
            WHERE sale_id = $1 AND attempt_id = b.attempt_id
            LIMIT $3
        ) AS l
        ORDER BY l.added_at, l.item_no
    ), item AS MATERIALIZED (
        SELECT i.item_no, i.place, i.stock, i.sold
        FROM (SELECT DISTINCT item_no FROM basket ORDER BY item_no OFFSET 0) AS t
        CROSS JOIN LATERAL (
            SELECT item_no, ctid AS place, stock, sold FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = t.item_no AND sold < stock
            OFFSET 0
            ",
            $lock,
            r"
        ) AS i
    )
    SELECT s.starts_at, s.ends_at, s.generation, clock_timestamp() AS now,
           i.items, i.item_places, i.stock, i.sold,
           b.attempts, b.users, b.places, b.versions, b.open, b.bought, b.limits,
           l.line_attempts, l.line_items, l.line_quantities
    FROM (
        SELECT coalesce(array_agg(item_no), '{}') AS items,
               coalesce(array_agg(place), '{}') AS item_places,
               coalesce(array_agg(stock), '{}') AS stock,
               coalesce(array_agg(sold), '{}') AS sold
        FROM item
    ) AS i
    CROSS JOIN (
        SELECT coalesce(array_agg(attempt_id), '{}') AS attempts,
               coalesce(array_agg(user_id), '{}') AS users,
               coalesce(array_agg(place), '{}') AS places,
               coalesce(array_agg(version), '{}') AS versions,
               coalesce(array_agg(open_attempt), '{}') AS open,
               coalesce(array_agg(bought), '{}') AS bought,
               coalesce(array_agg(buyer_limit), '{}') AS limits
        FROM buyer
    ) AS b
    CROSS JOIN (
        SELECT coalesce(array_agg(attempt_id), '{}') AS line_attempts,
               coalesce(array_agg(item_no), '{}') AS line_items,
               coalesce(array_agg(quantity), '{}') AS line_quantities
        FROM basket
    ) AS l
    CROSS JOIN sales AS s
    WHERE s.id = $1
"
        )
    };
}

pub(crate) const READ: &str = read!("");
pub(crate) const READ_AND_LOCK_ITEMS: &str = read!("FOR NO KEY UPDATE");

/// The rows of buyers to write, by location or by key, in the order of the arrays. By key, the sale's
/// id is a column of the input: with the parameter `$1` the planner may read every row of the sale.
macro_rules! buyers {
    (place) => {
        r"unnest($2::tid[], $3::text[], $4::bigint[], $5::int[], $6::bigint[])
            AS t(place, user_id, version, pieces, closes)
        WHERE b.ctid = t.place AND b.user_id = t.user_id AND b.sale_id + 0 = $1"
    };
    (key) => {
        r"(
            SELECT $1::bigint AS sale_id, t.*
            FROM unnest($2::tid[], $3::text[], $4::bigint[], $5::int[], $6::bigint[])
                AS t(read_at, user_id, version, pieces, closes)
            OFFSET 0
        ) AS t
        WHERE b.sale_id = t.sale_id AND b.user_id = t.user_id"
    };
}

/// The rows of items to write, likewise.
macro_rules! items {
    (place) => {
        r"unnest($7::tid[], $8::int[], $9::int[]) AS t(place, item_no, pieces)
        WHERE i.ctid = t.place AND i.item_no = t.item_no AND i.sale_id + 0 = $1"
    };
    (key) => {
        r"(
            SELECT $1::bigint AS sale_id, t.item_no, t.pieces
            FROM unnest($7::tid[], $8::int[], $9::int[]) AS t(read_at, item_no, pieces)
            OFFSET 0
        ) AS t
        WHERE i.sale_id = t.sale_id AND i.item_no = t.item_no"
    };
}

/// Writes buyers by the bytes of their ids, then items by number: `held` is complete before the first item is written. The clock's
/// version is a sub-select, which is evaluated once and not for each buyer. The arrays of lines are those of all outcomes; each outcome
/// takes its part. One row of the outbox holds the events of the whole batch; it is written last, while all rows of buyers are locked.
macro_rules! write {
    (
        buyers by $buyers_by:ident, items by $items_by:ident,
        sale: $sale:literal, now: $now:literal, holds: $holds:literal, if_held: $if_held:literal
    ) => {
        concat!(
            "WITH ",
            $sale,
            r" buyer AS (
        UPDATE buyers{of_sale} AS b
        SET bought = b.bought + t.pieces,
            version = greatest(b.version + 1, (SELECT (extract(epoch FROM ",
            $now,
            r") * 1000000)::bigint)),
            open_attempt = CASE WHEN b.open_attempt = t.closes THEN NULL ELSE b.open_attempt END
        FROM ",
            buyers!($buyers_by),
            r" AND b.version = t.version AND b.bought + t.pieces <= b.buyer_limit
        RETURNING 1
    ), held AS MATERIALIZED (
        SELECT count(*) = cardinality($3) ",
            $holds,
            r" AS as_decided FROM buyer
    ), item AS (
        UPDATE item_stock{of_sale} AS i
        SET sold = i.sold + t.pieces
        FROM held CROSS JOIN ",
            items!($items_by),
            r" AND held.as_decided AND i.sold + t.pieces <= i.stock
        RETURNING i.item_no, i.stock, i.sold
    ), outcome AS (
        INSERT INTO purchases{of_sale}
            (sale_id, attempt_id, user_id, purchased_at, total_purchased, failed_count, item_nos, quantities, outcomes)
        SELECT $1, t.attempt_id, t.user_id, ",
            $now,
            r", t.total, t.failed, ($15::int[])[t.first : t.last], ($16::int[])[t.first : t.last], t.outcomes
        FROM unnest($11::bigint[], $12::text[], $13::int[], $14::int[], $17::int[], $18::int[], $19::text[])
            AS t(attempt_id, user_id, total, failed, first, last, outcomes) ",
            $if_held,
            r"
    ), written AS MATERIALIZED (
        SELECT coalesce(array_agg(item_no), '{}') AS items,
               coalesce(array_agg(stock), '{}') AS stock,
               coalesce(array_agg(sold), '{}') AS sold,
               coalesce(array_agg(item_no) FILTER (WHERE sold = stock), '{}') AS sold_out
        FROM item
    ), event AS (
        INSERT INTO outbox (sale_id, kind, attempts, items)
        SELECT $1, 'settled', $11, sold_out FROM written
    )
    SELECT w.items, w.stock, w.sold, ",
            $now,
            r" AS now,
           hold_batch($1, h.as_decided AND cardinality(w.items) = cardinality($8)) AS held
    FROM held AS h CROSS JOIN written AS w
"
        )
    };
}

pub(crate) const WRITE: &str = write!(buyers by place, items by place, sale: "", now: "$10::timestamptz", holds: "", if_held: "");
/// Among others that sell the same items, whose rows may have moved since they were read. By key, the statement waits for each row and
/// sells what is left of it then.
pub(crate) const WRITE_CONTENDED: &str = write!(buyers by place, items by key, sale: "", now: "$10::timestamptz", holds: "", if_held: "");
/// Without anything read: finds all rows by key, and requires the generation (`$10`) of the sale in which its sold-out items were seen.
pub(crate) const WRITE_UNREAD: &str = write!(
    buyers by key, items by key,
    sale: r"sale AS MATERIALIZED (
        SELECT generation, clock_timestamp() AS now FROM sales WHERE id = $1
    ),",
    now: "(SELECT now FROM sale)", holds: "AND (SELECT generation FROM sale) = $10",
    if_held: "CROSS JOIN held WHERE held.as_decided"
);

/// The templates for [`Partitions`](crate::infrastructure::persistence::partitions::Partitions), and their indexes.
pub(crate) const STATEMENTS: [&str; 7] =
    [LOCK_BUYERS, READ, READ_AND_LOCK_ITEMS, WRITE, WRITE_CONTENDED, WRITE_UNREAD, STORED];
pub(crate) const LOCK_BUYERS_AT: usize = 0;
pub(crate) const READ_AT: usize = 1;
pub(crate) const READ_AND_LOCK_ITEMS_AT: usize = 2;
pub(crate) const WRITE_AT: usize = 3;
pub(crate) const WRITE_CONTENDED_AT: usize = 4;
pub(crate) const WRITE_UNREAD_AT: usize = 5;
pub(crate) const STORED_AT: usize = 6;
