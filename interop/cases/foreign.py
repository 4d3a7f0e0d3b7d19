"""Third-party clients and bridges against `h2ws serve`.

A relay in between counts TCP connections: many sockets on one connection prove
HTTP/2, without relying on the client's own report.
"""

import asyncio
import base64
import hashlib
import json
import signal

from lib import install, program, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.relay import Relay
from lib.rfc8441 import Connection
from lib.sandbox import BIN, INTEROP, PYTHON, node_env, run


def named(*names: str):
    return lambda peer: peer.name in names


def is_bridge(peer) -> bool:
    return peer.kind == "bridge"


async def report(*argv, timeout: float = 90) -> dict:
    """Runs a client program. Returns the JSON object in its last line."""
    status, out, err = await run(*argv, timeout=timeout, env=node_env())
    check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
    return json.loads(out.strip().splitlines()[-1])


# -- HTTP/1.1: PyPI websockets, and requests by hand ------------------------


@case("server", wants=named("python-websockets"))
async def echoes_on_the_same_port(ctx: Context):
    """RFC 6455 §4: HTTP/1.1 sockets on the HTTP/2 port, 0 to 1,000,000 bytes."""
    for endpoint in ctx.endpoints.all():
        async with rfc6455.connect(endpoint) as ws:
            for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
                for message in ("x" * size, bytes(size)):
                    await ws.send(message)
                    equal(await ws.recv(), message, f"echo of {size} bytes")
            await ws.send(["in ", "three ", "frames"])
            equal(await ws.recv(), "in three frames", "fragmented message")
            await asyncio.wait_for(await ws.ping(b"payload"), 10)
            await ws.close(4001, "bye")
        equal((ws.close_code, ws.protocol.close_rcvd.code), (4001, 4001), "close codes")


@case("server", wants=named("python-websockets"))
async def deflate_over_http1(ctx: Context):
    """RFC 7692 §7: messages are echoed if the extension is offered."""
    async with rfc6455.connect(ctx.endpoints.tls, compression="deflate") as ws:
        ctx.note("agreed" if ws.protocol.extensions else "declined")
        for message in ("x" * 100_000, "", "ü" * 1000):
            await ws.send(message)
            equal(await ws.recv(), message, "echo")


