#!/usr/bin/env bash
# `make run`: starts PostgreSQL, Redis and the service, and prints a buyer's session to paste into another terminal.
#
# PostgreSQL and Redis are, in this order: those of DATABASE_URL and REDIS_URL, each if set; private ones from the
# programs on this machine; the same after installing the programs; Docker Compose. Ctrl-C ends everything that was started
# here and removes its data, and nothing else. Every FLASH_SALE__… variable reaches the service.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly root=$PWD
readonly ready_seconds=90 sale_seconds=15
# Beyond the service's own shutdown.grace + shutdown.drain (development: 1 s + 20 s).
readonly stop_seconds=40
readonly compose_project=flash-sale-run
exec </dev/null

say() { printf 'run: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# --- children -----------------------------------------------------------------------------------------------------
# Each has its own process group, so that Ctrl-C in a terminal reaches only this script: it stops the service
# before the servers, which the service still needs to finish its work.

child='' folder='' compose=0

spawn() {
  set -m
  "$@" &
  child=$!
  set +m
}

# Waits for the child and returns its exit code. A signal ends the wait at once, unlike with a foreground command.
await_child() {
  local code=0
  wait "$child" || code=$?
  obey
  child=
  return "$code"
}

# Handlers only record the signal; `obey` exits. Inside a handler bash lets a second Ctrl-C kill it.
stopping=
obey() {
  [ -z "$stopping" ] || exit "$stopping"
}
trap 'stopping=${stopping:-129}' HUP
trap 'stopping=${stopping:-0}' INT
trap 'stopping=${stopping:-143}' TERM

await_end() { # SECONDS PROCESS
  local end=$((SECONDS + $1))
  while kill -0 -- "$2" && [ "$SECONDS" -lt "$end" ]; do
    sleep 0.1
  done
}

stop_child() {
  [ -n "$child" ] || return 0
  # First only the child, which stops its own children. Then the rest of its group (cargo leaves compilers).
  kill -TERM "$child"
  await_end "$stop_seconds" "$child"
  kill -TERM -- "-$child"
  await_end 5 "-$child"
  kill -KILL -- "-$child"
  wait "$child"
}

# Runs a cleanup step to its end, also if signals arrive meanwhile.
finish() {
  spawn "$@"
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
  done
}

clean_up() {
  local code=$?
  trap - EXIT
  set +e
  stop_child 2>/dev/null
  if [ "$compose" = 1 ]; then
    finish docker compose --project-name "$compose_project" down --volumes --remove-orphans
  fi
  if [ -n "$folder" ]; then
    finish scripts/services.sh down "$folder/services"
    rm -rf "$folder"
    rmdir "$root/.local" 2>/dev/null
  fi
  exit "${stopping:-$code}"
}
trap clean_up EXIT

# --- helpers --------------------------------------------------------------------------------------------------------

# Prints the response to a GET on this machine, head and body. Needs no program but bash.
get() { # PORT PATH
  (
    exec 4<>"/dev/tcp/127.0.0.1/$1"
    printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n' "$2" >&4
    answer=
    IFS= read -r -d '' -t 5 answer <&4 || true
    printf '%s' "$answer"
  ) 2>/dev/null
}

answers() { # PORT PATH TEXT
  [[ $(get "$1" "$2" || true) == *"$3"* ]]
}

# Polls until a response contains TEXT; fails when the time is up or the child has ended.
await_answer() { # SECONDS PORT PATH TEXT
  local end=$((SECONDS + $1))
  shift
  until answers "$@"; do
    obey
    kill -0 "$child" 2>/dev/null || return 1
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

# A port of this machine: the variable's value, else the usual one if it is free, else another.
port() { # VARIABLE USUAL
  local set=${!1:-0}
  if [ "$set" != 0 ]; then echo "$set"; else scripts/services.sh free-port "$2"; fi
}

session() { # HTTP_PORT
  local items=${FLASH_SALE__SCHEDULE__ITEMS:-10000}
  # Buyer and items depend on the clock, so the same lines work again a second later.
  cat <<TEXT

flash-sale sells at http://127.0.0.1:$1   (Ctrl-C stops everything)
The interface, to read and to try out: http://127.0.0.1:$1/docs

A buyer's session, to paste into another terminal: two checkouts, their purchase, the same purchase again (it returns the
first outcome, with the header Idempotent-Replayed), and the sale.

SHOP=http://127.0.0.1:$1 BUYER=buyer-\$(date +%s) ITEM=\$((\$(date +%s) * 2 % $((items / 2 * 2)) + 1))
curl -sS -X POST "\$SHOP/checkout?user_id=\$BUYER&item_id=\$ITEM"; echo
CODE=\$(curl -sS -X POST "\$SHOP/checkout?user_id=\$BUYER&item_id=\$((ITEM + 1))" | sed -n 's/.*"code": *"\\([^"]*\\)".*/\\1/p')
curl -sS -i -X POST "\$SHOP/purchase?code=\$CODE"; echo
curl -sS -i -X POST "\$SHOP/purchase?code=\$CODE"; echo
curl -sS "\$SHOP/sales/active"; echo

TEXT
}

# --- the service on servers -----------------------------------------------------------------------------------------

is_set() { # VARIABLE...
  local name
  for name in "$@"; do
    [ -z "${!name:-}" ] || return 0
  done
  return 1
}

start_servers() { # postgres|redis...
  local exports=$folder/exports verb=up
  [ $# = 2 ] || verb=up-$1
  spawn scripts/services.sh "$verb" "$folder/services" >"$exports"
  await_child || die "the servers did not start"
  # shellcheck source=/dev/null
  . "$exports"
}

build() {
  local messages=$folder/cargo
  command -v cargo >/dev/null ||
    die "building needs the Rust toolchain: https://rustup.rs (or, with Docker alone: docker compose up)"
  # Cargo's messages contain the path of the binary, which depends on CARGO_TARGET_DIR and Cargo's configuration.
  spawn cargo build --profile quick --locked --bin flash-sale --message-format=json-render-diagnostics >"$messages"
  await_child || die "the build failed"
  binary=$(sed -n 's/.*"name":"flash-sale".*"executable":"\([^"]*\)".*/\1/p' "$messages" | tail -n 1)
  [ -x "$binary" ] || die "cargo did not report the path of the binary"
}

serve() { # postgres|redis...: the servers to start
  local http monitoring
  build
  [ $# = 0 ] || start_servers "$@"
  export FLASH_SALE_ENV=${FLASH_SALE_ENV:-development}
  http=$(port FLASH_SALE__HTTP__PORT 8080)
  monitoring=$(port FLASH_SALE__MONITORING__PORT 9090)
  export FLASH_SALE__HTTP__PORT=$http FLASH_SALE__MONITORING__PORT=$monitoring
  spawn "$binary" serve
  if ! await_answer "$ready_seconds" "$monitoring" /readyz 'HTTP/1.1 200'; then
    kill -0 "$child" 2>/dev/null && die "the service was not ready within ${ready_seconds}s: its log is above"
    await_child || die "the service ended with exit code $?: its log is above"
    die "the service ended"
  fi
  await_answer "$sale_seconds" "$http" /sales/active '"sale_id"' ||
    say "no sale is open: is the schedule switched off? \`sale create\` (below) creates one"
  session "$http"
  echo "The command line, in another terminal:"
  echo
  # Given URLs are not printed: they may contain passwords.
  [ $# = 2 ] || echo "(with the server URLs that are set in this terminal)"
  [ $# = 0 ] || cat "$folder/exports"
  echo "export FLASH_SALE_ENV='$FLASH_SALE_ENV'"
  echo "'$binary' sale list"
  echo "'$binary' verify"
  echo
  await_child
}

# --- the service in containers ---------------------------------------------------------------------------------------

engine_answers() {
  command -v docker >/dev/null && docker compose version >/dev/null 2>&1 && docker version >/dev/null 2>&1
}

serve_in_containers() {
  local http
  http=$(port FLASH_SALE_HTTP_PORT 8080)
  FLASH_SALE_PROMETHEUS_PORT=$(port FLASH_SALE_PROMETHEUS_PORT 9090)
  FLASH_SALE_GRAFANA_PORT=$(port FLASH_SALE_GRAFANA_PORT 3000)
  export FLASH_SALE_HTTP_PORT=$http FLASH_SALE_PROMETHEUS_PORT FLASH_SALE_GRAFANA_PORT
  say "using Docker Compose"
  spawn docker compose --project-name "$compose_project" build
  await_child || die "the image could not be built"
  compose=1
  spawn docker compose --project-name "$compose_project" up
  await_answer $((2 * ready_seconds)) "$http" /sales/active '"sale_id"' ||
    die "the containers were not ready in time, or ended: their log is above"
  session "$http"
  echo "The command line: docker compose --project-name $compose_project exec flash-sale-1 flash-sale sale list"
  echo "Prometheus: http://127.0.0.1:$FLASH_SALE_PROMETHEUS_PORT   Grafana: http://127.0.0.1:$FLASH_SALE_GRAFANA_PORT"
  echo
  await_child
}

# --- start --------------------------------------------------------------------------------------------------------

wanted=()
is_set DATABASE_URL FLASH_SALE__DATABASE__URL FLASH_SALE__DATABASE__URL_FILE || wanted+=(postgres)
is_set REDIS_URL FLASH_SALE__REDIS__URL FLASH_SALE__REDIS__URL_FILE || wanted+=(redis)

if [ ${#wanted[@]} -gt 0 ]; then
  scripts/services.sh check "${wanted[@]}" 2>/dev/null ||
    # In the foreground: it may ask for a password, and killing a package manager half-way would break it.
    scripts/install-services.sh "${wanted[@]}" ||
    if obey && [ ${#wanted[@]} = 2 ] && engine_answers; then
      serve_in_containers
      exit
    else
      die "not available here: ${wanted[*]}"
    fi
fi
obey

mkdir -p .local 2>/dev/null || true
folder=$(mktemp -d "$root/.local/run.XXXXXX" 2>/dev/null || mktemp -d /tmp/flash-sale-run.XXXXXX)
# The servers' user must be able to enter it when this is root.
chmod 755 "$folder"
serve ${wanted[@]+"${wanted[@]}"}
