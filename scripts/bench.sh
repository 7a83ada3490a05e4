#!/usr/bin/env bash
# `make bench`: the benchmark suite, on a PostgreSQL and a Redis of its own. Arguments go to the suite: see --help, --list.
#
# DATABASE_URL, REDIS_URL and every FLASH_SALE__… variable are ignored, because the suite empties its servers repeatedly.
# All servers and files are below one temporary folder, which is removed in every case. The report goes to standard
# output, and as JSON to bench/report.json below Cargo's target folder. The exit code is the suite's.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=bench stop_seconds=40
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

make_folder

# This also builds the service, with the profile of `cargo build --release`. Cargo's messages contain the path of the
# suite, which depends on CARGO_TARGET_DIR and Cargo's configuration.
run cargo bench --locked --features bench --bench suite --no-run --message-format=json-render-diagnostics \
  >"$folder/cargo" || die "the build failed"
suite=$(sed -n 's/.*"name":"suite".*"executable":"\([^"]*\)".*/\1/p' "$folder/cargo" | tail -n 1)
[ -x "$suite" ] || die "cargo did not report the path of the suite"
# …/target/release/deps/suite-0123: the report lies below the target folder.
report=$(dirname "$(dirname "$(dirname "$suite")")")/bench/report.json

for argument in "$@"; do
  case $argument in
    --list | --help | -h)
      run "$suite" "$@"
      exit
      ;;
  esac
done

install_servers
scripts/install-services.sh pgbouncer || say "WARNING: PgBouncer is not available: the scenario \`pooler\` cannot run"
start_servers
TMPDIR=$folder/t run "$suite" --database-url "$DATABASE_URL" --redis-url "$REDIS_URL" --services "$PWD/scripts/services.sh" \
  --servers "$folder/servers" --report "$report" "$@"
