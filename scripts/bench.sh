#!/usr/bin/env bash
# `make bench`: the benchmark suite, on a PostgreSQL and a Redis of its own. Arguments go to the suite: see --help, --list.
#
# DATABASE_URL, REDIS_URL and every FLASH_SALE__… variable are ignored: the suite empties its servers again and again. All
# servers and files are below one temporary folder and gone at the end, however it ends. The report goes to standard
# output, and as JSON to bench/report.json below Cargo's target folder. The exit code is the suite's.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly stop_seconds=40
exec </dev/null

say() { printf 'bench: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

unset DATABASE_URL REDIS_URL FLASH_SALE_ENV "${!FLASH_SALE__@}" "${!PG@}"

# --- children and the end -------------------------------------------------------------------------------------------
# The suite has a process group of its own, with all instances in it: whatever ends this script ends them too.

child='' folder='' stopping=''

obey() {
  [ -z "$stopping" ] || exit "$stopping"
}
# Noted here, obeyed below: inside a handler bash lets a second Ctrl-C kill it.
trap 'stopping=${stopping:-129}' HUP
trap 'stopping=${stopping:-130}' INT
trap 'stopping=${stopping:-143}' TERM

run() { # COMMAND...
  local code=0
  set -m
  "$@" &
  child=$!
  set +m
  wait "$child" || code=$?
  obey
  child=
  return "$code"
}

await_end() { # SECONDS PROCESS
  local end=$((SECONDS + $1))
  while kill -0 -- "$2" && [ "$SECONDS" -lt "$end" ]; do
    sleep 0.1
  done
}

clean_up() {
  local code=$? step
  trap - EXIT
  set +e
  {
    if [ -n "$child" ]; then
      kill -TERM -- "-$child"
      await_end "$stop_seconds" "-$child"
      kill -KILL -- "-$child"
      wait "$child"
    fi
    if [ -n "$folder" ]; then
      set -m
      scripts/services.sh down "$folder/servers" &
      step=$!
      set +m
      while kill -0 "$step"; do wait "$step"; done
      rm -rf "$folder"
    fi
  } >/dev/null 2>&1
  exit "${stopping:-$code}"
}
trap clean_up EXIT

# ------------------------------------------------------------------------------------------------------------------

folder=$(mktemp -d /tmp/flash-sale-bench.XXXXXX)
# The servers' user must get through when this is root.
chmod 755 "$folder"

# The service is built along, by the same profile: what is measured is what `cargo build --release` makes. Cargo itself
# says where the suite is, whatever CARGO_TARGET_DIR and its configuration say.
run cargo bench --locked --features bench --bench suite --no-run --message-format=json-render-diagnostics \
  >"$folder/cargo" || die "the build failed"
suite=$(sed -n 's/.*"name":"suite".*"executable":"\([^"]*\)".*/\1/p' "$folder/cargo" | tail -n 1)
[ -x "$suite" ] || die "cargo did not say where it put the suite"
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

# In the foreground: it may ask for a password, and a package manager must not be killed half-way.
scripts/install-services.sh postgres redis || die "there are no servers to measure with"
obey
run scripts/services.sh up "$folder/servers" >"$folder/exports" || die "the servers did not start"
# shellcheck source=/dev/null
. "$folder/exports"
database_url=$DATABASE_URL redis_url=$REDIS_URL
unset DATABASE_URL REDIS_URL

mkdir "$folder/t"
TMPDIR=$folder/t run "$suite" --database-url "$database_url" --redis-url "$redis_url" --report "$report" "$@"
