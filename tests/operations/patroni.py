"""`make patroni`: kills and switches over the primary of a cluster under Patroni while buyers buy from three instances.

Arguments: the service's program, a folder for logs, a folder for the cluster's files, and how many kills and switchovers there are
each way. Started by scripts/patroni.sh, which sets REDIS_URL and POSTGRESQL_PROGRAMS.
"""

import asyncio
import base64
import itertools
import pathlib
import secrets
import signal
import statistics
import sys

import page
import service
from buyers import Buyers, Rivals
from cluster import Cluster, Writer
from service import Failed, Instance, command, rows, say

# A buyer asks again after this time, so that the figures are the service's.
RETRY_SECONDS = 0.05
# The service sells again so long after the cluster accepts writes again, at most.
ALLOWED_SECONDS = 1.0
# For how long nothing may be sold while etcd is away.
ETCD_PAUSE_SECONDS = 5.0
ETCD_AWAY_SECONDS = 60
INSTANCES = 3
# Items of which there is one piece each, and how many of them are sold when the primary fails.
SCARCE_ITEMS, SOLD_BEFORE = 400, 50


def longest_pause(times: list[float], since: float) -> tuple[float, float]:
    """Of the pauses that ended after `since` the longest: its beginning and its end."""
    pauses = [(before, after) for before, after in itertools.pairwise(sorted(times)) if after > since]
    if not pauses:
        raise Failed("nothing happened any more")
    return max(pauses, key=lambda pause: pause[1] - pause[0])


class Figure:
    """For how long the cluster accepted nothing, for how long an instance sold nothing, and how much later it sold again."""

    def __init__(self, what: str, way: str, cluster: tuple[float, float], instances: list[tuple[float, float]]) -> None:
        self.what, self.way = what, way
        self.cluster = cluster[1] - cluster[0]
        self.service = max(end - begin for begin, end in instances)
        self.later = max(end for _, end in instances) - cluster[1]

    def __str__(self) -> str:
        return f"| {self.what} | {self.way} | {self.cluster:.2f} s | {self.service:.2f} s | {self.later:+.2f} s |"

    @property
    def without_failover(self) -> str:
        """Where the longest pauses need not be of one moment."""
        return f"| {self.what} | {self.way} | {self.cluster:.2f} s | {self.service:.2f} s | |"


