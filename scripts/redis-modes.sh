#!/usr/bin/env bash
# `make redis-modes`: the black-box tests with a Redis Cluster of three masters in place of the one Redis that they share, then with a
# master that three Sentinels watch: what holds with one server holds in each mode. MODES names the modes ("cluster sentinel").
# Arguments go to the tests.
#
# A test with a Redis of its own keeps it. Left out are the tests that look into the shared one with commands of their own, and those
# of chaos, which has a cluster and Sentinels itself. All servers are below one temporary folder, which is removed at the end.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=redis-modes stop_seconds=60 modes=${MODES:-cluster sentinel} master_name=shop
readonly left_out=(
  chaos:: redis_ valkey::
  events::the_stream_ examples::sixty_of_sixty reasons::a_wrong_password sold_out_hints::forged_news
)
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

servers=()
# clean_up calls it.
# shellcheck disable=SC2317
end_beforehand() {
  [ ${#servers[@]} = 0 ] || kill "${servers[@]}"
}

# Starts a server on a free port, and sets `port`.
start_redis() { # ARGUMENT of redis-server...
  local end=$((SECONDS + 20)) home
  port=$(scripts/services.sh free-port)
  home=$folder/redis-$port
  mkdir "$home"
  redis-server "$@" --port "$port" --bind 127.0.0.1 --dir "$home" >"$home/log" 2>&1 &
  servers+=("$!")
  until redis-cli -p "$port" ping >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || die "a Redis server did not start: $(tail -n 2 "$home/log")"
    obey
    sleep 0.05
  done
}

# Both print what instances have to be told.
start_cluster() {
  local nodes=() bus
  while [ ${#nodes[@]} -lt 3 ]; do
    bus=$(scripts/services.sh free-port)
    start_redis --save '' --cluster-enabled yes --cluster-port "$bus"
    nodes+=("127.0.0.1:$port")
  done
  redis-cli --cluster create "${nodes[@]}" --cluster-yes >"$folder/cluster" || die "there is no cluster: $(tail -n 3 "$folder/cluster")"
  settings="redis.mode=cluster redis.nodes=$(IFS=, && echo "${nodes[*]}")"
}

start_sentinels() {
  local nodes=() master
  start_redis --save ''
  master=$port
  while [ ${#nodes[@]} -lt 3 ]; do
    printf 'sentinel monitor %s 127.0.0.1 %s 2\n' "$master_name" "$master" >"$folder/sentinel-${#nodes[@]}.conf"
    start_redis "$folder/sentinel-${#nodes[@]}.conf" --sentinel
    nodes+=("127.0.0.1:$port")
  done
  settings="redis.mode=sentinel redis.nodes=$(IFS=, && echo "${nodes[*]}") redis.sentinel.master_name=$master_name"
}

make_folder_in_memory
install_servers
command -v redis-cli >/dev/null || die "redis-cli is not installed: it makes the cluster"
obey
start_servers_for_tests
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
for mode in $modes; do
  case $mode in
    cluster) start_cluster ;;
    sentinel) start_sentinels ;;
    *) die "there is no mode $mode" ;;
  esac
  say "testing with $settings"
  FLASH_SALE_TEST_REDIS_SETTINGS=$settings TMPDIR=$folder/t \
    run cargo test --locked --test it -- "${left_out[@]/#/--skip=}" "$@"
done
