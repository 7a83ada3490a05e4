#!/usr/bin/env bash
# `make mutants`: removes each protection, one at a time, and checks that the tests of that protection fail.
#
#   mutants.sh              all of them
#   mutants.sh NAME...      only tests/mutants/NAME.patch
#   mutants.sh --fit        only checks that every patch still applies to the code
#
# The head of a patch names what it removes, which promise that keeps, and which tests must fail without it. The code is
# changed in a copy, below one temporary folder, on servers of its own. First all named tests must pass on the unchanged
# code: a test that cannot pass proves nothing. A protection whose tests still pass, and a patch that does not apply, fail
# the run.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=mutants stop_seconds=30
readonly patches=$PWD/tests/mutants
# A change may make a test hang.
readonly patience=300
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

header() { # PATCH FIELD
  sed -n "s/^$2: //p" "$patches/$1.patch"
}

fits() { # PATCH, in the folder whose code it changes
  local field test
  git apply --check "$patches/$1.patch" || die "$1.patch does not apply to the code any more: create it again"
  for field in Without Promise Check; do
    [ -n "$(header "$1" "$field")" ] || die "$1.patch has no field $field"
  done
  while read -r _ test; do
    grep -rqE "(fn |^ +)${test##*::}\b" src tests/it || die "$1.patch names a test that does not exist: $test"
  done < <(header "$1" Check)
}

# Runs one test: passed, failed, or another result, which is reported and ends the run. A test that hangs proves nothing.
check() { # lib|it TEST
  local target=(--lib) code=0
  [ "$1" = lib ] || target=(--test "$1")
  run cargo test --locked --quiet --no-run "${target[@]}" >"$folder/output" 2>&1 || code=$?
  if [ "$code" = 0 ]; then
    TMPDIR=$folder/t run timeout "$patience" \
      cargo test --locked "${target[@]}" -- --exact "$2" >"$folder/output" 2>&1 || code=$?
    if grep -q '^test result: ok. 1 passed' "$folder/output"; then return 0; fi
    if grep -q '^test result: FAILED. 0 passed; 1 failed' "$folder/output"; then return 1; fi
  fi
  cat "$folder/output" >&2
  die "$2 neither passed nor failed ($code)"
}

as_the_code_is() {
  local kind test
  while read -r kind test; do
    check "$kind" "$test" || { cat "$folder/output" >&2 && die "$test does not pass on the unchanged code"; }
  done <"$folder/checks"
}

mutate() { # PATCH
  local kind test red=() green=()
  git apply "$patches/$1.patch" || die "$1: the patch cannot be applied"
  while read -r kind test; do
    if check "$kind" "$test"; then green+=("$test"); else red+=("$test"); fi
  done < <(header "$1" Check)
  git apply --reverse "$patches/$1.patch" || die "$1: the patch cannot be reversed"
  printf '| %s | %s | %s |\n' "$(header "$1" Without)" "$(header "$1" Promise)" "${red[*]:-**none**}${green:+, but not ${green[*]}}"
  [ ${#green[@]} = 0 ]
}

if [ "${1:-}" = --fit ]; then
  for patch in "$patches"/*.patch; do fits "$(basename "$patch" .patch)"; done
  exit
fi

all=("$@")
if [ ${#all[@]} = 0 ]; then
  for patch in "$patches"/*.patch; do all+=("$(basename "$patch" .patch)"); done
fi
for one in "${all[@]}"; do
  [ -e "$patches/$one.patch" ] || die "there is no tests/mutants/$one.patch"
  fits "$one"
done

make_folder_in_memory
install_servers
obey
start_servers_for_tests

# A separate build folder, so that no other build uses a changed program. The copied files have new times, which cargo
# compares, so that it does not use the last run's build either.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/mutants
mkdir "$folder/code"
tar --exclude='./target*' --exclude=./.git --exclude=./.local -cf - . | tar -xmf - -C "$folder/code"
code=$PWD
cd "$folder/code"

say "all named tests, on the unchanged code"
for one in "${all[@]}"; do header "$one" Check; done | sort -u >"$folder/checks"
as_the_code_is

missed=0
printf '| removed | promise | fails |\n|---|---|---|\n'
for one in "${all[@]}"; do
  mutate "$one" || missed=$((missed + 1))
done
# The tests failed because of the missing protection, not because of another cause.
say "all named tests once more, on the unchanged code"
as_the_code_is
cd "$code"
[ "$missed" = 0 ] || die "$missed of ${#all[@]} protections can be removed without a failure of every named test"
say "tests fail without each of the ${#all[@]} protections"
