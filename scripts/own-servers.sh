# Sourced by the scripts of `make test`, `bench`, `chaos`, `mutants`, `schemathesis`, `clients`, `containers`, `balancers`,
# `moving`, `patroni`, `newest-postgres` and `redis-modes`: starts servers of their own, and ends every child and removes every file when
# the script ends.
#
# The script sets `name`, for its messages and its folder, and `stop_seconds`, the time that its children have to end.
# DATABASE_URL, REDIS_URL and every FLASH_SALE__… variable are ignored, so that no existing database is touched.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${name:?}" "$*" >&2; }
die() {
  say "$@"
  exit 1
}

exec </dev/null
unset DATABASE_URL REDIS_URL FLASH_SALE_ENV "${!FLASH_SALE__@}" "${!PG@}"

child='' folder='' stopping=''

obey() {
  [ -z "$stopping" ] || exit "$stopping"
}
# Handlers only record the signal; `obey` exits. Inside a handler bash lets a second Ctrl-C kill it.
trap 'stopping=${stopping:-129}' HUP
trap 'stopping=${stopping:-130}' INT
trap 'stopping=${stopping:-143}' TERM

# Runs a command in its own process group and waits for it, so that a signal to this script alone ends it too.
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
    # What the script itself has to end first.
    if declare -F end_beforehand; then end_beforehand; fi
    if [ -n "$child" ]; then
      kill -TERM "$child"
      await_end "${stop_seconds:?}" "$child"
      kill -TERM -- "-$child"
      await_end 5 "-$child"
      kill -KILL -- "-$child"
      wait "$child"
    fi
    if [ -n "$folder" ]; then
      # The servers of this script, and those that killed children could not stop.
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

# Creates `folder`, which contains every file of this run until it ends.
make_folder() { # [FOLDER for it]
  folder=$(mktemp -d "${1:-/tmp}/flash-sale-$name.XXXXXX")
  # The servers' user must be able to enter it when this is root.
  chmod 755 "$folder"
  # The children's temporary files: inside `folder` they cannot outlive this run. A short name, because a Unix socket's path
  # has at most 107 bytes.
  mkdir "$folder/t"
}

# The same in memory, where there is plenty, for tests: they create and drop thousands of databases, and a disk's file system takes a
# fifth of their processor time for that. They kill processes and never the machine, so what is in memory is as durable to them as a disk.
make_folder_in_memory() {
  if [ -w /dev/shm ] && [ "$(stat --file-system --format=%T /dev/shm)" = tmpfs ] &&
    ! findmnt --noheadings --output OPTIONS /dev/shm | grep -qw noexec &&
    [ "$(df --output=avail --block-size=1M /dev/shm | tail -n 1)" -ge 4096 ] &&
    [ "$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)" -ge 8192 ]; then
    make_folder /dev/shm
  else
    make_folder
  fi
}

# In the foreground: it may ask for a password, and killing a package manager half-way would break it.
install_servers() {
  scripts/install-services.sh postgres redis || die "there are no servers to run with"
  obey
}

# Sets DATABASE_URL and REDIS_URL, for the script alone.
start_servers() {
  run scripts/services.sh up "$folder/servers" >"$folder/exports" || die "the servers did not start"
  # shellcheck source=/dev/null
  . "$folder/exports"
  export -n DATABASE_URL REDIS_URL
}

# The same for tests, which read the servers' addresses from the environment and start private servers.
start_servers_for_tests() {
  start_servers
  export FLASH_SALE_TEST_DATABASE_URL=$DATABASE_URL FLASH_SALE_TEST_REDIS_URL=$REDIS_URL
  export FLASH_SALE_TEST_SERVICES=$PWD/scripts/services.sh
}

# Sets `program`, the service's binary, built from this checkout.
build_program() { # [OPTION of cargo build]...
  run cargo build --locked "$@" --message-format=json-render-diagnostics >"$folder/cargo" || die "the build failed"
  program=$(sed -n 's/.*"name":"flash-sale".*"executable":"\([^"]*\)".*/\1/p' "$folder/cargo" | tail -n 1)
  [ -x "$program" ] || die "cargo did not report the path of the program"
}

# Starts an instance of `program` as the child that ends with this script, and sets `url`. The instance logs to `$folder/log`.
start_instance() {
  local end=$((SECONDS + 60))
  export DATABASE_URL REDIS_URL
  export FLASH_SALE_ENV=development FLASH_SALE__SCHEDULE__ENABLED=false FLASH_SALE__LOG__FORMAT=json
  export FLASH_SALE__HTTP__PORT=0 FLASH_SALE__MONITORING__PORT=0 FLASH_SALE__SHUTDOWN__GRACE=0s
  set -m
  "$program" serve >"$folder/log" 2>&1 &
  child=$!
  set +m
  until grep -q '"message":"ready"' "$folder/log"; do
    obey
    kill -0 "$child" 2>/dev/null && [ "$SECONDS" -lt "$end" ] || {
      cat "$folder/log" >&2
      die "the service did not start"
    }
    sleep 0.1
  done
  # shellcheck disable=SC2034 # the script uses it
  url=http://$(sed -n 's/.*"server":"http","address":"\([^"]*\)".*/\1/p' "$folder/log")
}

# Fails if the instance has logged an error, or a promise is broken.
check_instance() {
  if grep -E '"level":"ERROR"|panicked' "$folder/log" >&2; then
    die "the service reports errors"
  fi
  "$program" verify --output json >/dev/null || die "a promise is broken"
}

# faketime for the instance with a wrong clock, haproxy for the rolling restart behind a load balancer, PgBouncer for the pooler.
install_for_chaos() {
  scripts/install-services.sh faketime || say "WARNING: libfaketime is not available: no instance gets a wrong clock"
  scripts/install-services.sh haproxy || say "WARNING: haproxy is not available: no rolling restart behind it"
  scripts/install-services.sh pgbouncer || say "WARNING: PgBouncer is not available: no instance is behind a pooler"
}
