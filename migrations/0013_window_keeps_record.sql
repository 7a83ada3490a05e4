-- A sale's window keeps what happened in it.
--
-- A start that is moved behind what was collected, or an end that is moved before it, makes the record say that the sale
-- sold outside its window: `flash-sale verify` then reports promise I8 as broken, and nothing can tell it from a sale that
-- really sold too early or too late. So such a move is refused, with the constraint's name below.
--
-- At the commit, because what a buyer collects while the move is not committed yet must count too. Only for moves that
-- leave time out: the others cannot exclude anything. Reading all of a sale's lines is what an operator's move may cost.

CREATE FUNCTION keep_record_in_window() RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    outside timestamptz;
BEGIN
    SELECT happened.at INTO outside
    FROM (
        SELECT added_at AS at FROM public.checkout_items WHERE sale_id = NEW.id
        UNION ALL
        SELECT purchased_at FROM public.purchases WHERE sale_id = NEW.id
    ) AS happened
    WHERE happened.at < NEW.starts_at OR happened.at >= NEW.ends_at
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'sale % cannot be moved: buyers collected or bought at %, outside the new window', NEW.public_id, outside
            USING ERRCODE = 'check_violation', TABLE = 'sales', CONSTRAINT = 'sales_window_keeps_record',
                  HINT = 'Move a start only before anybody collects, and an end only to a moment in the future.';
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER sales_window_keeps_record
    AFTER UPDATE OF starts_at, ends_at ON sales
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW
    WHEN (NEW.starts_at > OLD.starts_at OR NEW.ends_at < OLD.ends_at)
    EXECUTE FUNCTION keep_record_in_window();
