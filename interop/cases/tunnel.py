"""`ssh`, `scp` and `redis-cli` through `h2ws tunnel` and `h2ws bridge`."""

import asyncio
import contextlib
import hashlib
import os
import shlex
import signal
from pathlib import Path

from lib import program
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.relay import Relay
from lib.sandbox import run
from peers.openssh import client

from .bridge import named
from .bridge_tcp import is_redis

MIB = 1 << 20


ROUTES = """\
[[route]]
path = "/service"
to = "tcp://127.0.0.1:{port}"
allowed_origins = "*"

[[route]]
path = "/dead"
to = "tcp://127.0.0.1:{dead}"
allowed_origins = "*"
"""


async def bridge(ctx: Context) -> Endpoint:
    """Starts a bridge with TLS to the peer, and to a port at which nobody listens."""
    config = ROUTES.format(port=ctx.endpoints.clear.port, dead=ctx.sandbox.port())
    endpoint, _ = await program.bridge(ctx.sandbox, "--config", ctx.sandbox.write("tunnel.toml", config))
    return endpoint


def command(ctx: Context, port: int, *options: str, path: str = "/service") -> list[str]:
    """`h2ws tunnel` to a bridge at this port."""
    return [str(ctx.h2ws), "tunnel", "--cacert", str(ctx.sandbox.cert), *options, f"wss://localhost:{port}{path}"]


async def tunnel(ctx: Context, port: int):
    """Starts a tunnel on a free port. Returns the port, and the process."""
    child = await ctx.sandbox.spawn(*command(ctx, port, "--local", "0"), name=f"tunnel-{port}", stdout_pipe=True)
    line = await child.first_line()
    return int(line.rsplit(":", 1)[1]), child


def random_file(ctx: Context, size: int) -> tuple[Path, str]:
    """A file of random bytes, and its checksum."""
    path, block = ctx.sandbox.dir / "sent", os.urandom(16 * MIB)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for at in range(0, size, len(block)):
            piece = at.to_bytes(8, "big") + block[8:min(len(block), size - at)]
            file.write(piece)
            digest.update(piece)
    return path, digest.hexdigest()


def checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Session:
    """An `ssh` that runs `cat`, and so returns each line."""

    @classmethod
    async def start(cls, argv: list[str]) -> "Session":
        self = cls()
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *argv, "localhost", "cat", stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        return self

    async def say(self, text: str) -> None:
        self.process.stdin.write(f"{text}\n".encode())
        async with asyncio.timeout(90):
            line = await self.process.stdout.readline()
        if line.decode() != f"{text}\n":
            raise AssertionError(f"{text!r} came back as {line!r}: {await self.process.stderr.read()}")

    async def end(self) -> None:
        """The end of stdin passes to `cat`, whose end passes back."""
        self.process.stdin.close()
        async with asyncio.timeout(60):
            rest = await self.process.stdout.read()
            equal((rest, await self.process.wait()), (b"", 0), "what is left, and the exit status of ssh")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@contextlib.asynccontextmanager
async def sessions(argv: list[str], count: int):
    """This many at the same time, each of which has returned a line."""
    started = [await Session.start(argv) for _ in range(count)]
    try:
        await asyncio.gather(*(one.say(f"hello {number}") for number, one in enumerate(started)))
        yield started
    finally:
        for one in started:
            one.kill()
        await asyncio.gather(*(one.process.wait() for one in started))


@case("bridge", wants=named("openssh"), timeout=600)
async def ssh_sessions_share_a_connection(ctx: Context):
    """DESIGN, tunnel: 100 `ssh` at once (quick: 30) through a local port, on one HTTP/2 connection; each end of a session passes."""
    count = 30 if ctx.quick else 100
    endpoint = await bridge(ctx)
    async with Relay(endpoint.port) as relay:
        port, child = await tunnel(ctx, relay.port)
        async with sessions(client(ctx.sandbox, port), count) as open_now:
            await asyncio.gather(*(one.say("still here") for one in open_now))
            # One that is killed harms no other.
            open_now.pop().kill()
            await asyncio.gather(*(one.say("after the kill") for one in open_now))
            equal(relay.accepted, 1, f"TCP connections of {count} sessions")
            for one in open_now:
                await one.end()
        check(child.running, "the tunnel has ended")
    ctx.note(f"{count} sessions, 1 connection")


