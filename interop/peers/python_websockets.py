"""PyPI `websockets`: HTTP/1.1 only, strict, with permessage-deflate."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints, pypi
from lib.sandbox import INTEROP, PYTHON, Sandbox


async def start(sandbox: Sandbox) -> Endpoints:
    clear, tls = sandbox.port(), sandbox.port()
    child = await sandbox.spawn(
        PYTHON, INTEROP / "apps/websockets_echo.py", clear, tls, sandbox.cert, sandbox.key, name="websockets")
    await sandbox.ready(child, clear, tls)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


PEERS = [Peer("websockets", "server", start, version=pypi("websockets"))]
