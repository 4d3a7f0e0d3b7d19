"""The common deployment: a current proxy in front of an RFC 6455 server, and our programs with default options.

`Auto` has to open every socket, over the version of HTTP that works there.
"""

import asyncio
import json

from lib import program
from lib.cases import Context, case, check, equal
from lib.relay import Relay
from lib.rfc8441 import Connection
from lib.sandbox import run
from peers import envoy

from .bridge import bridged
from .reference import carried_by_h2, is_server

# Proxies in front of the run's RFC 6455 backend.
PROXIES = ("envoy", "caddy-2.11", "caddy-h2", "traefik", "traefik-501", "nghttpx", "haproxy", "lighttpd", "nginx", "h2o")
UPSTREAMS = (*PROXIES[:5], "envoy-h2", "nghttpx", "haproxy", "axum", "h2-crate", "tomcat", "jetty-websocket", "bun", "workerd")
SOCKETS = 300
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def one_of(*names: str):
    return lambda peer: is_server(peer) and peer.name in names


@case("client", wants=one_of(*PROXIES), timeout=180)
async def opens_with_default_options(ctx: Context):
    """RFC 8441 §3, RFC 6455 §4: `connect`, and `bench` with 300 sockets (1,000 if the peer rejects the method), choose a version of HTTP that works."""
    sockets = 1000 if ctx.peer.rejects_method else SOCKETS
    relayed = lambda relay: ctx.endpoints.tls.on(relay.port).ws_url()
    async with Relay(ctx.endpoints.tls.port) as relay:
        result = await program.connect(ctx.h2ws, relayed(relay), ["?request"])
        check(result.status == 0 and len(result.out) == 1, f"expected exit 0 and an answer: {result}")
        over_h2 = carried_by_h2(ctx.peer, json.loads(result.out[0]))
        equal(over_h2, ctx.peer.capable, "carried by HTTP/2, as reported by the backend")
        ctx.note(f"connect: HTTP/{2 if over_h2 else 1.1} on {relay.accepted} TCP connection(s)")
    async with Relay(ctx.endpoints.tls.port) as relay:
        status, out, err = await run(ctx.h2ws, "bench", relayed(relay), "--insecure", "--json",
                                     "--sockets", sockets, "--messages", 4, timeout=150)
        check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
        seen = json.loads(out)
        equal((seen["failed"], seen["messages"]), (0, 4 * sockets), "failed sockets, messages echoed")
        equal(seen["over_http2"], sockets if ctx.peer.capable else 0, "sockets over HTTP/2")
        if ctx.peer.rejects_method:
            over_h2 = relay.accepted - sockets
            check(1 <= over_h2 <= sockets // ctx.peer.streams, f"{over_h2} connections besides those of the {sockets} sockets")
        limit = f" of {ctx.peer.streams} streams" if ctx.peer.capable and ctx.peer.streams else ""
        ctx.note(f"bench: {seen['over_http2']} sockets over HTTP/2, {sockets - seen['over_http2']} over HTTP/1.1, "
                 f"on {relay.accepted} TCP connection(s){limit}")


@case("client", wants=lambda peer: is_server(peer) and peer.capable)
async def with_and_without_a_key(ctx: Context):
    """RFC 8441 §5: the answers to an extended CONNECT without a `Sec-WebSocket-Key` and with one; our client opens a socket either way."""
    answers = [await answer(ctx, key) for key in ([], [("sec-websocket-key", KEY)])]
    accepted = [status == 200 for status, _ in answers]
    equal(accepted, [not ctx.peer.wants_key, not ctx.peer.doubles_key], "opened without a key, with one")
    cells = [f"{status}{' and an accept' if accept else ''}" for status, accept in answers]
    for option in ([], ["--websocket-key"]):
        expected = not (option and ctx.peer.doubles_key)
        equal(await over_http2(ctx, *option), expected, f"carried by HTTP/2 with {option}")
        cells.append("HTTP/2" if expected else "HTTP/1.1, after the 400")
    ctx.cells = cells
    ctx.note(f"python's h2 without a key: {cells[0]}, with one: {cells[1]}; h2ws by default: {cells[2]}, with --websocket-key: {cells[3]}")


async def answer(ctx: Context, key: list[tuple[str, str]]) -> tuple[int | None, bool]:
    """The status of an extended CONNECT, and whether there was a `Sec-WebSocket-Accept`."""
    offer = [("sec-websocket-protocol", ctx.peer.subprotocol)] if ctx.peer.subprotocol else []
    async with Connection.to(ctx.endpoints.tls) as connection:
        stream = await connection.request(connection.connect_headers() + [("sec-websocket-version", "13"), *offer, *key])
        return await connection.answer(stream), "sec-websocket-accept" in stream.headers


async def over_http2(ctx: Context, *options: str) -> bool:
    """Whether `h2ws connect` opens a socket over HTTP/2, as the peer reports it, or because nothing else is allowed."""
    url = ctx.endpoints.tls.ws_url()
    if "request" in ctx.peer.can:
        result = await program.connect(ctx.h2ws, url, ["?request"], *options)
        check(result.status == 0 and len(result.out) == 1, f"expected exit 0 and an answer: {result}")
        return carried_by_h2(ctx.peer, json.loads(result.out[0]))
    offer = ["--subprotocol", ctx.peer.subprotocol] if ctx.peer.subprotocol else []
    result = await program.connect(ctx.h2ws, url, ["hello"], "--http2", *options, *offer)
    equal(result.out, ["hello"], f"echo, {result}")
    return True


@case("bridge", wants=one_of(*UPSTREAMS))
async def sockets_100_through_us_to_the_peer(ctx: Context):
    """RFC 8441 §5: 100 sockets on one HTTP/2 connection, through `h2ws bridge`, whose upstream is the peer."""
    async with Relay(ctx.endpoints.tls.port) as upstream:
        url = ctx.endpoints.tls.on(upstream.port).ws_url("/")
        async with bridged(ctx.sandbox, "--to", url, "--upstream-insecure") as (connection, relay):
            # Not all at once: a Java server that has just started takes seconds for its first TLS handshakes.
            opened = []
            for first in range(0, 100, 20):
                opened += await asyncio.gather(*(connection.socket(f"/echo?{first + n}") for n in range(20)))
            await opened[0].send("?request")
            over_h2 = carried_by_h2(ctx.peer, json.loads(await opened[0].recv()))
            equal(over_h2, ctx.peer.capable, "carried by HTTP/2 to the server, as reported by it")
            for message in ("", "ü" * 1000, bytes(100_000)):
                await asyncio.gather(*(socket.echo(message) for socket in opened))
            await asyncio.gather(*(socket.echo(bytes(1_000_000)) for socket in opened[::20]))
            if "close" in ctx.peer.can:
                await opened[1].send("?close 4001 bye")
                ending = await opened[1].answer_close()
                equal((ending.code, ending.reason, ending.reset), (4001, "bye", None), "close by the server")
                del opened[1]
            endings = await asyncio.gather(*(s.close(4000 + n, "bye") for n, s in enumerate(opened)))
            for number, ending in enumerate(endings):
                equal((ending.code, ending.ended, ending.reset), (4000 + number, True, None), f"end of socket {number}")
            equal(relay.accepted, 1, "TCP connections of the client")
            await connection.ping()
        ctx.note(f"HTTP/{2 if over_h2 else 1.1} on {upstream.accepted} TCP connection(s)")
        if ctx.peer.capable:
            check(upstream.accepted <= 2, f"{upstream.accepted} TCP connections to the server")


@case("bridge", wants=one_of("axum", "h2-crate"))
async def default_limits_of_hyper_and_h2(ctx: Context):
    """RFC 9113 §10.5: header lists of 30 KB, 600 aborts and 8,000 small messages do not affect a sibling."""
    async with Relay(ctx.endpoints.tls.port) as upstream:
        url = ctx.endpoints.tls.on(upstream.port).ws_url("/")
        async with bridged(ctx.sandbox, "--to", url, "--upstream-insecure") as (connection, relay):
            sibling = await connection.socket("/echo")
            await sibling.echo("before")
            # Fields below our limit of 64 KiB, and above the server's.
            fields = [(f"x-long-{number}", "v" * 3_000) for number in range(10)]
            for _ in range(3):
                stream = await connection.request(
                    connection.connect_headers() + [("sec-websocket-version", "13"), *fields])
                status = await connection.answer(stream)
                await sibling.echo("beside a long header list")
            ctx.note(f"30 KB of fields: {status}")
            # Sockets that are dropped by the client during an echo.
            for _ in range(20):
                some = await asyncio.gather(*(connection.socket("/echo") for _ in range(30)))
                await asyncio.gather(*(socket.send("x" * 1_000) for socket in some))
                for socket in some:
                    connection.reset(socket.stream)
            await sibling.echo("beside 600 aborts")
            # One WebSocket frame per DATA frame, sent immediately.
            busy = await asyncio.gather(*(connection.socket("/echo") for _ in range(40)))

            async def chatter(socket) -> None:
                for number in range(200):
                    await socket.send(str(number))
                for number in range(200):
                    equal(await socket.recv(), str(number), "echo")

            await asyncio.gather(*(chatter(socket) for socket in busy))
            await sibling.echo("beside 8,000 small messages")
            equal((await sibling.close()).code, 1000, "close of the sibling")
            check(connection.goaway is None, f"GOAWAY from the bridge: {connection.goaway}")
        ctx.note(f"{upstream.accepted} TCP connection(s) to the server")


@case("client", wants=one_of("envoy-h2"))
async def serve_behind_the_peer(ctx: Context):
    """RFC 8441 §5: our client through the peer to `h2ws serve`, with one HTTP/2 connection on either side of the peer."""
    ours = (await program.serve(ctx.sandbox)).tls
    async with Relay(ours.port) as behind:
        front = (await envoy.in_front(ctx.sandbox, ours.on(behind.port))).tls
        async with Relay(front.port) as before:
            url = front.on(before.port).ws_url()
            status, out, err = await run(ctx.h2ws, "bench", url, "--insecure", "--json",
                                         "--sockets", SOCKETS, "--messages", 16, "--size", 20_000, timeout=100)
            check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
            seen = json.loads(out)
            equal((seen["failed"], seen["over_http2"], seen["messages"]), (0, SOCKETS, 16 * SOCKETS), "failed, over HTTP/2, messages")
            ctx.note(f"{SOCKETS} sockets on {before.accepted} TCP connection(s) to Envoy, {behind.accepted} from it")
        async with Connection.to(front) as connection:
            opened = await asyncio.gather(*(connection.socket() for _ in range(20)))
            await asyncio.gather(*(socket.echo(bytes(200_000)) for socket in opened))
            for socket in opened[:10]:
                connection.reset(socket.stream)
            await asyncio.gather(*(socket.echo("beside aborts") for socket in opened[10:]))
            for number, socket in enumerate(opened[10:]):
                ending = await socket.close(4000 + number, "bye")
                equal((ending.code, ending.ended), (4000 + number, True), "code, END_STREAM")
