#!/usr/bin/env bash
# A private PostgreSQL and Redis for `make run`, `make test`, and tests that kill their servers.
#
#   services.sh up DIR                starts both; prints `export DATABASE_URL=… REDIS_URL=…` for a shell to evaluate
#   services.sh up-postgres DIR       starts one of them
#   services.sh up-redis DIR
#   services.sh up-standby DIR OF     starts a streaming standby of the PostgreSQL in the folder OF
#   services.sh up-pooler DIR OF      starts a PgBouncer, which drops start-up options, before the PostgreSQL in the folder OF
#   services.sh up-strict-pooler DIR OF       the same, and it refuses start-up options that it does not know
#   services.sh up-transaction-pooler DIR OF  the same in transaction mode
#   services.sh up-nats DIR           starts a NATS server with JetStream; prints `export NATS_URL=…`
#   services.sh follow-postgres DIR OF  stops a PostgreSQL in order and starts it as a standby of the one in the folder OF
#   services.sh promote-postgres DIR  makes a standby a primary, on a timeline of its own
#   services.sh kill-postgres DIR     SIGKILL to the postmaster and all its children: a crash
#   services.sh kill-redis DIR        SIGKILL
#   services.sh kill-nats DIR         SIGKILL
#   services.sh start-nats DIR        starts it again: same data and port
#   services.sh start-postgres DIR    starts it again: same data, port and socket
#   services.sh start-redis DIR       starts it again, empty, on the same port
#   services.sh restart-postgres DIR  fast shutdown, then start
#   services.sh down DIR              stops what `up…` started, by process id, and removes DIR
#   services.sh check [postgres] [redis]   checks that the programs are installed and new enough; prints what is missing
#   services.sh programs              prints the folder of PostgreSQL's programs
#   services.sh free-port [PORT]      prints PORT if no process listens there, else a free port
#
# Every verb may be repeated. Standard output contains only exports. An `up…` that fails or is interrupted leaves nothing
# behind. DIR belongs to this script: `up` refuses a folder with other things in it, `down` one that `up` did not create.
#
# PostgreSQL refuses to run as root. Under root both servers run as the user `postgres` (else `nobody`). If that user
# cannot reach DIR, or its path is too long or has characters that a socket's path cannot have, their files are in a
# separate folder below /tmp, which DIR names and `down` removes.
#
# These are servers for one machine and one session. They listen on 127.0.0.1 (PostgreSQL also on a Unix socket) and require
# no password, so any local user can connect. They are as durable as in production: fsync and
# synchronous_commit stay on. Redis keeps nothing on disk, as the service expects.

set -euo pipefail
export LC_ALL=C

readonly postgres_at_least=15 redis_at_least=7
readonly user=postgres database=flash_sale
readonly start_seconds=60 stop_seconds=30 port_tries=20
# A Unix socket's path has at most 103 bytes on BSD and macOS, 107 on Linux.
readonly socket_path_bytes=103
readonly mark=.flash-sale-services

