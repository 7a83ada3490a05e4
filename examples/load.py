#!/usr/bin/env python3
"""A bounded load: buyers who each collect two items and buy them, so many at a time, and what they got.

    load.py http://127.0.0.1:8080 --buyers 200 --parallel 20

Needs Python 3.9 and nothing else. It buys what it finds: use a sale made for it, such as `flash-sale sale create --items 1000`.
The figures are those of a client in Python, far below what the service can do; `make bench` measures that.
"""

import argparse
import collections
import concurrent.futures
import http.client
import json
import random
import sys
import threading
import time

from buyer import Problem, Shop


class Load:
    """Buyers of one sale, and the responses so far."""

    def __init__(self, arguments):
        self.addresses = arguments.addresses.split(",")
        self.sale = arguments.sale or Shop(self.addresses).active_sale()
        self.items = [item["id"] for item in Shop(self.addresses).items(self.sale)]
        # Two runs on one sale have other buyers.
        self.run = f"load-{random.randrange(10**9)}"
        self.deadline = time.monotonic() + arguments.seconds
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.seconds = []

    def visit(self, number):
        """One buyer, unless the time is up."""
        if time.monotonic() > self.deadline:
            return
        began = time.monotonic()
        shop = Shop(self.addresses[number % len(self.addresses) :] + self.addresses[: number % len(self.addresses)])
        items = [{"id": item} for item in random.sample(self.items, min(2, len(self.items)))]
        pieces = 0
        try:
            code = shop.collect(f"{self.run}-{number}", self.sale, items)["code"]
            pieces = shop.buy(code)["pieces_bought"]
            outcome = "bought" if pieces else "nothing_left"
        except Problem as problem:
            outcome = problem.code or str(problem.status)
        except (OSError, http.client.HTTPException, ValueError):
            outcome = "no_response"
        with self.lock:
            self.counts[outcome] += 1
            self.counts["pieces"] += pieces
            self.seconds.append(time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description="Lets buyers collect two items each and buy them, and counts the outcomes.")
    parser.add_argument("addresses", help="http://HOST:PORT of the service, or of several instances, separated by commas")
    parser.add_argument("--buyers", type=int, default=200, help="how many there are (200)")
    parser.add_argument("--parallel", type=int, default=20, help="how many buy at the same time (20)")
    parser.add_argument("--seconds", type=float, default=60, help="no buyer begins after this time (60)")
    parser.add_argument("--sale", help="default: the first of the open sales")
    arguments = parser.parse_args()
    try:
        load = Load(arguments)
    except (Problem, OSError, http.client.HTTPException, ValueError) as failure:
        print(f"load: {failure}", file=sys.stderr)
        return 1
    if not load.items:
        print(f"load: nothing is left of {load.sale}", file=sys.stderr)
        return 1
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(arguments.parallel) as threads:
        list(threads.map(load.visit, range(arguments.buyers)))
    took, seconds = time.monotonic() - began, sorted(load.seconds)
    pieces = load.counts.pop("pieces")
    report = {
        "sale_id": load.sale,
        "buyers": len(seconds),
        "outcomes": dict(load.counts),
        "pieces_bought": pieces,
        "seconds": round(took, 3),
        "buyers_per_second": round(len(seconds) / took, 1),
        "visit_ms": {f"p{part}": round(seconds[(len(seconds) - 1) * part // 100] * 1000) for part in (50, 95, 99)} if seconds else {},
    }
    print(json.dumps(report, indent=1))
    return 1 if load.counts["no_response"] else 0


if __name__ == "__main__":
    sys.exit(main())
