#!/usr/bin/env python3
"""A buyer: collects items in a checkout, buys it, and repeats every request until it has a final response.

    buyer.py http://127.0.0.1:8080 ann                 # any two items that are left
    buyer.py http://127.0.0.1:8080 ann 17 18:2         # one piece of item 17, two of item 18
    buyer.py http://10.0.0.1:8080,http://10.0.0.2:8080 ann 17

Needs Python 3.9 and nothing else. Prints the purchase as JSON. Exit code: 0 if something was bought, 1 if nothing was, 2 if the
command line is wrong.
"""

import argparse
import http.client
import itertools
import json
import random
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

# The service answers within 10 seconds, so a longer silence means that the response is lost.
TRY_SECONDS = 15
# A request is repeated for this long.
PATIENCE_SECONDS = 120
# Nothing was done, or it is not known what was done: a repeat of the same request finds out. 429, 502 and 504 may come from gateways.
REPEATED_STATUSES = {429, 500, 502, 503, 504}
# An equal request is running, for instance the first one, whose connection broke: a repeat gets its response.
REPEATED_CODES = {"purchase_in_progress", "idempotency_key_in_use"}
# A checkout that was lost is collected so many times in all.
COLLECT_TRIES = 3


class Problem(Exception):
    """A final refusal, with its problem details (RFC 9457)."""

    def __init__(self, status, details, request_id=None):
        self.status = status
        self.details = details
        self.code = details.get("code", "")
        # The operator finds the request in the log by its id.
        named = f" (request {request_id})" if request_id else ""
        super().__init__(f"{status} {self.code}: {details.get('title', '')}{named}")

    def is_final(self):
        """Whether a repeat of the same request would be refused again."""
        # A body that did not arrive whole: a request that is wrong has `errors`.
        is_broken = self.code == "validation_failed" and "errors" not in self.details
        return self.status not in REPEATED_STATUSES and self.code not in REPEATED_CODES and not is_broken


class Shop:
    """A client of the service at one or several addresses."""

    def __init__(self, addresses):
        self.addresses = itertools.cycle([address.rstrip("/") for address in addresses])
        self.address = next(self.addresses)

    def request(self, method, path, body=None, key=None):
        """Sends a request, and repeats it unchanged, with its key, until there is a final response. Returns its body."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            wait, failure = 1, None
            try:
                status, headers, details = self.send(method, path, body, key)
                if status < 400:
                    return details
                failure = Problem(status, details, headers.get("X-Request-Id"))
                if failure.is_final():
                    raise failure
                retry_after = headers.get("Retry-After", "")
                wait = int(retry_after) if retry_after.isdecimal() else 1
            except (OSError, http.client.HTTPException, ValueError) as error:
                # No connection, a broken one, no response in time, or half of one.
                failure = error
            if time.monotonic() + wait > deadline:
                raise failure
            # Another instance may be well. The random part keeps the buyers of a dead one from arriving all at once.
            self.address = next(self.addresses)
            print(f"{method} {path}: {failure}; repeated at {self.address}", file=sys.stderr)
            time.sleep(wait * random.uniform(1, 2))

    def send(self, method, path, body, key):
        """Sends a request once. Returns status, headers and the JSON body."""
        headers = {"Accept": "application/json, application/problem+json", "X-Request-Id": str(uuid.uuid4())}
        data = None
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=TRY_SECONDS) as response:
                return response.status, response.headers, json.load(response)
        except urllib.error.HTTPError as refusal:
            with refusal:
                text = refusal.read()
            # Gateways may answer with HTML.
            is_json = "json" in refusal.headers.get("Content-Type", "")
            return refusal.code, refusal.headers, json.loads(text) if is_json else {}

    def items(self, sale):
        """All items of a sale that are left, in requests that continue by cursor."""
        cursor = None
        while True:
            query = {"available": "true", "limit": 100}
            if cursor is not None:
                query["cursor"] = cursor
            path = f"/v2/sales/{quoted(sale)}/items?{urllib.parse.urlencode(query)}"
            part = self.request("GET", path)
            # A part may be empty although the list continues.
            yield from part["data"]
            cursor = part["next_cursor"]
            if cursor is None:
                return

    def active_sale(self):
        """The first of the open sales."""
        sales = self.request("GET", "/v2/sales/active")["data"]
        if not sales:
            raise Problem(404, {"code": "no_active_sale", "title": "no sale is open"})
        return sales[0]["id"]

    def collect(self, buyer, sale, items):
        """Puts all items into the buyer's checkout, or none. Returns the checkout."""
        body = {"buyer_id": buyer, "sale_id": sale, "items": items}
        # One key for one request, however often it is repeated.
        return self.request("POST", "/v2/checkouts", body, key=str(uuid.uuid4()))

    def buy(self, code):
        """Buys what is left of a checkout. Returns the purchase, also if nothing was bought."""
        try:
            return self.request("POST", f"/v2/checkouts/{quoted(code)}/purchase", key=str(uuid.uuid4()))
        except Problem as problem:
            # The stored outcome of a purchase that bought nothing: sold out, or the buyer's limit.
            if "purchase" in problem.details:
                return problem.details["purchase"]
            raise


    def collect_and_buy(self, buyer, sale, items):
        """Collects and buys. A checkout that a failover of the database has lost is an unknown code: it is collected again."""
        for tries_left in reversed(range(COLLECT_TRIES)):
            code = self.collect(buyer, sale, items)["code"]
            try:
                return self.buy(code)
            except Problem as problem:
                if problem.code != "code_not_found" or tries_left == 0:
                    raise


def quoted(text):
    return urllib.parse.quote(text, safe="")


def wanted(text):
    """`17:2` is two pieces of item 17."""
    item, _, quantity = text.rpartition(":")
    if item and quantity.isdecimal():
        return {"id": item, "quantity": int(quantity)}
    return {"id": text, "quantity": 1}


def main():
    parser = argparse.ArgumentParser(description="Collects items, buys them and prints the purchase.")
    parser.add_argument("addresses", help="http://HOST:PORT of the service, or of several instances, separated by commas")
    parser.add_argument("buyer", help="the buyer's id")
    parser.add_argument("items", nargs="*", type=wanted, metavar="ITEM[:QUANTITY]", help="default: any two that are left")
    parser.add_argument("--sale", help="default: the first of the open sales")
    arguments = parser.parse_args()
    shop = Shop(arguments.addresses.split(","))
    try:
        sale = arguments.sale or shop.active_sale()
        items = arguments.items or [{"id": item["id"]} for item in itertools.islice(shop.items(sale), 2)]
        if not items:
            raise Problem(409, {"code": "sale_sold_out", "title": "the sale is sold out"})
        purchase = shop.collect_and_buy(arguments.buyer, sale, items)
    except (Problem, OSError, http.client.HTTPException, ValueError) as failure:
        print(f"not bought: {failure}", file=sys.stderr)
        for fault in getattr(failure, "details", {}).get("errors", []):
            print(f"  {fault.get('pointer', fault.get('parameter'))}: {fault['detail']}", file=sys.stderr)
        return 1
    print(json.dumps(purchase))
    return 0 if purchase["pieces_bought"] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