@case("bridge", wants=named("openssh"), timeout=600)
async def a_file_by_ssh_there_and_back(ctx: Context):
    """DESIGN, tunnel: 1 GB (quick: 100 MB) by `ssh` through a local port, and by `scp` through `ProxyCommand`, comes back whole."""
    size = 100_000_000 if ctx.quick else 1_000_000_000
    sent, wanted = random_file(ctx, size)
    back = ctx.sandbox.dir / "back"
    endpoint = await bridge(ctx)
    port, _ = await tunnel(ctx, endpoint.port)
    with sent.open("rb") as source, back.open("wb") as sink:
        process = await asyncio.create_subprocess_exec(
            *client(ctx.sandbox, port), "localhost", "cat", stdin=source, stdout=sink, start_new_session=True)
        equal(await asyncio.wait_for(process.wait(), 300), 0, "exit status of ssh")
    equal((back.stat().st_size, checksum(back)), (size, wanted), "what came back by ssh")
    back.unlink()
    through = "ProxyCommand=" + shlex.join(command(ctx, endpoint.port))
    for source, target in ((sent, "localhost:/tmp/h2ws-interop-tunneled"), ("localhost:/tmp/h2ws-interop-tunneled", back)):
        argv = client(ctx.sandbox, 22, "-o", through, program="scp")
        status, _, err = await run(*argv, source, target, timeout=300)
        equal(status, 0, f"exit status of scp: {err}")
    argv = client(ctx.sandbox, 22, "-o", through)
    status, _, err = await run(*argv, "localhost", "rm /tmp/h2ws-interop-tunneled; exit 7")
    equal(status, 7, f"the exit status of the command: {err}")
    equal((back.stat().st_size, checksum(back)), (size, wanted), "what came back by scp")
    sent.unlink()
    back.unlink()


@case("bridge", wants=named("openssh"), timeout=300)
async def ssh_learns_of_faults(ctx: Context):
    """DESIGN, tunnel: a refused route and a dead target end `ssh` with a line that says so; a client that does not read, and these, harm no other session."""
    endpoint = await bridge(ctx)
    port, _ = await tunnel(ctx, endpoint.port)
    argv = client(ctx.sandbox, port)
    async with sessions(argv, 2) as siblings:
        for port, path, said in ((endpoint.port, "/other", "404"), (endpoint.port, "/dead", "502"), (ctx.sandbox.port(), "/service", "refused")):
            through = "ProxyCommand=" + shlex.join(command(ctx, port, path=path))
            status, _, err = await run(*client(ctx.sandbox, 22, "-o", through), "localhost", "true")
            lines = [line for line in err.splitlines() if line.startswith("h2ws: ")]
            check(status == 255 and len(lines) == 1 and said in lines[0], f"{said}: status {status}, {err}")
        size = 64 * MIB
        slow = await asyncio.create_subprocess_exec(
            *argv, "localhost", f"head -c {size} /dev/zero", stdout=asyncio.subprocess.PIPE, start_new_session=True, limit=1024)
        first = await slow.stdout.readexactly(1)
        for number in range(50):
            await asyncio.gather(*(one.say(f"beside it {number}") for one in siblings))
        rest = await asyncio.wait_for(slow.stdout.read(), 120)
        equal((len(first + rest), rest.count(0), await slow.wait()), (size, size - 1, 0), "what the slow reader got")
        for one in siblings:
            await one.end()


async def redis_cli(port: int, *words: str, stdin=None, stdout=None) -> int:
    process = await asyncio.create_subprocess_exec(
        "redis-cli", "-p", str(port), *words, stdin=stdin, stdout=stdout, start_new_session=True)
    return await asyncio.wait_for(process.wait(), 300)


@case("bridge", wants=is_redis, timeout=600)
async def redis_cli_through_a_tunnel(ctx: Context):
    """DESIGN, tunnel: 100 `redis-cli` at once on one HTTP/2 connection write and read 1 GB (quick: 100 MB) and get it back whole."""
    count, size = 100, 1_000_000 if ctx.quick else 10_000_000
    sent, wanted = random_file(ctx, size)
    endpoint = await bridge(ctx)
    async with Relay(endpoint.port) as relay:
        port, _ = await tunnel(ctx, relay.port)

        async def one(number: int) -> None:
            back = ctx.sandbox.dir / f"back-{number}"
            with sent.open("rb") as source:
                equal(await redis_cli(port, "-x", "SET", f"tunneled-{number}", stdin=source, stdout=asyncio.subprocess.DEVNULL),
                      0, "exit status of SET")
            with back.open("wb") as sink:
                equal(await redis_cli(port, "GET", f"tunneled-{number}", stdout=sink), 0, "exit status of GET")
            # redis-cli ends what it prints with a line feed.
            with back.open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                equal(file.read(), b"\n", "the last byte")
                file.seek(-1, os.SEEK_END)
                file.truncate()
            got = await asyncio.to_thread(checksum, back)
            equal((back.stat().st_size, got), (size, wanted), f"what redis-cli {number} got back")
            back.unlink()

        equal(await redis_cli(port, "FLUSHALL", stdout=asyncio.subprocess.DEVNULL), 0, "exit status of FLUSHALL")
        # Stays open beside the others.
        watcher = await asyncio.create_subprocess_exec(
            "redis-cli", "-p", str(port), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True)
        await asyncio.gather(*(one(number) for number in range(count)))
        equal(relay.accepted, 1, f"TCP connections of {count} redis-cli")
        out, _ = await asyncio.wait_for(watcher.communicate(b"DBSIZE\nFLUSHALL\n"), 60)
        equal(out.split(), [str(count).encode(), b"OK"], "the number of keys")
    sent.unlink()
    ctx.note(f"{count} redis-cli, {count * size // 1_000_000} MB each way, 1 connection")
