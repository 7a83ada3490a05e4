-- Sales, and who created them.
--
-- A sale's number is its identity everywhere; `public_id` is the same number as people see it. `generation` grows with
-- every change that can make a sold-out item buyable again or that moves the window: instances poll it and drop what
-- they believed. One start of the schedule exists once (`sales_one_per_start`), however many instances lead.

CREATE SEQUENCE sale_ids AS bigint;

CREATE TABLE sales (
    id          bigint      NOT NULL,
    public_id   text        NOT NULL,
    name        text        NOT NULL,
    schedule    text,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL,
    buyer_limit int         NOT NULL,
    items       int         NOT NULL,
    generation  bigint      NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sales_pkey PRIMARY KEY (id),
    CONSTRAINT sales_public_id_unique UNIQUE (public_id),
    CONSTRAINT sales_one_per_start UNIQUE (schedule, starts_at),
    CONSTRAINT sales_end_after_start CHECK (ends_at > starts_at),
    CONSTRAINT sales_limit_positive CHECK (buyer_limit > 0),
    CONSTRAINT sales_items_positive CHECK (items > 0),
    CONSTRAINT sales_name_length CHECK (char_length(name) BETWEEN 1 AND 200),
    CONSTRAINT sales_schedule_length CHECK (char_length(schedule) BETWEEN 1 AND 64)
);

-- Every instance asks twice a second for the sales that have not ended.
CREATE INDEX sales_ends_at ON sales (ends_at);

CREATE TABLE sale_audit (
    id      bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    sale_id bigint      NOT NULL,
    action  text        NOT NULL,
    actor   text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    detail  jsonb       NOT NULL DEFAULT '{}',
    CONSTRAINT sale_audit_pkey PRIMARY KEY (id),
    CONSTRAINT sale_audit_action_known CHECK (action IN ('created')),
    CONSTRAINT sale_audit_actor_length CHECK (char_length(actor) BETWEEN 1 AND 200)
);

CREATE INDEX sale_audit_sale ON sale_audit (sale_id, id);
