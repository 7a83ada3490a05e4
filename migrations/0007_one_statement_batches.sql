-- What a batch needs to be written by a single statement, without locks that are held over round trips.
--
-- A batch is decided on what one statement read, and written by another one that changes every buyer's row it was decided
-- on. `version` grows with each change of a buyer's row or open checkout: a row that is not as it was read has another
-- one. `hold_batch` ends the writing statement: it lets pass what was written as it was decided, while the sale is open,
-- and otherwise fails the whole statement with serialization_failure. It is volatile, so it sees the sale as of now and not
-- as of the statement's start, and it is evaluated last, when all rows are locked.

ALTER TABLE buyers ADD COLUMN version bigint NOT NULL DEFAULT 0;

CREATE FUNCTION hold_batch(sale bigint, as_decided boolean) RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = public, pg_temp
AS $$
BEGIN
    IF as_decided IS NOT TRUE THEN
        RAISE EXCEPTION 'rows are not as they were when the batch was decided'
            USING ERRCODE = 'serialization_failure';
    END IF;
    PERFORM FROM sales
    WHERE id = sale AND clock_timestamp() >= starts_at AND clock_timestamp() < ends_at;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the sale closed while the batch was written'
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN true;
END
$$;
