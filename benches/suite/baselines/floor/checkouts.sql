-- A batch of checkouts of new buyers, as src/infrastructure/persistence/checkout/batch.rs reads and writes it. The batch's
-- number is the version of its buyers' rows.
\set batch :batch + 1
SELECT users, attempts, items, ones FROM floor_batches WHERE batch = :batch
\gset
EXECUTE read (1, ':users', ':items', 65);
EXECUTE write (
    1, 10, '{}', '{}', '{}', '{}', ':users', ':attempts', now(), ':attempts', ':users',
    ':attempts', ':items', ':ones', '{}', '{}', '{}', :batch
);
