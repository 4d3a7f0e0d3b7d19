"""Hypercorn and its fork anycorn: ASGI servers that support RFC 8441."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints, pypi
from lib.sandbox import INTEROP, PYTHON, Sandbox


async def start(sandbox: Sandbox) -> Endpoints:
    return await serve(sandbox, "hypercorn")


async def start_anycorn(sandbox: Sandbox) -> Endpoints:
    return await serve(sandbox, "anycorn")


async def serve(sandbox: Sandbox, program: str) -> Endpoints:
    tls, clear = sandbox.port(), sandbox.port()
    child = await sandbox.spawn(
        PYTHON, "-m", program, "asgi_echo:app", "--bind", f"127.0.0.1:{tls}",
        "--insecure-bind", f"127.0.0.1:{clear}",
        "--certfile", sandbox.cert, "--keyfile", sandbox.key, name=program, cwd=INTEROP / "apps",
    )
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


KIND = dict(capable=True, clear_h2=True, can=frozenset({"request", "close", "refuse", "subprotocol", "binary"}),
            ending="cancel", streams=100, hangs_up=True, rejects_with_body=False)
PEERS = [
    Peer("hypercorn", "server", start, version=pypi("hypercorn"), **KIND),
    Peer("anycorn", "server", start_anycorn, version=pypi("anycorn"), quick=False, **KIND,
         excused={"large-and-many-lines": "anycorn stops reading: with the same lines sent at once Python's h2 gets 2 of 1,003 "
                                          "echoes too, but all of them from Hypercorn"}),
]
