-- River's statement that ends an attempt asks only whether the job runs, not whether it still runs that attempt. A worker that was cut
-- off would so put back, when it is in touch again, a job that another worker has taken over, and a third one would run it beside that.
--
-- River has no outcome that writes nothing, and the statement is its own. So the table refuses it: what would end another attempt than
-- the one that runs, by the number in the error or by the attempt that is given back, and what the worker has marked, because the end
-- is on record already or is not the worker's to write. The mark is never stored. A success has neither: what is done is done.

CREATE FUNCTION keep_job() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN NULL;
END
$$;

CREATE TRIGGER river_job_keeps_its_attempt
    BEFORE UPDATE ON river_job
    FOR EACH ROW
    WHEN (
        NEW.metadata ? 'ended'
        OR (
            OLD.state = 'running' AND NEW.state <> 'running'
            AND (
                NEW.attempt NOT IN (OLD.attempt, OLD.attempt - 1)
                OR (
                    cardinality(NEW.errors) > coalesce(cardinality(OLD.errors), 0)
                    AND NEW.errors[array_upper(NEW.errors, 1)]->>'attempt' <> OLD.attempt::text
                )
            )
        )
    )
    EXECUTE FUNCTION keep_job();
