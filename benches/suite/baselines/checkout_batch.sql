-- A full batch of checkouts for pgbench: 256 new buyers collect one item each in sale 1. The statements are those of
-- src/infrastructure/persistence/collect_batch.rs; what the service sends as arrays is made here by generate_series.
\set first random(1, 900000000000000000)
BEGIN;
SELECT nextval('checkout_attempt_ids') AS block
\gset
SELECT b.user_id, b.place, b.open_attempt, b.bought
FROM unnest(ARRAY(SELECT 'b' || (:first::bigint + i) FROM generate_series(0, 255) AS i)) AS t(user_id)
CROSS JOIN LATERAL (
    SELECT user_id, ctid::text AS place, open_attempt, bought FROM buyers
    WHERE sale_id = 1 AND user_id = t.user_id
    OFFSET 0
    FOR NO KEY UPDATE
) AS b;
SELECT s.starts_at, s.ends_at, s.buyer_limit, s.generation, clock_timestamp() AS now,
       ARRAY(
           SELECT t.item_no
           FROM unnest(ARRAY(SELECT (:first::bigint % 9000 + 1 + i)::int FROM generate_series(0, 255) AS i)) AS t(item_no)
           CROSS JOIN LATERAL (
               SELECT 1 FROM item_stock
               WHERE sale_id = 1 AND item_no = t.item_no AND sold >= stock
               OFFSET 0
           ) AS gone
       ) AS sold_out
FROM sales AS s
WHERE s.id = 1;
WITH t AS (
    SELECT 'b' || (:first::bigint + i) AS user_id, :block::bigint + i AS attempt_id,
           (:first::bigint % 9000 + 1 + i)::int AS item_no
    FROM generate_series(0, 255) AS i
), new_buyer AS (
    INSERT INTO buyers (sale_id, user_id, open_attempt, bought, buyer_limit)
    SELECT 1, user_id, attempt_id, 0, 10 FROM t
    ON CONFLICT DO NOTHING
    RETURNING 1
), attempt AS (
    INSERT INTO checkout_attempts (sale_id, id, user_id, created_at)
    SELECT 1, attempt_id, user_id, now() FROM t
), line AS (
    INSERT INTO checkout_items (sale_id, attempt_id, item_no, quantity, added_at)
    SELECT 1, attempt_id, item_no, 1, now() FROM t
    ON CONFLICT (sale_id, attempt_id, item_no) DO UPDATE
    SET quantity = EXCLUDED.quantity
)
SELECT (SELECT count(*) FROM new_buyer);
COMMIT;
