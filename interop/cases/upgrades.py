"""The program is replaced while sockets talk and others are opened: by a shared port, and by a socket handed over.

The clients are Python's `h2` + `wsproto`, `websockets` and bare TCP; the server is PyPI `websockets`, which counts too.
"""

import asyncio
import secrets
import signal
import socket
import time

from lib import program, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.rfc8441 import Connection
from peers import python_websockets

from .bridge import ended, named
from .bridge_life import Talker

# Of the talking sockets. Those over HTTP/2 share connections.
HTTP2_SHARE, PER_CONNECTION = 0.5, 50
PAUSE = 1.0
BETWEEN_OPENINGS = 0.005
# Every so many openings, one is over HTTP/2.
HTTP2_EVERY = 10
# The default time that sockets have to close in a drain.
GRACE = 30

OPENING = """\
GET /opens HTTP/1.1
Host: {authority}
Connection: Upgrade
Upgrade: websocket
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

"""


class Steady(Talker):
    """Sends a numbered message now and then, awaits its echo, and measures how long that took."""

    async def talk(self, stop: asyncio.Event) -> None:
        try:
            await asyncio.sleep(secrets.randbelow(1000) / 1000 * PAUSE)
            while not stop.is_set():
                message = self._message(self.sent)
                await self._socket.send(message)
                self.sent += 1
                equal(await self._socket.recv(), message, f"message {self.echoed} of {self.path}")
                self.echoed += 1
                await asyncio.sleep(PAUSE)
            await self._socket.close(4000, "done")
        except self.ENDS as error:
            self.closed = await self._end(error)


