-- Attempts that were refused, written in batches by each instance.
--
-- A flush is one transaction: the flush's number, the details, the totals. An instance numbers its flushes; a repeat of
-- a flush whose outcome was unknown finds its number taken and adds nothing. Details may be shed under load (`detailed`
-- counts those that were kept), totals may not.

CREATE TABLE refusal_flushes (
    instance uuid        NOT NULL,
    sequence bigint      NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT refusal_flushes_pkey PRIMARY KEY (instance)
);

CREATE TABLE checkout_refusals (
    sale_id    bigint      NOT NULL,
    instance   uuid        NOT NULL,
    sequence   bigint      NOT NULL,
    position   int         NOT NULL,
    operation  text        NOT NULL,
    reason     text        NOT NULL,
    user_id    text        COLLATE "C",
    item_id    text        COLLATE "C",
    attempt_id bigint,
    refused_at timestamptz NOT NULL,
    CONSTRAINT checkout_refusals_pkey PRIMARY KEY (sale_id, instance, sequence, position),
    CONSTRAINT checkout_refusals_operation_known CHECK (operation IN ('checkout', 'purchase'))
) PARTITION BY RANGE (sale_id);

CREATE TABLE refusal_totals (
    sale_id   bigint NOT NULL,
    operation text   NOT NULL,
    reason    text   NOT NULL,
    total     bigint NOT NULL,
    detailed  bigint NOT NULL,
    CONSTRAINT refusal_totals_pkey PRIMARY KEY (sale_id, operation, reason),
    CONSTRAINT refusal_totals_detailed_within_total CHECK (detailed BETWEEN 0 AND total)
);
