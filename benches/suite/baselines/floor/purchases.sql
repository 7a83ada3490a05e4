-- A batch of purchases of what checkouts.sql has collected, as src/infrastructure/persistence/purchase/batch.rs reads and
-- writes it. Nothing is sold out, so every line is sold.
\set batch :batch + 1
SELECT attempts AS wanted, items AS collected, ones, zeros, fates, lines FROM floor_batches WHERE batch = :batch
\gset
EXECUTE read (1, ':wanted', 65)
\gset
EXECUTE write (
    1, ':places', ':users', ':versions', ':ones', ':attempts', ':item_places', ':items', ':ones',
    ':now', ':attempts', ':users', ':ones', ':zeros', ':collected', ':ones',
    ':lines', ':lines', ':fates'
);
