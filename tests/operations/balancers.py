"""`make balancers`: sells through each load balancer of docs/balancers.md while instances are stopped, killed and restarted.

Arguments: the service's program, a folder for logs, and the names of balancers to try (all). Started by scripts/balancers.sh,
which sets DATABASE_URL and REDIS_URL.
"""

import asyncio
import base64
import contextlib
import json
import os
import pathlib
import secrets
import sys

import page
import service
from buyers import Buyers, Figures
from http_wire import Broken, Wire, get
from service import Child, Failed, Instance, say, until
from target_group import Settings, Target, TargetGroup

PAGE = "balancers.md"
# A balancer's time without a request for which it keeps a connection to an instance, as on the page, and a margin.
IDLE_SECONDS = 62
# How many connections to instances are idle then, at most.
IDLE_REQUESTS = 16
TIME_WAIT = 6


class Shop:
    """Two instances on addresses of their own, with the same ports, as a page writes them."""

    def __init__(self, program: str, folder: str) -> None:
        self.program, self.folder = program, folder
        self.network = service.loopback()
        hosts = [f"{self.network}.1", f"{self.network}.2"]
        self.port, self.monitoring = service.free_port(*hosts), service.free_port(*hosts)
        self.settings = {
            "FLASH_SALE__SCHEDULE__ENABLED": "false",
            "FLASH_SALE__CHECKOUT__CODE_KEYS": f"balancers:{base64.b64encode(secrets.token_bytes(32)).decode()}",
            "FLASH_SALE_ENV": "production",
            # A machine that has other work makes buyers wait, which is no fault of a balancer.
            "FLASH_SALE__BATCH__WAIT_LIMIT": "9s",
            "FLASH_SALE__BATCH__QUEUE_TIMEOUT": "9s",
            # As the page says for a gateway that takes a path away.
            "FLASH_SALE__HTTP__TRUSTED_PROXIES": "127.0.0.0/8",
        }
        addresses = ((host, self.port, self.monitoring) for host in hosts)
        self.instances = [Instance(program, number, one, self.settings, folder) for number, one in enumerate(addresses, 1)]
        self.sale = ""

    def filled_in(self, name: str, values: dict[str, str]) -> str:
        """A block of the page, with these values and the addresses of the instances."""
        block = page.blocks(PAGE)[name]
        values = {**values, "flash-sale-1": f"{self.network}.1", "flash-sale-2": f"{self.network}.2", ":8080": f":{self.port}"}
        if "9090" in block:
            values["9090"] = str(self.monitoring)
        return page.fill_in(block, values)

    async def open(self) -> None:
        """Starts the instances and creates a sale."""
        await self.instances[0].start()
        await self.instances[1].start()
        arguments = ["--items", "500", "--stock", "1000000", "--duration", "2h"]
        self.sale = await service.create_sale(self.program, self.settings, *arguments)


class Balancer:
    """A load balancer of the page: a program with the page's configuration."""

    name = ""
    # Where the page's block listens, and where it listens here.
    listens, listens_here = "", ""
    # What has to stand around the page's block for the program to start without its system's files.
    surroundings = "{block}"
    # Answers of the balancer itself that the page admits when an instance is killed.
    admits: frozenset[str] = frozenset()

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.address = (f"{shop.network}.9", service.free_port(f"{shop.network}.9"))
        self.folder = pathlib.Path(shop.folder) / self.name
        self.child: Child | None = None

    def arguments(self, file: pathlib.Path) -> list[str]:
        """The command that runs it in the foreground with this configuration."""
        raise NotImplementedError

    def block(self) -> str:
        """The page's block, with the addresses of this shop."""
        here = self.listens_here.format(host=self.address[0], port=self.address[1])
        return self.shop.filled_in(self.name, {self.listens: here})

    async def open(self) -> None:
        """Starts it."""
        self.folder.mkdir()
        file = self.folder / "configuration"
        file.write_text(self.surroundings.replace("{folder}", str(self.folder)).replace("{block}", self.block()))
        self.child = Child(self.name, self.arguments(file), {"HOME": str(self.folder)}, self.folder / "log")
        await self.child.spawn()

    async def close(self) -> None:
        """Ends it."""
        if self.child:
            await self.child.clean_up()

    async def serves(self) -> bool:
        """Whether a request through it reaches an instance."""
        if self.child and not self.child.runs:
            raise Failed(f"{self.name} has ended:\n{self.child.tail()}")
        with contextlib.suppress(Broken):
            return (await get(*self.address, "/v2/sales/active")).status == 200
        return False

    async def stop(self, number: int) -> None:
        """Stops an instance as the page says."""
        await self.shop.instances[number].stop()

    async def start(self, number: int) -> None:
        """Starts it again."""
        await self.shop.instances[number].start()


