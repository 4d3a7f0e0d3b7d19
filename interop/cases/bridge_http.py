"""`h2ws bridge` in front of real HTTP servers: long polls, and early responses."""

import asyncio
import contextlib
import json
import socket
import threading

from lib import install, program
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.sandbox import INTEROP, PYTHON, node_env

from .bridge import named

UPLOAD = 20_000_000


async def before(ctx: Context, port: int) -> Endpoint:
    """Starts a bridge with default settings, in cleartext."""
    endpoint, _ = await program.serve_one(
        ctx.sandbox, "--cleartext", "--to", f"ws://127.0.0.1:{port}", command="bridge")
    return endpoint


@case("bridge", wants=named("ws"), timeout=300)
async def socket_io_on_polling_alone_stays_connected(ctx: Context):
    """RFC 6202 §2: a Socket.IO client on long polls stays connected for two minutes with default settings."""
    modules = await asyncio.to_thread(install.applications_npm)
    environment = node_env() | {"MODULES": str(modules)}
    port, app = ctx.sandbox.port(), INTEROP / "apps/polling.mjs"
    child = await ctx.sandbox.spawn("node", app, "serve", port, name="polling", env=environment)
    await ctx.sandbox.ready(child, port)
    endpoint = await before(ctx, port)
    # One poll takes 25 s.
    seconds = 30 if ctx.quick else 120
    client = await ctx.sandbox.spawn(
        "node", app, "connect", f"http://127.0.0.1:{endpoint.port}", seconds,
        name="polling-client", stdout_pipe=True, env=environment)
    seen = json.loads(await client.first_line(seconds + 60))
    equal(seen, {"connects": 1, "ends": [], "errors": [], "echoes": 2, "connected": True}, "the client's report")
    ctx.note(f"{seconds} s on polling alone, one connection")


def uploaded(endpoint: Endpoint) -> int:
    """The status of the response to an upload, however much of it was accepted; 0 if there is none.

    Uses two threads, because asyncio's streams do not read once a write has failed.
    """
    with socket.create_connection(("127.0.0.1", endpoint.port), 60) as connection:
        def upload() -> None:
            part = bytes(1 << 16)
            with contextlib.suppress(OSError):
                for _ in range(UPLOAD // len(part)):
                    connection.sendall(part)

        connection.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {UPLOAD}\r\n\r\n".encode())
        sender = threading.Thread(target=upload)
        sender.start()
        try:
            line = connection.makefile("rb").readline()
        except ConnectionError:
            line = b""
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        sender.join()
    return int(line.split()[1]) if line else 0


@case("bridge", wants=named("ws"), timeout=300)
async def answers_before_the_end_of_an_upload_pass(ctx: Context):
    """RFC 9112 §9.6: Node and a WSGI server send 413 and disconnect during an upload; 100 of 100 responses arrive."""
    times = 20 if ctx.quick else 100
    for name, argv in (("node", ("node", INTEROP / "apps/too_large.mjs")),
                       ("wsgi", (PYTHON, INTEROP / "apps/too_large.py"))):
        port = ctx.sandbox.port()
        child = await ctx.sandbox.spawn(*argv, port, name=f"too-large-{name}", env=node_env())
        await ctx.sandbox.ready(child, port)
        endpoint = await before(ctx, port)
        statuses = [await asyncio.to_thread(uploaded, endpoint) for _ in range(times)]
        arrived = statuses.count(413)
        check(arrived == times, f"{arrived} of {times} from {name}: {sorted(set(statuses))}")
        ctx.note(f"{name}: {arrived} of {times}")
