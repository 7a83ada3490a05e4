-- What became of checkouts that asked to be bought. A row in `purchases` is the outcome of an attempt, also when nothing
-- was bought: its primary key is what makes a code redeemable once, its lines are what a repeat is answered with.

CREATE TABLE purchases (
    sale_id         bigint      NOT NULL,
    attempt_id      bigint      NOT NULL,
    user_id         text        COLLATE "C" NOT NULL,
    purchased_at    timestamptz NOT NULL,
    total_purchased int         NOT NULL,
    failed_count    int         NOT NULL,
    CONSTRAINT purchases_pkey PRIMARY KEY (sale_id, attempt_id),
    CONSTRAINT purchases_counts_not_negative CHECK (total_purchased >= 0 AND failed_count >= 0)
) PARTITION BY RANGE (sale_id);

-- A buyer's history.
CREATE INDEX purchases_buyer ON purchases (user_id, sale_id);

CREATE TABLE purchase_items (
    sale_id    bigint NOT NULL,
    attempt_id bigint NOT NULL,
    item_no    int    NOT NULL,
    quantity   int    NOT NULL,
    outcome    text   NOT NULL,
    CONSTRAINT purchase_items_pkey PRIMARY KEY (sale_id, attempt_id, item_no),
    CONSTRAINT purchase_items_quantity_positive CHECK (quantity > 0),
    CONSTRAINT purchase_items_outcome_known CHECK (outcome IN ('sold', 'sold_out', 'buyer_limit'))
) PARTITION BY RANGE (sale_id);
