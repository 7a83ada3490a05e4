//! The SQL of a batch of checkouts: one statement locks, one reads, one writes, one writes what was decided without reading, one
//! writes the first checkout of a new buyer whose request is alone in its batch, one removes lines.

pub(crate) const LOCK_BUYERS: &str = r"
    SELECT count(*)
    FROM unnest($2::text[]) AS t(user_id)
    CROSS JOIN LATERAL (
        SELECT 1 FROM buyers{of_sale}
        WHERE sale_id = $1 AND user_id = t.user_id
        OFFSET 0
        FOR NO KEY UPDATE
    ) AS b
";

/// Returns one row of arrays, because a row costs both sides more than its content. Reads at most `$4` lines of each checkout: one more
/// than it may have in this batch, so that a longer one shows.
pub(crate) const READ: &str = r"
    WITH buyer AS MATERIALIZED (
        SELECT b.*
        FROM unnest($2::text[]) AS t(user_id)
        CROSS JOIN LATERAL (
            SELECT user_id, ctid AS place, version, open_attempt, bought FROM buyers{of_sale}
            WHERE sale_id = $1 AND user_id = t.user_id
            OFFSET 0
        ) AS b
    )
    SELECT s.starts_at, s.ends_at, s.buyer_limit, s.generation, clock_timestamp() AS now,
           g.sold_out, b.users, b.places, b.versions, b.open, b.bought,
           l.attempts, l.items, l.quantities
    FROM sales AS s
    CROSS JOIN (
        SELECT coalesce(array_agg(t.item_no), '{}') AS sold_out
        FROM unnest($3::int[]) AS t(item_no)
        CROSS JOIN LATERAL (
            SELECT 1 FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = t.item_no AND sold >= stock
            OFFSET 0
        ) AS gone
    ) AS g
    CROSS JOIN (
        SELECT coalesce(array_agg(user_id), '{}') AS users,
               coalesce(array_agg(place), '{}') AS places,
               coalesce(array_agg(version), '{}') AS versions,
               coalesce(array_agg(open_attempt), '{}') AS open,
               coalesce(array_agg(bought), '{}') AS bought
        FROM buyer
    ) AS b
    CROSS JOIN (
        SELECT coalesce(array_agg(l.open_attempt), '{}') AS attempts,
               coalesce(array_agg(l.item_no), '{}') AS items,
               coalesce(array_agg(l.quantity), '{}') AS quantities
        FROM (
            SELECT b.open_attempt, l.item_no, l.quantity
            FROM buyer AS b
            CROSS JOIN LATERAL (
                SELECT item_no, quantity, added_at FROM checkout_items{of_sale}
                WHERE sale_id = $1 AND attempt_id = b.open_attempt
                LIMIT $4
            ) AS l
            ORDER BY l.added_at, l.item_no
            OFFSET 0
        ) AS l
    ) AS l
    WHERE s.id = $1
";

/// Writes existing rows before new rows, each by the bytes of the buyers' ids, so that no two batches deadlock. A line that did not
/// exist when the buyer was read is a plain insert: where another transaction has added the same item meanwhile, the buyer's version
/// differs, and `hold_batch` has failed the statement before any line is inserted.
pub(crate) const WRITE: &str = r"
    WITH old_buyer AS (
        UPDATE buyers{of_sale} AS b
        SET open_attempt = t.attempt_id, version = greatest(b.version + 1, $18)
        FROM unnest($3::tid[], $4::text[], $5::bigint[], $6::bigint[])
            AS t(place, user_id, version, attempt_id)
        WHERE b.ctid = t.place AND b.user_id = t.user_id AND b.sale_id + 0 = $1
          AND b.version = t.version
        RETURNING 1
    ), held AS MATERIALIZED (
        SELECT count(*) = cardinality($4) AS as_decided FROM old_buyer
    ), new_buyer AS (
        INSERT INTO buyers{of_sale} (sale_id, user_id, open_attempt, bought, buyer_limit, version)
        SELECT $1, t.user_id, t.attempt_id, 0, $2, $18
        FROM held CROSS JOIN unnest($7::text[], $8::bigint[]) AS t(user_id, attempt_id)
        WHERE held.as_decided
    ), attempt AS (
        INSERT INTO checkout_attempts{of_sale} (sale_id, id, user_id, created_at)
        SELECT $1, t.id, t.user_id, $9
        FROM unnest($10::bigint[], $11::text[]) AS t(id, user_id)
    ), new_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, $9
        FROM unnest($12::bigint[], $13::int[], $14::int[]) AS t(attempt_id, item_no, quantity)
    ), old_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, $9
        FROM unnest($15::bigint[], $16::int[], $17::int[]) AS t(attempt_id, item_no, quantity)
        ON CONFLICT (sale_id, attempt_id, item_no) DO UPDATE
        SET quantity = EXCLUDED.quantity
    )
    SELECT hold_batch($1, as_decided) FROM held
";

