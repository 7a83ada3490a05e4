"""Three members of a PostgreSQL cluster under Patroni, with etcd and HAProxy, from the files of deploy/patroni."""

import asyncio
import contextlib
import json
import os
import pathlib
import pwd
import secrets
import signal
from typing import Any

import service
from page import fill_in
from service import Child, Failed, command, rows, until

FILES = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "patroni"
MEMBERS = ("db-1", "db-2", "db-3")
FOLLOWERS = "SELECT application_name, sync_state FROM pg_stat_replication WHERE state = 'streaming' AND application_name LIKE 'db-_'"
# A member that was killed is copied or rewound, and catches up.
JOIN_SECONDS = 240
PORTS = ("2379", "2380", "5000", "5432", "8008")


def as_postgres(*arguments: str) -> list[str]:
    """A command as the system's user `postgres`, in the process that is started: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return list(arguments)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *arguments]


def processes_below(parent: int) -> list[int]:
    """The processes that this one has started."""
    found = []
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may contain any character.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


async def ask(host: str, port: int, path: str) -> dict[str, Any]:
    """What Patroni answers, which is HTTP/1.0: the body ends with the connection."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        answer: dict[str, Any] = json.loads((await reader.read()).partition(b"\r\n\r\n")[2])
        return answer
    finally:
        writer.close()


