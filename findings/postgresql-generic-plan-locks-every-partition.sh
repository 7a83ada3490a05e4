#!/usr/bin/env bash
# PostgreSQL 15.18: a prepared statement that reads one row of one partition locks all partitions and all their indexes.
#
# One would expect the condition on the partition's key to leave one partition, as it does for a statement with a constant. It does for
# a custom plan, which is made for the value. A generic plan, which a session uses after five executions or with `plan_cache_mode =
# force_generic_plan`, is pruned when it begins to run; but everything in it is locked before, at each execution. With 300 partitions
# that is 601 relations, and a new connection opens each of them once. A statement that names the partition locks two.
#
# Source: the manual, "Table Partitioning", "Partition Pruning"; AcquireExecutorLocks in src/backend/utils/cache/plancache.c. Needs the
# servers that scripts/services.sh can start, and psql.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(mktemp -d)
chmod 755 "$folder"
trap 'scripts/services.sh down "$folder/servers" >/dev/null 2>&1; rm -rf "$folder"' EXIT
eval "$(scripts/services.sh up-postgres "$folder/servers")"
psql=$(command -v psql || find /usr/lib/postgresql/*/bin -name psql | sort -V | tail -1)

locks() { # PLAN_CACHE_MODE TABLE
  "$psql" "$DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align <<SQL
SET plan_cache_mode = $1;
PREPARE one(bigint) AS SELECT FROM $2 WHERE sale = \$1 AND id = 7;
BEGIN;
EXECUTE one(1);
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND relation >= 16384;
SQL
}

"$psql" "$DATABASE_URL" --no-psqlrc --quiet <<'SQL'
CREATE TABLE t (sale bigint, id bigint, PRIMARY KEY (sale, id)) PARTITION BY RANGE (sale);
SELECT format('CREATE TABLE t_%s PARTITION OF t FOR VALUES FROM (%s) TO (%s)', n, n, n + 1)
FROM generate_series(1, 300) AS n \gexec
SQL
"$psql" "$DATABASE_URL" --no-psqlrc --tuples-only --no-align --command 'SHOW server_version'
generic=$(locks force_generic_plan t | tail -1)
custom=$(locks force_custom_plan t | tail -1)
named=$(locks force_generic_plan t_1 | tail -1)
echo "relations locked to read one row: generic plan $generic, custom plan $custom, generic plan of the partition $named"

[ "$generic" -gt 600 ] && [ "$custom" -le 4 ] && [ "$named" -le 3 ] || {
  echo "this has changed" >&2
  exit 1
}