/// Writes a batch that was decided on what this instance remembers: buyers' rows by their keys and remembered versions, and buyers who
/// are assumed to have none. Returns no row and writes nothing where the sale has another limit or an item is sold out; fails where a
/// buyer's row is not as remembered.
pub(crate) const WRITE_RECALLED: &str = r"
    WITH sale AS MATERIALIZED (
        SELECT s.generation, clock_timestamp() AS now
        FROM sales AS s
        CROSS JOIN (
            SELECT count(*) AS count
            FROM unnest($16::int[]) AS t(item_no)
            CROSS JOIN LATERAL (
                SELECT 1 FROM item_stock{of_sale}
                WHERE sale_id = $1 AND item_no = t.item_no AND sold < stock
                OFFSET 0
            ) AS i
        ) AS available
        WHERE s.id = $1 AND s.buyer_limit = $2 AND available.count = cardinality($16)
    ), fit AS MATERIALIZED (
        SELECT generation, now, (extract(epoch FROM now) * 1000000)::bigint AS version FROM sale
    ), old_buyer AS (
        UPDATE buyers{of_sale} AS b
        SET open_attempt = t.attempt_id, version = greatest(b.version + 1, t.least)
        FROM (
            SELECT $1::bigint AS sale_id, f.version AS least, t.user_id, t.version, t.attempt_id
            FROM fit AS f
            CROSS JOIN unnest($3::text[], $4::bigint[], $5::bigint[])
                AS t(user_id, version, attempt_id)
            OFFSET 0
        ) AS t
        WHERE b.sale_id = t.sale_id AND b.user_id = t.user_id AND b.version = t.version
        RETURNING 1
    ), held AS MATERIALIZED (
        SELECT f.*, (SELECT count(*) FROM old_buyer) = cardinality($3) AS as_decided FROM fit AS f
    ), new_buyer AS (
        INSERT INTO buyers{of_sale} (sale_id, user_id, open_attempt, bought, buyer_limit, version)
        SELECT $1, t.user_id, t.attempt_id, 0, $2, h.version
        FROM held AS h CROSS JOIN unnest($6::text[], $7::bigint[]) AS t(user_id, attempt_id)
        WHERE h.as_decided
    ), attempt AS (
        INSERT INTO checkout_attempts{of_sale} (sale_id, id, user_id, created_at)
        SELECT $1, t.id, t.user_id, f.now
        FROM fit AS f CROSS JOIN unnest($8::bigint[], $9::text[]) AS t(id, user_id)
    ), new_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, f.now
        FROM fit AS f
        CROSS JOIN unnest($10::bigint[], $11::int[], $12::int[]) AS t(attempt_id, item_no, quantity)
    ), old_line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, t.attempt_id, t.item_no, t.quantity, f.now
        FROM fit AS f
        CROSS JOIN unnest($13::bigint[], $14::int[], $15::int[]) AS t(attempt_id, item_no, quantity)
        ON CONFLICT (sale_id, attempt_id, item_no) DO UPDATE
        SET quantity = EXCLUDED.quantity
    )
    SELECT h.generation, h.version, hold_batch($1, h.as_decided) AS held FROM held AS h
";

/// The whole first checkout of a new buyer, if the sale is open, the item is not sold out, the quantity fits, and the buyer has no
/// row. Otherwise it writes nothing and returns no row.
pub(crate) const WRITE_FIRST: &str = r"
    WITH sale AS MATERIALIZED (
        SELECT starts_at, ends_at, buyer_limit, generation, clock_timestamp() AS now
        FROM sales WHERE id = $1
    ), fit AS MATERIALIZED (
        SELECT s.buyer_limit, s.now
        FROM sale AS s
        CROSS JOIN LATERAL (
            SELECT 1 FROM item_stock{of_sale}
            WHERE sale_id = $1 AND item_no = $4 AND sold < stock
            OFFSET 0
        ) AS i
        WHERE s.now >= s.starts_at AND s.now < s.ends_at AND $5 <= s.buyer_limit
    ), buyer AS (
        INSERT INTO buyers{of_sale} (sale_id, user_id, open_attempt, bought, buyer_limit, version)
        SELECT $1, $2, $3, 0, f.buyer_limit, (extract(epoch FROM f.now) * 1000000)::bigint
        FROM fit AS f
        ON CONFLICT (sale_id, user_id) DO NOTHING
        RETURNING version
    ), attempt AS (
        INSERT INTO checkout_attempts{of_sale} (sale_id, id, user_id, created_at)
        SELECT $1, $3, $2, f.now FROM fit AS f CROSS JOIN buyer
    ), line AS (
        INSERT INTO checkout_items{of_sale} (sale_id, attempt_id, item_no, quantity, added_at)
        SELECT $1, $3, $4, $5, f.now FROM fit AS f CROSS JOIN buyer
    )
    SELECT s.buyer_limit, s.generation, b.version, hold_batch($1, true) AS held
    FROM sale AS s CROSS JOIN buyer AS b
";

/// Removes lines of buyers whose rows are locked.
pub(crate) const REMOVE_LINES: &str = r"
    DELETE FROM checkout_items{of_sale} AS i
    USING unnest($2::bigint[], $3::int[]) AS t(attempt_id, item_no)
    WHERE i.sale_id = $1 AND i.attempt_id = t.attempt_id AND i.item_no = t.item_no
";

/// The templates for [`Partitions`](crate::infrastructure::persistence::partitions::Partitions), and their indexes.
pub(crate) const STATEMENTS: [&str; 6] =
    [LOCK_BUYERS, READ, WRITE, WRITE_RECALLED, WRITE_FIRST, REMOVE_LINES];
pub(crate) const LOCK_BUYERS_AT: usize = 0;
pub(crate) const READ_AT: usize = 1;
pub(crate) const WRITE_AT: usize = 2;
pub(crate) const WRITE_RECALLED_AT: usize = 3;
pub(crate) const WRITE_FIRST_AT: usize = 4;
pub(crate) const REMOVE_LINES_AT: usize = 5;
