-- An attempt of a job is known by its worker and the time of its claim, and every statement that ends one asks for both. So nothing has
-- to be refused here any more.
DROP TRIGGER river_job_keeps_its_attempt ON river_job;
DROP FUNCTION keep_job();

-- A claim and an end change the state, and with it each index that has the state or asks for it. Each has as few rows as what reads it
-- needs, and a job that runs is in two of them.
DROP INDEX river_job_prioritized_fetching_index;
DROP INDEX river_job_kind;
DROP INDEX river_job_due;
DROP INDEX river_job_dead;
CREATE INDEX river_job_waiting ON river_job (queue, priority, scheduled_at, id) WHERE state = 'available';
CREATE INDEX river_job_running ON river_job (attempted_at) INCLUDE (priority) WHERE state = 'running';
CREATE INDEX river_job_due ON river_job (scheduled_at) INCLUDE (state, priority) WHERE state IN ('retryable', 'scheduled');
CREATE INDEX river_job_dead ON river_job (id) INCLUDE (priority) WHERE state = 'discarded';
