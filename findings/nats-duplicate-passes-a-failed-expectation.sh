#!/usr/bin/env bash
# NATS 2.9.10, JetStream: a message with an expectation that does not hold is answered with success, if the server has its Nats-Msg-Id.
#
# `Nats-Expected-Last-Sequence` and `Nats-Expected-Last-Msg-Id` make an append conditional, as an event store needs it: the server
# refuses a message unless the stream ends as the writer believes. One would expect that a wrong belief is always refused. But ids are
# compared first: a repeat within the duplicate window gets the sequence of its first try and `duplicate: true`, whatever it expects,
# also while others have long written behind it. So success does not say that the stream ended where the writer believed.
#
# A writer that decides on the end of the stream has to look at `duplicate`. A writer that only wants an order can rely on it: each
# message may name the one before it, and the whole series may be repeated after a failure.
#
# Source: processJetStreamMsg in server/stream.go, where checkMsgId comes before getExpectedLastSeq.
# Needs Debian 12 with apt-get and python3 with its registry.
set -euo pipefail

folder=$(mktemp -d)
server=
clean_up() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  [ -z "$server" ] || wait "$server" 2>/dev/null || true
  rm -rf "$folder"
}
trap clean_up EXIT
cd "$folder"

apt-get download -qq nats-server=2.9.10-1+b3
dpkg-deb -x nats-server_*.deb server
python3 -m venv python
python/bin/pip --quiet --disable-pip-version-check install nats-py==2.11.0

server/usr/sbin/nats-server --version
server/usr/sbin/nats-server -js -sd "$folder/data" -a 127.0.0.1 -p -1 --ports_file_dir "$folder" >log 2>&1 &
server=$!
for _ in $(seq 100); do
  ports=$(ls nats-server_*.ports 2>/dev/null || true)
  [ -z "$ports" ] || break
  sleep 0.1
done

cat >probe.py <<'PYTHON'
import asyncio
import json
import sys

import nats
from nats.js.api import StreamConfig
from nats.js.errors import BadRequestError


async def main(url):
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))

    async def append(number, expectation):
        headers = {"Nats-Msg-Id": number, **expectation}
        try:
            answer = await stream.publish("orders.placed", b"{}", headers=headers)
        except BadRequestError as refused:
            return f"refused: {refused.description}"
        return f"stored as {answer.seq}" + (", duplicate" if answer.duplicate else "")

    answers = {
        "1, first": await append("1", {}),
        "2, next": await append("2", {}),
        "3, if the last has number 99": await append("3", {"Nats-Expected-Last-Sequence": "99"}),
        "1, if the last has number 99": await append("1", {"Nats-Expected-Last-Sequence": "99"}),
        "1, if the last has id 7": await append("1", {"Nats-Expected-Last-Msg-Id": "7"}),
    }
    for what, answer in answers.items():
        print(f"message {what}: {answer}")
    _, _, new, by_number, by_id = answers.values()
    assert new.startswith("refused"), "an expectation of a new message is not checked any more"
    assert by_number == by_id == "stored as 1, duplicate", "a duplicate's expectation is checked now"
    await connection.close()


asyncio.run(main(json.load(open(sys.argv[1]))["nats"][0]))
PYTHON
python/bin/python probe.py "$ports"
