#!/usr/bin/env bash
# `make test`: the static checks, then every test, on a PostgreSQL and a Redis of its own. Arguments go to `cargo test`.
#
# DATABASE_URL, REDIS_URL and every FLASH_SALE__… variable are ignored: a test must never touch a database that somebody
# cares for. All servers and files are below one temporary folder and gone at the end, also those of a test that was
# killed. The output ends with the test runner's, the exit code is its.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly root=$PWD
readonly stop_seconds=30
exec </dev/null

say() { printf 'test: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

unset DATABASE_URL REDIS_URL FLASH_SALE_ENV "${!FLASH_SALE__@}" "${!PG@}"

# --- children and the end -------------------------------------------------------------------------------------------
# The tests have a process group of their own and are waited for, so that a signal to this script alone ends them too.

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
  local code=$? mark step
  trap - EXIT
  set +e
  {
    if [ -n "$child" ]; then
      kill -TERM "$child"
      await_end "$stop_seconds" "$child"
      kill -TERM -- "-$child"
      await_end 5 "-$child"
      kill -KILL -- "-$child"
      wait "$child"
    fi
    if [ -n "$folder" ]; then
      # Ours, and those that killed tests could not take down themselves.
      while read -r mark; do
        set -m
        scripts/services.sh down "$(dirname "$mark")" &
        step=$!
        set +m
        while kill -0 "$step"; do wait "$step"; done
      done < <(find "$folder" -name .flash-sale-services)
      rm -rf "$folder"
    fi
  } >/dev/null 2>&1
  exit "${stopping:-$code}"
}
trap clean_up EXIT

# --- static checks, first: the output is to end with the tests' -------------------------------------------------------

check_scripts() {
  if command -v shellcheck >/dev/null; then
    shellcheck --severity=warning scripts/*.sh .ci/run deploy/postgres/*.sh || die "shellcheck has complaints"
  fi
  if command -v yamllint >/dev/null; then
    yamllint --strict --config-data '{extends: relaxed, rules: {line-length: disable}}' config deploy docker-compose*.yml ||
      die "yamllint has complaints"
  fi
}

check_monitoring() {
  if ! command -v promtool >/dev/null; then
    scripts/install-services.sh promtool || true
  fi
  if ! command -v promtool >/dev/null; then
    say "WARNING: promtool is not to be had here: Prometheus' configuration and alerts are NOT checked"
    return
  fi
  promtool check config deploy/prometheus/prometheus.yml || die "promtool refuses Prometheus' configuration"
  promtool test rules deploy/prometheus/alerts_test.yml || die "an alert does not fire as its test says"
}

# Needs the command line alone, no engine. Without anybody's .env.
compose() {
  docker compose --env-file /dev/null --file docker-compose.yml "$@"
}

check_compose() {
  local secrets=$folder/secrets
  if ! docker compose version >/dev/null 2>&1; then
    say "docker compose is not here: its files are not checked"
    return
  fi
  compose config --quiet || die "docker compose refuses docker-compose.yml"
  if env -u FLASH_SALE_SECRETS docker compose --env-file /dev/null --file docker-compose.yml \
    --file docker-compose.prod.yml config --quiet 2>/dev/null; then
    die "docker-compose.prod.yml does not demand real secrets"
  fi
  FLASH_SALE_SECRETS=$secrets compose --file docker-compose.prod.yml config --quiet ||
    die "docker compose refuses docker-compose.prod.yml"
}

# ------------------------------------------------------------------------------------------------------------------

folder=$(mktemp -d /tmp/flash-sale-test.XXXXXX)
# The servers' user must get through when this is root.
chmod 755 "$folder"

# In the foreground: it may ask for a password, and a package manager must not be killed half-way.
scripts/install-services.sh postgres redis || die "there are no servers to test with"
obey
check_scripts
check_monitoring
check_compose
obey

run scripts/services.sh up "$folder/shared" >"$folder/exports" || die "the servers did not start"
# shellcheck source=/dev/null
. "$folder/exports"
export FLASH_SALE_TEST_DATABASE_URL=$DATABASE_URL FLASH_SALE_TEST_REDIS_URL=$REDIS_URL
export FLASH_SALE_TEST_SERVICES=$root/scripts/services.sh
unset DATABASE_URL REDIS_URL

# Tests put their own servers into the temporary folder: inside ours, they cannot outlive this run. A short name: a Unix
# socket's path has at most 107 bytes.
mkdir "$folder/t"
# Without documentation tests, of which there are none: the output is to end with tests that ran.
[ $# -gt 0 ] || set -- --all-targets
TMPDIR=$folder/t run cargo test --locked "$@"
