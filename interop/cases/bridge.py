"""`h2ws bridge` between third-party clients and third-party servers.

What reaches the server is reported by the server, or by a relay in front of it.
"""

import asyncio
import contextlib
import json

from wsproto.extensions import PerMessageDeflate

from lib import program, rfc6455
from lib.cases import Context, case, check, equal
from lib.relay import Relay
from lib.rfc8441 import Connection
from lib.sandbox import Sandbox
from lib.websocket import Socket

from .server import SIZES, both


def named(name: str):
    return lambda peer: peer.name == name


def path_of(number: int, group: str) -> str:
    """A path unique among all cases of a sandbox: the server identifies sockets by their paths."""
    return f"/{group}/{number}"


@contextlib.asynccontextmanager
async def bridged(sandbox: Sandbox, *options):
    """A client's HTTP/2 connection, through a relay, to a new `h2ws bridge`."""
    endpoint, child = await program.bridge(sandbox, *options)
    try:
        async with Relay(endpoint.port) as relay, Connection.to(endpoint.on(relay.port)) as connection:
            yield connection, relay
    finally:
        await child.stop()


async def ended(connection: Connection, paths: list[str]) -> list[tuple[int, str, int]]:
    """How these sockets ended at the server (PyPI `websockets`): code, reason, number of messages."""
    async with asyncio.timeout(60):
        socket = await connection.socket("/ended")
        while True:
            await socket.send("?ended")
            seen = json.loads(await socket.recv())
            if all(path in seen for path in paths):
                await socket.close()
                return [tuple(seen[path]) for path in paths]
            await asyncio.sleep(0.05)


@case("bridge", wants=named("websockets"), timeout=400)
async def sockets_500_to_an_rfc6455_server(ctx: Context):
    """RFC 8441 §5: 500 sockets on one HTTP/2 connection to RFC 6455, 0 to 1,000,000 bytes, half with permessage-deflate."""
    count = 50 if ctx.quick else 500
    async with bridged(ctx.sandbox, "--to", ctx.endpoints.clear.ws_url("/")) as (connection, relay):
        opened = await asyncio.gather(*(
            connection.socket(path_of(number, "sizes"), extensions=[PerMessageDeflate()] if number % 2 else ())
            for number in range(count)))
        for size in SIZES:
            some = opened[::9] if size == 1_000_000 and ctx.quick else opened
            for message in both(size):
                for first in range(0, len(some), 50):
                    await asyncio.gather(*(s.echo(message, 1 + first % 3) for s in some[first:first + 50]))
        await _deflated(opened)
        equal(relay.accepted, 1, "TCP connections of the client")
        await connection.ping()
    ctx.note(f"{count} sockets on {relay.accepted} TCP connection")


async def _deflated(opened: list[Socket]) -> None:
    """Checks that half of the sockets negotiated compression with the server, and use it."""
    for number, socket in enumerate(opened):
        agreed = socket.stream.headers.get("sec-websocket-extensions", "")
        equal(agreed.startswith("permessage-deflate"), bool(number % 2), f"deflate on socket {number} ({agreed!r})")
    for number, socket in enumerate(opened[:2]):
        await socket.send("?request")
        seen = json.loads(await socket.recv())
        equal((seen["version"], seen["path"]), ("1.1", path_of(number, "sizes")), "the request at the server")
        offered = seen["headers"].get("sec-websocket-extensions", "")
        equal("permessage-deflate" in offered, bool(number % 2), f"deflate offered to the server ({offered!r})")
        before = socket.stream.received
        await socket.echo("x" * 100_000)
        compressed = socket.stream.received - before < 10_000
        equal(compressed, bool(number % 2), f"compressed: {socket.stream.received - before} bytes for 100,000")


