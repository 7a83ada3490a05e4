-- Endpoints of other systems that receive every event, and what waits for them.
--
-- What is delivered costs no row: an endpoint remembers its position in the log of events. Only events that failed have
-- rows, and those behind them of the same key of order, so that a buyer's events stay in order.
--
-- Secrets are stored as they are, because signing needs them. One process at a time delivers to an endpoint: the
-- owner of its lease, by PostgreSQL's clock.

CREATE TABLE webhooks (
    id              text        COLLATE "C" NOT NULL,
    url             text        NOT NULL,
    -- Empty: all kinds.
    events          text[]      NOT NULL DEFAULT '{}',
    secret          text        NOT NULL,
    previous_secret text,
    previous_until  timestamptz,
    state           text        NOT NULL DEFAULT 'active',
    reason          text,
    state_since     timestamptz NOT NULL DEFAULT clock_timestamp(),
    position        bigint      NOT NULL,
    failures        int         NOT NULL DEFAULT 0,
    failing_since   timestamptz,
    next_try_at     timestamptz,
    lease_owner     text,
    lease_until     timestamptz NOT NULL DEFAULT '-infinity',
    -- Grows when what a running delivery has in memory is outdated.
    revision        bigint      NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhooks_id_length CHECK (octet_length(id) BETWEEN 1 AND 64),
    CONSTRAINT webhooks_url_length CHECK (octet_length(url) BETWEEN 1 AND 2048),
    CONSTRAINT webhooks_secret_length CHECK (octet_length(secret) BETWEEN 1 AND 128),
    CONSTRAINT webhooks_previous_secret_length CHECK (octet_length(previous_secret) BETWEEN 1 AND 128),
    CONSTRAINT webhooks_reason_length CHECK (char_length(reason) <= 500),
    CONSTRAINT webhooks_state_known CHECK (state IN ('active', 'paused', 'disabled')),
    CONSTRAINT webhooks_position_not_negative CHECK (position >= 0),
    CONSTRAINT webhooks_failures_not_negative CHECK (failures >= 0)
) WITH (fillfactor = 50);

CREATE TABLE webhook_deliveries (
    webhook_id  text        COLLATE "C" NOT NULL,
    event_id    text        COLLATE "C" NOT NULL,
    -- The order in which they failed or came behind one that had: the first of a key is tried first.
    number      bigint      GENERATED ALWAYS AS IDENTITY,
    order_key   text        COLLATE "C" NOT NULL,
    kind        text        NOT NULL,
    body        bytea       NOT NULL,
    happened_at timestamptz NOT NULL,
    written_at  timestamptz NOT NULL,
    is_dead     boolean     NOT NULL DEFAULT false,
    attempts    int         NOT NULL,
    next_try_at timestamptz NOT NULL,
    last_error  text        NOT NULL,
    last_status int,
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (webhook_id, event_id),
    CONSTRAINT webhook_deliveries_webhook FOREIGN KEY (webhook_id) REFERENCES webhooks ON DELETE CASCADE,
    CONSTRAINT webhook_deliveries_event_length CHECK (octet_length(event_id) BETWEEN 1 AND 128),
    CONSTRAINT webhook_deliveries_key_length CHECK (octet_length(order_key) <= 256),
    CONSTRAINT webhook_deliveries_error_length CHECK (char_length(last_error) <= 500),
    CONSTRAINT webhook_deliveries_attempts_not_negative CHECK (attempts >= 0)
);

CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (webhook_id, order_key, number) WHERE NOT is_dead;
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (webhook_id, number) WHERE is_dead;

CREATE TABLE webhook_replays (
    id         bigint      GENERATED ALWAYS AS IDENTITY,
    webhook_id text        COLLATE "C" NOT NULL,
    -- The last batch that was sent again whole, and the last one that is to be.
    position   bigint      NOT NULL,
    last       bigint      NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT webhook_replays_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_replays_webhook FOREIGN KEY (webhook_id) REFERENCES webhooks ON DELETE CASCADE
);

CREATE INDEX webhook_replays_of_webhook ON webhook_replays (webhook_id, id);

-- As sinks do in `0014_outbox.sql`: endpoints that had everything still have it when a new epoch leaves positions out.
CREATE FUNCTION keep_endpoints_at_the_end() RETURNS trigger
    LANGUAGE plpgsql
AS $$
BEGIN
    UPDATE public.webhooks SET position = NEW.last WHERE position >= OLD.last;
    RETURN NULL;
END
$$;

CREATE TRIGGER outbox_order_keeps_endpoints
    AFTER UPDATE ON outbox_order
    FOR EACH ROW
    WHEN (NEW.last >= OLD.last + 1000000000)
    EXECUTE FUNCTION keep_endpoints_at_the_end();
