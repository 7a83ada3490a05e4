#!/usr/bin/env bash
# `make chaos`: buyers run against three instances while every part dies in turn, as seeds say; then what they were told is
# held against PostgreSQL's tables. SEED is the first seed (1), ROUNDS how many follow (20), each two to three minutes; then figures and a soak.
#
# On servers of its own, below one temporary folder, gone at the end. The table is on standard error; docs/reliability.md
# tells how to read it. The history of a run that broke a promise is kept in CHAOS_HISTORY, a folder, if that is set.

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

# Alone, one after the other: they look at times.
TMPDIR=$folder/t run cargo test --locked --release --test it chaos:: -- --ignored --nocapture --test-threads=1
