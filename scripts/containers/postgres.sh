#!/usr/bin/env bash
# The entry point of the image that stands in for `postgres` where that cannot be pulled: what the real one does as far as
# docker-compose.yml uses it, with Debian's PostgreSQL.

set -euo pipefail
readonly data=/var/lib/postgresql/data socket=/var/run/postgresql

if [ "$1" != postgres ]; then
  exec "$@"
fi
if [ "$(id -u)" = 0 ]; then
  chown postgres "$data" "$socket"
  chmod 700 "$data"
  chmod 3775 "$socket"
  exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$data/PG_VERSION" ]; then
  password=$(cat "$POSTGRES_PASSWORD_FILE")
  if [ -z "$password" ]; then
    echo "Error: Database is uninitialized and superuser password is not specified." >&2
    exit 1
  fi
  initdb --pgdata="$data" --username=postgres --pwfile=<(printf '%s\n' "$password")
  printf '\nhost all all all scram-sha-256\n' >>"$data/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$data/postgresql.conf"
  pg_ctl --pgdata="$data" --options="-c listen_addresses=''" --wait start
  createdb --host="$socket" --username=postgres "$POSTGRES_DB"
  pg_ctl --pgdata="$data" --mode=fast --wait stop
fi
exec "$@" -D "$data"
