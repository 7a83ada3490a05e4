-- Jobs, their workers, and the schedules that enqueue them.
--
-- The tables `river_…` are those of River (https://riverqueue.com) at version 8 of its own migrations, whose record stands in
-- `river_migration`, so that River's tools accept them. They are made here, because one command migrates, as the owner, and
-- the service's role may define nothing. Two of River's indexes are left out: those on all of `args` and `metadata`, which
-- nothing reads and every insert would pay for. Two are added: for jobs that become due, and for dead ones.

CREATE TYPE river_job_state AS ENUM (
    'available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled'
);

CREATE TABLE river_job (
    id            bigserial       NOT NULL,
    state         river_job_state NOT NULL DEFAULT 'available',
    attempt       smallint        NOT NULL DEFAULT 0,
    max_attempts  smallint        NOT NULL DEFAULT 25,
    attempted_at  timestamptz,
    created_at    timestamptz     NOT NULL DEFAULT now(),
    finalized_at  timestamptz,
    scheduled_at  timestamptz     NOT NULL DEFAULT now(),
    priority      smallint        NOT NULL DEFAULT 1,
    args          jsonb           NOT NULL,
    -- The workers that ran it, the last one last.
    attempted_by  text[],
    errors        jsonb[],
    kind          text            NOT NULL,
    metadata      jsonb           NOT NULL DEFAULT '{}',
    queue         text            NOT NULL DEFAULT 'default',
    tags          varchar(255)[]  NOT NULL DEFAULT '{}',
    unique_key    bytea,
    -- In which states the key must be unique.
    unique_states bit(8),
    CONSTRAINT river_job_pkey PRIMARY KEY (id),
    CONSTRAINT finalized_or_finalized_at_null CHECK (
        (finalized_at IS NULL AND state NOT IN ('cancelled', 'completed', 'discarded')) OR
        (finalized_at IS NOT NULL AND state IN ('cancelled', 'completed', 'discarded'))
    ),
    CONSTRAINT max_attempts_is_positive CHECK (max_attempts > 0),
    CONSTRAINT priority_in_range CHECK (priority >= 1 AND priority <= 4),
    CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) < 128),
    CONSTRAINT kind_length CHECK (char_length(kind) > 0 AND char_length(kind) < 128)
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE FUNCTION river_job_state_in_bitmask(bitmask bit(8), state river_job_state) RETURNS boolean
    LANGUAGE sql
    IMMUTABLE
AS $$
    SELECT CASE state
        WHEN 'available' THEN get_bit(bitmask, 7)
        WHEN 'cancelled' THEN get_bit(bitmask, 6)
        WHEN 'completed' THEN get_bit(bitmask, 5)
        WHEN 'discarded' THEN get_bit(bitmask, 4)
        WHEN 'pending'   THEN get_bit(bitmask, 3)
        WHEN 'retryable' THEN get_bit(bitmask, 2)
        WHEN 'running'   THEN get_bit(bitmask, 1)
        WHEN 'scheduled' THEN get_bit(bitmask, 0)
        ELSE 0
    END = 1;
$$;

CREATE INDEX river_job_kind ON river_job (kind);
CREATE INDEX river_job_state_and_finalized_at_index ON river_job (state, finalized_at) WHERE finalized_at IS NOT NULL;
CREATE INDEX river_job_prioritized_fetching_index ON river_job (state, queue, priority, scheduled_at, id);
CREATE UNIQUE INDEX river_job_unique_idx ON river_job (unique_key)
    WHERE unique_key IS NOT NULL
      AND unique_states IS NOT NULL
      AND river_job_state_in_bitmask(unique_states, state);

CREATE INDEX river_job_due ON river_job (scheduled_at) WHERE state IN ('retryable', 'scheduled');
CREATE INDEX river_job_dead ON river_job (id) WHERE state = 'discarded';

CREATE TABLE river_queue (
    name       text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata   jsonb       NOT NULL DEFAULT '{}',
    paused_at  timestamptz,
    updated_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT river_queue_pkey PRIMARY KEY (name)
);