say() { printf 'services: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

# --- processes: /proc if it exists (a small machine has no ps), else ps ----------------------------------------------

# A zombie is not alive; process 1 of a container may never wait for it.
alive() { # PID
  local stat
  if [ -r /proc/self/stat ]; then
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    # The name, in parentheses, may contain any character; the state follows it.
    case ${stat##*) } in [ZX]*) return 1 ;; esac
  else
    stat=$(ps -o stat= -p "$1" 2>/dev/null) || return 1
    case $stat in Z* | '') return 1 ;; esac
  fi
}

command_line() { # PID
  if [ -r "/proc/$1/cmdline" ]; then
    tr '\0' ' ' <"/proc/$1/cmdline"
  else
    ps -o args= -p "$1"
  fi 2>/dev/null || true
}

children_of() { # PID
  local stat rest
  if [ ! -r /proc/self/stat ]; then
    ps -axo pid=,ppid= | awk -v parent="$1" '$2 == parent { print $1 }'
    return
  fi
  for stat in /proc/[0-9]*/stat; do
    { read -r rest <"$stat"; } 2>/dev/null || continue
    rest=${rest##*) }
    rest=${rest#* }
    if [ "${rest%% *}" = "$1" ]; then
      stat=${stat#/proc/}
      echo "${stat%/stat}"
    fi
  done
}

await_end() { # SECONDS PID...
  local end=$((SECONDS + $1)) pid
  shift
  for pid in "$@"; do
    while alive "$pid"; do
      [ "$SECONDS" -lt "$end" ] || return 1
      sleep 0.05
    done
  done
}

free_port() { # [PORT]
  local port=${1:-} try
  for ((try = 0; try < 200; try++)); do
    # Below the range of the kernel's ports for outgoing connections.
    : "${port:=$((20000 + RANDOM % 12000))}"
    if ! (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
    port=
  done
  die "found no free port on 127.0.0.1"
}

# --- programs -----------------------------------------------------------------------------------------------------

# The folder of the newest PostgreSQL that is new enough. Distributions do not put the server's programs on the PATH.
postgres_programs() {
  local folder version best=0 found=
  for folder in "$(dirname "$(command -v initdb || echo /nowhere/initdb)")" \
    /usr/lib/postgresql/*/bin /usr/libexec/postgresql*/ /usr/pgsql-*/bin \
    /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin /home/linuxbrew/.linuxbrew/opt/postgresql*/bin; do
    folder=${folder%/}
    if [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ] && [ -x "$folder/postgres" ]; then
      version=$("$folder/postgres" --version | sed -n 's/^[^0-9]*\([0-9][0-9]*\).*/\1/p')
      if [ "${version:-0}" -gt "$best" ]; then
        best=$version found=$folder
      fi
    fi
  done
  if [ "$best" -lt "$postgres_at_least" ]; then
    [ "$best" = 0 ] || say "PostgreSQL $best is too old: $postgres_at_least or newer is needed"
    [ "$best" != 0 ] || say "PostgreSQL's programs (initdb, pg_ctl, postgres) are not installed"
    return 1
  fi
  echo "$found"
}

redis_program() {
  local program version
  if ! program=$(command -v redis-server); then
    say "redis-server is not installed"
    return 1
  fi
  version=$("$program" --version | sed -n 's/.*v=\([0-9][0-9]*\).*/\1/p')
  if [ "${version:-0}" -lt "$redis_at_least" ]; then
    say "Redis ${version:-of an unknown version} is too old: $redis_at_least.0 or newer is needed"
    return 1
  fi
  echo "$program"
}

check() { # [postgres] [redis]
  local what failed=0
  [ $# -gt 0 ] || set -- postgres redis
  for what in "$@"; do
    case $what in
      postgres) postgres_programs >/dev/null || failed=1 ;;
      redis) redis_program >/dev/null || failed=1 ;;
      *) die "check supports postgres and redis, not $what" ;;
    esac
  done
  return "$failed"
}

# --- the folder: DIR remembers, `home` holds the servers' files -----------------------------------------------------

dir='' home='' owner=''

open_dir() {
  [ -e "$dir/$mark" ] || die "$dir is no folder of private servers: run \`services.sh up\` first"
  home=$(cat "$dir/home" 2>/dev/null || true)
  owner=$(cat "$dir/owner" 2>/dev/null || true)
}

# Whether the servers' files can lie in DIR itself: their user gets there, and its path is fit for a socket, for two
# configuration files and for a URL.
dir_fits() {
  local socket=$dir/postgres/.s.PGSQL.65535
  case $dir in *[!a-zA-Z0-9/._-]*) return 1 ;; esac
  [ "${#socket}" -le "$socket_path_bytes" ] && as_owner test -x "$dir/." 2>/dev/null
}

make_dir() {
  mkdir -p "$dir"
  : >"$dir/$mark"
  if [ ! -e "$dir/owner" ]; then
    owner=$(id -un)
    if [ "$(id -u)" = 0 ]; then
      owner=nobody
      ! id -u postgres >/dev/null 2>&1 || owner=postgres
    fi
    home=$dir
    if ! dir_fits; then
      home=$(mktemp -d /tmp/flash-sale.XXXXXX)
      chmod 755 "$home"
    fi
    echo "$home" >"$dir/home"
    echo "$owner" >"$dir/owner"
  fi
  open_dir
}

as_owner() {
  if [ "$owner" = "$(id -un)" ]; then
    "$@"
  elif command -v runuser >/dev/null; then
    runuser -u "$owner" -- "$@"
  else
    su -s /bin/sh "$owner" -c "$(printf '%q ' "$@")"
  fi
}

owned_folder() { # PATH
  mkdir -p "$1"
  chmod 700 "$1"
  [ "$owner" = "$(id -un)" ] || chown "$owner" "$1"
}

# --- PostgreSQL -----------------------------------------------------------------------------------------------------

# The postmaster's process id, if it runs: the number in the file may meanwhile belong to another process.
postgres_pid() {
  local pid
  pid=$(head -n 1 "$home/postgres/data/postmaster.pid" 2>/dev/null) || return 1
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  alive "$pid" || return 1
  case $(command_line "$pid") in *"$home/postgres/data"*) echo "$pid" ;; *) return 1 ;; esac
}

