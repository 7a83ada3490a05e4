#!/usr/bin/env bash
# `make balancers`: starts nginx, HAProxy and Caddy with the configuration of docs/balancers.md, and what behaves like an AWS load
# balancer with its settings there, and sells through each of them while instances are stopped, killed and started again.
#
#   balancers.sh [BINARY] [NAME...]   BINARY is the service's program, by default built from this checkout; NAME is one of
#                                     nginx, haproxy, caddy and aws, by default all
#
# It uses servers of its own, below one temporary folder, which is removed at the end. The table is on standard output.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=balancers stop_seconds=60
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

program=
case ${1:-} in */*) program=$(realpath "$1") && shift ;; esac

make_folder
install_servers
scripts/install-services.sh python || die "there is no Python 3.10 or newer to buy with"
for balancer in nginx haproxy caddy; do
  scripts/install-services.sh "$balancer" || die "there is no $balancer to try"
done
obey
[ -n "$program" ] || build_program
[ -x "$program" ] || die "there is no program $program"

start_servers
export DATABASE_URL REDIS_URL PYTHONDONTWRITEBYTECODE=1
mkdir "$folder/logs"
run python3 tests/operations/balancers.py "$program" "$folder/logs" "$@"
