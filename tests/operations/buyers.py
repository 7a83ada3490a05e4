"""Buyers as docs/http.md wants them ("A good client"): each repeats the identical request until it has what it came for."""

import asyncio
import collections
import json
import random
import uuid
from typing import Any

from http_wire import Broken, Wire
from service import Failed, rows, until

# Answers after which the identical request is repeated.
REPEATED = {500, 502, 503, 504}
REPEATED_CODES = {"purchase_in_progress", "idempotency_key_in_use"}
# A buyer that has no success in this time, in seconds, has failed.
PATIENCE = 180
# Answers to a buyer who came too late.
SOLD_OUT = {"item_sold_out", "sale_sold_out", "items_already_sold"}
# Pause of a buyer between two visits, in seconds: a rehearsal is no load test.
PAUSE = 0.03


class Figures:
    """What happened to requests in a part of a rehearsal. A failure is an answer that has to be repeated, or none."""

    def __init__(self) -> None:
        self.requests = 0
        self.failures: collections.Counter[str] = collections.Counter()
        self.slowest = 0.0

    @property
    def failed(self) -> int:
        """All failures."""
        return sum(self.failures.values())

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(self.failures.items()))
        return f"{self.requests} | {self.failed}{f' ({kinds})' if kinds else ''} | {self.slowest * 1000:.0f} ms"


class Buyers:
    """Concurrent buyers at one address, each with one visit after the other."""

    # Codes of answers that end a visit.
    refusals: frozenset[str] | set[str] = frozenset()

    def __init__(self, name: str, address: tuple[str, int], sale: str, count: int = 24) -> None:
        self.name, self.address, self.sale, self.count = name, address, sale, count
        self.figures = Figures()
        self.bought: dict[str, tuple[str, str]] = {}
        # When each of them was told so.
        self.sold_at: list[float] = []
        # The shortest pause before a request is repeated; the longest is twice that.
        self.retry_seconds = 1.0
        self.leaving = False
        self.tasks: list[asyncio.Task[None]] = []

    def arrive(self) -> None:
        """The buyers begin."""
        self.tasks = [asyncio.create_task(self._visits(place)) for place in range(self.count)]

    def new_figures(self) -> Figures:
        """Counts anew from here on."""
        self.figures = Figures()
        return self.figures

    async def go_on(self, purchases: int = 200) -> None:
        """Waits until this many more buyers have bought."""
        target = len(self.bought) + purchases

        async def have_bought() -> bool:
            self._raise_failures()
            return len(self.bought) >= target

        await until(f"buyers of {self.name} go on", have_bought, 180)

    async def leave(self) -> None:
        """Every buyer finishes what it has begun."""
        self.leaving = True
        await asyncio.gather(*self.tasks)

    async def dismiss(self) -> None:
        """Ends them at once, because the rehearsal has failed."""
        self.leaving = True
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def check(self, database: str) -> None:
        """Each buyer has bought exactly what it was told, once, and no other buyer has bought anything."""
        sold = await rows(
            database,
            "SELECT l.user_id, i.item_id, l.quantity FROM purchase_items AS l "
            "JOIN items AS i USING (sale_id, item_no) JOIN sales AS s ON s.id = l.sale_id "
            f"WHERE l.outcome = 'sold' AND l.user_id LIKE '{self.name}-%' AND s.public_id = '{self.sale}'",
        )
        told = sorted((buyer, item, "1") for buyer, (item, _) in self.bought.items())
        if sorted(sold) != told:
            missing, more = set(told) - set(sold), collections.Counter(sold) - collections.Counter(told)
            raise Failed(f"{self.name}: told and not in the tables: {missing}; in the tables and not told: {more}")

    def _raise_failures(self) -> None:
        for task in self.tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def _visits(self, place: int) -> None:
        for visit in range(1_000_000):
            if self.leaving:
                return
            wire = Wire(*self.address)
            try:
                await self._buy(wire, f"{self.name}-{place}-{visit}", str((place * 97 + visit) % 500 + 1))
            finally:
                wire.close()
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))

    async def _buy(self, wire: Wire, buyer: str, item: str) -> None:
        wanted = {"buyer_id": buyer, "sale_id": self.sale, "items": [{"id": item, "quantity": 1}]}
        checkout = await self.send(wire, "/v2/checkouts", wanted)
        purchase = await self.send(wire, f"/v2/checkouts/{checkout['code']}/purchase", None)
        outcomes = [(line["id"], line["quantity"], line["outcome"]) for line in purchase["items"]]
        if outcomes != [(item, 1, "sold")]:
            raise Failed(f"{buyer} wanted item {item} and got {purchase}")
        self._has(buyer, item, checkout["code"])

    def _has(self, buyer: str, item: str, code: str) -> None:
        self.bought[buyer] = (item, code)
        self.sold_at.append(asyncio.get_running_loop().time())

    async def send(self, wire: Wire, path: str, content: dict[str, Any] | None) -> dict[str, Any]:
        """Sends a write under one key until it is answered for good, and returns the answer."""
        fields = {"Idempotency-Key": str(uuid.uuid4())}
        if content is not None:
            fields["Content-Type"] = "application/json"
        body = json.dumps(content).encode() if content is not None else b""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while (began := loop.time()) < end:
            kind, answer = "broken", {}
            try:
                response = await wire.request("POST", path, fields, body)
                kind = str(response.status)
                if response.fields.get("content-type", "").split(";")[0].endswith("json"):
                    answer = json.loads(response.body)
                if response.status in (200, 201):
                    return answer
                if answer.get("code") in self.refusals:
                    return answer
                if response.status not in REPEATED and answer.get("code") not in REPEATED_CODES:
                    raise Failed(f"{self.name}: {path}: {response.status} {response.body[:300]!r}")
                kind = f"{kind} {answer.get('code', '')}".strip()
            except Broken:
                pass
            finally:
                figures = self.figures
                figures.requests += 1
                figures.slowest = max(figures.slowest, loop.time() - began)
                if kind not in ("200", "201"):
                    figures.failures[kind] += 1
            await asyncio.sleep(self.retry_seconds * (1 + random.random()))
            self._move_on(wire)
        raise Failed(f"{self.name}: {path}: no success within {PATIENCE} s, the last answer was {kind}")

    def _move_on(self, wire: Wire) -> None:
        """The next try goes to the same address."""


