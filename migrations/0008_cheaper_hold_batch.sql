-- `hold_batch` again, without a search path of its own: setting one costs more, on each batch, than all that the function
-- does. It names what it reads in full instead.

CREATE OR REPLACE FUNCTION hold_batch(sale bigint, as_decided boolean) RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
AS $$
BEGIN
    IF as_decided IS NOT TRUE THEN
        RAISE EXCEPTION 'rows are not as they were when the batch was decided'
            USING ERRCODE = 'serialization_failure';
    END IF;
    PERFORM FROM public.sales
    WHERE id = sale AND clock_timestamp() >= starts_at AND clock_timestamp() < ends_at;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the sale closed while the batch was written'
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN true;
END
$$;
