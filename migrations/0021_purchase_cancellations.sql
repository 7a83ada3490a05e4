-- Purchases that an operator takes back, as a whole or single lines of them.
--
-- The outcome of a purchase stays as it was answered: a repeat of its code still gets it. A row here says that one of its sold
-- lines was taken back since. The key makes that happen once, whoever asks for it how often. What an item has sold, and what a buyer
-- has bought, is the sum of sold lines without those that have a row here.

CREATE TABLE purchase_cancellations (
    sale_id      bigint      NOT NULL,
    attempt_id   bigint      NOT NULL,
    item_no      int         NOT NULL,
    quantity     int         NOT NULL,
    user_id      text        COLLATE "C" NOT NULL,
    cancelled_at timestamptz NOT NULL,
    actor        text        NOT NULL,
    CONSTRAINT purchase_cancellations_pkey PRIMARY KEY (sale_id, attempt_id, item_no),
    CONSTRAINT purchase_cancellations_quantity_positive CHECK (quantity > 0),
    CONSTRAINT purchase_cancellations_actor_length CHECK (char_length(actor) BETWEEN 1 AND 200)
) PARTITION BY RANGE (sale_id);

-- A buyer's story.
CREATE INDEX purchase_cancellations_buyer ON purchase_cancellations (user_id, cancelled_at);

-- As in `0006_partitions.sql`, with the new table last: a partition of it means that all others are there.
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
        IF to_regclass('purchase_cancellations_from_' || low) IS NOT NULL THEN
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
                   ('purchase_cancellations', '')
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
        child := 'purchase_cancellations_from_' || low;
        EXECUTE format('CREATE TABLE %I PARTITION OF purchase_cancellations FOR VALUES FROM (%s) TO (%s)',
                       child, low, low + 100);
    END LOOP;
END
$$;

-- The event of a cancellation has all that it tells in `data`. Not checked against the rows that exist, which the old constraint
-- held: the table is locked meanwhile.
ALTER TABLE outbox
    DROP CONSTRAINT outbox_kind_known,
    ADD CONSTRAINT outbox_kind_known
        CHECK (kind IN ('settled', 'cancelled', 'sale.opened', 'sale.sold_out', 'sale.ended')) NOT VALID;
