"""`make moving`: moves PostgreSQL as docs/moving-postgresql.md says, while buyers buy, and compares what they were told.

Arguments: the service's program, a folder for logs, and the folder with the old server (of scripts/services.sh). Started by
scripts/moving.sh, which sets DATABASE_URL (the old server), NEW_DATABASE_URL and REDIS_URL.
"""

import asyncio
import base64
import json
import os
import pathlib
import secrets
import sys
import uuid
from typing import Any

import page
import service
from buyers import Buyers
from http_wire import Wire
from service import Failed, Instance, command, rows, say, until

PAGE = "moving-postgresql.md"
SERVICES = str(pathlib.Path(__file__).resolve().parents[2] / "scripts" / "services.sh")
# Sales that are numbered during the move: beyond the hundreds whose partitions the old server has at its beginning.
NUMBERED = 250
# Beyond the thousand for which the page makes partitions.
TOO_MANY = 1_200
# For how long the new server stays behind, at least, while the page waits for it.
HELD_SECONDS = 2


def as_role(url: str, role: str) -> str:
    """The same database for another role."""
    return url.replace("//postgres@", f"//{role}@", 1)


class Move:
    """An installation on the old server, which moves to the new one."""

    def __init__(self, program: str, folder: str, old_server: str) -> None:
        self.program, self.folder, self.old_server = program, pathlib.Path(folder), old_server
        self.old, self.new = os.environ["DATABASE_URL"], os.environ["NEW_DATABASE_URL"]
        self.settings = {
            "FLASH_SALE_ENV": "production",
            "FLASH_SALE__SCHEDULE__ENABLED": "false",
            "FLASH_SALE__CHECKOUT__CODE_KEYS": f"moving:{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "FLASH_SALE__DATABASE__MIGRATE_ON_START": "false",
            "FLASH_SALE__DATABASE__MAX_CONNECTIONS": "20",
            "DATABASE_URL": as_role(self.old, "flash_sale"),
        }
        password = secrets.token_hex(16)
        port, host = self.old.rsplit("port=", 1)[1], "127.0.0.1"
        self.environment = {
            **self.settings,
            "OLD": self.old,
            "NEW": self.new,
            "NEW_OWNER": as_role(self.new, "flash_sale_owner"),
            "MOVE_PASSWORD": password,
            "SOURCE": f"host={host} port={port} dbname=flash_sale user=flash_sale_move password={password}",
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
        }
        self.instances: list[Instance] = []
        self.buyers: list[Buyers] = []

    # --- the page ---------------------------------------------------------------------------------------------------

    async def follow(self, name: str) -> str:
        """Runs a block of the page as it stands."""
        output = await command(["bash", "-euo", "pipefail", "-c", page.blocks(PAGE)[name]], self.environment)
        say(f"moving: {name}: done")
        return output

    async def follow_all_named(self, names: list[str]) -> None:
        """The page has these blocks in this order and no others, so that none is left out."""
        there = [name for name in page.blocks(PAGE) if name != "sh"]
        if there != names:
            raise Failed(f"docs/{PAGE} has the blocks {there}, and this rehearsal runs {names}")

    # --- the installation -------------------------------------------------------------------------------------------

    async def prepare(self, database: str) -> None:
        """The database and its roles, as the documentation says."""
        server = database.replace("/flash_sale?", "/postgres?", 1)
        await command(["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-c", "DROP DATABASE flash_sale", server])
        roles = self.folder / "roles.sql"
        roles.write_text(page.first_block("postgresql-and-redis.md", "Roles without DDL"))
        await command(["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-f", str(roles), server])

    async def open(self) -> None:
        """Instances on the old server, which had a failover before, so that codes of its epoch name it."""
        owner = {**self.settings, "DATABASE_URL": as_role(self.old, "flash_sale_owner")}
        await command([self.program, "migrate"], owner)
        host = f"{service.loopback()}.1"
        for number in (1, 2):
            address = (host, service.free_port(host), service.free_port(host))
            self.instances.append(Instance(self.program, number, address, self.settings, str(self.folder)))
        await self.instances[0].start()
        await self.instances[0].stop()
        await rows(self.old, "UPDATE epochs SET timeline = 0 WHERE number = (SELECT max(number) FROM epochs)")
        await self.start()

    async def start(self) -> None:
        """Starts all instances."""
        for instance in self.instances:
            instance.environment.update(self.settings)
        await asyncio.gather(*(instance.start() for instance in self.instances))

    async def stop(self) -> None:
        """Stops all instances."""
        await asyncio.gather(*(instance.stop() for instance in self.instances))

    async def open_sale(self, name: str) -> str:
        """Creates a sale, and buyers come, half of them to each instance."""
        arguments = ["--items", "500", "--stock", "1000000", "--duration", "2h", "--name", name]
        sale = await service.create_sale(self.program, self.settings, *arguments)
        for number, instance in enumerate(self.instances, 1):
            self.buyers.append(Buyers(f"{name}{number}", (instance.host, instance.port), sale, 6))
            self.buyers[-1].arrive()
        return sale

    async def go_on(self) -> None:
        """Waits until all buyers have bought more."""
        await asyncio.gather(*(buyers.go_on(60) for buyers in self.buyers))

    async def send(self, path: str, key: str, content: dict[str, Any] | None) -> tuple[dict[str, str], dict[str, Any]]:
        """A write of version 2 that must succeed: the fields of its answer, and the answer."""
        wire = Wire(self.instances[0].host, self.instances[0].port)
        fields = {"Idempotency-Key": key, "Content-Type": "application/json"}
        if content is None:
            del fields["Content-Type"]
        body = json.dumps(content).encode() if content is not None else b""
        response = await wire.request("POST", path, fields, body)
        wire.close()
        if response.status not in (200, 201):
            raise Failed(f"{path}: {response.status} {response.body!r}")
        return response.fields, json.loads(response.body)

    async def close(self) -> None:
        """Ends everything."""
        for buyers in self.buyers:
            await buyers.dismiss()
        for instance in self.instances:
            await instance.clean_up()


