-- Keys of writes that happen once: written by the transaction that does what the request asked for, so that a key without
-- its effect, or an effect without its key, cannot be.
--
-- They belong to a buyer and not to a sale, because a request that names no sale may be repeated when the next one is open.
-- So they are not partitioned; they are deleted a day later, oldest first, in small steps. `item_nos` and `quantities` are
-- what the checkout held after it; a purchase has none, its outcome is in `purchases`.

CREATE TABLE idempotency_keys (
    user_id    text        COLLATE "C" NOT NULL,
    key        text        COLLATE "C" NOT NULL,
    -- SHA-256 of what was asked for.
    content    bytea       NOT NULL,
    sale_id    bigint      NOT NULL,
    attempt_id bigint      NOT NULL,
    created    boolean     NOT NULL,
    item_nos   int[],
    quantities int[],
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key),
    CONSTRAINT idempotency_keys_key_length CHECK (octet_length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_content_length CHECK (octet_length(content) = 32),
    CONSTRAINT idempotency_keys_lines_whole
        CHECK (coalesce(cardinality(item_nos), -1) = coalesce(cardinality(quantities), -1))
) WITH (autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
