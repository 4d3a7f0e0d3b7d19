"""Redis: a TCP server without WebSockets, as a `tcp://` upstream."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints
from lib.sandbox import Sandbox


async def start(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    child = await sandbox.spawn(
        "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
        "--dir", sandbox.dir)
    await sandbox.ready(child, port)
    return Endpoints(clear=Endpoint(port, tls=False), child=child)


PEERS = [Peer("redis", "tcp", start, apt=("redis-server",), version=("redis-server", "--version"))]
