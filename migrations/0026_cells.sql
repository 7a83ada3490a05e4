-- Cells: databases that share one range of numbers.
--
-- Growth past one primary goes by cells: each is a database of its own, with a part of the sales. A sale's number shows its cell,
-- `number >> 40`, so the sequences of cell n give the numbers from n · 2^40 on, and end before those of the next cell: a number is
-- given once over all cells. The cell of a database is set once, while it is empty, and never changes: this row is what every
-- instance compares `database.cell` with. A database of an earlier release is cell 0.
--
-- Attempts are numbered within the cell too, and each epoch jumps far ahead. Jumps of a fixed 2^36 would use the range up in sixteen
-- failovers. An epoch has a 64th of what is left instead: 2^34 numbers at first, and still 2^28 after 260 failovers.

CREATE TABLE cell (
    number   bigint      NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT cell_pkey PRIMARY KEY (number),
    CONSTRAINT cell_number CHECK (number BETWEEN 0 AND 8388607)
);

CREATE UNIQUE INDEX cell_one_row ON cell ((true));

-- Returns the cell of this database, after setting it to `wanted` if it has none. A database in use that has none is cell 0. Only the
-- owner may call it: it changes sequences, in the same transaction.
CREATE FUNCTION take_cell(wanted bigint) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path = public, pg_temp
    SET lock_timeout = '1min'
AS $$
DECLARE
    -- 2^40.
    width CONSTANT bigint := 1099511627776;
    taken bigint;
    is_used boolean;
    first bigint;
    restart text;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT number INTO taken FROM cell;
        IF FOUND THEN
            RETURN taken;
        END IF;
        -- One instance at a time; those that waited find it taken.
        IF attempt = 1 THEN
            LOCK TABLE cell IN SHARE ROW EXCLUSIVE MODE;
        END IF;
    END LOOP;
    SELECT s.is_called OR EXISTS (SELECT FROM epochs) INTO is_used FROM sale_ids AS s;
    taken := CASE WHEN is_used THEN 0 ELSE wanted END;
    INSERT INTO cell (number) VALUES (taken);
    first := greatest(taken * width, 1);
    restart := CASE WHEN is_used THEN '' ELSE 'RESTART' END;
    EXECUTE format('ALTER SEQUENCE sale_ids MINVALUE %s MAXVALUE %s START %s %s',
                   first, taken * width + (width - 1), first, restart);
    -- A block is not to end beyond the cell.
    EXECUTE format('ALTER SEQUENCE checkout_attempt_ids MINVALUE %s MAXVALUE %s START %s %s',
                   first, taken * width + (width - 1000), first, restart);
    RETURN taken;
END
$$;

-- The first number after those of an attempt in this epoch.
ALTER TABLE epochs ADD COLUMN end_attempt bigint;
UPDATE epochs SET end_attempt = first_attempt + (1099511627776 - first_attempt) / 64;
ALTER TABLE epochs ALTER COLUMN end_attempt SET NOT NULL,
    ADD CONSTRAINT epochs_end_after_first CHECK (end_attempt > first_attempt);

-- As in `0011_epochs.sql`, but it stays within the cell. It also begins the next epoch when the numbers of the latest are used up.
CREATE OR REPLACE FUNCTION begin_epoch(seen_id bigint, seen pg_lsn) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    -- A multiple of the sales in a partition.
    sales_left_out CONSTANT bigint := 1000;
    attempts_of_a_block CONSTANT bigint := 1000;
    -- 2^40 - 1.
    span CONSTANT bigint := 1099511627775;
    first_of_cell bigint;
    given bigint;
    latest epochs;
    history record;
    first_attempt bigint;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT * INTO latest FROM epochs ORDER BY number DESC LIMIT 1;
        SELECT * INTO history FROM current_history();
        SELECT last_value INTO given FROM checkout_attempt_ids;
        IF latest.system_identifier = history.system_identifier
           AND latest.database = history.database
           AND latest.timeline = history.timeline
           AND given < latest.end_attempt
           AND NOT coalesce(latest.id = seen_id AND seen > history.position, false)
        THEN
            RETURN;
        END IF;
        -- One instance at a time; those that waited find the epoch begun.
        IF attempt = 1 THEN
            LOCK TABLE epochs IN SHARE ROW EXCLUSIVE MODE;
        END IF;
    END LOOP;
    SELECT c.number * (span + 1) INTO STRICT first_of_cell FROM cell AS c;
    first_attempt := first_of_cell;
    IF latest.number IS NOT NULL THEN
        first_attempt := greatest(latest.end_attempt, given + attempts_of_a_block);
        PERFORM setval('checkout_attempt_ids', first_attempt, false);
        PERFORM setval('sale_ids', (SELECT last_value FROM sale_ids) + sales_left_out);
    END IF;
    INSERT INTO epochs (number, id, first_attempt, end_attempt, system_identifier, database, timeline,
                        began_position, seen_position)
    VALUES (coalesce(latest.number, 0) + 1,
            hashtextextended(gen_random_uuid()::text, 0) & 9223372036854775807,
            first_attempt, first_attempt + (first_of_cell + span - first_attempt + 1) / 64,
            history.system_identifier, history.database, history.timeline,
            history.position, seen);
END
$$;

-- A database in use has been cell 0 all along.
DO $$
BEGIN
    IF (SELECT is_called FROM sale_ids) OR EXISTS (SELECT FROM epochs) THEN
        PERFORM take_cell(0);
    END IF;
END
$$;