@case("bridge", wants=named("websockets"))
async def close_codes_pass_both_ways(ctx: Context):
    """RFC 6455 §7.4: codes and reasons of either side reach the other, as reported by the server too."""
    reason = "bye ü " + "x" * 100
    async with bridged(ctx.sandbox, "--to", ctx.endpoints.clear.ws_url("/")) as (connection, _):
        opened = await asyncio.gather(*(connection.socket(path_of(number, "closes")) for number in range(60)))

        async def one(number: int, socket: Socket):
            if number % 2:
                return await socket.close(4000 + number, reason)
            await socket.send(f"?close {4000 + number} {reason}")
            return await socket.answer_close()

        for number, ending in enumerate(await asyncio.gather(*(one(*pair) for pair in enumerate(opened)))):
            equal((ending.code, ending.reason), (4000 + number, reason), f"close received by client {number}")
            equal((ending.ended, ending.reset), (True, None), f"end of stream {number}")
        for number, (code, why, _) in enumerate(await ended(connection, [path_of(n, "closes") for n in range(60)])):
            equal((code, why), (4000 + number, reason), f"close received by the server from client {number}")
        # A close without a code, and a dropped connection.
        bare = await connection.socket("/bare")
        await bare.raw(b"\x88\x80\0\0\0\0")
        await bare.closing()
        gone = await connection.socket("/gone")
        await gone.send("?abort")
        await connection.until(lambda: gone.stream.over, "end of the socket whose server aborts")
        check(gone.close_frame is None and not gone.stream.data, f"a Close frame that the server did not send: {gone.stream}")
        equal([code for code, _, _ in await ended(connection, ["/bare", "/gone"])], [1005, 1006], "codes at the server")
        await connection.ping()


@case("bridge", wants=named("websockets"))
async def refusals_pass(ctx: Context):
    """RFC 6455 §4.2.2: a 403 reaches the client with its body, over either version of HTTP; the connection survives."""
    async with bridged(ctx.sandbox, "--to", ctx.endpoints.clear.ws_url("/")) as (connection, relay):
        beside = await connection.socket()
        for _ in range(3):
            stream = await connection.request(
                connection.connect_headers(path="/refuse") + [("sec-websocket-version", "13")])
            await connection.until(lambda: stream.over, "end of the rejection")
            equal((stream.status, bytes(stream.data), stream.ended), (403, b"not you\n", True), "over HTTP/2")
        await beside.echo("still here")
        request = ("GET /refuse HTTP/1.1\nHost: {0}\nUpgrade: websocket\nConnection: Upgrade\n"
                   "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\n\n")
        endpoint = connection.endpoint
        status, _, body = await rfc6455.bare(endpoint, request.format(endpoint.authority))
        equal((status, body), (403, b"not you\n"), "over HTTP/1.1")


@case("bridge", wants=named("hypercorn"), timeout=180)
async def http1_sockets_share_upstream_connections(ctx: Context):
    """RFC 8441 §4: 500 HTTP/1.1 sockets share at most 5 connections of 100 streams to Hypercorn, counted by a relay."""
    count = 150 if ctx.quick else 500
    most = -(-count // ctx.peer.streams)
    async with Relay(ctx.endpoints.tls.port) as relay:
        # Cleartext for the clients: 500 TLS handshakes in Python would dominate the case.
        endpoint, _ = await program.serve_one(
            ctx.sandbox, "--cleartext", "--to", ctx.endpoints.tls.on(relay.port).ws_url("/"), "--upstream-insecure",
            command="bridge")
        everyone, opening = asyncio.Barrier(count), asyncio.Semaphore(50)

        async def one(number: int) -> None:
            async with opening:
                ws = await rfc6455.connect(endpoint, f"/echo?{number}")
            async with ws:
                await ws.send("?request")
                seen = json.loads(await ws.recv())
                equal((seen["version"], seen["path"]), ("2", "/echo"), "the request at Hypercorn")
                # All sockets are open at once here, and stay open until the last has been used.
                await everyone.wait()
                for message in (f"socket {number}", b"", bytes(70_000), "x" * 1_000):
                    await ws.send(message)
                    equal(await ws.recv(), message, "echo")
                await everyone.wait()
                await ws.close(4000 + number, "bye")
            equal(ws.close_code, 4000 + number, "close code")

        await asyncio.gather(*(one(number) for number in range(count)))
        ctx.note(f"{count} sockets on {relay.accepted} TCP connections to Hypercorn")
        check(1 <= relay.accepted <= most, f"{relay.accepted} TCP connections to Hypercorn, limit {most}")
