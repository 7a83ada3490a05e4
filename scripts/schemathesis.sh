#!/usr/bin/env bash
# `make schemathesis`: sends thousands of valid and invalid requests generated from the service's OpenAPI documents, that of
# buyers and that of operators, and checks every response against them. SEED is the seed (1). tests/schemathesis.toml configures the checks.
#
# It uses servers and an instance of its own, below one temporary folder, which is removed at the end. schemathesis itself is
# installed from the Python package index into a folder below the user's cache; the system's Python is not changed.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=schemathesis stop_seconds=30
readonly version=4.32.5 project=$PWD
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

tool=${XDG_CACHE_HOME:-$HOME/.cache}/flash-sale-schemathesis-$version
install_tool() {
  [ ! -x "$tool/bin/schemathesis" ] || return 0
  scripts/install-services.sh python || die "there is no Python 3.10 or newer with venv to run schemathesis with"
  obey
  rm -rf "$tool" "$tool.new"
  mkdir -p "$(dirname "$tool")"
  say "installing schemathesis $version below $(dirname "$tool")"
  run python3 -m venv "$tool" || die "python3 cannot create a virtual environment"
  run "$tool/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version" || {
    rm -rf "$tool"
    die "schemathesis $version cannot be installed"
  }
}

make_folder
install_servers
install_tool
build_program

# schemathesis runs in the foreground.
start_servers
# Below the ports that the system gives to clients.
FLASH_SALE__ADMIN__PORT=$((20000 + RANDOM % 10000))
export FLASH_SALE__ADMIN__PORT
start_instance

# The document's examples name the first sale of an empty database, and its items. The stock outlasts the run.
sale=$("$program" sale create --items 100 --stock 1000000 --buyer-limit 1000 --output json 2>/dev/null |
  sed -n 's/.*"sale_id":"\([^"]*\)".*/\1/p')
[ "$sale" = S-1 ] || die "the sale of the examples does not exist"
checkout=$(curl --silent --fail --request POST "$url/v1/checkout?user_id=dictionary&item_id=1&sale_id=$sale") ||
  die "the service refuses the checkout"
FLASH_SALE_CODE=$(sed -n 's/.*"code":"\([^"]*\)".*/\1/p' <<<"$checkout")
export FLASH_SALE_CODE

key=$("$program" key create schemathesis --scopes read,operate --output json 2>/dev/null |
  sed -n 's/.*"key":"\([^"]*\)".*/\1/p')
[ -n "$key" ] || die "the key for operators was not created"

fuzz() { # CONFIGURATION DOCUMENT OPTION...
  local code=0
  (
    # It writes files into the current folder, which must be the temporary one.
    cd "$folder"
    export SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONPATH=$project/tests PYTHONDONTWRITEBYTECODE=1
    exec "$tool/bin/schemathesis" --config-file "$project/tests/$1" run --no-color --checks all \
      --seed "${SEED:-1}" --generation-database :memory: "${@:3}" "$2"
  ) || code=$?
  obey
  check_instance
  [ "$code" = 0 ] || die "the service does not match $2"
}

fuzz schemathesis.toml "$url/openapi.json"
fuzz schemathesis-admin.toml "http://127.0.0.1:$FLASH_SALE__ADMIN__PORT/admin/openapi.json" --header "X-Api-Key: $key"
