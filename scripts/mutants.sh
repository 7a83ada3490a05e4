#!/usr/bin/env bash
# `make mutants`: takes each protection out, one at a time, and sees that the checks that watch it go red.
#
#   mutants.sh              all of them
#   mutants.sh NAME...      tests/mutants/NAME.patch alone
#   mutants.sh --fit        only whether every patch still fits the code
#
# A patch says in its head what it takes out, which promise that keeps, and which tests must fail without it. The code is
# changed in a copy, below one temporary folder, on servers of its own. First all named tests must pass as the code is: one that
# cannot pass proves nothing. A protection that nobody misses, and a patch that does not fit, fail the run.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=mutants stop_seconds=30
readonly patches=$PWD/tests/mutants
# A change may well make a test wait for ever.
readonly patience=300
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

says() { # PATCH FIELD
  sed -n "s/^$2: //p" "$patches/$1.patch"
}

fits() { # PATCH, in the folder whose code it changes
  local field test
  git apply --check "$patches/$1.patch" || die "$1.patch does not fit the code any more: make it anew"
  for field in Without Promise Check; do
    [ -n "$(says "$1" "$field")" ] || die "$1.patch does not say what its $field is"
  done
  while read -r _ test; do
    grep -rqE "(fn |^ +)${test##*::}\b" src tests/it || die "$1.patch names a test that is not there: $test"
  done < <(says "$1" Check)
}

# Runs one test: passed, failed, or something else, which is told and ends the run. A test that waits for ever tells nothing.
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
    check "$kind" "$test" || { cat "$folder/output" >&2 && die "$test does not pass as the code is"; }
  done <"$folder/checks"
}

mutate() { # PATCH
  local kind test red=() green=()
  git apply "$patches/$1.patch" || die "$1: the patch cannot be applied"
  while read -r kind test; do
    if check "$kind" "$test"; then green+=("$test"); else red+=("$test"); fi
  done < <(says "$1" Check)
  git apply --reverse "$patches/$1.patch" || die "$1: the patch cannot be taken back"
  printf '| %s | %s | %s |\n' "$(says "$1" Without)" "$(says "$1" Promise)" "${red[*]:-**nobody**}${green:+, but not ${green[*]}}"
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

make_folder
install_servers
obey
start_servers_for_tests

# A place of its own for what is built: nobody else may take a changed program for the real one. Files are new to cargo, which
# looks at their times, so that it does not take the last run's for this one's either.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/mutants
mkdir "$folder/code"
tar --exclude='./target*' --exclude=./.git --exclude=./.local -cf - . | tar -xmf - -C "$folder/code"
code=$PWD
cd "$folder/code"

say "all named tests, as the code is"
for one in "${all[@]}"; do says "$one" Check; done | sort -u >"$folder/checks"
as_the_code_is

missed=0
printf '| taken out | keeps | goes red |\n|---|---|---|\n'
for one in "${all[@]}"; do
  mutate "$one" || missed=$((missed + 1))
done
# Red for want of a protection, and not because something else has gone meanwhile.
say "all named tests once more, as the code is"
as_the_code_is
cd "$code"
[ "$missed" = 0 ] || die "$missed of ${#all[@]} protections can be taken out without every named test going red"
say "all ${#all[@]} protections are missed when they are gone"
