-- Lists of sales go by start, newest first, and go on behind any of them.

CREATE INDEX sales_starts_at ON sales (starts_at, id);
