-- What operators change, and who changed it.
--
-- Each change of an operator leaves a row in `sale_audit`, written in the transaction of the change: there is no change without
-- its row, and no row of a change that did not happen. `before` and `after` hold what the change was about, as JSON. Rows of the
-- creation of sales have what they say in `detail`, as the previous release writes it.
--
-- A cancelled sale is one that was taken back before it started. It keeps its row, because instances know it already and the
-- schedule would write it again; its window is a microsecond, in which no batch can be read, decided and written.

ALTER TABLE sale_audit
    DROP CONSTRAINT sale_audit_action_known,
    ADD COLUMN subject text,
    ADD COLUMN before jsonb,
    ADD COLUMN after jsonb,
    ADD CONSTRAINT sale_audit_action_form CHECK (action ~ '^[a-z_]{1,64}$'),
    ADD CONSTRAINT sale_audit_subject_length CHECK (char_length(subject) BETWEEN 1 AND 500);

-- The list of all changes, newest first.
CREATE INDEX sale_audit_at ON sale_audit (at, id);

ALTER TABLE sales ADD COLUMN cancelled_at timestamptz;