class Nginx(Balancer):
    """nginx, which learns of an instance's end from failing connections alone."""

    name, listens, listens_here = "nginx", "listen 80", "listen {host}:{port}"
    surroundings = """
        daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors; user root;
        events { worker_connections 1024; }
        http {
        access_log off;
        client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
        uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
        {block}
        }
    """

    def arguments(self, file: pathlib.Path) -> list[str]:
        if os.geteuid() != 0:
            file.write_text(file.read_text().replace("user root;", ""))
        return [found("nginx"), "-c", str(file), "-p", str(self.folder)]


class Gateway(Nginx):
    """nginx in front of a path."""

    def block(self) -> str:
        here = self.listens_here.format(host=self.address[0], port=self.address[1])
        gateway = page.fill_in(page.blocks(PAGE)["gateway"], {self.listens: here})
        # The instances, without the page's other server.
        return super().block().partition("server {\n    listen")[0] + gateway

    async def serves(self) -> bool:
        with contextlib.suppress(Broken):
            return (await get(*self.address, "/sale/v2/sales/active")).status == 200
        return False


class Haproxy(Balancer):
    """HAProxy."""

    name, listens, listens_here = "haproxy", "bind :80", "bind {host}:{port}"

    def arguments(self, file: pathlib.Path) -> list[str]:
        return [found("haproxy"), "-db", "-f", str(file)]


class Caddy(Balancer):
    """Caddy."""

    admits = frozenset({"502"})
    name, listens, listens_here = "caddy", ":80 {", "http://:{port} {{\n\tbind {host}"
    surroundings = "{\n\tadmin off\n\tauto_https off\n\tstorage file_system {folder}\n}\n{block}"

    def arguments(self, file: pathlib.Path) -> list[str]:
        return [found("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]


class Aws(Balancer):
    """What behaves like an AWS load balancer."""

    name = "aws"
    admits = frozenset({"502"})

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop)
        block = page.fill_in(page.blocks(PAGE)["aws"], {"9090": str(shop.monitoring)})
        self.targets = [Target(one.host, one.port) for one in shop.instances]
        self.group = TargetGroup(Settings(block), self.targets)

    async def open(self) -> None:
        await self.group.open(*self.address)

        async def are_healthy() -> bool:
            return all(target.is_healthy for target in self.targets)

        await until("all targets are healthy", are_healthy)

    async def close(self) -> None:
        await self.group.close()

    async def stop(self, number: int) -> None:
        await self.group.deregister(self.targets[number])
        await super().stop(number)

    async def start(self, number: int) -> None:
        await super().start(number)
        self.group.register(self.targets[number])


BALANCERS: dict[str, type[Balancer]] = {one.name: one for one in (Nginx, Haproxy, Caddy, Aws)}


def found(program: str) -> str:
    """The path of a program, which may be where ordinary users do not look."""
    for folder in [*os.environ["PATH"].split(":"), "/usr/sbin", "/usr/local/sbin"]:
        if os.access(path := f"{folder}/{program}", os.X_OK):
            return path
    raise Failed(f"{program} is not installed")


async def rolling_restart(balancer: Balancer, buyers: Buyers) -> Figures:
    """Each instance is stopped and started again. No request may fail."""
    figures = buyers.new_figures()
    for number, instance in enumerate(balancer.shop.instances):
        await balancer.stop(number)
        await buyers.go_on()
        await balancer.start(number)
        await until(f"{balancer.name} sends requests to {instance.name} again", instance.has_sold)
        await buyers.go_on()
    if figures.failed:
        raise Failed(f"{balancer.name}: requests failed while instances were stopped: {figures}")
    return figures


async def crash(balancer: Balancer, buyers: Buyers) -> Figures:
    """Each instance is killed twice, and started again. What the page admits may fail, and is repeated."""
    figures = buyers.new_figures()
    for instance in balancer.shop.instances * 2:
        await instance.kill()
        await buyers.go_on()
        await instance.start()
        await until(f"{balancer.name} sends requests to {instance.name} again", instance.has_sold)
        await buyers.go_on()
    if not_admitted := set(figures.failures) - balancer.admits:
        raise Failed(f"{balancer.name}: not on the page for a killed instance: {not_admitted} of {figures}")
    return figures


async def rehearse(balancer: Balancer, database: str) -> None:
    """Sells through one balancer."""
    buyers = Buyers(balancer.name, balancer.address, balancer.shop.sale)
    try:
        await balancer.open()
        await until(f"{balancer.name} serves", balancer.serves)
        buyers.arrive()
        await buyers.go_on()
        say(f"| {balancer.name} | left alone | {buyers.figures} |")
        say(f"| {balancer.name} | stopped and started, one after the other | {await rolling_restart(balancer, buyers)} |")
        say(f"| {balancer.name} | killed and started, four times | {await crash(balancer, buyers)} |")
        await buyers.leave()
        await buyers.check(database)
    finally:
        await buyers.dismiss()
        await balancer.close()


def closed_by_instances(shop: Shop) -> int:
    """Connections that an instance was the first to close, in the last minute: their end waits on its side."""
    count = 0
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], int(line.split()[3], 16)
        host, port = local.split(":")
        octets = ".".join(str(byte) for byte in bytes.fromhex(host)[::-1])
        if state == TIME_WAIT and int(port, 16) == shop.port and octets.startswith(f"{shop.network}."):
            count += 1
    return count