CREATE UNLOGGED TABLE river_leader (
    elected_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    leader_id  text        NOT NULL,
    name       text        NOT NULL DEFAULT 'default',
    CONSTRAINT river_leader_pkey PRIMARY KEY (name),
    CONSTRAINT name_length CHECK (name = 'default'),
    CONSTRAINT leader_id_length CHECK (char_length(leader_id) > 0 AND char_length(leader_id) < 128)
);

CREATE TABLE river_notification (
    id         bigserial   NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    payload    text        NOT NULL,
    topic      text        NOT NULL,
    CONSTRAINT river_notification_pkey PRIMARY KEY (id),
    CONSTRAINT topic_length CHECK (length(topic) > 0 AND length(topic) < 128)
);
CREATE INDEX river_notification_created_at_idx ON river_notification (created_at);
CREATE INDEX river_notification_topic_id_idx ON river_notification (topic, id);

CREATE TABLE river_migration (
    line       text        NOT NULL,
    version    bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT river_migration_pkey PRIMARY KEY (line, version),
    CONSTRAINT line_length CHECK (char_length(line) > 0 AND char_length(line) < 128),
    CONSTRAINT version_gte_1 CHECK (version >= 1)
);
INSERT INTO river_migration (line, version) SELECT 'main', version FROM generate_series(1, 8) AS version;

-- Who runs jobs. A worker that has not been seen for three seconds is dead, and its jobs are taken from it.
CREATE TABLE job_workers (
    name    text        COLLATE "C" NOT NULL,
    seen_at timestamptz NOT NULL,
    CONSTRAINT job_workers_pkey PRIMARY KEY (name),
    CONSTRAINT job_workers_name_length CHECK (octet_length(name) BETWEEN 1 AND 100)
) WITH (fillfactor = 50);

CREATE TABLE schedules (
    name            text        COLLATE "C" NOT NULL,
    -- With seconds: second minute hour day month weekday.
    cron            text        NOT NULL,
    -- By its IANA name.
    time_zone       text        NOT NULL,
    job_type        text        NOT NULL,
    payload_version int         NOT NULL,
    payload         jsonb       NOT NULL,
    paused          boolean     NOT NULL DEFAULT false,
    -- Null while it is paused, and when no date is left.
    next_run_at     timestamptz,
    last_run_at     timestamptz,
    last_job_id     bigint,
    last_outcome    text,
    CONSTRAINT schedules_pkey PRIMARY KEY (name),
    CONSTRAINT schedules_name_length CHECK (octet_length(name) BETWEEN 1 AND 64),
    CONSTRAINT schedules_cron_length CHECK (octet_length(cron) BETWEEN 1 AND 256),
    CONSTRAINT schedules_time_zone_length CHECK (octet_length(time_zone) BETWEEN 1 AND 64),
    CONSTRAINT schedules_job_type_length CHECK (octet_length(job_type) BETWEEN 1 AND 64),
    CONSTRAINT schedules_last_outcome_length CHECK (octet_length(last_outcome) BETWEEN 1 AND 32),
    CONSTRAINT schedules_paused_have_no_next CHECK (NOT paused OR next_run_at IS NULL)
);

CREATE INDEX schedules_next_run_at ON schedules (next_run_at) WHERE next_run_at IS NOT NULL;

-- Once, here, and not at every start: what an operator pauses or removes stays so.
INSERT INTO schedules (name, cron, time_zone, job_type, payload_version, payload, next_run_at)
SELECT name, cron, 'UTC', job_type, 1, '{}', date_trunc('minute', clock_timestamp()) + after
FROM (VALUES
    ('close-sales', '*/5 * * * * *', 'close_sales', interval '60 seconds'),
    ('prune-keys', '0 * * * * *', 'prune_keys', interval '60 seconds'),
    ('prune-jobs', '30 * * * * *', 'prune_jobs', interval '90 seconds')
) AS built_in(name, cron, job_type, after);