@case("server", wants=named("python-websockets"))
async def sockets_100_over_http1(ctx: Context):
    """RFC 6455 §5: many connections at once, while HTTP/2 connections use the same port."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        beside = await connection.socket()

        async def one(number: int) -> None:
            async with rfc6455.connect(ctx.endpoints.tls) as ws:
                await ws.send(f"socket {number}")
                equal(await ws.recv(), f"socket {number}", "echo")
                await beside_once()

        lock = asyncio.Lock()

        async def beside_once() -> None:
            async with lock:
                await beside.echo("over h2")

        await asyncio.gather(*(one(number) for number in range(100)))


@case("server", wants=named("python-websockets"))
async def subprotocol_is_offered_or_none(ctx: Context):
    """RFC 6455 §4.2.2: a server selects an offered subprotocol, or none."""
    async with rfc6455.connect(ctx.endpoints.tls, subprotocols=["one.example", "two.example"]) as ws:
        check(ws.subprotocol in (None, "one.example", "two.example"), f"selected {ws.subprotocol}")
        await ws.send("hi")
        equal(await ws.recv(), "hi", "echo")


@case("server", wants=named("python-websockets"))
async def drains_http1_on_sigterm(ctx: Context):
    """RFC 6455 §7.4.1: SIGTERM closes HTTP/1.1 sockets with 1001, then exit 0."""
    endpoint, child = await program.serve_one(ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key)
    async with rfc6455.connect(endpoint) as ws:
        await ws.send("hi")
        equal(await ws.recv(), "hi", "echo")
        child.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(ws.wait_closed(), 15)
        except asyncio.TimeoutError:
            raise AssertionError("no Close within 15 s of SIGTERM") from None
    equal(ws.close_code, 1001, "close code")
    equal(await asyncio.wait_for(child.process.wait(), 20), 0, "exit status of h2ws serve")


UPGRADE = """GET /echo HTTP/1.1
Host: {authority}
Upgrade: websocket
Connection: Upgrade
{rest}
"""
KEY_VALUE = "AAECAwQFBgcICQoLDA0ODw=="
KEY = f"Sec-WebSocket-Key: {KEY_VALUE}\n"
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ACCEPT = base64.b64encode(hashlib.sha1((KEY_VALUE + GUID).encode()).digest()).decode()
BARE = [
    ("a page", "GET / HTTP/1.1\nHost: {authority}\n\n", 200, {}),
    ("no Upgrade (RFC 9110 §15.5.22)", "GET /echo HTTP/1.1\nHost: {authority}\n\n", 426, {"upgrade": "websocket"}),
    ("version 8 (RFC 6455 §4.4)", UPGRADE.replace("{rest}", KEY + "Sec-WebSocket-Version: 8\n"), 426, {"sec-websocket-version": "13"}),
    ("no key (RFC 6455 §4.2.1)", UPGRADE.replace("{rest}", "Sec-WebSocket-Version: 13\n"), 400, {}),
    ("short key (RFC 6455 §4.2.1)", UPGRADE.replace("{rest}", "Sec-WebSocket-Key: AAEC\nSec-WebSocket-Version: 13\n"), 400, {}),
    ("right (RFC 6455 §4.2.2)", UPGRADE.replace("{rest}", KEY + "Sec-WebSocket-Version: 13\n"), 101,
     {"sec-websocket-accept": ACCEPT}),
]


@case("server", wants=named("python-websockets"))
async def upgrade_answers(ctx: Context):
    """RFC 6455 §4.2: valid and invalid Upgrade requests get the right statuses."""
    wrong = []
    for endpoint in ctx.endpoints.all():
        for what, request, want, fields in BARE:
            status, headers, _ = await rfc6455.bare(endpoint, request.format(authority=endpoint.authority))
            for name, value in fields.items():
                if headers.get(name, "") != value:
                    wrong.append(f"{what} over {endpoint.scheme}: {name} is {headers.get(name)!r}, not {value!r}")
            if status != want:
                wrong.append(f"{what} over {endpoint.scheme}: status {status}, not {want}")
    check(not wrong, "; ".join(wrong))


# -- plain HTTP/2 clients while sockets are open ----------------------------


@case("server", "reference", wants=named("nghttp"))
async def nghttp_and_h2load_beside_sockets(ctx: Context):
    """RFC 9113 §8: plain HTTP requests while 50 sockets are open."""
    url = ctx.endpoints.tls.http_url("/")
    async with Connection.to(ctx.endpoints.tls) as connection:
        opened = await asyncio.gather(*(connection.socket() for _ in range(50)))
        status, out, err = await run("nghttp", "-nv", "--no-verify-peer", url)
        check(status == 0 and ":status: 200" in out, f"nghttp: exit {status}: {(out + err)[-200:]}")
        check("(0x08):1" in out, "nghttp saw no SETTINGS_ENABLE_CONNECT_PROTOCOL = 1")
        status, out, err = await run("h2load", "-n", 1000, "-c", 2, "-m", 10, url)
        check("1000 succeeded" in out and "status codes: 1000 2xx" in out, f"h2load: {(out + err)[-300:]}")
        await asyncio.gather(*(socket.echo("still here") for socket in opened))


# -- other WebSocket clients over h2 ----------------------------------------


async def shared(ctx: Context, count: int, *argv) -> list[dict]:
    """Runs a client with `count` sockets through a relay, and checks that they share a connection."""
    async with Relay(ctx.endpoints.tls.port) as relay:
        url = ctx.endpoints.tls.on(relay.port).ws_url()
        sockets = (await report(*argv, url, count))["sockets"]
        equal(len(sockets), count, "sockets")
        ctx.note(f"{count} sockets on {relay.accepted} TCP connection(s)")
        equal(relay.accepted, 1, "TCP connections")
    errors = [socket["error"] for socket in sockets if socket["error"]]
    check(not errors, f"{len(errors)} of {count}: {errors[:1]}")
    return sockets


@case("server", "reference", wants=named("undici"))
async def undici_sockets_share_a_connection(ctx: Context):
    """RFC 8441 §4: undici sends a key and requires the accept."""
    for socket in await shared(ctx, 5, "node", INTEROP / "clients/undici.mjs"):
        equal(socket["echoed"], 4, "messages")
        check(socket["code"] >= 4000 and socket["wasClean"], f"close: {socket}")


@case("server", "reference", wants=named("node-client"))
async def node_sockets_share_a_connection(ctx: Context):
    """RFC 8441 §4: Node's http2.connect with npm ws on its streams."""
    for number, socket in enumerate(await shared(ctx, 50, "node", INTEROP / "clients/node-h2.mjs")):
        equal((socket["status"], socket["echoed"]), (200, 4), "status, messages")
        equal(socket["code"], 4000 + number, "close code")


@case("server", "reference", wants=named("niquests"))
async def niquests_sockets_share_a_connection(ctx: Context):
    """RFC 8441 §4: niquests with HTTP/1.1 disabled."""
    for socket in await shared(ctx, 3, PYTHON, INTEROP / "clients/niquests_h2.py"):
        equal((socket["status"], socket["echoed"]), (200, 3), "status, messages")


