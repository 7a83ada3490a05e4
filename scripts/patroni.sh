#!/usr/bin/env bash
# `make patroni`: sells from three instances on a PostgreSQL cluster under Patroni, with the files of deploy/patroni, while its
# primary is killed and switched over, its synchronous standby is killed, and etcd is away for a minute: behind HAProxy, then by a
# list of servers.
#
#   patroni.sh [BINARY]   the service's program, by default built from this checkout
#
# RUNS is how many kills and switchovers there are each way (1); one of each takes a minute. Its cluster and its other servers are
# below one temporary folder, which is removed at the end. The tables are on standard output; docs/patroni.md explains them.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=patroni stop_seconds=120 runs=${RUNS:-1}
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

[[ $runs =~ ^[1-9][0-9]?$ ]] || die "RUNS must be a number from 1 to 99, not $runs"
program=${1:+$(realpath "$1")}

make_folder
install_servers
scripts/install-services.sh python || die "there is no Python 3.10 or newer to buy with"
for what in haproxy patroni; do
  scripts/install-services.sh "$what" || die "there is no $what to try"
done
command -v psql >/dev/null || die "psql, PostgreSQL's client, is not installed"
obey
POSTGRESQL_PROGRAMS=$(scripts/services.sh programs) || die "there is no PostgreSQL 15 or newer"
# Optimised: without, an instance needs a third of a second of a core to log in with a password, for each connection.
[ -n "$program" ] || build_program --release
[ -x "$program" ] || die "there is no program $program"

run scripts/services.sh up-redis "$folder/servers" >"$folder/exports" || die "Redis did not start"
# shellcheck source=/dev/null
. "$folder/exports"
export REDIS_URL POSTGRESQL_PROGRAMS PYTHONDONTWRITEBYTECODE=1
mkdir "$folder/logs" "$folder/cluster"
run python3 tests/operations/patroni.py "$program" "$folder/logs" "$folder/cluster" "$runs"
