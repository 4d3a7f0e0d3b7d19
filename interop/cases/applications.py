"""Applications behind `h2ws bridge`, used by Chromium and Firefox at once, each over its own HTTP/2 connection.

A relay in front of the bridge counts each browser's TCP connections; the page
counts its sockets. Whether the application works is checked by using it.
"""

import asyncio
import contextlib
import json
import re
import signal

from lib.browser import BROWSERS
from lib.cases import Context, case, check, equal
from lib.relay import Relay
from peers.applications import Application

COUNTING = """
window.sockets = { opened: 0, open: 0 };
// Not a class of our own: noVNC looks at what its sockets are made of.
window.WebSocket = new Proxy(WebSocket, {
  construct(native, parameters) {
    const socket = new native(...parameters);
    let open = false;
    socket.addEventListener('open', () => { open = true; window.sockets.opened++; window.sockets.open++; });
    socket.addEventListener('close', () => { if (open) window.sockets.open--; });
    return socket;
  },
});
"""
ROUTE = """
[[route]]
path = "{path}"
to = "ws://127.0.0.1:{port}"
strip_prefix = {strip}
"""
# A page that polls or streams delays a drain for this long.
DRAIN = 'drain_timeout = "3s"\n'


def is_application(peer) -> bool:
    return peer.kind == "application"


class Bridge:
    """`h2ws bridge` on a fixed port, which can be drained and started again."""

    def __init__(self, ctx: Context, routes):
        self._turn, self.port = ctx, ctx.sandbox.port()
        text = DRAIN + "".join(
            ROUTE.format(path=route.path, port=route.port, strip=str(route.strip).lower()) for route in routes)
        self._config = ctx.sandbox.write("bridge.toml", text)

    async def start(self) -> None:
        sandbox = self._turn.sandbox
        self.child = await sandbox.spawn(
            self._turn.h2ws, "bridge", "--listen", f"127.0.0.1:{self.port}", "--cert", sandbox.cert, "--key", sandbox.key,
            "--config", self._config, name=f"h2ws-bridge{len(sandbox._children)}")
        await sandbox.ready(self.child, self.port)

    async def drain(self) -> str:
        """Drains the bridge. Returns its log."""
        self.child.signal(signal.SIGTERM)
        equal(await asyncio.wait_for(self.child.process.wait(), 30), 0, "exit status of h2ws bridge")
        return self.child.log.read_text()


class Visit:
    """The application's page in one browser."""

    def __init__(self, name: str, page, relay: Relay, application: Application):
        self.name, self.page, self._relay, self._application = name, page, relay, application

    async def open(self) -> None:
        await self.page.open(f"https://127.0.0.1:{self._relay.port}{self._application.page}")

    async def sockets(self) -> dict:
        return await self.page.evaluate("window.sockets")

    async def works(self, when: str, patience: float = 60) -> None:
        """Uses the application until that succeeds: pages need some time to reconnect."""
        said = "nothing"
        try:
            async with asyncio.timeout(patience):
                while True:
                    try:
                        if await self._application.use(self.page):
                            return
                        said = "not yet"
                    except AssertionError as error:
                        said = str(error)[-200:]
                    await asyncio.sleep(0.25)
        except TimeoutError:
            raise AssertionError(f"{self.name}: does not work {when}: {said}, sockets {await self.sockets()}") from None

    @property
    def connections(self) -> int:
        return self._relay.accepted


@contextlib.asynccontextmanager
async def visit(ctx: Context, name: str, bridge: Bridge):
    async with Relay(bridge.port) as relay, BROWSERS[name](ctx.sandbox) as page:
        one = Visit(name, page, relay, ctx.endpoints)
        await page.before_pages(COUNTING)
        await one.open()
        yield one


async def every(visits: list[Visit], what: str) -> None:
    await asyncio.gather(*(one.works(what) for one in visits))


async def all_back(ctx: Context, visits: list[Visit], what: str) -> None:
    """Waits until all pages work again, reloading those that do not reconnect by themselves."""
    if ctx.endpoints.reopens:
        await every(visits, what)
        return
    for one in visits:
        await one.open()
    await every(visits, f"{what} and loading the page again")


@case("application", wants=is_application, timeout=400)
async def used_by_browsers_over_one_connection_each(ctx: Context):
    """RFC 8441 §5: an application below a path shares the page's connection, and survives idle time and restarts of both."""
    application: Application = ctx.endpoints
    silence = 5 if ctx.quick else 30
    bridge = Bridge(ctx, application.routes)
    await bridge.start()
    async with contextlib.AsyncExitStack() as stack:
        visits = await asyncio.gather(*(stack.enter_async_context(visit(ctx, name, bridge)) for name in BROWSERS))
        await every(visits, "at first")
        before = {}
        for one in visits:
            before[one] = await one.sockets()
            check(before[one]["open"] >= application.sockets, f"{one.name}: {before[one]} of {application.sockets} sockets")
            check(one.connections <= application.connections, f"{one.name}: {one.connections} TCP connections for a page and {before[one]['open']} sockets")
            ctx.note(f"{one.name}: {before[one]['open']} socket(s), {one.connections} connection(s)")
        await asyncio.sleep(silence)
        for one in visits:
            equal(await one.sockets(), before[one], f"{one.name}: sockets after {silence} s of silence")
        await every(visits, f"after {silence} s of silence")
        await application.restart()
        await all_back(ctx, visits, "after the application's restart")
        log = await bridge.drain()
        if application.sockets:
            over = re.findall(r"access: socket .*? version=HTTP/(\S+)", log)
            check(len(over) >= len(visits) * application.sockets and set(over) == {"2"}, f"HTTP versions of the sockets in the bridge's log: {over}")
        await bridge.start()
        await all_back(ctx, visits, "after the bridge's restart")
        if not application.reopens:
            ctx.note("its page reopens no socket by itself: loaded again")
        ctx.note("after both restarts: " + json.dumps({one.name: one.connections for one in visits}) + " connections in all")
        for one in visits:
            await one.page.picture(f"{ctx.peer.name}-{one.name}")
