"""Hypercorn, and its fork anycorn: ASGI origins that speak RFC 8441 themselves."""

from lib.peer import Peer, Served, pypi
from lib.rfc8441 import Endpoint
from lib.stage import INTEROP, PYTHON, Stage


async def start(stage: Stage) -> Served:
    return await serve(stage, "hypercorn")


async def start_anycorn(stage: Stage) -> Served:
    return await serve(stage, "anycorn")


async def serve(stage: Stage, program: str) -> Served:
    tls, clear = stage.port(), stage.port()
    child = await stage.spawn(
        PYTHON, "-m", program, "asgi_echo:app", "--bind", f"127.0.0.1:{tls}",
        "--insecure-bind", f"127.0.0.1:{clear}",
        "--certfile", stage.cert, "--keyfile", stage.key, name=program, cwd=INTEROP / "apps",
    )
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


KIND = dict(capable=True, clear_h2=True, can=frozenset({"request", "close", "refuse", "subprotocol", "binary"}),
            ending="cancel", streams=100, hangs_up=True, refuses_with_body=False)
PEERS = [
    Peer("hypercorn", "server", start, version=pypi("hypercorn"), **KIND),
    Peer("anycorn", "server", start_anycorn, version=pypi("anycorn"), quick=False, **KIND,
         excused={"large-and-many-lines": "anycorn stops reading: with the same lines sent at once python's h2 gets 2 of 1,003 "
                                          "back, too, from Hypercorn all"}),
]
