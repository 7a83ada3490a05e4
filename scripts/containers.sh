#!/usr/bin/env bash
# `make containers`: builds the image, brings Compose up on an engine of its own, and does what docs/operations.md tells an
# operator to do, while buyers buy. It ends at the first expectation that is not met. Its steps: docs/operations.md, Compose.
#
#   containers.sh [PROGRAM]     PROGRAM is a flash-sale that is built already; without it the image's build compiles one
#
# A step of .ci/run: with a program that is built and images in the cache it takes five minutes on two cores. On a new machine the
# two Debians that stand in for images take four to six more.
#
# Exit code 3: this machine cannot run it, because it lacks root, packages, images or what an engine needs of the kernel.
#
# Needs Linux and root: the engine runs in namespaces of its own (network, mounts, processes), without a way out. Packages of
# Debian that are missing are installed, without starting a service. Nothing is left but images below the user's cache.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=containers stop_seconds=30 ready_seconds=60
readonly page=docs/operations.md
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh
unset "${!COMPOSE_@}" "${!DOCKER_@}" "${!FLASH_SALE_@}"

# This machine is not fit for it, whatever the code is like.
cannot() {
  say "$@"
  exit 3
}

program=${1:-}
[ -z "$program" ] || [ -x "$program" ] || die "$program is no program"
[ "$(id -u)" = 0 ] || cannot "needs root, for the namespaces of its engine"

# --- processes, and their end ------------------------------------------------------------------------------------------

engine='' task='' crowd=''

# With the last lines of every container, which end with this script.
die() {
  [ -z "$engine" ] || timeout 20 docker compose logs --no-color --tail 12 >&2 || true
  say "$@"
  exit 1
}

# Runs a command beside the engine, so that a signal to this script ends it too.
go() { # COMMAND...
  local code=0
  set -m
  "$@" &
  task=$!
  set +m
  wait "$task" || code=$?
  obey
  task=
  return "$code"
}

# The same without its output, unless it fails.
quiet() { # COMMAND...
  go "$@" >"$folder/output" 2>&1 && return
  tail -n 40 "$folder/output" >&2
  die "failed: $*"
}

# Waits for a condition that comes within a minute.
await() { # WHAT COMMAND...
  local what=$1 end=$((SECONDS + ready_seconds))
  shift
  until "$@" >/dev/null 2>&1; do
    obey
    [ "$SECONDS" -lt "$end" ] || die "it did not come: $what"
    sleep 0.2
  done
}

# A Docker engine, whose process 1 is `engine`.
start_engine() {
  set -m
  unshare --net --mount --propagation slave --pid --fork --kill-child --mount-proc \
    bash scripts/containers/engine.sh "$folder" >"$folder/engine.out" 2>&1 &
  child=$!
  set +m
  await "the engine's first process" pgrep --parent "$child"
  engine=$(pgrep --parent "$child")
  export DOCKER_HOST=unix://$folder/docker.sock
  await "an answer or the end of the engine" eval 'docker version || ! kill -0 "$child"'
  docker version >/dev/null 2>&1 || {
    tail -n 20 "$folder/engine.out" "$folder/engine.log" >&2 || true
    engine=
    cannot "the engine ended"
  }
}

on_its_network() { nsenter --net="/proc/$engine/ns/net" -- "$@"; }

# Called by own-servers.sh before it ends `child` and removes `folder`.
end_beforehand() {
  local group
  for group in $task $crowd; do
    kill -TERM -- "-$group"
    # The first process of a namespace ignores the signal.
    await_end 5 "-$group"
    kill -KILL -- "-$group"
  done
  if [ -n "$engine" ]; then
    # The engine stops its containers; whatever is left then ends with the first process of its namespaces.
    kill -TERM "$engine"
    await_end 20 "$engine"
    kill -KILL "$engine"
    await_end 5 "$engine"
  fi
  [ -n "$folder" ] || return
  rm -f "$cache"/.*."$$"
  find /sys/fs/cgroup -depth -type d -path "*/${folder##*/}*" -exec rmdir {} +
}

# --- what is expected ---------------------------------------------------------------------------------------------------

passed=0
seen() {
  passed=$((passed + 1))
  printf '%s: ok %2d  %s\n' "$name" "$passed" "$*"
}

expect() { # WHAT ACTUAL EXPECTED
  [ "$2" = "$3" ] || die "$1: expected $3, not ${2:-nothing}"
}

expect_in() { # WHAT TEXT PART
  [[ $2 == *"$3"* ]] || die "$1: expected $3 in: ${2:-nothing}"
}

# --- the page -----------------------------------------------------------------------------------------------------------

# Runs a block of the page as it stands, in what a terminal would be: it keeps the variables of the blocks before. Only the folder
# of the secrets is another one, and the files of Compose get one more, with what this run lacks.
from_page() { # BLOCK
  sed -n "/^\`\`\`sh $1\$/,/^\`\`\`\$/{ /^\`\`\`/d; p; }" "$page" |
    sed -e "s|/etc/flash-sale|$folder/etc|g" -e "s|^export COMPOSE_FILE=.*|&:$folder/own.yml|" >"$folder/block"
  [ -s "$folder/block" ] || die "$page has no block \`$1\`"
  echo "$1" >>"$folder/blocks"
  cat - "$folder/terminal" "$folder/block" >"$folder/commands" <<<'set -euo pipefail'
  # shellcheck disable=SC2016 # the block's variables
  printf 'for name in FLASH_SALE_SECRETS COMPOSE_FILE keys new; do
      [ -z "${!name+set}" ] || printf "export %%s=%%q\\n" "$name" "${!name}"
    done >%q\n' "$folder/terminal" >>"$folder/commands"
  quiet bash "$folder/commands"
  # shellcheck source=/dev/null
  . "$folder/terminal"
}

# A block that was not run may be wrong.
every_block_ran() {
  local block
  while read -r block; do
    grep -qx "${block:-without a name}" "$folder/blocks" || die "the block ${block:-without a name} of $page was not run"
  done < <(awk '/^```sh/ { name = $2; begun = 1; next } /^```$/ { begun = 0 } begun && /docker compose/ { print name; begun = 0 }' "$page")
  seen "every command of $page that names Compose was run as it stands"
}

# ------------------------------------------------------------------------------------------------------------------------

# shellcheck source=scripts/containers/images.sh
. scripts/containers/images.sh
# shellcheck source=scripts/containers/checks.sh
. scripts/containers/checks.sh
# shellcheck source=scripts/containers/selling.sh
. scripts/containers/selling.sh

make_folder
scripts/install-services.sh containers || cannot "there is no engine to run"
obey
touch "$folder/terminal" "$folder/blocks"
export DOCKER_CONFIG=$folder/client COMPOSE_ENV_FILES=/dev/null
install_compose
start_engine
provide_images
build_image
the_image_is_small_and_says_what_it_is
a_second_build_changes_nothing

the_page_brings_development_up
bad_secrets_are_refused_before_anything_is_made
the_page_brings_production_up
nothing_is_published_but_on_loopback
only_instances_reach_the_data
a_protected_redis_is_unhealthy
roles_have_their_rights_and_no_others
another_up_mends_passwords_and_replaces_nothing

open_a_sale
the_balancer_answers_as_the_instances_do
buyers_buy_while an_instance_is_stopped
buyers_buy_while an_instance_crashes
buyers_buy_while the_service_is_upgraded
buyers_buy_while passwords_change
buyers_buy_while signing_keys_change
the_balancer_says_that_no_instance_is_there
the_audit_agrees

no_secret_is_in_a_log
down_leaves_named_volumes_alone
every_block_ran
say "all $passed expectations are met"
