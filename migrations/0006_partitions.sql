-- Partitions of the tables that grow with every sale: one for each hundred sales, so that old sales are dropped as
-- tables and never deleted row by row, and so that a statement which cannot be pruned while it is planned still sees
-- few of them.
--
-- The service makes them ahead through `ensure_partitions`, which runs with its owner's rights: the service's own role
-- needs no DDL. A new table is attached rather than created as a partition, because attaching lets others read and write
-- the parent meanwhile. A sale that has no number yet gets no partition, so nobody can make tables without bound.

CREATE FUNCTION ensure_partitions(for_sale bigint) RETURNS void
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
        IF to_regclass('purchase_items_from_' || low) IS NOT NULL THEN
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
                   ('purchase_items', '')
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

REVOKE ALL ON FUNCTION ensure_partitions(bigint) FROM PUBLIC;