class Member:
    """A machine of the cluster: PostgreSQL under Patroni, and etcd."""

    def __init__(self, cluster: "Cluster", name: str, folder: pathlib.Path) -> None:
        self.name, self.host, self.folder = name, cluster.hosts[name], folder / name
        self.folder.mkdir()
        self.data, ports = self.folder / "postgresql", cluster.ports
        self.port, self.api = int(ports["5432"]), int(ports["8008"])
        patroni = cluster.write("patroni.yml", self, self.folder)
        etcd = cluster.write("etcd.yml", self, self.folder)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            for file in (patroni, etcd):
                os.chown(file, user.pw_uid, user.pw_gid)
        # Patroni writes a file of passwords there.
        logs, home = cluster.logs, {"HOME": str(self.folder)}
        self.etcd = Child(f"etcd of {name}", as_postgres("etcd", "--config-file", str(etcd)), {}, logs / f"{name}-etcd.log")
        self.patroni = Child(f"Patroni of {name}", as_postgres("patroni", str(patroni)), home, logs / f"{name}-patroni.log")

    @property
    def postmaster(self) -> int | None:
        """The process of its PostgreSQL, if it runs."""
        try:
            process = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            words = pathlib.Path(f"/proc/{process}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return None
        return process if str(self.data).encode() in words else None

    async def die(self) -> None:
        """Patroni and PostgreSQL end at once, as when the machine loses power. etcd, which the others have too, goes on."""
        await self.patroni.end(signal.SIGKILL)
        await self.kill_postgresql()

    async def kill_postgresql(self) -> None:
        """PostgreSQL ends at once."""
        process = self.postmaster
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            # Stopped first, so that it starts no further child while they are listed.
            os.kill(process, signal.SIGSTOP)
        for victim in [process, *processes_below(process)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        await until(f"{self.name} is dead", self.has_ended)

    async def has_ended(self) -> bool:
        """Whether its PostgreSQL does not run."""
        return self.postmaster is None


class Cluster:
    """The cluster, and HAProxy before it."""

    def __init__(self, folder: pathlib.Path, logs: pathlib.Path) -> None:
        self.network, self.folder, self.logs = service.loopback(), folder, logs
        self.hosts = {name: f"{self.network}.{number}" for number, name in enumerate(MEMBERS, 11)}
        self.front = f"{self.network}.10"
        addresses = (*self.hosts.values(), self.front)
        self.ports = {port: str(service.free_port(*addresses)) for port in PORTS}
        self.passwords = {name: secrets.token_hex(16) for name in ("SUPERUSER-PASSWORD", "REPLICATION-PASSWORD")}
        self.members = {name: Member(self, name, folder) for name in MEMBERS}
        haproxy = self.write("haproxy.cfg", None, folder)
        self.haproxy = Child("HAProxy", ["haproxy", "-db", "-f", str(haproxy)], {}, logs / "haproxy.log")

    def write(self, name: str, member: Member | None, folder: pathlib.Path) -> pathlib.Path:
        """A file of deploy/patroni with this machine's addresses, folders and passwords in place of the page's."""
        text = (FILES / name).read_text(encoding="utf-8")
        if member:
            # Its own name and address, wherever the file does not list all members.
            own = {"name: db-1\n": f"name: {member.name}\n"}
            lines = fill_in(text, own).splitlines()
            lines = [line if "10.0.0.12" in line else line.replace("10.0.0.11", member.host) for line in lines]
            text = "\n".join(lines) + "\n"
        network = {f"10.0.0.{number}": f"{self.network}.{number}" for number in range(10, 14)}
        # A connection to any loopback address comes from the first one.
        values = {**network, **self.ports, **self.passwords, "10.0.0.0/24": "127.0.0.0/8"}
        if member:
            values["/var/lib/etcd/flash-sale"] = str(member.folder / "etcd")
            values["/var/lib/postgresql/15/flash-sale"] = str(member.folder / "postgresql")
            values["/run/postgresql"] = str(member.folder)
            values["/usr/lib/postgresql/15/bin"] = os.environ["POSTGRESQL_PROGRAMS"]
        file = folder / name
        file.write_text(fill_in(text, {written: value for written, value in values.items() if written in text}))
        return file

    def url(self, user: str, password: str, database: str, hosts: str | None = None) -> str:
        """The URL of a database at these hosts, by default at all members."""
        hosts = hosts or ",".join(f"{member.host}:{member.port}" for member in self.members.values())
        return f"postgres://{user}:{password}@{hosts}/{database}"

    @property
    def behind_haproxy(self) -> str:
        """Where HAProxy leads to the primary."""
        return f"{self.front}:{self.ports['5000']}"

    def superuser(self, member: Member, database: str = "postgres") -> str:
        """The superuser's URL at one member."""
        return self.url("postgres", self.passwords["SUPERUSER-PASSWORD"], database, f"{member.host}:{member.port}")

    async def start(self) -> None:
        """Starts everything, and waits until the cluster is whole."""
        for member in self.members.values():
            await member.etcd.spawn()
        for member in self.members.values():
            await member.patroni.spawn()
        await self.haproxy.spawn()
        await self.is_whole()

    async def roles(self) -> dict[str, str]:
        """What each running member is, as Patroni says: leader, sync_standby, replica; others have the state behind it."""
        for member in self.members.values():
            with contextlib.suppress(OSError, asyncio.TimeoutError, ValueError, KeyError):
                answer = await asyncio.wait_for(ask(member.host, member.api, "/cluster"), 5)
                return {
                    one["name"]: one["role"] if one["state"] in ("running", "streaming") else f"{one['role']} {one['state']}"
                    for one in answer["members"]
                }
        return {}

    async def is_whole(self) -> None:
        """Waits for a primary that both others follow, one of them synchronously."""

        async def holds() -> bool:
            # Patroni knows for as long as a lease lasts what a member was before it died: the primary knows who follows it.
            roles = await self.roles()
            if sorted(roles.values()) == ["leader", "replica", "sync_standby"]:
                leader = self.members[next(name for name, role in roles.items() if role == "leader")]
                with contextlib.suppress(Failed):
                    followers = await rows(self.superuser(leader), FOLLOWERS)
                    return len(followers) == 2 and any(state == "sync" for _, state in followers)
            await asyncio.sleep(0.5)
            return False

        try:
            await until("the cluster is whole", holds, JOIN_SECONDS)
        except Failed as failed:
            tails = "\n".join(f"{one.patroni.name}:\n{one.patroni.tail()}" for one in self.members.values())
            raise Failed(f"{failed}: {await self.roles()}\n{tails}") from None

    async def one_with(self, role: str) -> Member:
        """The member with this role."""
        for name, has in (await self.roles()).items():
            if has == role:
                return self.members[name]
        raise Failed(f"no member is {role}: {await self.roles()}")

    async def switch_over(self) -> str:
        """Patroni makes the synchronous standby the primary, in order. Returns its name."""
        leader, candidate = await self.one_with("leader"), await self.one_with("sync_standby")
        await command(["patronictl", "-c", str(leader.folder / "patroni.yml"), "switchover", "flash-sale", "--force",
                       "--leader", leader.name, "--candidate", candidate.name])  # fmt: skip
        return candidate.name

    async def close(self) -> None:
        """Ends everything: Patroni stops its PostgreSQL."""
        await asyncio.gather(*(member.patroni.clean_up() for member in self.members.values()))
        for member in self.members.values():
            # Without etcd, Patroni does not wait for it.
            with contextlib.suppress(Failed):
                await until(f"PostgreSQL of {member.name} has ended", member.has_ended, 10)
            await member.kill_postgresql()
        for child in (self.haproxy, *(member.etcd for member in self.members.values())):
            await child.clean_up()


class Writer:
    """Writes to a member whenever it accepts writes, to learn when the cluster itself does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.accepted: list[float] = []

    async def write(self) -> None:
        """Goes on until it is cancelled."""
        while True:
            process = await asyncio.create_subprocess_exec(
                *["psql", "--no-psqlrc", "-AtqX", self.url],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PGCONNECT_TIMEOUT": "2"},
            )
            try:
                await self._write_on(process)
            finally:
                # Not process.kill(), which would take the exit code from the one who waits for it.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                await process.wait()
            await asyncio.sleep(0.02)

    async def _write_on(self, process: asyncio.subprocess.Process) -> None:
        """Writes over one connection until it ends."""
        assert process.stdin and process.stdout
        with contextlib.suppress(ConnectionError):
            while True:
                process.stdin.write(b"INSERT INTO accepted DEFAULT VALUES RETURNING 'accepted';\n\\echo end\n")
                await process.stdin.drain()
                while (line := await process.stdout.readline()) not in (b"end\n", b""):
                    if line == b"accepted\n":
                        self.accepted.append(asyncio.get_running_loop().time())
                if not line:
                    return
                await asyncio.sleep(0.02)
