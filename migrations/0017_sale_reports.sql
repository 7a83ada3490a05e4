-- The final reports of ended sales.
--
-- A sale is closed once for each end that it has had: `closed_end` is the end that its report was made for. An end that is moved makes
-- the two differ, and the sale is closed again when that end has passed. The index holds only the sales that are still to be closed,
-- so that looking for them costs the same after years.
--
-- A purchase may commit after the end of its sale, because it was decided before. So a sale is noted first, with the number behind
-- those of all transactions that had begun to write, and closed when none of them runs any more. Sales that ended before this
-- migration are not closed: their reports can still be computed.

ALTER TABLE sales ADD COLUMN closed_end timestamptz;

UPDATE sales SET closed_end = ends_at WHERE ends_at <= clock_timestamp();

CREATE INDEX sales_to_close ON sales (ends_at) WHERE closed_end IS DISTINCT FROM ends_at;

-- Sales that have ended and are not closed yet.
CREATE TABLE sale_closings (
    sale_id  bigint      NOT NULL,
    ends_at  timestamptz NOT NULL,
    horizon  xid8        NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sale_closings_pkey PRIMARY KEY (sale_id)
);

-- `report` is what `flash-sale sale report --output json` prints. It outlives the sale's own tables.
CREATE TABLE sale_reports (
    sale_id bigint      NOT NULL,
    made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    report  jsonb       NOT NULL,
    CONSTRAINT sale_reports_pkey PRIMARY KEY (sale_id)
);
