-- Events, written by the transaction that they are about.
--
-- One row a batch. Whoever reads puts committed rows in order (`position`), so a row that commits late gets a later position and is
-- never missed.

CREATE TABLE outbox (
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    batch      uuid        NOT NULL DEFAULT gen_random_uuid(),
    position   bigint,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sale_id    bigint      NOT NULL,
    kind       text        NOT NULL,
    attempts   bigint[]    NOT NULL DEFAULT '{}',
    items      int[]       NOT NULL DEFAULT '{}',
    sold_out   boolean     NOT NULL DEFAULT false,
    data       jsonb,
    CONSTRAINT outbox_pkey PRIMARY KEY (batch),
    CONSTRAINT outbox_kind_known CHECK (kind IN ('sale.opened', 'sale.ended', 'settled'))
);