class Rehearsal:
    """Instances and buyers on a cluster."""

    def __init__(self, program: str, logs: str, folder: str) -> None:
        self.program, self.logs = program, pathlib.Path(logs)
        self.cluster = Cluster(pathlib.Path(folder), self.logs)
        self.passwords = {role: secrets.token_hex(16) for role in ("flash_sale_owner", "flash_sale")}
        self.settings = {
            "FLASH_SALE_ENV": "production",
            "FLASH_SALE__SCHEDULE__ENABLED": "false",
            "FLASH_SALE__CHECKOUT__CODE_KEYS": f"patroni:{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "FLASH_SALE__DATABASE__MIGRATE_ON_START": "false",
            "FLASH_SALE__DATABASE__MAX_CONNECTIONS": "20",
            "DATABASE_URL": self.url("flash_sale"),
        }
        self.instances: list[Instance] = []
        self.buyers: list[Buyers] = []
        self.past: list[Buyers] = []
        self.writers = [Writer(self.cluster.superuser(member)) for member in self.cluster.members.values()]
        self.writing: list[asyncio.Task[None]] = []
        self.figures: list[Figure] = []
        self.way = ""

    def url(self, role: str, hosts: str | None = None) -> str:
        """The database for a role, at these hosts or at all members."""
        return self.cluster.url(role, self.passwords[role], "flash_sale", hosts)

    async def prepare(self) -> None:
        """The database and its roles as the documentation says, the schema, and what writes to every member."""
        await self.cluster.start()
        roles = page.first_block("postgresql-and-redis.md", "Roles without DDL")
        for role, password in self.passwords.items():
            roles = page.fill_in(roles, {f"ROLE {role} LOGIN PASSWORD '…'": f"ROLE {role} LOGIN PASSWORD '{password}'"})
        file = self.logs / "roles.sql"
        file.write_text(roles)
        server = self.cluster.superuser(await self.cluster.one_with("leader"))
        await command(["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-f", str(file), server])
        await rows(server, "CREATE TABLE accepted (at timestamptz NOT NULL DEFAULT clock_timestamp())")
        owner = {**self.settings, "DATABASE_URL": self.url("flash_sale_owner", self.cluster.behind_haproxy)}
        await command([self.program, "migrate"], owner)
        self.writing = [asyncio.create_task(writer.write()) for writer in self.writers]

    async def open(self, way: str, hosts: str | None) -> None:
        """Three instances that reach the cluster at these hosts, with buyers."""
        self.way, self.settings["DATABASE_URL"] = way, self.url("flash_sale", hosts)
        host = f"{service.loopback()}.1"
        for number in range(INSTANCES):
            address = (host, service.free_port(host), service.free_port(host))
            number += 1 if hosts else INSTANCES + 1
            self.instances.append(Instance(self.program, number, address, self.settings, str(self.logs)))
            await self.instances[-1].start()
        sale = await self.create_sale(500, 1_000_000)
        for number, instance in enumerate(self.instances):
            crowd = Buyers(f"{'proxy' if hosts else 'list'}{number}", (instance.host, instance.port), sale, 4)
            crowd.retry_seconds = RETRY_SECONDS
            crowd.arrive()
            self.buyers.append(crowd)
        await self.go_on()

    async def create_sale(self, items: int, stock: int) -> str:
        """A sale that lasts longer than this."""
        arguments = ["--items", str(items), "--stock", str(stock), "--duration", "12h"]
        return await service.create_sale(self.program, self.settings, *arguments)

    async def go_on(self) -> None:
        """Waits until all buyers have bought more."""
        await asyncio.gather(*(buyers.go_on(60) for buyers in self.buyers))

    async def pauses(self, since: float) -> tuple[tuple[float, float], list[tuple[float, float]]]:
        """The longest pauses since then, after buyers have bought more: the cluster's, and each instance's."""
        await self.go_on()
        accepted = [time for writer in self.writers for time in writer.accepted]
        return longest_pause(accepted, since), [longest_pause(buyers.sold_at, since) for buyers in self.buyers]

    async def fail_over(self, what: str, failing) -> None:
        """`failing` replaces the primary while buyers buy, some of them the same few pieces."""
        before = await self.cluster.one_with("leader")
        name = f"rivals{len(self.past)}"
        addresses = [(instance.host, instance.port) for instance in self.instances]
        rivals = Rivals(name, addresses, await self.create_sale(SCARCE_ITEMS, 1), SCARCE_ITEMS)
        rivals.retry_seconds = RETRY_SECONDS
        self.past.append(rivals)
        rivals.arrive()
        await rivals.go_on(SOLD_BEFORE)
        since = asyncio.get_running_loop().time()
        await failing()
        figure = Figure(what, self.way, *await self.pauses(since))
        say(str(figure))
        self.figures.append(figure)
        await rivals.finish()
        if await self.cluster.one_with("leader") is before:
            raise Failed(f"{before.name} is still the primary after: {what}")
        if figure.later > ALLOWED_SECONDS:
            raise Failed(f"an instance sold again {figure.later:.2f} s after the cluster had accepted a write")

    async def kills(self, count: int) -> None:
        """The primary's machine dies, this many times, and comes back as a standby."""
        for _ in range(count):
            victim = await self.cluster.one_with("leader")
            await self.fail_over("primary killed", victim.die)
            await victim.patroni.spawn()
            await self.cluster.is_whole()

    async def switchovers(self, count: int) -> None:
        """The primary is replaced on purpose, this many times."""
        for _ in range(count):
            await self.fail_over("switchover", self.cluster.switch_over)
            await self.cluster.is_whole()

    async def standby_dies(self) -> None:
        """The synchronous standby dies: nothing commits until Patroni names the other one."""
        victim = await self.cluster.one_with("sync_standby")
        since = asyncio.get_running_loop().time()
        await victim.die()
        say(Figure("synchronous standby killed", self.way, *await self.pauses(since)).without_failover)
        await victim.patroni.spawn()
        await self.cluster.is_whole()

    async def etcd_is_away(self) -> None:
        """All of etcd is away for longer than a lease, and the primary goes on."""
        before = await self.cluster.one_with("leader")
        since = asyncio.get_running_loop().time()
        for member in self.cluster.members.values():
            await member.etcd.end(signal.SIGKILL)
        await asyncio.sleep(ETCD_AWAY_SECONDS)
        figure = Figure(f"etcd away for {ETCD_AWAY_SECONDS} s", self.way, *await self.pauses(since))
        for member in self.cluster.members.values():
            await member.etcd.spawn()
        await self.cluster.is_whole()
        say(figure.without_failover)
        if await self.cluster.one_with("leader") is not before or figure.service > ETCD_PAUSE_SECONDS:
            raise Failed(f"without etcd nothing was sold for {figure.service:.2f} s")

    async def leave(self) -> None:
        """Buyers finish. What they were told is compared with the tables, and the instances, none of which has ended, stop."""
        for crowd in self.buyers:
            await crowd.leave()
        server = self.cluster.superuser(await self.cluster.one_with("leader"), "flash_sale")
        for crowd in (*self.buyers, *self.past):
            await crowd.check(server)
        for crowd in self.buyers:
            say(f"| {crowd.name} | {len(crowd.bought)} bought | {crowd.figures} |")
        checks = await service.verify(self.program, self.settings)
        say(f"patroni: verify: {checks} checks hold")
        for instance in self.instances:
            if not instance.runs:
                raise Failed(f"{instance.name} has ended:\n{instance.tail()}")
            await instance.stop()
        self.instances, self.buyers, self.past = [], [], []

    async def close(self) -> None:
        """Ends everything."""
        for crowd in (*self.buyers, *self.past):
            await crowd.dismiss()
        for task in self.writing:
            task.cancel()
        await asyncio.gather(*self.writing, return_exceptions=True)
        for instance in self.instances:
            await instance.clean_up()
        await self.cluster.close()

    def summarise(self) -> None:
        """The median and the longest of each kind."""
        say("| what | way | times | cluster's gap: median, longest | service's | sold again later by: median, longest |")
        kinds = dict.fromkeys((figure.what, figure.way) for figure in self.figures)
        for what, way in kinds:
            some = [figure for figure in self.figures if (figure.what, figure.way) == (what, way)]
            columns = [[getattr(figure, name) for figure in some] for name in ("cluster", "service", "later")]
            shown = " | ".join(f"{statistics.median(column):.2f} s, {max(column):.2f} s" for column in columns)
            say(f"| {what} | {way} | {len(some)} | {shown} |")


async def main() -> None:
    """Behind HAProxy, then by a list of servers."""
    program, logs, folder, runs = sys.argv[1:]
    rehearsal = Rehearsal(program, logs, folder)
    try:
        await rehearsal.prepare()
        say("| what | way | cluster's gap | service's gap | sold again later by |")
        for way, hosts in (("HAProxy", rehearsal.cluster.behind_haproxy), ("list of servers", None)):
            await rehearsal.open(way, hosts)
            await rehearsal.kills(int(runs))
            await rehearsal.switchovers(int(runs))
            await rehearsal.standby_dies()
            await rehearsal.etcd_is_away()
            await rehearsal.leave()
        rehearsal.summarise()
    finally:
        await rehearsal.close()


if __name__ == "__main__":
    service.run(main)
