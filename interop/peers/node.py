"""Node servers: the `http2` module with npm `ws`, and `ws` alone."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints, npm
from lib.sandbox import INTEROP, Sandbox, node_env


async def start(sandbox: Sandbox) -> Endpoints:
    tls, clear = sandbox.port(), sandbox.port()
    child = await sandbox.spawn(
        "node", INTEROP / "apps/node-h2.mjs", tls, clear, sandbox.cert, sandbox.key, name="node-h2", env=node_env())
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def start_ws(sandbox: Sandbox) -> Endpoints:
    tls, clear = sandbox.port(), await sandbox.backend()
    child = await sandbox.spawn(
        "node", INTEROP / "apps/backend.mjs", tls, sandbox.cert, sandbox.key, name="ws", env=node_env() | {"DEFLATE": "1"})
    await sandbox.ready(child, tls)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


PEERS = [
    Peer("node", "server", start, version=("node", "--version"), capable=True, clear_h2=True),
    Peer("ws", "server", start_ws, version=lambda: npm("ws")),
]
