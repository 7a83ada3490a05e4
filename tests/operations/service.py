"""Instances of the service, and its commands, as child processes of a rehearsal."""

import asyncio
import contextlib
import json
import os
import pathlib
import secrets
import signal
import socket
from typing import ClassVar

from http_wire import Broken, get

READY_SECONDS = 90
# Above shutdown.grace + shutdown.drain.
STOP_SECONDS = 60
COMMAND_SECONDS = 180
# Below the time in which a balancer takes it for dead.
STILL_SECONDS = 0.3


class Failed(Exception):
    """Something is not as the documentation says."""


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


async def until(what: str, holds, seconds: float = 120) -> None:
    """Polls until `holds()` does, with a deadline that a slow machine keeps."""
    end = asyncio.get_running_loop().time() + seconds
    while not await holds():
        if asyncio.get_running_loop().time() > end:
            raise Failed(f"{seconds:.0f} s have passed, and still not: {what}")
        await asyncio.sleep(0.05)


def loopback() -> str:
    """A network of loopback addresses that nothing else is likely to use: instances of one port need an address each."""
    return f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 2}"


def free_port(*hosts: str) -> int:
    """A port that is free on all of these addresses."""
    for _ in range(200):
        # Below the kernel's ports for outgoing connections.
        port = 20_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for host in hosts:
                stack.enter_context(socket.socket()).bind((host, port))
            return port
    raise Failed(f"no port is free on {', '.join(hosts)}")


class Child:
    """A process that ends with the rehearsal."""

    all: ClassVar[list["Child"]] = []

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], log: pathlib.Path) -> None:
        self.name, self.arguments, self.log = name, arguments, log
        self.environment = {**os.environ, **environment}
        self.process: asyncio.subprocess.Process | None = None

    async def spawn(self) -> None:
        """Starts it. Its output is appended to its log."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.arguments, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        Child.all.append(self)

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.returncode is None

    async def end(self, how: signal.Signals) -> int:
        """Sends it a signal, and returns its exit code."""
        if not self.process:
            raise Failed(f"{self.name} was never started")
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), STOP_SECONDS)

    async def clean_up(self) -> None:
        """Ends it, whatever has happened."""
        if self.runs:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.end(signal.SIGTERM), 30)
        if self.runs:
            await self.end(signal.SIGKILL)

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])


class Instance(Child):
    """An instance of the service, in the production profile."""

    def __init__(self, program: str, number: int, address: tuple[str, int, int], settings: dict[str, str], folder: str) -> None:
        self.host, self.port, self.monitoring = address
        environment = {
            "FLASH_SALE_ENV": "production",
            "FLASH_SALE__HTTP__HOST": self.host,
            "FLASH_SALE__HTTP__PORT": str(self.port),
            "FLASH_SALE__MONITORING__HOST": self.host,
            "FLASH_SALE__MONITORING__PORT": str(self.monitoring),
            **settings,
        }
        log = pathlib.Path(folder) / f"instance-{number}.log"
        super().__init__(f"instance {number}", [program, "serve"], environment, log)

    async def start(self) -> None:
        """Starts it and waits until it is ready."""
        await self.spawn()

        async def is_ready() -> bool:
            if not self.runs:
                raise Failed(f"{self.name} ended at its start:\n{self.tail()}")
            with contextlib.suppress(Broken):
                return (await get(self.host, self.monitoring, "/readyz")).status == 200
            return False

        await until(f"{self.name} is ready", is_ready, READY_SECONDS)

    async def stop(self) -> None:
        """Stops it as an operator does. It must finish in time and say that it did."""
        code = await self.end(signal.SIGTERM)
        if code != 0:
            raise Failed(f"{self.name} ended with exit code {code} after SIGTERM:\n{self.tail()}")

    async def kill(self) -> None:
        """Kills it in the middle of requests: it first stands still until some have come to wait for it."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STILL_SECONDS)
        await self.end(signal.SIGKILL)

    async def has_sold(self) -> bool:
        """Whether a purchase has reached it since its start."""
        metrics = (await get(self.host, self.monitoring, "/metrics")).body.decode()
        counts = (line.rsplit(" ", 1)[1] for line in metrics.splitlines() if line.startswith("flash_sale_purchases_total"))
        return any(float(count) > 0 for count in counts)


async def command(arguments: list[str], environment: dict[str, str] | None = None) -> str:
    """Runs a command that must succeed within some minutes, and returns its standard output."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    shown = " ".join(arguments)[:300]
    try:
        output, errors = await asyncio.wait_for(process.communicate(), COMMAND_SECONDS)
    except asyncio.TimeoutError:
        process.kill()
        raise Failed(f"{shown}: not done after {COMMAND_SECONDS} s") from None
    if process.returncode != 0:
        raise Failed(f"{shown}: exit code {process.returncode}\n{errors.decode()[-3000:]}{output.decode()[-3000:]}")
    return output.decode()


async def create_sale(program: str, settings: dict[str, str], *arguments: str) -> str:
    """Creates a sale and returns its id."""
    output = await command([program, "sale", "create", "--output", "json", *arguments], settings)
    return str(json.loads(output)["sale_id"])


async def verify(program: str, settings: dict[str, str]) -> int:
    """Audits every promise, and returns how many checks there are."""
    output = await command([program, "verify", "--output", "json"], settings)
    return len(output.splitlines())


async def rows(database: str, sql: str) -> list[tuple[str, ...]]:
    """What PostgreSQL answers to a query."""
    arguments = ["psql", "--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-AtF", "\t", "-c", sql, database]
    # Tables that have just grown have no statistics, and nested loops would take minutes.
    output = await command(arguments, {"PGOPTIONS": "-c enable_nestloop=off"})
    return [tuple(line.split("\t")) for line in output.splitlines()]


def run(rehearsal) -> None:
    """Runs a rehearsal to its end. A signal cancels it, so that its children end before it does."""

    async def cancellable() -> None:
        task = asyncio.current_task()
        assert task
        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(one, task.cancel)
        await rehearsal()

    try:
        asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise SystemExit(130) from None
    except Failed as failed:
        raise SystemExit(f"FAILED: {failed}") from None
    finally:
        # Those that a second signal, or a fault of the rehearsal, has kept from being ended in order.
        for child in Child.all:
            if child.process and child.runs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.process.pid, signal.SIGKILL)