init_postgres() { # PROGRAMS
  local data=$home/postgres/data log=$home/postgres/init.log
  [ ! -e "$dir/postgres-initialised" ] || return 0
  rm -rf "$data" # half made
  owned_folder "$home/postgres"
  # --no-sync applies only to these first files: until they are in use there is nothing to lose.
  if ! as_owner "$1/initdb" --pgdata="$data" --username="$user" --auth=trust --encoding=UTF8 --locale=C --no-sync \
    >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "initdb failed"
  fi
  cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$home/postgres'
max_connections = 300
shared_buffers = 1GB
min_wal_size = 1GB
max_wal_size = 2GB
fsync = on
synchronous_commit = on
log_line_prefix = '%m [%p] %q%u@%d '
log_lock_waits = on
# In files below the data folder, so that a killed server leaves nothing in /dev/shm.
dynamic_shared_memory_type = mmap
CONF
  # Without a client program, and before a client can connect.
  if ! as_owner "$1/postgres" --single -D "$data" postgres <<<"CREATE DATABASE $database" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "PostgreSQL's database could not be created"
  fi
  : >"$dir/postgres-initialised"
}

start_postgres() {
  local programs log=$home/postgres/log fixed port try
  ! postgres_pid >/dev/null || return 0
  programs=$(postgres_programs)
  init_postgres "$programs"
  fixed=$(cat "$dir/postgres-port" 2>/dev/null || true)
  for ((try = 0; try < port_tries; try++)); do
    port=${fixed:-$(free_port)}
    # pg_ctl starts the server in its own session: Ctrl-C in a terminal does not reach it.
    if as_owner "$programs/pg_ctl" start --silent --wait --timeout="$start_seconds" --pgdata="$home/postgres/data" \
      --log="$log" --options="-c port=$port" >/dev/null 2>&1; then
      echo "$port" >"$dir/postgres-port"
      return
    fi
    # Another process took the port in the meantime: try another one.
    if [ -n "$fixed" ] || ! grep -q 'in use' "$log" 2>/dev/null; then break; fi
  done
  tail -n 20 "$log" >&2 || true
  die "PostgreSQL did not start"
}

# A copy of the PostgreSQL in the folder $of that follows it, asynchronously.
start_standby() {
  local programs copy log=$home/postgres/init.log
  ! postgres_pid >/dev/null || return 0
  programs=$(postgres_programs)
  # A client program: the folder of the server's may hold links to those alone.
  copy=$(dirname "$(readlink -f "$programs/initdb")")/pg_basebackup
  [ -x "$copy" ] || copy=$(command -v pg_basebackup) || die "pg_basebackup is not installed"
  owned_folder "$home/postgres"
  if ! as_owner "$copy" --pgdata="$home/postgres/data" --write-recovery-conf --checkpoint=fast \
    --wal-method=stream --no-sync --no-password --username="$user" --host="$(cat "$of/home")/postgres" \
    --port="$(cat "$of/postgres-port")" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "the standby's files could not be copied"
  fi
  echo "unix_socket_directories = '$home/postgres'" >>"$home/postgres/data/postgresql.conf"
  : >"$dir/postgres-initialised"
  start_postgres
}

follow_postgres() {
  stop_postgres
  # Not into postgresql.conf: pg_basebackup wrote a standby's first primary here, where it would win.
  echo "primary_conninfo = 'host=$(cat "$of/home")/postgres port=$(cat "$of/postgres-port") user=$user'" \
    >>"$home/postgres/data/postgresql.auto.conf"
  as_owner touch "$home/postgres/data/standby.signal"
  start_postgres
}

promote_postgres() {
  as_owner "$(postgres_programs)/pg_ctl" promote --silent --wait --timeout="$start_seconds" \
    --pgdata="$home/postgres/data" >/dev/null || die "the standby cannot be promoted"
}

