"""Node: its `http2` module with npm `ws`, as origin; and `ws` alone."""

from lib.peer import Peer, Served, npm
from lib.rfc8441 import Endpoint
from lib.stage import INTEROP, Stage, node_env


async def start(stage: Stage) -> Served:
    tls, clear = stage.port(), stage.port()
    child = await stage.spawn(
        "node", INTEROP / "apps/node-h2.mjs", tls, clear, stage.cert, stage.key, name="node-h2", env=node_env())
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


async def start_ws(stage: Stage) -> Served:
    tls, clear = stage.port(), await stage.backend()
    child = await stage.spawn(
        "node", INTEROP / "apps/backend.mjs", tls, stage.cert, stage.key, name="ws", env=node_env() | {"DEFLATE": "1"})
    await stage.ready(child, tls)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


PEERS = [
    Peer("node", "server", start, version=("node", "--version"), capable=True, clear_h2=True),
    Peer("ws", "server", start_ws, version=lambda: npm("ws")),
]