class Rivals(Buyers):
    """Buyers at several addresses who all want each of a few items. A request that fails is repeated at the next address."""

    refusals = SOLD_OUT

    def __init__(self, name: str, addresses: list[tuple[str, int]], sale: str, items: int) -> None:
        super().__init__(name, addresses[0], sale, 2 * len(addresses))
        self.addresses, self.items = addresses, items

    async def finish(self) -> None:
        """Waits until each of them has asked for every item, and each item has been sold."""
        await asyncio.gather(*self.tasks)
        if len(self.bought) != self.items:
            raise Failed(f"{self.name}: {len(self.bought)} of {self.items} items were sold")

    async def _visits(self, place: int) -> None:
        wire = Wire(*self.addresses[place % len(self.addresses)])
        for item in random.sample(range(1, self.items + 1), self.items):
            await self._buy(wire, f"{self.name}-{place}-{item}", str(item))
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))
        wire.close()

    async def _buy(self, wire: Wire, buyer: str, item: str) -> None:
        wanted = {"buyer_id": buyer, "sale_id": self.sale, "items": [{"id": item, "quantity": 1}]}
        checkout = await self.send(wire, "/v2/checkouts", wanted)
        if checkout["code"] in SOLD_OUT:
            return
        purchase = await self.send(wire, f"/v2/checkouts/{checkout['code']}/purchase", None)
        if [line["outcome"] for line in purchase.get("items", [])] == ["sold"]:
            self._has(buyer, item, checkout["code"])

    def _move_on(self, wire: Wire) -> None:
        wire.close()
        wire.host, wire.port = random.choice(self.addresses)
