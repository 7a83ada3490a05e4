"""HTTP/1.1 over one connection, with nothing behind the caller's back: no retry, no redirect, no pool."""

import asyncio
import contextlib

# Beyond every timeout of the service and of the balancers.
PATIENCE = 60


class Broken(Exception):
    """The connection could not be made, or ended before the whole response was there."""


class Response:
    """A response: its status, its head's fields by their name in lower case, its body."""

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status, self.fields, self.body = status, fields, body

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection behind it."""
        return self.fields.get("connection", "").lower() == "close"


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """The first line of a message and its fields."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return lines[0], {name.strip().lower(): value.strip() for name, _, value in pairs}


async def read_body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    """The body of a message with these fields."""
    if fields.get("transfer-encoding", "").lower() != "chunked":
        return await reader.readexactly(int(fields.get("content-length", "0")))
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


def write_head(first_line: str, fields: dict[str, str]) -> bytes:
    """The head of a message."""
    lines = [first_line, *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Wire:
    """A connection to `host:port`, made with the first request, and again after the server has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, fields: dict[str, str] | None = None, body: bytes = b"") -> Response:
        """Sends a request once, and returns its response, or raises `Broken`."""
        try:
            return await asyncio.wait_for(self._request(method, path, fields or {}, body), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as error:
            self.close()
            raise Broken(f"{type(error).__name__}: {error}") from error

    async def _request(self, method: str, path: str, fields: dict[str, str], body: bytes) -> Response:
        if not self.streams:
            self.streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self.streams
        sent = {"Host": f"{self.host}:{self.port}", **fields}
        if method != "GET":
            sent["Content-Length"] = str(len(body))
        writer.write(write_head(f"{method} {path} HTTP/1.1", sent) + body)
        await writer.drain()
        line, received = await read_head(reader)
        response = Response(int(line.split()[1]), received, await read_body(reader, received))
        if response.closes:
            self.close()
        return response

    def close(self) -> None:
        """Closes the connection, if there is one."""
        if self.streams:
            with contextlib.suppress(OSError):
                self.streams[1].close()
            self.streams = None


async def get(host: str, port: int, path: str) -> Response:
    """A GET on a connection of its own."""
    wire = Wire(host, port)
    try:
        return await wire.request("GET", path, {"Connection": "close"})
    finally:
        wire.close()
