"""An HTTP/1.1-only echo server on PyPI `websockets`: `websockets_echo.py PORT TLS_PORT CERT KEY`."""

import asyncio
import json
import ssl
import sys
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

# How sockets were closed, by path: code, reason, and number of messages received before.
ended = {}


def refuse(connection, request):
    if request.path.startswith("/refuse"):
        return connection.respond(HTTPStatus.FORBIDDEN, "not you\n")
    return compress(connection, request)


def compress(connection, request):
    """Negotiates permessage-deflate with the parameters in the query; `deflate` alone sets none."""
    query = urlsplit(request.path).query
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    bits = {name: int(value) for name, value in parameters.items() if value}
    flags = {name: True for name, value in parameters.items() if not value and name != "deflate"}
    if query:
        connection.protocol.available_extensions = [ServerPerMessageDeflateFactory(**bits, **flags)]


def choose(connection, offered):
    return next((name for name in offered if name.startswith("echo")), None)


def agreed(extensions):
    """The negotiated parameters: no_context_takeover and window bits, of server and client."""
    return [(e.local_no_context_takeover, e.remote_no_context_takeover, e.local_max_window_bits,
             e.remote_max_window_bits) for e in extensions][0] if extensions else None


async def serve_one(ws):
    received = 0

    async def messages():
        nonlocal received
        async for message in ws:
            received += 1
            yield message

    coming = messages()
    try:
        with suppress(ConnectionClosed):
            await echo(ws, coming)
        # An echo may fail because of a Close frame behind messages that are not read yet.
        with suppress(ConnectionClosed):
            async for _ in coming:
                pass
    finally:
        await ws.wait_closed()
        ended[ws.request.path] = ws.close_code, ws.close_reason, received


async def echo(ws, messages):
    async for message in messages:
        if not isinstance(message, str) or not message.startswith("?"):
            await ws.send(message)
            continue
        command, *rest = message.split(" ", 2)
        if command == "?request":
            await ws.send(json.dumps({
                "version": "1.1",
                "path": ws.request.path,
                "headers": {name.lower(): value for name, value in ws.request.headers.raw_items()},
                "subprotocol": ws.subprotocol or "",
                "deflate": agreed(ws.protocol.extensions),
            }))
        elif command == "?ended":
            await ws.send(json.dumps(ended))
        elif command == "?close":
            await ws.close(int(rest[0]), rest[1] if len(rest) > 1 else "")
        elif command == "?abort":
            ws.transport.abort()
        elif command == "?ping":
            await (await ws.ping("are you there"))
            await ws.send("ponged are you there")
        elif command == "?fragments":
            await ws.send(["frag", "men", "ted"])
        else:
            await ws.send(message)


async def main(port, tls_port, cert, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_alpn_protocols(["http/1.1"])
    # With 500 sockets on a slow machine, keep-alive Pings would close some with 1011.
    options = {"ping_interval": None, "max_size": None, "process_request": refuse, "select_subprotocol": choose}
    async with serve(serve_one, "127.0.0.1", port, **options), serve(serve_one, "127.0.0.1", tls_port, ssl=context, **options):
        await asyncio.get_running_loop().create_future()


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
