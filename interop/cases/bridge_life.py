"""`h2ws bridge` reloads and drains while its sockets are active: no message is lost.

The clients are Python's `h2` + `wsproto` and `websockets`. The server counts messages too.
"""

import asyncio
import json
import signal

import websockets
from wsproto.utilities import LocalProtocolError

from lib import program, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint, PeerError
from lib.rfc8441 import Connection
from peers import python_websockets

from .bridge import ended, named, path_of

CONFIG = """\
[[route]]
to = "{url}"
[route.request_headers.set]
x-generation = "{generation}"
"""
OVER_H2, OVER_HTTP1 = 30, 10
IN_FLIGHT = 8


class Talker:
    """A constantly active socket: it sends numbered messages, each after the echo of the previous one."""

    ENDS = PeerError, LocalProtocolError, websockets.ConnectionClosed

    def __init__(self, path: str, socket):
        self.path, self._socket = path, socket
        self.sent = self.echoed = 0
        self.closed: tuple[int, str] | None = None

    async def talk(self, stop: asyncio.Event) -> None:
        """Exchanges messages until `stop` is set or the other side closes."""
        try:
            while not stop.is_set() or self.echoed < self.sent:
                while not stop.is_set() and self.sent < self.echoed + IN_FLIGHT:
                    await self._socket.send(self._message(self.sent))
                    self.sent += 1
                if self.echoed < self.sent:
                    equal(await self._socket.recv(), self._message(self.echoed), f"message {self.echoed} of {self.path}")
                    self.echoed += 1
        except self.ENDS as error:
            self.closed = await self._end(error)

    def _message(self, number: int) -> str:
        return f"{self.path} {number} " + "x" * (number * 37 % 3000)

    async def _end(self, error) -> tuple[int, str]:
        if isinstance(error, websockets.ConnectionClosed):
            return self._socket.close_code, self._socket.close_reason
        if not self._socket.close_frame:
            raise AssertionError(f"{self.path}: {error}")
        ending = await self._socket.answer_close()
        check(ending.ended and ending.reset is None, f"{self.path}: {ending}")
        return ending.code, ending.reason or ""

    async def close(self) -> None:
        await self._socket.close(4000, "done")


async def talkers(connection: Connection, endpoint: Endpoint, stack) -> list[Talker]:
    """Opens some sockets over one HTTP/2 connection, and some over HTTP/1.1."""
    paths = [path_of(number, "talks") for number in range(OVER_H2 + OVER_HTTP1)]
    h2 = await asyncio.gather(*(connection.socket(path) for path in paths[:OVER_H2]))
    http1 = [await stack(rfc6455.connect(endpoint, path)) for path in paths[OVER_H2:]]
    return [Talker(path, socket) for path, socket in zip(paths, [*h2, *http1])]


async def advanced(everyone: list[Talker], by: int) -> None:
    """Waits until each has received this many further echoes."""
    goals = [talker.echoed + by for talker in everyone]
    async with asyncio.timeout(60):
        while any(talker.echoed < goal and not talker.closed for talker, goal in zip(everyone, goals)):
            await asyncio.sleep(0.01)


async def generation(connection: Connection) -> str:
    """The generation of the routes that a new socket uses, as received by the server."""
    socket = await connection.socket("/asks")
    await socket.send("?request")
    seen = json.loads(await socket.recv())
    await socket.close()
    return seen["headers"].get("x-generation", "")


async def until_generation(connection: Connection, number: int) -> None:
    async with asyncio.timeout(60):
        while await generation(connection) != str(number):
            await asyncio.sleep(0.02)


@case("bridge", wants=named("websockets"))
async def reload_under_load_loses_nothing(ctx: Context):
    """DESIGN, SIGHUP: open sockets keep their upstream, new ones use the new routes, an invalid file changes nothing."""
    first = ctx.endpoints.clear.ws_url("/")
    other = (await python_websockets.start(ctx.sandbox)).clear.ws_url("/")
    write = lambda url, number: ctx.sandbox.write("reload.toml", CONFIG.format(url=url, generation=number))
    endpoint, child = await program.bridge(ctx.sandbox, "--config", write(first, 0))
    rounds = 4 if ctx.quick else 12
    async with Connection.to(endpoint) as connection:
        everyone = await talkers(connection, endpoint, ctx.sandbox.enter)
        stop = asyncio.Event()
        talking = asyncio.gather(*(talker.talk(stop) for talker in everyone))
        for number in range(1, rounds + 1):
            write(other if number % 2 else first, number)
            child.signal(signal.SIGHUP)
            await until_generation(connection, number)
            await advanced(everyone, 20)
        ctx.sandbox.write("reload.toml", "[[route]]\nto = 'gopher://nowhere'\n")
        child.signal(signal.SIGHUP)
        async with asyncio.timeout(60):
            while "not reloaded" not in child.log.read_text():
                await asyncio.sleep(0.02)
        equal(await generation(connection), str(rounds), "routes after an invalid file")
        await advanced(everyone, 20)
        stop.set()
        await talking
        for talker in everyone:
            equal((talker.echoed, talker.closed), (talker.sent, None), f"echoes on {talker.path}, and its close")
            await talker.close()
    total = sum(talker.sent for talker in everyone)
    # All sockets stayed with the first server until their end.
    async with Connection.to(await _before(ctx, first)) as connection:
        seen = await ended(connection, [talker.path for talker in everyone])
    equal(seen, [(4000, "done", talker.sent) for talker in everyone], "code, reason, messages at the server")
    ctx.note(f"{rounds} reloads, {total} messages on {len(everyone)} sockets, none lost")


@case("bridge", wants=named("websockets"))
async def drain_under_load_loses_nothing(ctx: Context):
    """DESIGN, SIGTERM: Close 1001 between two messages; everything sent before the answer reaches the server."""
    # A separate server, on which these paths are still unused.
    url = (await python_websockets.start(ctx.sandbox)).clear.ws_url("/")
    endpoint, child = await program.bridge(ctx.sandbox, "--to", url)
    async with Connection.to(endpoint) as connection:
        everyone = await talkers(connection, endpoint, ctx.sandbox.enter)
        talking = asyncio.gather(*(talker.talk(asyncio.Event()) for talker in everyone))
        await advanced(everyone, 30)
        child.signal(signal.SIGTERM)
        await talking
        check(connection.goaway is not None and connection.goaway[0] == 0, f"GOAWAY: {connection.goaway}")
    for talker in everyone:
        equal(talker.closed, (1001, ""), f"close of {talker.path}")
    equal(await asyncio.wait_for(child.process.wait(), 20), 0, "exit status of h2ws bridge")
    async with Connection.to(await _before(ctx, url)) as connection:
        seen = await ended(connection, [talker.path for talker in everyone])
    for talker, (code, _, received) in zip(everyone, seen):
        equal((code, received), (1001, talker.sent), f"code and messages at the server, {talker.path}")
    ctx.note(f"{sum(talker.sent for talker in everyone)} messages of {len(everyone)} sockets, none lost")


async def _before(ctx: Context, url: str) -> Endpoint:
    """Starts another bridge, to query the server."""
    return (await program.bridge(ctx.sandbox, "--to", url))[0]
