-- Epochs: the spans of time in which this database had one history.
--
-- A promoted standby or a restored backup goes on from an earlier state: what was committed after it is lost, and its
-- sequences give the same numbers a second time. PostgreSQL marks that by a new timeline. An instance that connects to
-- another server, database or timeline than that of the latest epoch begins the next one here. It moves the sequences
-- far beyond everything that the lost history can have used, so no number is given twice, and instances drop what they
-- remember. The random `id` tells the history of one installation from that of another, and signs its codes: two
-- histories that begin the same epoch, neither knowing of the other, differ in it.

CREATE TABLE epochs (
    number            bigint      NOT NULL,
    id                bigint      NOT NULL,
    -- The first number of a checkout attempt in this epoch.
    first_attempt     bigint      NOT NULL,
    system_identifier bigint      NOT NULL,
    database          oid         NOT NULL,
    timeline          int         NOT NULL,
    began_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Where the write-ahead log was when this epoch began, and how far an instance had seen the one before written.
    began_position    pg_lsn      NOT NULL,
    seen_position     pg_lsn,
    CONSTRAINT epochs_pkey PRIMARY KEY (number),
    CONSTRAINT epochs_id_key UNIQUE (id),
    CONSTRAINT epochs_number_positive CHECK (number > 0)
);

-- Checkouts and purchases that an instance had acknowledged, and did not find in the epoch that followed.
CREATE TABLE lost_writes (
    epoch      bigint      NOT NULL,
    sale_id    bigint      NOT NULL,
    attempt_id bigint      NOT NULL,
    purchased  boolean     NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT lost_writes_pkey PRIMARY KEY (epoch, sale_id, attempt_id)
);

-- The server, the database, the timeline and the position in the write-ahead log that this session writes to. Fails on a
-- standby.
CREATE FUNCTION current_history(
    OUT system_identifier bigint, OUT database oid, OUT timeline int, OUT "position" pg_lsn
)
    LANGUAGE sql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (pg_control_system()).system_identifier, d.oid,
           ('x' || left(pg_walfile_name(w.lsn), 8))::bit(32)::int, w.lsn
    FROM pg_current_wal_insert_lsn() AS w(lsn), pg_database AS d
    WHERE d.datname = current_database()
$$;

-- Whether the epoch with this id is the latest, and this session writes to its history.
CREATE FUNCTION is_current_epoch(epoch_id bigint) RETURNS boolean
    LANGUAGE sql
    VOLATILE
    SET search_path = public, pg_temp
AS $$
    SELECT coalesce(
        (
            SELECT e.id = epoch_id AND e.system_identifier = h.system_identifier
               AND e.database = h.database AND e.timeline = h.timeline
            FROM epochs AS e, current_history() AS h
            ORDER BY e.number DESC
            LIMIT 1
        ),
        false
    )
$$;

-- Begins the next epoch if this session writes to another history than that of the latest one, or if the history has
-- been put back: an instance saw the epoch with the id `seen_id` written up to `seen`, and it no longer is.
CREATE FUNCTION begin_epoch(seen_id bigint, seen pg_lsn) RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = public, pg_temp
AS $$
DECLARE
    -- More attempts than any lost history can have had.
    attempts_of_an_epoch CONSTANT bigint := 68719476736;
    -- A multiple of the sales in a partition.
    sales_left_out CONSTANT bigint := 1000;
    latest epochs;
    history record;
    first_attempt bigint := 0;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT * INTO latest FROM epochs ORDER BY number DESC LIMIT 1;
        SELECT * INTO history FROM current_history();
        IF latest.system_identifier = history.system_identifier
           AND latest.database = history.database
           AND latest.timeline = history.timeline
           AND NOT coalesce(latest.id = seen_id AND seen > history.position, false)
        THEN
            RETURN;
        END IF;
        -- One instance at a time; those that waited find the epoch begun.
        IF attempt = 1 THEN
            LOCK TABLE epochs IN SHARE ROW EXCLUSIVE MODE;
        END IF;
    END LOOP;
    IF latest.number IS NOT NULL THEN
        first_attempt := (greatest(latest.first_attempt, (SELECT last_value FROM checkout_attempt_ids))
                          / attempts_of_an_epoch + 1) * attempts_of_an_epoch;
        PERFORM setval('checkout_attempt_ids', first_attempt, false);
        PERFORM setval('sale_ids', (SELECT last_value FROM sale_ids) + sales_left_out);
    END IF;
    INSERT INTO epochs (number, id, first_attempt, system_identifier, database, timeline,
                        began_position, seen_position)
    VALUES (coalesce(latest.number, 0) + 1,
            hashtextextended(gen_random_uuid()::text, 0) & 9223372036854775807,
            first_attempt, history.system_identifier, history.database, history.timeline,
            history.position, seen);
END
$$;

REVOKE ALL ON FUNCTION begin_epoch(bigint, pg_lsn) FROM PUBLIC;
