"""A load balancer that does what AWS documents of its Application Load Balancer, as far as it matters to an instance.

It keeps connections to targets open for its idle timeout, sends requests to whichever healthy target has the fewest, checks
health at its own pace, and never sends a request twice: a target that cannot be reached, or that closes the connection
before it has answered, is a 502. Its settings are read from the `aws` commands of the page.
"""

import asyncio
import contextlib
import json
import re

from http_wire import Broken, Response, get, read_body, read_head, write_head

# Fields that belong to one connection.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
# How often idle connections are looked at.
SWEEP_SECONDS = 0.2


class Settings:
    """The settings of the page's commands."""

    def __init__(self, commands: str) -> None:
        options = dict(re.findall(r"--([\w-]+) ([^\s\\]+)", commands))
        attributes = dict(re.findall(r"Key=([\w.]+),Value=(\w+)", commands))
        self.path = options["health-check-path"]
        self.port = int(options["health-check-port"])
        self.interval = float(options["health-check-interval-seconds"])
        self.timeout = float(options["health-check-timeout-seconds"])
        self.healthy = int(options["healthy-threshold-count"])
        self.unhealthy = int(options["unhealthy-threshold-count"])
        self.status = int(options["matcher"].removeprefix("HttpCode="))
        self.delay = float(attributes["deregistration_delay.timeout_seconds"])
        self.idle = float(attributes["idle_timeout.timeout_seconds"])
        if attributes["load_balancing.algorithm.type"] != "least_outstanding_requests":
            raise SystemExit("the stand-in knows least_outstanding_requests alone")


class Connection:
    """A connection to a target, which is idle between two requests."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams
        self.idle_since = 0.0

    def close(self) -> None:
        """Closes it."""
        with contextlib.suppress(OSError):
            self.writer.close()


class Target:
    """An instance, its health and the connections to it."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.is_registered, self.is_healthy = True, False
        self.streak = 0
        self.outstanding = 0
        self.idle: list[Connection] = []


class TargetGroup:
    """The load balancer with its one target group."""

    def __init__(self, settings: Settings, targets: list[Target]) -> None:
        self.settings, self.targets = settings, targets
        self.closed_by_targets = 0
        self.server: asyncio.Server | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.clients: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> None:
        """Begins to listen and to check health."""
        self.server = await asyncio.start_server(self._serve, host, port)
        self.tasks = [asyncio.create_task(self._check(target)) for target in self.targets]
        self.tasks.append(asyncio.create_task(self._sweep()))

    async def close(self) -> None:
        """Ends at once."""
        if self.server:
            self.server.close()
        for task in [*self.tasks, *self.clients]:
            task.cancel()
        await asyncio.gather(*self.tasks, *self.clients, return_exceptions=True)
        for connection in [one for target in self.targets for one in target.idle]:
            connection.close()

    async def deregister(self, target: Target) -> None:
        """Sends the target nothing more, and returns when the deregistration delay is over."""
        target.is_registered = False
        await asyncio.sleep(self.settings.delay)
        while target.idle:
            target.idle.pop().close()

    def register(self, target: Target) -> None:
        """Sends the target requests again once it is healthy."""
        target.is_registered, target.is_healthy, target.streak = True, False, 0

    async def _check(self, target: Target) -> None:
        settings = self.settings
        while True:
            is_well = False
            with contextlib.suppress(Broken, asyncio.TimeoutError):
                probe = get(target.host, settings.port, settings.path)
                is_well = (await asyncio.wait_for(probe, settings.timeout)).status == settings.status
            target.streak = target.streak + 1 if is_well != target.is_healthy else 0
            if target.streak >= (settings.healthy if is_well else settings.unhealthy):
                target.is_healthy, target.streak = is_well, 0
            await asyncio.sleep(settings.interval)

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for target in self.targets:
                for connection in list(target.idle):
                    if connection.reader.at_eof():
                        self.closed_by_targets += 1
                    elif loop.time() - connection.idle_since < self.settings.idle:
                        continue
                    target.idle.remove(connection)
                    connection.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.clients.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    line, fields = await read_head(reader)
                    body = await read_body(reader, fields)
                    response = await self._forward(line, fields, body)
                    kept = {name: value for name, value in response.fields.items() if name not in HOP_BY_HOP}
                    head = write_head(f"HTTP/1.1 {response.status} -", {**kept, "content-length": str(len(response.body))})
                    writer.write(head + response.body)
                    await writer.drain()
        except asyncio.CancelledError:
            # Only `close` cancels it. The streams' own callback would report this as a fault.
            pass
        finally:
            self.clients.discard(task)
            writer.close()

    def _choose(self) -> Target | None:
        registered = [target for target in self.targets if target.is_registered]
        # Without a healthy target, all of them get requests.
        usable = [target for target in registered if target.is_healthy] or registered
        return min(usable, key=lambda target: target.outstanding, default=None)

    async def _forward(self, line: str, fields: dict[str, str], body: bytes) -> Response:
        target = self._choose()
        if not target:
            return refusal(503)
        kept = {name: value for name, value in fields.items() if name not in HOP_BY_HOP}
        message = write_head(line, {**kept, "content-length": str(len(body))}) + body
        target.outstanding += 1
        try:
            return await self._exchange(target, message)
        except (OSError, asyncio.IncompleteReadError):
            return refusal(502)
        finally:
            target.outstanding -= 1

    async def _exchange(self, target: Target, message: bytes) -> Response:
        connection = target.idle.pop(0) if target.idle else Connection(await asyncio.open_connection(target.host, target.port))
        is_reusable = False
        try:
            connection.writer.write(message)
            await connection.writer.drain()
            line, fields = await read_head(connection.reader)
            response = Response(int(line.split()[1]), fields, await read_body(connection.reader, fields))
            is_reusable = not response.closes
            return response
        finally:
            if is_reusable:
                connection.idle_since = asyncio.get_running_loop().time()
                target.idle.append(connection)
            else:
                connection.close()


def refusal(status: int) -> Response:
    """An answer of the balancer itself."""
    body = json.dumps({"message": "the balancer has no answer of a target"}).encode()
    return Response(status, {"content-type": "application/json"}, body)
