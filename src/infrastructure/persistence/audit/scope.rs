//! The scope of an inspection: the rows of one sale, or of all.

/// The tables that the checks read. Each name stands for the table's rows of sale `$1`, or for all rows if that is NULL, so that no check
/// can forget the condition; only `every_sale` is not limited. `sold_lines` has what was taken back as negative pieces. Rows of
/// partitions that are being dropped, `$2` by their hundreds, are left out, because some of their tables are gone, and keys of archived
/// sales, which outlive their checkouts. Reports are those of sales that are closed with them. Not materialized, so that the condition
/// reaches the partitions and unused columns are not read.
pub(crate) const SCOPE: &str = r"
WITH every_sale AS NOT MATERIALIZED (
    SELECT id AS sale_id, schedule, starts_at
    FROM sales
),
sale_reports AS NOT MATERIALIZED (
    SELECT r.sale_id, (r.report ->> 'sold')::bigint AS reported,
           coalesce((r.report ->> 'cancelled')::bigint, 0) AS reported_cancelled
    FROM sale_reports AS r
    JOIN sales AS s ON s.id = r.sale_id AND s.closed_end = s.ends_at
    WHERE $1::bigint IS NULL OR s.id = $1
),
archived_sales AS NOT MATERIALIZED (
    SELECT id AS sale_id FROM archived_sales WHERE $1::bigint IS NULL OR id = $1
),
sales AS NOT MATERIALIZED (
    SELECT id AS sale_id, schedule, starts_at, ends_at, buyer_limit, items AS items_promised
    FROM sales
    WHERE $1::bigint IS NULL OR id = $1
),
sale_audit AS NOT MATERIALIZED (
    SELECT * FROM sale_audit WHERE $1::bigint IS NULL OR sale_id = $1
),
items AS NOT MATERIALIZED (
    SELECT * FROM items WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
item_stock AS NOT MATERIALIZED (
    SELECT * FROM item_stock WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
buyers AS NOT MATERIALIZED (
    SELECT * FROM buyers WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
checkout_attempts AS NOT MATERIALIZED (
    SELECT sale_id, id AS attempt_id, user_id
    FROM checkout_attempts
    WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
checkout_items AS NOT MATERIALIZED (
    SELECT * FROM checkout_items WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
purchases AS NOT MATERIALIZED (
    SELECT * FROM purchases WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
purchase_items AS NOT MATERIALIZED (
    SELECT * FROM purchase_items WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
checkout_refusals AS NOT MATERIALIZED (
    SELECT * FROM checkout_refusals WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
refusal_totals AS NOT MATERIALIZED (
    SELECT * FROM refusal_totals WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
idempotency_keys AS NOT MATERIALIZED (
    SELECT sale_id, attempt_id, user_id, key, item_nos IS NULL AS purchased
    FROM idempotency_keys AS k
    WHERE ($1::bigint IS NULL OR sale_id = $1)
      AND NOT EXISTS (SELECT FROM archived_sales AS a WHERE a.sale_id = k.sale_id)
),
lost_writes AS NOT MATERIALIZED (
    SELECT * FROM lost_writes WHERE $1::bigint IS NULL OR sale_id = $1
),
purchase_cancellations AS NOT MATERIALIZED (
    SELECT * FROM purchase_cancellations WHERE ($1::bigint IS NULL OR sale_id = $1) AND ($2::bigint[] = '{}' OR sale_id / 100 <> ALL ($2))
),
sold_lines AS NOT MATERIALIZED (
    SELECT sale_id, attempt_id, item_no, quantity
    FROM purchase_items
    WHERE outcome = 'sold'
    UNION ALL
    SELECT sale_id, attempt_id, item_no, -quantity
    FROM purchase_cancellations
),
sold_of_item AS NOT MATERIALIZED (
    SELECT sale_id, item_no, sum(quantity) AS pieces
    FROM sold_lines
    GROUP BY sale_id, item_no
),
open_attempts AS NOT MATERIALIZED (
    SELECT sale_id, user_id, open_attempt AS attempt_id
    FROM buyers
    WHERE open_attempt IS NOT NULL
)";