stop_postgres() {
  local pid
  pid=$(postgres_pid) || return 0
  kill -INT "$pid" 2>/dev/null || true # fast shutdown
  await_end "$stop_seconds" "$pid" || kill_postgres
}

kill_postgres() {
  local pid children
  pid=$(postgres_pid) || return 0
  # Stopped first, so that it starts no further child while they are listed.
  kill -STOP "$pid" 2>/dev/null || true
  children=$(children_of "$pid")
  # shellcheck disable=SC2086 # one word per process
  kill -KILL "$pid" $children 2>/dev/null || true
  # Its next start fails while one of them holds the shared memory.
  # shellcheck disable=SC2086
  await_end "$stop_seconds" "$pid" $children || die "PostgreSQL ($pid) cannot be killed"
  clear_locks
}

# What a killed PostgreSQL leaves beside its data: a few bytes of System V shared memory, and lock files with its process
# id, which block the next start until process 1 has waited for the dead process (in a container perhaps never).
clear_locks() {
  local lock=$home/postgres/data/postmaster.pid id
  [ -e "$lock" ] || return 0
  id=$(sed -n '7s/.* //p' "$lock")
  if [ -n "$id" ] && command -v ipcrm >/dev/null; then
    as_owner ipcrm -m "$id" >/dev/null 2>&1 || true
  fi
  rm -f "$lock" "$home"/postgres/.s.PGSQL.*
}

# --- Redis ----------------------------------------------------------------------------------------------------------

redis_pid() {
  local pid
  pid=$(cat "$home/redis/pid" 2>/dev/null) || return 1
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  alive "$pid" || return 1
  # Redis' process title has its address in place of its arguments.
  case $(command_line "$pid") in
    *":$(cat "$dir/redis-port" 2>/dev/null) "* | *"$home/redis/redis.conf"*) echo "$pid" ;;
    *) return 1 ;;
  esac
}

write_redis_conf() { # PORT
  cat >"$home/redis/redis.conf" <<CONF
bind 127.0.0.1
port $1
dir "$home/redis"
pidfile "$home/redis/pid"
logfile "$home/redis/log"
daemonize yes
save ""
appendonly no
maxmemory 512mb
maxmemory-policy noeviction
CONF
}

redis_has_no_port() {
  grep -q 'bind: \|Failed listening' "$home/redis/log" 2>/dev/null
}

start_redis() {
  local program log=$home/redis/log fixed port try end
  ! redis_pid >/dev/null || return 0
  program=$(redis_program)
  owned_folder "$home/redis"
  fixed=$(cat "$dir/redis-port" 2>/dev/null || true)
  for ((try = 0; try < port_tries; try++)); do
    port=${fixed:-$(free_port)}
    echo "$port" >"$dir/redis-port"
    write_redis_conf "$port"
    rm -f "$home/redis/pid"
    [ ! -e "$log" ] || mv "$log" "$log.before"
    # It becomes a daemon in its own session: Ctrl-C in a terminal does not reach it.
    as_owner "$program" "$home/redis/redis.conf" >/dev/null 2>&1 || break
    end=$((SECONDS + start_seconds))
    while [ "$SECONDS" -lt "$end" ]; do
      if grep -q 'Ready to accept connections' "$log" 2>/dev/null && redis_pid >/dev/null; then
        return
      fi
      ! redis_has_no_port || break
      sleep 0.02
    done
    # Another process took the port in the meantime: try another one.
    if [ -n "$fixed" ] || ! redis_has_no_port; then break; fi
    rm -f "$dir/redis-port"
  done
  tail -n 20 "$log" >&2 || true
  die "Redis did not start"
}

stop_redis() {
  local pid
  pid=$(redis_pid) || return 0
  kill -TERM "$pid" 2>/dev/null || true
  await_end "$stop_seconds" "$pid" || kill_redis
}

kill_redis() {
  local pid
  pid=$(redis_pid) || return 0
  kill -KILL "$pid" 2>/dev/null || true
  await_end "$stop_seconds" "$pid" || die "Redis ($pid) cannot be killed"
}

# --- PgBouncer ------------------------------------------------------------------------------------------------------

pooler_program() {
  command -v pgbouncer || { [ -x /usr/sbin/pgbouncer ] && echo /usr/sbin/pgbouncer; } ||
    die "PgBouncer is not installed: scripts/install-services.sh pgbouncer"
}