class Witness:
    """A buyer with a purchase and an open checkout from before the move."""

    def __init__(self, move: Move, sale: str) -> None:
        self.move, self.sale = move, sale
        self.bought = self.open = ""
        self.key = str(uuid.uuid4())
        self.purchase: dict[str, Any] = {}

    async def collect(self, item: str) -> str:
        """Collects an item and returns the code."""
        wanted = {"buyer_id": "witness", "sale_id": self.sale, "items": [{"id": item, "quantity": 1}]}
        return str((await self.move.send("/v2/checkouts", str(uuid.uuid4()), wanted))[1]["code"])

    async def before(self) -> None:
        """Buys, and collects something more."""
        self.bought = await self.collect("1")
        self.purchase = (await self.move.send(f"/v2/checkouts/{self.bought}/purchase", self.key, None))[1]
        self.open = await self.collect("2")

    async def after(self) -> None:
        """The purchase is answered as before, and the open checkout can be bought."""
        fields, again = await self.move.send(f"/v2/checkouts/{self.bought}/purchase", self.key, None)
        if again != self.purchase or fields.get("idempotent-replayed") != "true":
            raise Failed(f"the purchase of before is answered with {again} instead of {self.purchase}")
        bought = (await self.move.send(f"/v2/checkouts/{self.open}/purchase", str(uuid.uuid4()), None))[1]
        if bought["pieces_bought"] != 1:
            raise Failed(f"the checkout of before is answered with {bought}")


async def replicate(move: Move) -> None:
    """Everything before the switch, while buyers buy."""
    await move.follow("wal")
    await command(["bash", SERVICES, "restart-postgres", move.old_server])
    await move.go_on()
    for name in ("schema", "empty", "partitions", "publish", "subscribe"):
        await move.follow(name)
    await move.go_on()
    during = await sell_later(move, "during", NUMBERED)
    await until("a sale that was created during the move arrives, with its purchases", lambda: has_arrived(move, during))
    say(await move.follow("watch"))
    if await errors(move):
        raise Failed("the replication has counted errors")


async def outrun(move: Move) -> None:
    """More sales than there are partitions for: the replication stops, and goes on after the page's step."""
    beyond = await sell_later(move, "beyond", TOO_MANY)

    async def has_stopped() -> bool:
        return await errors(move) > 0

    await until("the replication stops at a sale without partitions", has_stopped)
    if await has_arrived(move, beyond):
        raise Failed("a sale without partitions has arrived")
    await move.follow("partitions")
    await until("the replication goes on", lambda: has_arrived(move, beyond))


async def sell_later(move: Move, name: str, numbers: int) -> str:
    """Creates a sale behind this many numbers, which others have taken and not used, and sells from it."""
    await rows(move.old, f"SELECT max(nextval('sale_ids')) FROM generate_series(1, {numbers})")
    sale = await move.open_sale(name)
    await move.go_on()
    return sale


