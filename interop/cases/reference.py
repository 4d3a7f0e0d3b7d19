"""The foreign client against the peer, which shows whether a failure is caused by the peer or by h2ws."""

import base64
import json
import os

from lib import rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import PeerError
from lib.rfc8441 import Connection

SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_000_000]


def is_server(peer):
    return peer.kind == "server"


def headers(peer):
    """The fields that this peer requires in addition to those of RFC 8441."""
    protocol = [("sec-websocket-protocol", peer.subprotocol)] if peer.subprotocol else []
    return protocol + [("sec-websocket-key", base64.b64encode(os.urandom(16)).decode())] * peer.wants_key


@case("reference", wants=lambda peer: is_server(peer) and peer.capable)
async def advertises_and_echoes_over_h2(ctx: Context):
    """RFC 8441 §3-§5: the setting is 1, an extended CONNECT opens a socket, messages are echoed."""
    offered = [ctx.endpoints.tls] + [ctx.endpoints.clear] * ctx.peer.clear_h2
    for endpoint in offered:
        async with Connection.to(endpoint) as connection:
            for kind in ("text", "binary"):
                socket = await connection.socket(headers=headers(ctx.peer))
                sizes = [n for n in SIZES if n <= ctx.peer.largest]
                if ctx.peer.subprotocol:
                    sizes = [n for n in sizes if n]
                for size in sizes:
                    if kind == "text":
                        await socket.echo("x" * size)
                    elif "binary" in ctx.peer.can:
                        await socket.echo(bytes(size))
                ending = await socket.close(1000, "done", ending=ctx.peer.ending)
                equal(ending.code, 1000, "close code")
        clothes = "TLS" if endpoint.tls else "cleartext"
        ctx.note(f"{clothes}: {socket.stream.trace[-1]}")
    ctx.note(f"stream limit {connection.stream_limit}")


@case("reference", wants=lambda peer: is_server(peer) and peer.capable and "request" in peer.can)
async def shows_that_h2_carried_it(ctx: Context):
    """RFC 8441 §4: the backend's report shows HTTP/2, on which the client cases rely."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        socket = await connection.socket(headers=headers(ctx.peer))
        await socket.send("?request")
        facts = json.loads(await socket.recv())
        check(carried_by_h2(ctx.peer, facts), f"no sign of HTTP/2 in {facts}")
        await socket.close(ending=ctx.peer.ending)


@case("reference", wants=lambda peer: is_server(peer) and peer.wants_key)
async def refuses_without_a_key(ctx: Context):
    """RFC 8441 §5: without a key a proxy that forwards the missing field to its RFC 6455 backend answers with 400."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        stream = await connection.request(connection.connect_headers() + [("sec-websocket-version", "13")])
        equal(await connection.answer(stream), 400, "status without a key")


@case("reference", wants=lambda peer: is_server(peer) and peer.rejects_method)
async def advertises_and_refuses(ctx: Context):
    """RFC 8441 §3: a server that sends the setting, but answers every extended CONNECT with 501."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        check(connection.capable, "the peer does not send ENABLE_CONNECT_PROTOCOL = 1")
        stream = await connection.request(connection.connect_headers() + [("sec-websocket-version", "13"), *headers(ctx.peer)])
        equal(await connection.answer(stream), 501, "status")


@case("reference", wants=lambda peer: is_server(peer) and not peer.capable and not peer.rejects_method)
async def lacks_the_capability(ctx: Context):
    """RFC 8441 §3: h2 without the setting, or no h2 at all."""
    try:
        async with Connection.to(ctx.endpoints.tls) as connection:
            check(not connection.capable, "the peer sends ENABLE_CONNECT_PROTOCOL = 1")
            ctx.note("h2 without the capability")
    except (PeerError, OSError) as error:
        # No h2 in ALPN: http/1.1, or the alert of RFC 7301 §3.2.
        check("ALPN" in str(error) or "no application protocol" in str(error), str(error))
        ctx.note(str(error))


@case("reference", wants=lambda peer: is_server(peer) and peer.http1)
async def echoes_over_http1(ctx: Context):
    """RFC 6455 §4: the Upgrade handshake and echo over HTTP/1.1 with TLS."""
    options = {"subprotocols": [ctx.peer.subprotocol]} if ctx.peer.subprotocol else {}
    async with rfc6455.connect(ctx.endpoints.tls, **options) as ws:
        for size in (1, 125, 126, 65_536):
            if size <= ctx.peer.largest:
                await ws.send("x" * size)
                equal(await ws.recv(), "x" * size, "echo")


def carried_by_h2(peer, facts: dict) -> bool:
    """Whether the backend received the header by which the peer marks HTTP/2 requests."""
    if peer.h2_mark:
        name, value = peer.h2_mark
        return facts["headers"].get(name, "").startswith(value)
    return facts["version"].startswith("2")
