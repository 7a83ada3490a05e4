-- Events, written in the transaction of their purchases: no event is sent of a purchase that was not committed, and every
-- committed purchase has its event.
--
-- A row is a batch of purchases, so that an event costs a sale next to nothing; the instance that delivers makes the
-- events of its purchases and sold-out items. Neither a sequence nor a clock is an order of commits: a row may be committed after rows
-- with larger numbers were read. So rows have no place in the order of delivery until they are committed and a reader
-- has seen them: then they get the next `position`, one transaction at a time. A row that commits late gets a late one, and is
-- never passed over. Of one buyer the order is that of the commits, because a batch takes its `id` while it holds the
-- buyer's row.
--
-- `position` counts events: it is the number of all events up to the last one of the row.

CREATE TABLE outbox (
    -- Of events' ids. Random, because a failover may repeat numbers of a sequence, and no two events may share an id.
    batch      uuid        NOT NULL DEFAULT gen_random_uuid(),
    id         bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    position   bigint,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sale_id    bigint      NOT NULL,
    kind       text        NOT NULL,
    -- Of `settled`: the checkouts that were settled, and the items that are sold out since then.
    attempts   bigint[]    NOT NULL DEFAULT '{}',
    items      int[]       NOT NULL DEFAULT '{}',
    -- Of `sale.ended`: the report of the sale.
    data       jsonb,
    CONSTRAINT outbox_pkey PRIMARY KEY (batch),
    CONSTRAINT outbox_position_key UNIQUE (position),
    CONSTRAINT outbox_kind_known CHECK (kind IN ('settled', 'sale.opened', 'sale.sold_out', 'sale.ended'))
);

CREATE INDEX outbox_unordered ON outbox (id) WHERE position IS NULL;

-- The last position that was given. Its only row is locked by the transaction that gives positions.
CREATE TABLE outbox_order (
    is_only boolean NOT NULL DEFAULT true,
    last    bigint  NOT NULL DEFAULT 0,
    CONSTRAINT outbox_order_pkey PRIMARY KEY (is_only),
    CONSTRAINT outbox_order_only_row CHECK (is_only)
);
INSERT INTO outbox_order DEFAULT VALUES;

-- How many items of a sale were told of as sold out: at least as many as are. Only when that is all of them, the sale's
-- stock is counted.
CREATE TABLE sold_out_items (
    sale_id bigint NOT NULL,
    items   bigint NOT NULL,
    CONSTRAINT sold_out_items_pkey PRIMARY KEY (sale_id)
);

-- What was announced once: that a sale opened, for each start it had, and that it sold out, for each of its generations
-- (a restocked sale can sell out again).
CREATE TABLE announcements (
    sale_id bigint NOT NULL,
    kind    text   NOT NULL,
    mark    bigint NOT NULL,
    CONSTRAINT announcements_pkey PRIMARY KEY (sale_id, kind, mark)
);
-- Sales that opened before there were events.
INSERT INTO announcements (sale_id, kind, mark)
SELECT id, 'sale.opened', (extract(epoch FROM starts_at) * 1000000)::bigint
FROM sales WHERE starts_at <= clock_timestamp();

-- How far each sink has delivered, and which instance delivers to it: one at a time, until `leased_until`.
CREATE TABLE event_sinks (
    name         text   NOT NULL,
    position     bigint NOT NULL,
    owner        uuid,
    leased_until timestamptz,
    CONSTRAINT event_sinks_pkey PRIMARY KEY (name)
);

-- Gives positions to at most so many committed rows. Returns how many got one; none if another transaction is at it.
CREATE FUNCTION order_outbox(at_most int) RETURNS int
    LANGUAGE plpgsql
    VOLATILE
AS $$
DECLARE
    before bigint;
    ordered int;
    sold_out record;
    sale record;
    counted bigint;
BEGIN
    -- Nothing is written, nor locked, while there is nothing to do.
    PERFORM FROM public.outbox WHERE position IS NULL LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT o.last INTO before FROM public.outbox_order AS o FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    -- A statement of its own, so that it sees everything that the transaction before this one has ordered.
    WITH ready AS MATERIALIZED (
        SELECT batch, (before + sum(cardinality(attempts) + cardinality(items) + (kind <> 'settled')::int)
                                OVER (ORDER BY id, batch))::bigint AS position
        FROM (
            SELECT * FROM public.outbox WHERE outbox.position IS NULL ORDER BY id LIMIT at_most
        ) AS unordered
    ), placed AS (
        UPDATE public.outbox AS o SET position = r.position
        FROM ready AS r WHERE o.batch = r.batch
        RETURNING o.position
    ), kept AS (
        UPDATE public.outbox_order SET last = (SELECT max(p.position) FROM placed AS p)
        WHERE EXISTS (SELECT FROM placed)
    )
    SELECT count(*) INTO ordered FROM placed;

    FOR sold_out IN
        SELECT o.sale_id, sum(cardinality(o.items)) AS items
        FROM public.outbox AS o
        WHERE o.position > before AND o.items <> '{}'
        GROUP BY o.sale_id
    LOOP
        INSERT INTO public.sold_out_items AS s (sale_id, items) VALUES (sold_out.sale_id, sold_out.items)
        ON CONFLICT (sale_id) DO UPDATE SET items = s.items + excluded.items
        RETURNING s.items INTO counted;
        SELECT s.items, s.generation INTO sale FROM public.sales AS s WHERE s.id = sold_out.sale_id;
        CONTINUE WHEN NOT FOUND OR counted < sale.items;
        SELECT count(*) INTO counted FROM public.item_stock AS i
        WHERE i.sale_id = sold_out.sale_id AND i.sold = i.stock;
        UPDATE public.sold_out_items AS s SET items = counted WHERE s.sale_id = sold_out.sale_id;
        CONTINUE WHEN counted < sale.items;
        INSERT INTO public.announcements (sale_id, kind, mark)
        VALUES (sold_out.sale_id, 'sale.sold_out', sale.generation)
        ON CONFLICT DO NOTHING;
        IF FOUND THEN
            INSERT INTO public.outbox (sale_id, kind) VALUES (sold_out.sale_id, 'sale.sold_out');
        END IF;
    END LOOP;
    RETURN ordered;
END
$$;

-- A failover that loses commits takes positions back, which others may remember. So each epoch (`0011_epochs.sql`) leaves more of
-- them out than any lost history can have given, and no position is given twice. Sinks that had everything still have it.
CREATE FUNCTION leave_positions_out() RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    positions_left_out CONSTANT bigint := 1000000000;
    before bigint;
BEGIN
    UPDATE public.outbox_order SET last = last + positions_left_out RETURNING last - positions_left_out INTO before;
    UPDATE public.event_sinks SET position = position + positions_left_out WHERE position >= before;
    RETURN NULL;
END
$$;

CREATE TRIGGER epochs_leave_positions_out
    AFTER INSERT ON epochs
    FOR EACH ROW
    WHEN (NEW.number > 1)
    EXECUTE FUNCTION leave_positions_out();
