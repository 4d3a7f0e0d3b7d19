"""PyPI `websockets`: HTTP/1.1 alone, strict, with permessage-deflate."""

from lib.peer import Peer, Served, pypi
from lib.rfc8441 import Endpoint
from lib.stage import INTEROP, PYTHON, Stage


async def start(stage: Stage) -> Served:
    clear, tls = stage.port(), stage.port()
    child = await stage.spawn(
        PYTHON, INTEROP / "apps/websockets_echo.py", clear, tls, stage.cert, stage.key, name="websockets")
    await stage.ready(child, clear, tls)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


PEERS = [Peer("websockets", "server", start, version=pypi("websockets"))]
