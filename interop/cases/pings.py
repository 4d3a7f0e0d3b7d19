"""The Pings of `h2ws bridge` itself keep silent sockets open through HAProxy, which cuts what is silent."""

import asyncio
import contextlib

from lib import program
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint

from .bridge import named
from .listeners import haproxy, opened

SECONDS = 2

CUTS_SILENCE = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client {seconds}s
    timeout server {seconds}s
    timeout tunnel {seconds}s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    server s 127.0.0.1:{upstream}
"""


async def cutting(ctx: Context, name: str, upstream: int) -> Endpoint:
    """HAProxy in front of this port."""
    port = ctx.sandbox.port()
    await haproxy(ctx, name, CUTS_SILENCE.format(seconds=SECONDS, port=port, upstream=upstream), port)
    return Endpoint(port, tls=False)


async def is_cut(endpoint: Endpoint, http2: bool) -> bool:
    """Whether a socket is cut that is silent for three times as long as HAProxy allows, but reads; then it echoes."""
    socket, leave = await opened(endpoint, http2)
    receiving = asyncio.ensure_future(socket.recv())
    try:
        done, _ = await asyncio.wait([receiving], timeout=3 * SECONDS)
        if done:
            check(receiving.exception() is not None, f"received {receiving}")
            return True
        await socket.send("still here")
        async with asyncio.timeout(20):
            equal(await receiving, "still here", "the echo")
        await leave()
        return False
    finally:
        receiving.cancel()
        with contextlib.suppress(BaseException):
            await receiving


@case("bridge", wants=named("websockets"), timeout=200)
async def pings_keep_silent_sockets_open(ctx: Context):
    """RFC 6455 §5.5.2: HAProxy with `timeout tunnel 2s` cuts silent sockets on either side of the bridge, and none with Pings there."""
    behind = await cutting(ctx, "cuts-behind", ctx.endpoints.clear.port)
    for side in ("client", "upstream"):
        for pings in (False, True):
            to = ctx.endpoints.clear if side == "client" else behind
            options = ["--cleartext", "--to", to.ws_url("/")]
            options += [f"--ping-{side}", "1", "--ping-timeout", "20"] if pings else []
            bridge, child = await program.serve_one(ctx.sandbox, *options, command="bridge")
            front = bridge
            if side == "client":
                front = await cutting(ctx, f"cuts-front-{pings}", bridge.port)
            seen = await asyncio.gather(is_cut(front, False), is_cut(front, True))
            equal(seen, [not pings] * 2, f"cut over HTTP/1.1 and HTTP/2, HAProxy towards the {side}, Pings {pings}")
            await child.stop()