class Load:
    """Sockets that talk and are opened again when they are closed with 1001; openings and health checks beside them."""

    def __init__(self, endpoint: Endpoint, metrics: int | None, count: int):
        self.endpoint, self.metrics, self.count = endpoint, metrics, count
        self.over: list[Steady] = []
        self.stop = asyncio.Event()
        self.opened = self.asked = 0
        self.slowest = 0.0

    async def run(self, change, after: float) -> None:
        """Calls `change` under load, and continues for some seconds."""
        over_http2 = int(self.count * HTTP2_SHARE)
        groups = [range(at, min(at + PER_CONNECTION, over_http2)) for at in range(0, over_http2, PER_CONNECTION)]
        ready = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(self._over_http2(group, ready)) for group in groups]
        tasks += [asyncio.create_task(self._over_http1(number, ready)) for number in range(over_http2, self.count)]
        tasks.append(asyncio.create_task(self._open()))
        if self.metrics:
            tasks.append(asyncio.create_task(self._ask()))

        async def under_load() -> None:
            for _ in range(len(groups) + self.count - over_http2):
                await ready.acquire()
            await asyncio.sleep(2 * PAUSE)
            await change()
            await asyncio.sleep(after)
            self.stop.set()

        async with asyncio.timeout(300), asyncio.TaskGroup() as group:
            changing = group.create_task(under_load())
            for task in tasks:
                group.create_task(self._first_failure(task))
        await changing

    @staticmethod
    async def _first_failure(task: asyncio.Task) -> None:
        try:
            await task
        finally:
            task.cancel()

    async def _over_http1(self, number: int, ready: asyncio.Semaphore) -> None:
        generation = 0
        while not self.stop.is_set():
            path = f"/talks/{number}/{generation}"
            client = await rfc6455.connect(self.endpoint, path)
            if not generation:
                ready.release()
            talker = Steady(path, client)
            await talker.talk(self.stop)
            self.over.append(talker)
            generation += 1

    async def _over_http2(self, numbers: range, ready: asyncio.Semaphore) -> None:
        generation = 0
        while not self.stop.is_set():
            async with Connection.to(self.endpoint) as connection:
                paths = [f"/talks/{number}/{generation}" for number in numbers]
                talkers = [Steady(path, await connection.socket(path)) for path in paths]
                if not generation:
                    ready.release()
                await asyncio.gather(*(talker.talk(self.stop) for talker in talkers))
            self.over += talkers
            generation += 1

    async def _open(self) -> None:
        """Opens a socket on a new connection every 5 ms, and exchanges a message. None may fail."""
        under_way, began = set(), time.monotonic()
        async with asyncio.TaskGroup() as group:
            while not self.stop.is_set():
                over_http2 = len(under_way) % HTTP2_EVERY == 0
                under_way.add(group.create_task(self._open_http2() if over_http2 else self._open_http1()))
                # By the clock: on a slow machine several are due at once.
                await asyncio.sleep(began + len(under_way) * BETWEEN_OPENINGS - time.monotonic())
        self.opened = len(under_way)

    async def _open_http1(self) -> None:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection(self.endpoint.host, self.endpoint.port)
        try:
            writer.write(OPENING.format(authority=self.endpoint.authority).replace("\n", "\r\n").encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            check(head.startswith(b"HTTP/1.1 101 "), f"an opening: {head}")
            # A masked text message "hi" with a mask of zeros, and its echo or the bridge's Close 1001.
            writer.write(b"\x81\x82\0\0\0\0hi")
            echo = await asyncio.wait_for(reader.readexactly(4), 60)
            check(echo in (b"\x81\x02hi", b"\x88\x02\x03\xe9"), f"the echo of an opening: {echo}")
            self.slowest = max(self.slowest, time.monotonic() - began)
            writer.write(b"\x88\x82\0\0\0\0\x03\xe9")
            await reader.read()
        finally:
            writer.close()

    async def _open_http2(self) -> None:
        async with Connection.to(self.endpoint) as connection:
            await connection.socket("/opens")

    async def _ask(self) -> None:
        """Asks the port of the metrics all the time."""
        request = f"GET /healthz HTTP/1.1\nHost: 127.0.0.1:{self.metrics}\nConnection: close\n\n"
        while not self.stop.is_set():
            status, _, _ = await rfc6455.bare(Endpoint(self.metrics, tls=False), request)
            equal(status, 200, "/healthz")
            self.asked += 1
            await asyncio.sleep(0.02)


async def changed(ctx: Context, endpoint: Endpoint, metrics: int | None, url: str, change) -> None:
    """Replaces the program under load by `change`, and counts at both ends what every socket carried."""
    load = Load(endpoint, metrics, 300 if ctx.quick else 1000)
    await load.run(change, after=5 * PAUSE)
    again, _ = await program.serve_one(ctx.sandbox, "--cleartext", "--to", url, command="bridge")
    async with Connection.to(again) as connection:
        seen = await ended(connection, [talker.path for talker in load.over])
    drained = [talker for talker in load.over if talker.closed]
    equal(len(drained), load.count, "sockets that the first process closed")
    for talker, (code, _, received) in zip(load.over, seen):
        expected = 1001 if talker.closed else 4000
        if talker.closed:
            equal(talker.closed, (1001, ""), f"close of {talker.path}")
        # A message may have crossed the Close frame; it reaches the server, and its echo has no way back.
        check(talker.sent - talker.echoed <= (1 if talker.closed else 0), f"{talker.path}: {talker.sent} sent, {talker.echoed} echoed")
        equal((code, received), (expected, talker.sent), f"code and messages at the server, {talker.path}")
    total = sum(talker.sent for talker in load.over)
    asked = f", {load.asked} health checks" if metrics else ""
    ctx.note(f"{load.count} sockets closed with 1001 and opened again, {total} messages counted at both ends, "
             f"{load.opened} openings{asked}, none refused; the slowest opening took {load.slowest:.2f} s")


@case("bridge", wants=named("websockets"), timeout=600)
async def the_next_process_shares_the_port(ctx: Context):
    """DESIGN, upgrades: with SO_REUSEPORT one process replaces another; no opening is refused, no socket cut, no message lost."""
    url = (await python_websockets.start(ctx.sandbox)).clear.ws_url("/")
    metrics = ctx.sandbox.port()
    options = ["--reuse-port", "--cleartext", "--metrics", f"127.0.0.1:{metrics}", "--to", url]
    endpoint, first = await program.serve_one(ctx.sandbox, *options, command="bridge")

    async def change() -> None:
        await program.serve_one(ctx.sandbox, *options, command="bridge", listen=endpoint.authority)
        first.signal(signal.SIGTERM)
        equal(await asyncio.wait_for(first.process.wait(), GRACE), 0, "exit status of the first process")

    await changed(ctx, endpoint, metrics, url, change)


@case("bridge", wants=named("websockets"), timeout=600)
async def the_next_process_is_handed_the_socket(ctx: Context):
    """sd_listen_fds(3): a service manager keeps the listening socket while it stops one process and starts the next; clients wait."""
    url = (await python_websockets.start(ctx.sandbox)).clear.ws_url("/")
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        port = listening.getsockname()[1]
        number = listening.fileno()
        started = f"exec 3<&{number}; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\""

        async def start():
            child = await ctx.sandbox.spawn(
                "sh", "-c", started, ctx.sandbox.h2ws, "bridge", "--cleartext", "--listen", "systemd",
                "--to", url, "-v", name=f"handed-{secrets.token_hex(4)}", stdout_pipe=True, fds=(number,))
            check((await child.first_line()).startswith("listening on "), child.tail())
            return child

        first = await start()

        async def change() -> None:
            first.signal(signal.SIGTERM)
            equal(await asyncio.wait_for(first.process.wait(), GRACE), 0, "exit status of the first process")
            await start()

        await changed(ctx, Endpoint(port, tls=False), None, url, change)
