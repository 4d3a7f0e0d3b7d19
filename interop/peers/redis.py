"""Redis: a server that knows nothing of WebSockets, behind `tcp://`."""

from lib.peer import Peer, Served
from lib.rfc8441 import Endpoint
from lib.stage import Stage


async def start(stage: Stage) -> Served:
    port = stage.port()
    child = await stage.spawn(
        "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
        "--dir", stage.dir)
    await stage.ready(child, port)
    return Served(clear=Endpoint(port, tls=False), child=child)


PEERS = [Peer("redis", "tcp", start, apt=("redis-server",), version=("redis-server", "--version"))]
