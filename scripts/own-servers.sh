# Sourced by `test.sh` and `bench.sh`: servers of their own, children that end with the script, and nothing left behind.
#
# The script sets `name`, for its messages and its folder, and `stop_seconds`, the time that its children have to end.
# DATABASE_URL, REDIS_URL and every FLASH_SALE__… variable are ignored: nobody's database is touched.
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
# Noted here, obeyed below: inside a handler bash lets a second Ctrl-C kill it.
trap 'stopping=${stopping:-129}' HUP
trap 'stopping=${stopping:-130}' INT
trap 'stopping=${stopping:-143}' TERM

# In a process group of its own and waited for, so that a signal to this script alone ends it too.
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
      await_end "${stop_seconds:?}" "$child"
      kill -TERM -- "-$child"
      await_end 5 "-$child"
      kill -KILL -- "-$child"
      wait "$child"
    fi
    if [ -n "$folder" ]; then
      # Ours, and those that killed children could not take down themselves.
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

# Makes `folder`, below which everything is that this run leaves, until it ends.
make_folder() {
  folder=$(mktemp -d "/tmp/flash-sale-$name.XXXXXX")
  # The servers' user must get through when this is root.
  chmod 755 "$folder"
  # For whatever children make: inside ours, it cannot outlive this run. A short name: a Unix socket's path has at most 107
  # bytes.
  mkdir "$folder/t"
}

# In the foreground: it may ask for a password, and a package manager must not be killed half-way.
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

# The same, for tests: they read where the servers are, and start private ones themselves.
start_servers_for_tests() {
  start_servers
  export FLASH_SALE_TEST_DATABASE_URL=$DATABASE_URL FLASH_SALE_TEST_REDIS_URL=$REDIS_URL
  export FLASH_SALE_TEST_SERVICES=$PWD/scripts/services.sh
}

# For the instance whose clock is off, and the one that restarts behind a load balancer.
install_for_chaos() {
  scripts/install-services.sh faketime || say "WARNING: libfaketime is not to be had here: no instance's clock is off"
  scripts/install-services.sh haproxy || say "WARNING: haproxy is not to be had here: no rolling restart behind it"
}
