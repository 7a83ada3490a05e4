#!/usr/bin/env python3
"""Reads the events of a shop from its Redis Stream, as one of several consumers that share them.

    pip install redis
    python3 stream_consumer.py redis://localhost:6379 flash-sale:events orders worker-1

Prints each event as a line of JSON. What a consumer has read and not acknowledged, because it died, another one takes over.
"""

import argparse
import signal
import sys

import redis

# Entries of one read.
COUNT = 100
# How long a read waits for the next event, in milliseconds.
BLOCK_MS = 1_000
# A consumer that has not acknowledged an entry for so long is taken for dead, in milliseconds.
IDLE_MS = 60_000


class Consumer:
    """A consumer of a group. Events come at least once: an order system remembers their ids."""

    def __init__(self, url, stream, group, name, idle_ms):
        # Redis answers within the time that a read waits, or it is gone.
        self.redis = redis.Redis.from_url(url, decode_responses=True, socket_timeout=BLOCK_MS / 1_000 + 5)
        self.stream, self.group, self.name, self.idle_ms = stream, group, name, idle_ms
        self.create_group()

    def create_group(self):
        """Creates the group, which begins with the oldest entry that is left, unless it exists."""
        try:
            self.redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def fell_behind(self):
        """Whether what the group read last was cut off the stream: then what came next may have been, too."""
        last = next(
            (it["last-delivered-id"] for it in self.redis.xinfo_groups(self.stream) if it["name"] == self.group), "0-0"
        )
        # The group's `lag` does not tell: in Redis 7.0 it counts what was cut off as waiting, for ever.
        return last != "0-0" and not self.redis.xrange(self.stream, last, last)

    def own(self):
        """What this consumer has read in an earlier run and not acknowledged."""
        return self.read("0", None)

    def next(self):
        """What is to be done now: nothing, if nothing happens for a while."""
        try:
            entries = self.of_the_dead()
            if not entries:
                if self.fell_behind():
                    print("events may have been cut off before they were read", file=sys.stderr, flush=True)
                entries = self.new()
            return entries
        except redis.ResponseError as error:
            if not str(error).startswith(("NOGROUP", "no such key")):
                raise
            # Without sales the stream ends after some days, and its groups with it.
            self.create_group()
            return []

    def of_the_dead(self):
        """What another consumer has read and not acknowledged for long. It is this consumer's now."""
        claimed = self.redis.xautoclaim(self.stream, self.group, self.name, self.idle_ms, count=COUNT)
        return claimed[1]

    def new(self):
        """What no consumer has read. Waits for it a while."""
        return self.read(">", BLOCK_MS)

    def read(self, after, block):
        streams = self.redis.xreadgroup(self.group, self.name, {self.stream: after}, count=COUNT, block=block)
        # By stream; redis-py gives a list or a mapping, as the protocol has it.
        parts = streams.items() if isinstance(streams, dict) else streams or []
        return [entry for _, entries in parts for entry in flat(entries)]

    def acknowledge(self, entry):
        self.redis.xack(self.stream, self.group, entry)


def flat(entries):
    """The entries of a stream, which protocol 3 wraps into a list of their own."""
    return entries[0] if entries and isinstance(entries[0], list) else entries


def main():
    parser = argparse.ArgumentParser(description="Prints the events of a stream.")
    parser.add_argument("url", help="of Redis")
    parser.add_argument("stream", help="its key, such as flash-sale:events")
    parser.add_argument("group", help="consumers of a group share the events; each group gets all of them")
    parser.add_argument("name", help="of this consumer, the same after a restart")
    parser.add_argument("--idle-ms", type=int, default=IDLE_MS, help="when another consumer is taken for dead")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    consumer = Consumer(arguments.url, arguments.stream, arguments.group, arguments.name, arguments.idle_ms)
    entries = consumer.own()
    while True:
        for entry, fields in entries:
            # An entry that was cut off meanwhile has no fields.
            if fields:
                # A real consumer stores the event here, before it acknowledges it.
                print(fields["event"], flush=True)
            consumer.acknowledge(entry)
        entries = consumer.next()


if __name__ == "__main__":
    main()