async def has_arrived(move: Move, sale: str) -> bool:
    """Whether purchases of a sale are on the new server."""
    found = await rows(move.new, f"SELECT count(*) FROM purchases JOIN sales ON id = sale_id WHERE public_id = '{sale}'")
    return int(found[0][0]) >= 60


async def errors(move: Move) -> int:
    """How often the replication has failed."""
    counted = await rows(move.new, "SELECT apply_error_count + sync_error_count FROM pg_stat_subscription_stats")
    return int(counted[0][0])


async def switch(move: Move) -> float:
    """The switch. Returns for how many seconds nothing was sold."""
    # A new server that is behind: purchases cannot be written there until it is let go.
    reins = await asyncio.create_subprocess_exec(
        *["psql", "--no-psqlrc", "-Atv", "ON_ERROR_STOP=1", move.new],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert reins.stdin and reins.stdout
    reins.stdin.write(b"BEGIN; LOCK TABLE purchases IN SHARE MODE; SELECT 'held';\n")
    while await reins.stdout.readline() != b"held\n":
        pass
    await move.go_on()
    began = asyncio.get_running_loop().time()
    await move.stop()
    stopped = asyncio.get_running_loop().time()
    await move.follow("fence")
    waiting = asyncio.create_task(move.follow("caught-up"))
    await asyncio.wait([waiting], timeout=HELD_SECONDS)
    if waiting.done():
        raise Failed("the page's wait has ended, and the new server is behind")
    reins.stdin.close()
    await waiting
    for name in ("sequences", "compare", "release"):
        await move.follow(name)
    move.settings["DATABASE_URL"] = move.environment["DATABASE_URL"] = as_role(move.new, "flash_sale")
    switched = asyncio.get_running_loop().time()
    await move.start()
    ended = asyncio.get_running_loop().time()
    say(f"moving: stop {stopped - began:.1f} s, the page's steps {switched - stopped:.1f} s, start {ended - switched:.1f} s")
    return ended - began


async def compare(move: Move, attempts: int, sales: int) -> None:
    """What must be so on the new server, besides what `verify` audits."""
    epochs = await rows(
        move.new,
        "SELECT e.number, e.first_attempt, e.system_identifier = c.system_identifier, (SELECT max(id) FROM sales) "
        "FROM epochs AS e, pg_control_system() AS c ORDER BY e.number",
    )
    say(f"moving: epochs (number, first attempt, of this server, latest sale): {epochs}")
    if [(number, own) for number, _, own, _ in epochs] != [("1", "f"), ("2", "f"), ("3", "t")]:
        raise Failed(f"the new server is not in an epoch of its own behind those that moved: {epochs}")
    if int(epochs[-1][1]) <= attempts or int(epochs[-1][3]) <= sales:
        raise Failed(f"numbers go on at {epochs[-1]}, and {attempts} and {sales} were given before")
    codes = [code for buyers in move.buyers for _, code in buyers.bought.values()]
    if len(set(codes)) != len(codes):
        raise Failed("a code was given twice")
    for buyers in move.buyers:
        await buyers.check(move.new)
        say(f"| {buyers.name} | {len(buyers.bought)} bought | {buyers.figures} |")
    try:
        await rows(as_role(move.old, "flash_sale"), "SELECT 1")
    except Failed:
        return
    raise Failed("the service can still connect to the old server")


async def main() -> None:
    """The whole move."""
    program, folder, old_server = sys.argv[1:]
    move = Move(program, folder, old_server)
    os.makedirs(f"{folder}/bin")
    os.symlink(program, f"{folder}/bin/flash-sale")
    names = "wal schema empty partitions publish subscribe watch fence caught-up sequences compare release audit"
    await move.follow_all_named(names.split())
    try:
        for database in (move.old, move.new):
            await move.prepare(database)
        versions = [(await rows(database, "SHOW server_version"))[0][0] for database in (move.old, move.new)]
        say(f"moving: from PostgreSQL {versions[0]} to {versions[1]}")
        await move.open()
        witness = Witness(move, await move.open_sale("before"))
        await witness.before()
        await move.go_on()
        await replicate(move)
        await outrun(move)
        pause = await switch(move)
        attempts, sales = (await rows(move.old, "SELECT max(a.id), max(s.id) FROM checkout_attempts AS a, sales AS s"))[0]
        await move.go_on()
        await move.open_sale("after")
        await move.go_on()
        await witness.after()
        for buyers in move.buyers:
            await buyers.leave()
        await compare(move, int(attempts), int(sales))
        say(await move.follow("audit"))
        say(f"moving: nothing was sold for {pause:.1f} s")
    finally:
        await move.close()


if __name__ == "__main__":
    service.run(main)
