#!/usr/bin/env bash
# `make clients`: lints the service's OpenAPI documents with redocly and spectral, generates clients from that of buyers with
# openapi-typescript, hey-api, orval and openapi-python-client, compiles them strictly, and lets each of them buy. Clients of operators,
# by openapi-typescript and openapi-python-client, create a sale, import, restock and take a purchase back. Then the buyer in
# examples/typescript is compiled and buys.
#
# tests/clients has the versions, the configurations and a program for each client. Node, which most of them need, is
# installed from the Python package index, because a distribution's may be too old. Everything is below one temporary folder, which
# is removed at the end.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=clients stop_seconds=30
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

quietly() { # COMMAND...
  "$@" >"$folder/output" 2>&1 || {
    cat "$folder/output" >&2
    die "failed: $*"
  }
  obey
}

in_folder() { # FOLDER COMMAND...
  (cd "$folder/$1" && shift && exec "$@")
}

make_folder
install_servers
scripts/install-services.sh python || die "there is no Python 3.10 or newer with venv"
obey
build_program

say "installing the generators"
cp -R tests/clients examples/typescript "$folder"
export TMPDIR=$folder/t npm_config_cache=$folder/npm npm_config_update_notifier=false
quietly run python3 -m venv "$folder/tools"
export PATH=$folder/clients/node_modules/.bin:$folder/tools/bin:$PATH
quietly run pip install --quiet --disable-pip-version-check --requirement tests/clients/requirements.txt
# Without the packages' own programs: none of them is needed to run.
for one in clients typescript; do
  quietly run in_folder "$one" npm install --ignore-scripts --no-audit --no-fund
done

# Below the ports that the system gives to clients.
FLASH_SALE__ADMIN__PORT=$((20000 + RANDOM % 10000))
export FLASH_SALE__ADMIN__PORT
# The instance is the child that ends with this script; everything else runs in the foreground.
start_servers
start_instance
sale=$("$program" sale create --items 5 --stock 1000 --output json 2>/dev/null | sed -n 's/.*"sale_id":"\([^"]*\)".*/\1/p')
[ -n "$sale" ] || die "the sale was not created"
KEY=$("$program" key create clients --scopes read,operate --output json 2>/dev/null | sed -n 's/.*"key":"\([^"]*\)".*/\1/p')
[ -n "$KEY" ] || die "the key for operators was not created"
export SHOP=$url SALE=$sale KEY ADMIN=http://127.0.0.1:$FLASH_SALE__ADMIN__PORT
curl --silent --fail --output "$folder/clients/openapi.json" "$url/openapi.json" || die "the service does not serve its document"

say "linting the documents"
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true
"$program" openapi --admin >"$folder/clients/admin.json" || die "the program does not print the document of operators"
for document in openapi.json admin.json; do
  quietly in_folder clients redocly lint --config redocly.yaml "$document"
  quietly in_folder clients spectral lint --ruleset spectral.yaml --fail-severity warn "$document"
done

say "generating clients"
quietly in_folder clients openapi-typescript openapi.json --output openapi-typescript/client.ts
quietly in_folder clients openapi-typescript admin.json --output openapi-typescript/admin.ts
quietly in_folder clients openapi-ts
quietly in_folder clients orval --config orval.config.ts
quietly in_folder clients openapi-python-client generate --path openapi.json --meta none \
  --output-path openapi-python-client/client --overwrite
# Without the import, whose body is no JSON: the generator leaves it out, and says so.
quietly in_folder clients openapi-python-client generate --path admin.json --meta none \
  --output-path openapi-python-client/admin --overwrite
quietly in_folder typescript npm run types

say "compiling them strictly"
quietly in_folder clients tsc --project tsconfig.json
quietly in_folder clients tsc --project hey-api
quietly in_folder clients/openapi-python-client mypy client admin buy.py operate.py
quietly in_folder typescript npm run build

say "buying with them"
for one in openapi-typescript hey-api orval; do
  quietly in_folder clients tsx "$one/buy.ts"
done
quietly in_folder clients/openapi-python-client python buy.py
say "operating with them"
quietly in_folder clients tsx openapi-typescript/operate.ts
quietly in_folder clients/openapi-python-client python operate.py
# The example as it stands, and compiled, as for an older Node.
quietly in_folder typescript node buyer.ts "$url" typescript 1 2:2
quietly in_folder typescript node build/buyer.js "$url" javascript 1 2:2
for one in openapi-typescript hey-api orval openapi-python-client typescript javascript; do
  purchases=$(curl --silent --fail "$url/v2/buyers/$one/purchases")
  [[ $purchases == *'"pieces_bought":3,'* ]] || die "$one has not bought: $purchases"
  say "$one has bought"
done
check_instance
