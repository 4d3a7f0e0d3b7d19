"""Hypercorn: an ASGI origin that speaks RFC 8441 itself."""

from lib.peer import Peer, Served, pypi
from lib.rfc8441 import Endpoint
from lib.stage import INTEROP, PYTHON, Stage


async def start(stage: Stage) -> Served:
    tls, clear = stage.port(), stage.port()
    child = await stage.spawn(
        PYTHON, "-m", "hypercorn", "asgi_echo:app", "--bind", f"127.0.0.1:{tls}",
        "--insecure-bind", f"127.0.0.1:{clear}",
        "--certfile", stage.cert, "--keyfile", stage.key, name="hypercorn", cwd=INTEROP / "apps",
    )
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


PEERS = [
    Peer("hypercorn", "server", start, version=pypi("hypercorn"), capable=True, clear_h2=True,
         can=frozenset({"request", "close", "refuse", "subprotocol", "binary"}), ending="cancel", streams=100,
         hangs_up=True, refuses_with_body=False),
]