DENO = [BIN / "deno", "run", "--allow-net", "--unsafely-ignore-certificate-errors", INTEROP / "clients/deno.mjs"]


@case("server", "reference", wants=named("deno"))
async def deno_sockets_over_http2(ctx: Context):
    """RFC 8441 §4: Deno's WebSocket with an HTTP/2-only HTTP client: text, binary, close codes."""
    await deno(ctx, "2", "h2")


@case("server", "reference", wants=named("deno"))
async def deno_sockets_by_default(ctx: Context):
    """RFC 6455 §4: Deno's WebSocket by default, which prefers HTTP/1.1."""
    await deno(ctx, "1")


async def deno(ctx: Context, version: str, *how: str) -> None:
    endpoints = await program.echo_server(ctx.sandbox) if ctx.role == "server" else ctx.endpoints
    async with Relay(endpoints.tls.port) as relay:
        url = endpoints.tls.on(relay.port).ws_url()
        sockets = (await report(*DENO, url, 10, *how))["sockets"]
        ctx.note(f"10 sockets on {relay.accepted} TCP connection(s)")
    for number, socket in enumerate(sockets):
        equal((socket["error"], socket["echoed"]), (None, 5), "error, messages")
        equal((socket["code"], socket["wasClean"]), (4000 + number, True), "close")
        check(socket["version"].startswith(version), f"over HTTP/{socket['version']}, as reported by the server")


@case("server", "reference", wants=named("wreq"))
async def wreq_sockets_share_a_connection(ctx: Context):
    """RFC 8441 §4: wreq, on BoringSSL and its own copy of hyper, with HTTP/2 selected."""
    for socket in await shared(ctx, 10, PYTHON, INTEROP / "clients/wreq_h2.py"):
        equal((socket["version"], socket["echoed"]), ("HTTP_2", 4), "version, messages")


@case("server", "reference", wants=named("bun-client"))
async def bun_sockets(ctx: Context):
    """RFC 6455 §5: Bun's WebSocket, which only supports HTTP/1.1: text, binary, close codes."""
    url = ctx.endpoints.tls.ws_url()
    for number, socket in enumerate((await report(install.bun(), INTEROP / "clients/bun.mjs", url, 10))["sockets"]):
        equal((socket["error"], socket["echoed"]), (None, 4), "error, messages")
        equal((socket["code"], socket["wasClean"]), (4000 + number, True), "close")


@case("server", "reference", wants=named("websocat"))
async def websocat_sends_lines(ctx: Context):
    """RFC 6455 §4: websocat's Upgrade and echoed lines, with TLS and in cleartext."""
    # Node's cleartext port, in the reference, only supports HTTP/2.
    for endpoint in ctx.endpoints.all() if ctx.role == "server" else [ctx.endpoints.tls]:
        lines = ["hello", "ü", "x" * 60_000]
        for line in lines:
            status, out, err = await run(BIN / "websocat", "-k", "-1", "-B", 1 << 20, endpoint.ws_url(), stdin=f"{line}\n".encode())
            equal((status, out), (0, f"{line}\n"), f"exit status and stdout, stderr {err[-200:]!r}")


# -- bridges from HTTP/1.1 into our HTTP/2 ----------------------------------


@case("server", "reference", wants=is_bridge)
async def http1_sockets_through_the_bridge(ctx: Context):
    """RFC 8441 §5: HTTP/1.1 clients of a foreign proxy reach the server, over HTTP/2 if the proxy supports it."""
    await http1_sockets(ctx.endpoints.clear)


@case("bridge", wants=is_bridge)
async def http1_sockets_through_both_bridges(ctx: Context):
    """RFC 8441 §5: HTTP/1.1 clients reach an RFC 6455 server through a foreign proxy and `h2ws bridge`."""
    endpoint, _ = await program.bridge(ctx.sandbox, "--to", ctx.endpoints.clear.ws_url("/"))
    async with Relay(endpoint.port) as relay:
        front = await ctx.peer.start(ctx.sandbox, endpoint.on(relay.port))
        await http1_sockets(front.clear)
        ctx.note(f"60 sockets on {relay.accepted} TCP connection(s)")


async def http1_sockets(endpoint: Endpoint) -> None:
    async def one(number: int) -> None:
        async with rfc6455.connect(endpoint) as ws:
            for message in (f"socket {number}", "", bytes(100_000), "x" * 65_536):
                await ws.send(message)
                equal(await ws.recv(), message, "echo")
            await ws.close(4001, "bye")
        equal(ws.close_code, 4001, "close code")

    for _ in range(3):
        await asyncio.gather(*(one(number) for number in range(20)))
