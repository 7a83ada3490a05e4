#!/usr/bin/env bash
# `make test`: the static checks, then every test, on a PostgreSQL and a Redis of its own. Arguments go to `cargo test`.
#
# DATABASE_URL, REDIS_URL and every FLASH_SALE__… variable are ignored: a test must never touch an existing database. All
# servers and files are below one temporary folder, which is removed at the end, also those of a test that was killed.
# The output ends with the test runner's; the exit code is the test runner's.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=test stop_seconds=30
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

# --- static checks, first, so that the output ends with the tests' -------------------------------------------------------

check_scripts() {
  if command -v shellcheck >/dev/null; then
    shellcheck --severity=warning scripts/*.sh scripts/containers/*.sh .ci/run deploy/postgres/*.sh || die "shellcheck reports problems"
  fi
  if command -v yamllint >/dev/null; then
    yamllint --strict --config-data '{extends: relaxed, rules: {line-length: disable}}' config deploy docker-compose*.yml ||
      die "yamllint reports problems"
  fi
}

# `make mutants` takes long to run the tests; checking that the patches apply takes a moment.
check_mutants() {
  if command -v git >/dev/null; then
    scripts/mutants.sh --fit
  else
    say "git is not installed: the patches of tests/mutants are not checked"
  fi
}

# The patches show how to add a thing, so they must apply to the code as it is. Whether the result compiles is not checked: that
# would build everything once more for each.
check_examples() {
  local patch
  if ! command -v git >/dev/null; then
    say "git is not installed: the patches of docs/examples are not checked"
    return
  fi
  for patch in docs/examples/*.patch; do
    git apply --check "$patch" ||
      die "$patch does not apply to the code any more: make its change again, and replace the diff below its text with git diff's"
  done
}

# What no test builds: every source of a COPY passes .dockerignore, and the labels say what Cargo.toml says.
check_image() {
  local line source sources
  while read -r line; do
    # shellcheck disable=SC2206 # one word per file
    sources=(${line#COPY })
    case ${sources[0]} in
      --from=*) continue ;;
      --* | \[*) die "scripts/test.sh does not know how to read: $line" ;;
    esac
    for source in "${sources[@]:0:${#sources[@]}-1}"; do
      [ -e "$source" ] || die "the Dockerfile copies $source, which does not exist"
      grep -qxF "!$source" .dockerignore || die "the Dockerfile copies $source, which .dockerignore leaves out"
    done
  done < <(grep -E '^(COPY|ADD) ' Dockerfile)
  for line in version description license; do
    source=$(sed -n "s/^$line = \"\(.*\)\"/\1/p" Cargo.toml | head -n 1)
    grep -qF -e "VERSION=$source" -e "=\"$source\"" Dockerfile || die "the Dockerfile does not have the $line of Cargo.toml: $source"
  done
}

check_monitoring() {
  if ! command -v promtool >/dev/null; then
    scripts/install-services.sh promtool || true
  fi
  if ! command -v promtool >/dev/null; then
    say "WARNING: promtool is not available: Prometheus' configuration and alerts are NOT checked"
    return
  fi
  promtool check config deploy/prometheus/prometheus.yml || die "promtool rejects Prometheus' configuration"
  promtool test rules deploy/prometheus/alerts_test.yml || die "an alert does not fire as its test expects"
}

# Needs only the command line, no engine. Ignores a .env file of the user.
compose() {
  docker compose --env-file /dev/null --file docker-compose.yml "$@"
}

check_compose() {
  local secrets=$folder/secrets
  if ! docker compose version >/dev/null 2>&1; then
    say "docker compose is not installed: its files are not checked"
    return
  fi
  compose config --quiet || die "docker compose rejects docker-compose.yml"
  if env -u FLASH_SALE_SECRETS docker compose --env-file /dev/null --file docker-compose.yml \
    --file docker-compose.prod.yml config --quiet 2>/dev/null; then
    die "docker-compose.prod.yml does not require real secrets"
  fi
  FLASH_SALE_SECRETS=$secrets compose --file docker-compose.prod.yml config --quiet ||
    die "docker compose rejects docker-compose.prod.yml"
}

# ------------------------------------------------------------------------------------------------------------------

make_folder_in_memory
install_servers
install_for_chaos
scripts/install-services.sh python || say "WARNING: Python is not available: its examples are not run"
if WEBHOOK_LIBRARIES=$(scripts/libraries.sh tests/webhooks); then
  export WEBHOOK_LIBRARIES
else
  unset WEBHOOK_LIBRARIES
  say "WARNING: the receivers of webhooks in examples/ are not run"
fi
check_scripts
check_mutants
check_examples
check_image
check_monitoring
check_compose
obey

start_servers_for_tests

# Most tests wait for something most of the time.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
# Without documentation tests: there are none, and the output must end with tests that ran.
[ $# -gt 0 ] || set -- --all-targets
TMPDIR=$folder/t run cargo test --locked "$@"