pooler_pid() {
  local pid
  pid=$(cat "$home/pooler/pid" 2>/dev/null) || return 1
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  alive "$pid" || return 1
  case $(command_line "$pid") in *"$home/pooler/pgbouncer.ini"*) echo "$pid" ;; *) return 1 ;; esac
}

write_pooler_conf() { # PORT
  cat >"$home/pooler/pgbouncer.ini" <<CONF
[databases]
* = host=$(cat "$of/home")/postgres port=$(cat "$of/postgres-port")
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $1
unix_socket_dir =
auth_type = trust
auth_file = $home/pooler/users
pool_mode = $pool_mode
default_pool_size = 100
ignore_startup_parameters = $ignored_parameters
logfile = $home/pooler/log
pidfile = $home/pooler/pid
CONF
  echo "\"$user\" \"\"" >"$home/pooler/users"
  chmod 644 "$home"/pooler/*
}

start_pooler() {
  local program port try end
  program=$(pooler_program)
  owned_folder "$home/pooler"
  for ((try = 0; try < port_tries; try++)); do
    port=$(free_port)
    echo "$port" >"$dir/pooler-port"
    write_pooler_conf "$port"
    # It becomes a daemon. If another process took the port in the meantime, it ends.
    as_owner "$program" --daemon --quiet "$home/pooler/pgbouncer.ini" || continue
    end=$((SECONDS + start_seconds))
    while [ "$SECONDS" -lt "$end" ]; do
      ! pooler_pid >/dev/null || return 0
      sleep 0.02
    done
  done
  tail -n 20 "$home/pooler/log" >&2 || true
  die "PgBouncer did not start"
}

stop_pooler() {
  local pid
  pid=$(pooler_pid) || return 0
  kill -KILL "$pid" 2>/dev/null || true
  await_end "$stop_seconds" "$pid" || die "PgBouncer ($pid) cannot be killed"
}

# --- NATS -----------------------------------------------------------------------------------------------------------

nats_pid() {
  local pid
  pid=$(cat "$home/nats/pid" 2>/dev/null) || return 1
  case $pid in '' | *[!0-9]*) return 1 ;; esac
  alive "$pid" || return 1
  case $(command_line "$pid") in *"$home/nats/nats.conf"*) echo "$pid" ;; *) return 1 ;; esac
}

write_nats_conf() { # PORT
  cat >"$home/nats/nats.conf" <<CONF
listen: "127.0.0.1:$1"
pid_file: "$home/nats/pid"
log_file: "$home/nats/log"
jetstream { store_dir: "$home/nats/data" }
CONF
  chmod 644 "$home/nats/nats.conf"
}

start_nats() {
  local program fixed port try end
  ! nats_pid >/dev/null || return 0
  program=$(command -v nats-server) || die "NATS is not installed: scripts/install-services.sh nats"
  owned_folder "$home/nats"
  fixed=$(cat "$dir/nats-port" 2>/dev/null || true)
  for ((try = 0; try < port_tries; try++)); do
    port=${fixed:-$(free_port)}
    echo "$port" >"$dir/nats-port"
    write_nats_conf "$port"
    rm -f "$home/nats/pid" "$home/nats/log"
    # In a session of its own: Ctrl-C in a terminal does not reach it.
    (as_owner setsid "$program" --config "$home/nats/nats.conf" >/dev/null 2>&1 &)
    end=$((SECONDS + start_seconds))
    while [ "$SECONDS" -lt "$end" ]; do
      if grep -q 'Server is ready' "$home/nats/log" 2>/dev/null && nats_pid >/dev/null; then return; fi
      ! grep -q 'address already in use' "$home/nats/log" 2>/dev/null || break
      sleep 0.02
    done
    # Another process took the port in the meantime: try another one.
    [ -z "$fixed" ] || break
  done
  tail -n 20 "$home/nats/log" >&2 || true
  die "NATS did not start"
}

kill_nats() {
  local pid
  pid=$(nats_pid) || return 0
  kill -KILL "$pid" 2>/dev/null || true
  await_end "$stop_seconds" "$pid" || die "NATS ($pid) cannot be killed"
}

# --- verbs ----------------------------------------------------------------------------------------------------------

exports() { # postgres|redis|nats...
  local what
  for what in "$@"; do
    case $what in
      postgres)
        printf "export DATABASE_URL='postgres://%s@localhost/%s?sslmode=disable&host=%s&port=%s'\n" \
          "$user" "$database" "$home/postgres" "$(cat "$dir/postgres-port")"
        ;;
      pooler)
        printf "export DATABASE_URL='postgres://%s@127.0.0.1:%s/%s?sslmode=disable'\n" \
          "$user" "$(cat "$dir/pooler-port")" "$database"
        ;;
      redis) printf "export REDIS_URL='redis://127.0.0.1:%s/0'\n" "$(cat "$dir/redis-port")" ;;
      nats) printf "export NATS_URL='nats://127.0.0.1:%s'\n" "$(cat "$dir/nats-port")" ;;
    esac
  done
}

interrupted=0

undo() {
  local code=$?
  [ "$code" = 0 ] || down
  exit "$code"
}

up() { # postgres|redis|standby|pooler|nats...
  local what
  [ "$1" = pooler ] || [ "$1" = nats ] || check "${@/standby/postgres}" || exit 1
  if [ -d "$dir" ] && [ ! -e "$dir/$mark" ] && [ -n "$(ls -A "$dir")" ]; then
    die "$dir has other things in it: name a folder that does not exist yet"
  fi
  trap undo EXIT
  make_dir
  for what in "$@"; do
    "start_$what"
    [ "$interrupted" = 0 ] || exit "$interrupted"
  done
  exports "${@/standby/postgres}"
}

down() {
  if [ ! -e "$dir/$mark" ]; then
    [ ! -e "$dir" ] || rmdir "$dir" 2>/dev/null || die "$dir was not made by \`services.sh up\`: left alone"
    return 0
  fi
  open_dir
  if [ -n "$home" ]; then
    kill_nats
    stop_pooler
    stop_redis
    stop_postgres
    clear_locks
    rm -rf "$home"
  fi
  rm -rf "$dir"
}

usage() {
  sed -n '2,/^$/{ s/^# \{0,1\}//; p; }' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# A signal must not interrupt between a server's start and the recording of its process id: it takes effect after each step.
trap 'interrupted=129' HUP
trap 'interrupted=130' INT
trap 'interrupted=143' TERM

umask 022
# Servers must not inherit the caller's open files (a lock, a pipe that another process reads to its end).
exec </dev/null
for open in /dev/fd/*; do
  open=${open#/dev/fd/}
  case $open in [3-9] | [1-9][0-9]) eval "exec $open>&-" ;; esac
done

verb=${1:-}
case $verb in
  check)
    shift
    check "$@"
    exit
    ;;
  programs)
    programs=$(postgres_programs)
    # The folder may hold links, and not to all of them.
    dirname "$(readlink -f "$programs/initdb")"
    exit
    ;;
  free-port)
    free_port "${2:-}"
    exit
    ;;
esac

of=${3:-}
# How the pooler runs.
pool_mode=session ignored_parameters='extra_float_digits, options'
case $verb in
  up-strict-pooler) verb=up-pooler ignored_parameters= ;;
  up-transaction-pooler) verb=up-pooler pool_mode=transaction ;;
esac
case $verb in up-standby | up-pooler | follow-postgres) [ ! -e "$of/$mark" ] || set -- "$verb" "$2" ;; esac
if [ $# != 2 ] || [ -z "$2" ]; then usage; fi
case $2 in /*) dir=${2%/} ;; *) dir=$PWD/${2%/} ;; esac
# The servers' user may have no access to the current folder.
cd /
# The caller's settings for PostgreSQL programs belong to other servers.
unset "${!PG@}"

case $verb in
  up) up postgres redis ;;
  up-postgres) up postgres ;;
  up-redis) up redis ;;
  up-standby) up standby ;;
  up-pooler) up pooler ;;
  up-nats) up nats ;;
  down) down ;;
  start-postgres | start-redis | start-nats)
    open_dir
    "start_${verb#*-}"
    exports "${verb#*-}"
    ;;
  restart-postgres)
    open_dir
    stop_postgres
    start_postgres
    exports postgres
    ;;
  follow-postgres)
    open_dir
    follow_postgres
    ;;
  promote-postgres)
    open_dir
    promote_postgres
    ;;
  kill-postgres | kill-redis | kill-nats)
    open_dir
    "kill_${verb#*-}"
    ;;
  *) usage ;;
esac
