-- Buyers and what they collect.
--
-- A buyer has one row a sale. Its lock orders that buyer's checkouts and purchases over all instances, its CHECK is the
-- buyer's limit, and `open_attempt` names the checkout that is still being filled. `buyer_limit` is the sale's, copied
-- so that a CHECK can hold it. No foreign keys: they multiply the cost of these inserts and queue checkouts behind
-- purchases; `flash-sale verify` looks for what they would have caught.

-- Instances take numbers in blocks, so that an attempt costs no round trip.
CREATE SEQUENCE checkout_attempt_ids AS bigint INCREMENT BY 1000;

CREATE TABLE buyers (
    sale_id      bigint NOT NULL,
    user_id      text   COLLATE "C" NOT NULL,
    open_attempt bigint,
    bought       int    NOT NULL DEFAULT 0,
    buyer_limit  int    NOT NULL,
    CONSTRAINT buyers_pkey PRIMARY KEY (sale_id, user_id),
    CONSTRAINT buyers_bought_within_limit CHECK (bought BETWEEN 0 AND buyer_limit),
    CONSTRAINT buyers_user_id_length CHECK (octet_length(user_id) BETWEEN 1 AND 128)
) PARTITION BY RANGE (sale_id);

CREATE TABLE checkout_attempts (
    sale_id    bigint      NOT NULL,
    id         bigint      NOT NULL,
    user_id    text        COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT checkout_attempts_pkey PRIMARY KEY (sale_id, id)
) PARTITION BY RANGE (sale_id);

CREATE TABLE checkout_items (
    sale_id    bigint      NOT NULL,
    attempt_id bigint      NOT NULL,
    item_no    int         NOT NULL,
    quantity   int         NOT NULL,
    added_at   timestamptz NOT NULL,
    CONSTRAINT checkout_items_pkey PRIMARY KEY (sale_id, attempt_id, item_no),
    CONSTRAINT checkout_items_quantity_positive CHECK (quantity > 0)
) PARTITION BY RANGE (sale_id);
