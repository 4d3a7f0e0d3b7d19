"""`h2ws bridge` between clients and an upstream that vanish without a FIN: a router drops every packet.

The clients and Hypercorn are on one host, the bridge is on another one (see
`lib/hosts.py`). The bridge counts its WebSockets itself; its descriptors are
counted in `/proc`.
"""

import asyncio
import contextlib
import re
import time
import urllib.request
from pathlib import Path

from lib import hosts, program, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.rfc8441 import Connection
from lib.sandbox import INTEROP, PYTHON

from .bridge import named

# Of each kind: over HTTP/2 and HTTP/1.1, idle and in the midst of messages.
SOCKETS = 3
DEFAULTS = {"on": 1, "idle": 60, "interval": 20, "probes": 6, "user_timeout": 180_000}
SHORT = {"on": 1, "idle": 1, "interval": 1, "probes": 3, "user_timeout": 4_000}


async def upstream(ctx: Context) -> Endpoint:
    """Hypercorn on the host that is entered, for HTTP/1.1 and for HTTP/2 with prior knowledge."""
    port = ctx.sandbox.port()
    child = await ctx.sandbox.spawn(
        PYTHON, "-m", "hypercorn", "asgi_echo:app", "--bind", f"{hosts.NEAR}:{port}", "--bind", f"127.0.0.1:{port}",
        name=f"hypercorn-{port}", cwd=INTEROP / "apps")
    await ctx.sandbox.ready(child, port)
    return Endpoint(port, False, hosts.NEAR)


async def talk(socket) -> None:
    """Sends without waiting for the echoes, for as long as the socket accepts messages."""
    with contextlib.suppress(Exception):
        await asyncio.gather(_send(socket), _receive(socket))


async def _send(socket) -> None:
    while True:
        await socket.send(bytes(20_000))


async def _receive(socket) -> None:
    while True:
        await socket.recv()


def sockets_of(host: hosts.Host, port: int) -> int:
    """The number of open sockets in the bridge's metrics."""
    with host.entered(), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    counts = re.findall(r"^h2ws_bridge_upstream_sockets\{.*\} (\d+)$", text, re.MULTILINE)
    check(counts, f"no gauge of sockets: {text[:300]}")
    return sum(map(int, counts))


def descriptors_of(process: int) -> int:
    """The number of sockets that the process has open, connected or listening."""
    count = 0
    for each in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(each.readlink()).startswith("socket:")
    return count


async def vanish(ctx: Context, version: str, wanted: dict[str, int], *settings: str, patience: float) -> None:
    """Cuts the network under sockets of all kinds to an upstream of this version, and waits until the bridge has none."""
    network = await hosts.network(ctx.sandbox)
    metrics = ctx.sandbox.port()
    async with contextlib.AsyncExitStack() as open_until_the_end:
        open_until_the_end.enter_context(network.near.entered())
        behind = await upstream(ctx)
        with network.far.entered():
            endpoint, child = await program.serve_one(
                ctx.sandbox, "--cleartext", "--to", behind.ws_url("/"), f"--upstream-{version}",
                "--metrics", f"127.0.0.1:{metrics}", *settings, command="bridge", listen=f"{hosts.FAR}:0")
        before = descriptors_of(child.process.pid)
        # Two connections, for TCP treats an idle one and a busy one differently.
        sockets = []
        for _ in range(2):
            connection = await open_until_the_end.enter_async_context(Connection.to(endpoint))
            sockets.append([await connection.socket() for _ in range(SOCKETS)])
        for group in sockets:
            for _ in range(SOCKETS):
                group.append(await open_until_the_end.enter_async_context(rfc6455.connect(endpoint, close_timeout=0)))
        for socket in (socket for group in sockets for socket in group):
            await socket.send("before")
            equal(await socket.recv(), "before", "echo")
        equal(sockets_of(network.far, metrics), 4 * SOCKETS, "sockets of the bridge")
        seen = hosts.options(child.process.pid)
        check(len(seen) >= 2 + 2 * SOCKETS, f"{len(seen)} connections of the bridge")
        equal([each for each in seen if each != wanted], [], "TCP options of accepted and dialled connections")
        talking = [asyncio.create_task(talk(socket)) for socket in sockets[1]]
        try:
            await asyncio.sleep(1)
            check(not any(task.done() for task in talking), "a socket ended before the cut")
            await network.cut()
            began = time.monotonic()
            async with asyncio.timeout(patience):
                while sockets_of(network.far, metrics):
                    await asyncio.sleep(0.2)
                took = time.monotonic() - began
                while descriptors_of(child.process.pid) > before:
                    await asyncio.sleep(0.2)
            ctx.note(f"upstream over {version}: {4 * SOCKETS} sockets ended after {took:.1f} s, "
                     f"the last connection after {time.monotonic() - began:.1f} s")
            check(child.running, f"the bridge ended: {child.tail()}")
        finally:
            # Their data cannot be delivered; without this, closing them would wait for TCP to give up.
            for task in talking:
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)
            for socket in (socket for group in sockets for socket in group):
                with contextlib.suppress(AttributeError):
                    socket.transport.abort()
        await child.stop()


@case("bridge", wants=named("hypercorn"), timeout=120)
async def vanished_ends_are_let_go(ctx: Context):
    """RFC 9293 §3.8.4, RFC 5482: packets of both ends are dropped; with short TCP settings the bridge closes all sockets, idle and busy."""
    settings = ("--tcp-keepalive-idle", "1", "--tcp-keepalive-interval", "1", "--tcp-keepalive-probes", "3", "--tcp-user-timeout", "4")
    for version in ("http2",) if ctx.quick else ("http1", "http2"):
        await vanish(ctx, version, SHORT, *settings, patience=60)


@case("bridge", wants=named("hypercorn"), timeout=700, quick=False)
async def vanished_ends_are_let_go_by_default(ctx: Context):
    """RFC 9293 §3.8.4, RFC 5482: the same with default settings, which promise three minutes."""
    for version in ("http1", "http2"):
        await vanish(ctx, version, DEFAULTS, patience=300)
