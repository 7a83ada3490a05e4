-- Why was this buyer refused? The id of the request stands with each refusal that has details, and a refusal is found by it, by its
-- attempt and by its buyer. Details are written in the background and within a budget, so the indexes cost no request anything.
--
-- A purchase that did not get all it wanted is no row of `checkout_refusals`: its outcome is stored. `purchase_requests` has the
-- request that was answered with it, written in the same flush.

ALTER TABLE checkout_refusals
    ADD COLUMN request_id text COLLATE "C",
    ADD CONSTRAINT checkout_refusals_request_id_length CHECK (octet_length(request_id) BETWEEN 1 AND 128) NOT VALID;

CREATE INDEX checkout_refusals_request ON checkout_refusals (request_id, refused_at) WHERE request_id IS NOT NULL;
CREATE INDEX checkout_refusals_attempt ON checkout_refusals (attempt_id, refused_at) WHERE attempt_id IS NOT NULL;
CREATE INDEX checkout_refusals_buyer ON checkout_refusals (user_id, refused_at) WHERE user_id IS NOT NULL;

CREATE TABLE purchase_requests (
    sale_id    bigint NOT NULL,
    attempt_id bigint NOT NULL,
    request_id text   COLLATE "C" NOT NULL,
    CONSTRAINT purchase_requests_pkey PRIMARY KEY (sale_id, attempt_id, request_id),
    CONSTRAINT purchase_requests_request_id_length CHECK (octet_length(request_id) BETWEEN 1 AND 128)
) PARTITION BY RANGE (sale_id);

CREATE INDEX purchase_requests_request ON purchase_requests (request_id);

-- As in `0021_purchase_cancellations.sql`, with the new table last.
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
    FOREACH low IN ARRAY ARRAY[for_sale / width * width, (for_sale / width + 1) * width] LOOP
        IF to_regclass('purchase_requests_from_' || low) IS NOT NULL THEN
            CONTINUE;
        END IF;
        -- One maker at a time; whoever waited finds the work done.
        PERFORM pg_advisory_xact_lock(hashtext('flash_sale.ensure_partitions'));
        FOR parent, options IN
            VALUES ('items', ''),
                   ('item_stock', ' WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05)'),
                   ('buyers', ' WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05)'),
                   ('checkout_attempts', ''),
                   ('checkout_items', ''),
                   ('purchases', ''),
                   ('checkout_refusals', ''),
                   ('purchase_items', ''),
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

-- The partitions of the sales that exist.
DO $$
DECLARE
    low bigint;
    child text;
BEGIN
    FOR low IN
        SELECT substring(c.relname FROM '\d+$')::bigint
        FROM pg_inherits AS i
        JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'purchase_items'::regclass AND c.relname ~ '^purchase_items_from_\d+$'
    LOOP
        child := 'purchase_requests_from_' || low;
        EXECUTE format('CREATE TABLE %I PARTITION OF purchase_requests FOR VALUES FROM (%s) TO (%s)',
                       child, low, low + 100);
    END LOOP;
END
$$;
