-- Batches of 128 new buyers with one item each, for sale 1. A batch's items differ, like most items in a batch of the service
-- with 10,000 items. Columns are text, because pgbench's variables are.
CREATE TABLE floor_batches AS
SELECT batch,
       array_agg('b' || buyer ORDER BY ('b' || buyer) COLLATE "C")::text AS users,
       array_agg(buyer ORDER BY ('b' || buyer) COLLATE "C")::text AS attempts,
       array_agg(buyer * 7919 % 10000 + 1 ORDER BY ('b' || buyer) COLLATE "C")::text AS items,
       array_agg(1)::text AS ones,
       array_agg(0)::text AS zeros,
       array_agg('s'::text)::text AS fates,
       (SELECT array_agg(line) FROM generate_series(1, 128) AS line)::text AS lines
FROM generate_series(1, {batches}) AS batch
CROSS JOIN LATERAL generate_series(batch::bigint * 128, batch::bigint * 128 + 127) AS buyer
GROUP BY batch;
ALTER TABLE floor_batches ADD PRIMARY KEY (batch);
CHECKPOINT
