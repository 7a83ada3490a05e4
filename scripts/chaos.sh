#!/usr/bin/env bash
# `make chaos`: buyers use three instances while every part fails in turn, in an order given by a seed; then the responses
# that they received are compared with PostgreSQL's tables. SEED is the first seed (1), ROUNDS the number of seeds (20), each
# two to three minutes; then figures and a soak.
#
# It uses servers of its own, below one temporary folder, which is removed at the end. The table is on standard error;
# docs/chaos-results.md explains it. The history of a run that broke a promise is kept in the folder CHAOS_HISTORY, if set.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=chaos stop_seconds=30
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

make_folder
install_servers
install_for_chaos
obey

start_servers_for_tests

# One after the other, because they measure times.
TMPDIR=$folder/t run cargo test --locked --release --test it chaos:: -- --ignored --nocapture --test-threads=1
