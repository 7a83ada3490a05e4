-- Old sales leave: at once as sales, and as tables with the last sale of their partition.
--
-- An archived sale has no row in `sales` any more, so that nothing reads, lists or sells it, and a small one in `archived_sales`,
-- which tells it from a sale that never was, and keeps the schedule from opening its start again. Its other rows lie in a partition
-- with those of up to a hundred sales. When all of them are archived, the partition is sealed: no number in it becomes a sale from then
-- on. Then its tables are detached and dropped, each on its own; what a process that died has left, the next run finishes.
--
-- The service's role defines nothing, so functions of the owner detach and drop. They wait for a lock no longer than a buyer would
-- notice, fail, and are called again.

CREATE TABLE archived_sales (
    id          bigint      NOT NULL,
    name        text        NOT NULL,
    schedule    text,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT archived_sales_pkey PRIMARY KEY (id),
    CONSTRAINT archived_sales_one_per_start UNIQUE (schedule, starts_at)
);

-- Partitions whose sales are all archived, by the first number of a sale in them.
CREATE TABLE dropped_partitions (
    first      bigint      NOT NULL,
    sealed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Null until the last of its tables is gone.
    dropped_at timestamptz,
    CONSTRAINT dropped_partitions_pkey PRIMARY KEY (first),
    CONSTRAINT dropped_partitions_first CHECK (first >= 0 AND first % 100 = 0)
);

-- A start of the schedule that was archived is taken, as one that exists is. And a sale whose number was given before its partition was
-- sealed has no tables: it has to take another number.
CREATE FUNCTION keep_archived() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM FROM public.archived_sales WHERE schedule = NEW.schedule AND starts_at = NEW.starts_at;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.dropped_partitions WHERE first = NEW.id / 100 * 100;
    IF FOUND THEN
        RAISE EXCEPTION 'the partition of sale % was dropped meanwhile: take another number', NEW.public_id
            USING ERRCODE = 'check_violation', TABLE = 'sales', CONSTRAINT = 'sales_keep_archived';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER sales_keep_archived BEFORE INSERT ON sales FOR EACH ROW EXECUTE FUNCTION keep_archived();

-- Seals the partitions that hold no sale any more, and returns those whose tables are not all dropped yet.
--
-- With the lock no sale is being created: one whose row is not committed yet would not be seen. The numbers that are left in a sealed
-- partition are used up one by one, because others may take numbers at the same time.
CREATE FUNCTION seal_partitions() RETURNS SETOF bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = public, pg_temp
    SET lock_timeout = '100ms'
AS $$
DECLARE
    empty bigint;
BEGIN
    LOCK TABLE sales IN SHARE ROW EXCLUSIVE MODE;
    FOR empty IN
        SELECT DISTINCT a.id / 100 * 100
        FROM archived_sales AS a
        WHERE NOT EXISTS (SELECT FROM dropped_partitions AS d WHERE d.first = a.id / 100 * 100)
          AND NOT EXISTS (
              SELECT FROM sales AS s WHERE s.id >= a.id / 100 * 100 AND s.id < a.id / 100 * 100 + 100
          )
    LOOP
        PERFORM nextval('sale_ids')
        FROM generate_series(1, empty + 99 - (SELECT last_value FROM sale_ids));
        DELETE FROM refusal_totals WHERE sale_id >= empty AND sale_id < empty + 100;
        INSERT INTO dropped_partitions (first) VALUES (empty);
    END LOOP;
    RETURN QUERY SELECT d.first FROM dropped_partitions AS d WHERE d.dropped_at IS NULL ORDER BY d.first;
END
$$;

REVOKE ALL ON FUNCTION seal_partitions() FROM PUBLIC;

-- Fails unless this is a partitioned table, and the partition is sealed and holds no sale.
CREATE FUNCTION check_sealed(parent text, of_first bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF parent <> ALL (ARRAY['items', 'item_stock', 'buyers', 'checkout_attempts', 'checkout_items', 'purchases',
                            'purchase_items', 'checkout_refusals', 'purchase_cancellations', 'purchase_requests'])
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

-- Detaches one table of a sealed partition, or finishes what DETACH … CONCURRENTLY has begun.
CREATE FUNCTION detach_partition(parent text, of_first bigint) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = public, pg_temp
    SET lock_timeout = '100ms'
AS $$
DECLARE
    child text := parent || '_from_' || of_first;
    is_pending boolean;
BEGIN
    PERFORM check_sealed(parent, of_first);
    SELECT i.inhdetachpending INTO is_pending
    FROM pg_inherits AS i
    WHERE i.inhrelid = to_regclass(child) AND i.inhparent = to_regclass(parent);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE %I DETACH PARTITION %I%s', parent, child,
                   CASE WHEN is_pending THEN ' FINALIZE' ELSE '' END);
END
$$;

REVOKE ALL ON FUNCTION detach_partition(text, bigint) FROM PUBLIC;

-- Drops one detached table of a sealed partition.
CREATE FUNCTION drop_partition(parent text, of_first bigint) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = public, pg_temp
    SET lock_timeout = '100ms'
AS $$
DECLARE
    child text := parent || '_from_' || of_first;
BEGIN
    PERFORM check_sealed(parent, of_first);
    PERFORM FROM pg_inherits AS i WHERE i.inhrelid = to_regclass(child);
    IF FOUND THEN
        RAISE EXCEPTION '% is not detached', child USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %I', child);
END
$$;

REVOKE ALL ON FUNCTION drop_partition(text, bigint) FROM PUBLIC;

-- As in `0022_refusals_by_request.sql`, but it makes no table of a sealed partition again.
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

INSERT INTO schedules (name, cron, time_zone, job_type, payload_version, payload, next_run_at)
VALUES ('drop-sales', '0 15 * * * *', 'UTC', 'drop_sales', 1, '{}',
        date_trunc('hour', clock_timestamp()) + interval '75 minutes');