async def stay_idle(shop: Shop, names: list[str]) -> None:
    """All balancers keep connections to instances, and then have nothing to do: each of them has to close first."""
    balancers = [BALANCERS[name](shop) for name in names]
    try:
        for balancer in balancers:
            balancer.folder = balancer.folder.with_name(f"{balancer.name}-idle")
            await balancer.open()
            await until(f"{balancer.name} serves", balancer.serves)
        wires = [Wire(*balancer.address) for balancer in balancers for _ in range(IDLE_REQUESTS)]
        await asyncio.gather(*(wire.request("GET", f"/v2/sales/{shop.sale}") for wire in wires))
        before = closed_by_instances(shop)
        await asyncio.sleep(IDLE_SECONDS)
        # Ends of earlier connections are forgotten after a minute, so what is there now is of this pause.
        closed = closed_by_instances(shop)
        say(f"idle for {IDLE_SECONDS} s: instances closed {closed} connections (before: {before})")
        if closed:
            raise Failed("an instance closed idle connections before the balancer did: http.idle_timeout is too short")
        for balancer in balancers:
            if not await balancer.serves():
                raise Failed(f"{balancer.name}: a request failed after the pause")
    finally:
        for balancer in balancers:
            await balancer.close()


async def follow_links(shop: Shop) -> None:
    """Behind a gateway that takes a path away, a link in a response leads through it."""
    gateway = Gateway(shop)
    gateway.folder = gateway.folder.with_name("gateway")
    try:
        await gateway.open()
        await until("the gateway serves", gateway.serves)
        wire = Wire(*gateway.address)
        wanted = {"buyer_id": "gateway", "sale_id": shop.sale, "items": [{"id": "1", "quantity": 1}]}
        fields = {"Idempotency-Key": "gateway", "Content-Type": "application/json"}
        created = await wire.request("POST", "/sale/v2/checkouts", fields, json.dumps(wanted).encode())
        link = created.fields.get("location", "")
        if not link.startswith("/sale/v2/") or (await wire.request("GET", link)).status != 200:
            raise Failed(f"gateway: a new checkout ({created.status}) is said to be at {link!r}, which does not lead to it")
        wire.close()
        say(f"gateway: links lead through it, such as {link}")
    finally:
        await gateway.close()


async def main() -> None:
    """Tries the balancers one after the other, then all of them with nothing to do."""
    program, folder, *names = sys.argv[1:]
    names = names or list(BALANCERS)
    if unknown := set(names) - set(BALANCERS):
        raise Failed(f"docs/{PAGE} has no balancer {', '.join(unknown)}: it has {', '.join(BALANCERS)}")
    shop = Shop(program, folder)
    try:
        await shop.open()
        say("| balancer | instances are | requests | failed | slowest |\n|---|---|---|---|---|")
        for name in names:
            await rehearse(BALANCERS[name](shop), os.environ["DATABASE_URL"])
        if "nginx" in names:
            await follow_links(shop)
        await stay_idle(shop, names)
        say(f"{await service.verify(program, shop.settings)} checks of `flash-sale verify` hold")
    finally:
        for instance in shop.instances:
            await instance.clean_up()


if __name__ == "__main__":
    service.run(main)
