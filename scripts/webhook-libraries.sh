#!/usr/bin/env bash
# Installs what examples/webhook_receiver.py and examples/webhook_receiver.mjs need, and prints the folder that has it: a Python
# environment with Node in bin/, and node_modules/. tests/webhooks has the versions.
#
# The folder is below the user's cache, and stays there; the system's Python and Node are not changed.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  echo "webhook-libraries: $*" >&2
  exit 1
}

pins=$(cat tests/webhooks/requirements.txt tests/webhooks/package.json | cksum | cut -d ' ' -f 1)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/flash-sale-webhooks-$pins
if [ ! -e "$folder/complete" ]; then
  scripts/install-services.sh python >&2 || die "there is no Python 3.10 or newer with venv"
  rm -rf "$folder"
  mkdir -p "$folder"
  python3 -m venv "$folder" >&2 || die "python3 cannot create a virtual environment"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement tests/webhooks/requirements.txt >&2 ||
    die "the Python packages cannot be installed"
  cp tests/webhooks/package.json "$folder"
  (
    cd "$folder"
    export PATH=$folder/bin:$PATH npm_config_cache=$folder/npm npm_config_update_notifier=false
    npm install --silent --ignore-scripts --no-audit --no-fund >&2
  ) || die "the npm packages cannot be installed"
  touch "$folder/complete"
fi
echo "$folder"
