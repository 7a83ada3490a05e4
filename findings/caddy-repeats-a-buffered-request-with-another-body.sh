#!/usr/bin/env bash
# Caddy 2.6.2 (Debian 12): a buffered POST that is sent again carries the body of another request.
#
# `buffer_requests` reads a body into memory before the request is sent, and `lb_retry_match` allows a POST to be sent again, so
# one would expect the second upstream to get the buffered body. But the first attempt, at its end, returns the buffer to the pool,
# from which the next request takes it and fills it anew, while the retry still reads it. So the upstream gets one client's
# headers with another client's body. One client alone sees only a 502, which looks like a retry that does not work; under load
# some retries "succeed", and their clients get the answer to what another one has asked for. Without the two options the POST is
# a 502, and the client can repeat it.
#
# Source: bufferedBody and the loop of retries in modules/caddyhttp/reverseproxy/reverseproxy.go. Needs apt-get and python3, on
# Debian 12.
set -euo pipefail

folder=$(mktemp -d)
caddy=
trap '[ -z "$caddy" ] || kill "$caddy"; rm -rf "$folder"' EXIT
cd "$folder"

chmod 755 .
apt-get download caddy=2.6.2-5 >/dev/null 2>&1
dpkg-deb --extract caddy_*.deb program

cat >clients.py <<'PYTHON'
import asyncio
import contextlib
import os
import sys

BREAKS, ANSWERS, FRONT = (int(port) for port in sys.argv[1:])
CLIENTS, REQUESTS = 32, 60
counts = {"with its own body": 0, "with the body of another": 0, "with something else": 0, "not at all": 0}


async def read(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    return fields, (await reader.readexactly(int(fields["content-length"]))).decode()


async def breaks(reader, writer):
    """Takes a request, and closes the connection: a process that is killed."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        await read(reader)
    writer.close()


async def answers(reader, writer):
    with contextlib.suppress(asyncio.IncompleteReadError):
        fields, body = await read(reader)
        text = f"{fields['x-body']} {body}"
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())
        await writer.drain()
    writer.close()


async def client(number):
    for request in range(REQUESTS):
        body = f"client-{number:04}-{request:04}"
        reader, writer = await asyncio.open_connection("127.0.0.1", FRONT)
        head = f"POST / HTTP/1.1\r\nHost: localhost\r\nX-Body: {body}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        fields, answer = await read(reader)
        writer.close()
        sent, _, arrived = answer.partition(" ")
        if not answer:
            counts["not at all"] += 1
        elif arrived == body:
            counts["with its own body"] += 1
        else:
            counts["with the body of another" if arrived.startswith("client-") else "with something else"] += 1


async def main():
    servers = [await asyncio.start_server(*one) for one in ((breaks, "127.0.0.1", BREAKS), (answers, "127.0.0.1", ANSWERS))]
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    for server in servers:
        server.close()
    for how, count in counts.items():
        print(f"arrived {how}: {count}")
    sys.stdout.flush()
    # At once: connections that Caddy has left open are of no interest.
    os._exit(0 if counts["with the body of another"] else 1)


asyncio.run(main())
PYTHON

read -r breaks answers front < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(one.getsockname()[1] for one in sockets))')
cat >Caddyfile <<CADDY
{
	admin off
	auto_https off
	storage file_system $folder/storage
}
http://:$front {
	bind 127.0.0.1
	reverse_proxy 127.0.0.1:$breaks 127.0.0.1:$answers {
		lb_policy round_robin
		lb_retries 1
		lb_retry_match {
			method POST
		}
		buffer_requests
	}
}
CADDY
HOME=$folder program/usr/bin/caddy run --adapter caddyfile --config Caddyfile >log 2>&1 &
caddy=$!
until (exec 4<>"/dev/tcp/127.0.0.1/$front") 2>/dev/null; do
  kill -0 "$caddy" || { cat log >&2 && exit 1; }
  sleep 0.1
done
echo "Caddy $(program/usr/bin/caddy version)"
python3 clients.py "$breaks" "$answers" "$front" || {
  echo "this has changed" >&2
  exit 1
}
