-- The lines of an outcome, in its row.
--
-- They are written once, with it, and read with it. As rows of a table of their own each cost a purchase a row and an entry of an index,
-- which was more than the outcome itself. Instances of the schema before this one cannot sell beside it; none was released.
--
-- `outcomes` has a letter for each line, in the order of the items: s, sold; o, sold out; l, beyond the buyer's limit.

ALTER TABLE purchases
    ADD COLUMN item_nos int[],
    ADD COLUMN quantities int[],
    ADD COLUMN outcomes text COLLATE "C";

UPDATE purchases AS p
SET item_nos = l.item_nos, quantities = l.quantities, outcomes = l.outcomes
FROM (
    SELECT sale_id, attempt_id,
           array_agg(item_no ORDER BY item_no) AS item_nos,
           array_agg(quantity ORDER BY item_no) AS quantities,
           string_agg(CASE outcome WHEN 'sold' THEN 's' WHEN 'sold_out' THEN 'o' ELSE 'l' END, '' ORDER BY item_no) AS outcomes
    FROM purchase_items
    GROUP BY sale_id, attempt_id
) AS l
WHERE p.sale_id = l.sale_id AND p.attempt_id = l.attempt_id;
-- No outcome is without lines, but this is not the place to find out.
UPDATE purchases SET item_nos = '{}', quantities = '{}', outcomes = '' WHERE item_nos IS NULL;

ALTER TABLE purchases
    ALTER COLUMN item_nos SET NOT NULL,
    ALTER COLUMN quantities SET NOT NULL,
    ALTER COLUMN outcomes SET NOT NULL,
    ADD CONSTRAINT purchases_lines_complete
        CHECK (cardinality(quantities) = cardinality(item_nos) AND length(outcomes) = cardinality(item_nos)),
    ADD CONSTRAINT purchases_quantities_positive CHECK (0 < ALL (quantities)),
    ADD CONSTRAINT purchases_outcomes_known CHECK (btrim(outcomes, 'sol') = '');

-- Those that are detached and not dropped yet.
DO $$
DECLARE
    low bigint;
BEGIN
    FOR low IN SELECT first FROM dropped_partitions WHERE dropped_at IS NULL LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', 'purchase_items_from_' || low);
    END LOOP;
END
$$;
DROP TABLE purchase_items;

-- A row a line, for everything that is not in the way of a purchase. The arrays are unnested in a select list, and not in a join: that
-- one would be a nested loop, and where those are off, as in an audit, the planner moves other joins inside it, too.
CREATE VIEW purchase_items AS
SELECT sale_id, attempt_id, user_id, item_no, quantity,
       CASE letter WHEN 's' THEN 'sold' WHEN 'o' THEN 'sold_out' WHEN 'l' THEN 'buyer_limit' END AS outcome
FROM (
    SELECT sale_id, attempt_id, user_id, unnest(item_nos) AS item_no, unnest(quantities) AS quantity,
           unnest(string_to_array(outcomes, NULL)) AS letter
    FROM purchases
) AS lines;

-- As in `0025_retention.sql`, without the table.
CREATE OR REPLACE FUNCTION check_sealed(parent text, of_first bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF parent <> ALL (ARRAY['items', 'item_stock', 'buyers', 'checkout_attempts', 'checkout_items', 'purchases',
                            'checkout_refusals', 'purchase_cancellations', 'purchase_requests'])
    THEN
        RAISE EXCEPTION '% has no partitions', parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT EXISTS (SELECT FROM dropped_partitions AS d WHERE d.first = of_first)
       OR EXISTS (SELECT FROM sales AS s WHERE s.id >= of_first AND s.id < of_first + 100)
    THEN
        RAISE EXCEPTION 'the partition from % has sales', of_first USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION ensure_partitions(for_sale bigint) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    width CONSTANT bigint := 100;
    parent text;
    options text;
    low bigint;
    child text;
BEGIN
    IF for_sale < 1 OR for_sale > (SELECT last_value FROM sale_ids) THEN
        RAISE EXCEPTION 'sale % does not exist yet', for_sale USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Sealed after the number was given: the next one lies in another partition.
    IF EXISTS (SELECT FROM dropped_partitions WHERE first = for_sale / width * width) THEN
        RAISE EXCEPTION 'the partition of sale % was dropped', for_sale USING ERRCODE = 'serialization_failure';
    END IF;
    FOREACH low IN ARRAY ARRAY[for_sale / width * width, (for_sale / width + 1) * width] LOOP
        IF to_regclass('purchase_requests_from_' || low) IS NOT NULL THEN
            CONTINUE;
        END IF;
        -- One transaction at a time creates tables; the next one finds them.
        PERFORM pg_advisory_xact_lock(hashtext('flash_sale.ensure_partitions'));
        FOR parent, options IN
            VALUES ('items', ''),
                   ('item_stock', ' WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)'),
                   ('buyers', ' WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05)'),
                   ('checkout_attempts', ''),
                   ('checkout_items', ''),
                   ('purchases', ''),
                   ('checkout_refusals', ''),
                   ('purchase_cancellations', ''),
                   ('purchase_requests', '')
        LOOP
            child := parent || '_from_' || low;
            IF to_regclass(child) IS NULL THEN
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)%s', child, parent, options);
                EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
                               parent, child, low, low + width);
            END IF;
        END LOOP;
    END LOOP;
END
$$;
