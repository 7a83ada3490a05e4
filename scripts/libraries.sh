#!/usr/bin/env bash
# Installs packages of Python and Node that tests and benchmarks compare with, and prints the folder that has them: a Python
# environment with Node in bin/, and node_modules/.
#
#   libraries.sh FOLDER   FOLDER/requirements.txt and FOLDER/package.json name the packages and their versions
#
# They go below the user's cache, and stay there; the system's Python and Node are not changed.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
  echo "libraries: $*" >&2
  exit 1
}

pins=${1:?the folder with requirements.txt and package.json}
version=$(cat "$pins/requirements.txt" "$pins/package.json" | cksum | cut -d ' ' -f 1)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/flash-sale-libraries-$version
if [ ! -e "$folder/complete" ]; then
  scripts/install-services.sh python >&2 || die "there is no Python 3.10 or newer with venv"
  rm -rf "$folder"
  mkdir -p "$folder"
  python3 -m venv "$folder" >&2 || die "python3 cannot create a virtual environment"
  "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$pins/requirements.txt" >&2 ||
    die "the Python packages cannot be installed"
  cp "$pins/package.json" "$folder"
  (
    cd "$folder"
    export PATH=$folder/bin:$PATH npm_config_cache=$folder/npm npm_config_update_notifier=false
    npm install --silent --ignore-scripts --no-audit --no-fund >&2
  ) || die "the npm packages cannot be installed"
  touch "$folder/complete"
fi
echo "$folder"
