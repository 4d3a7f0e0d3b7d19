"""The libwebsockets test server: initial windows of 0 and small limits."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints
from lib.sandbox import Sandbox


async def start(sandbox: Sandbox) -> Endpoints:
    tls = sandbox.port()
    child = await sandbox.spawn(
        "libwebsockets-test-server", "-s", "-p", tls, "-i", "lo",
        "-r", "/usr/share/libwebsockets-test-server", "-C", sandbox.cert, "-K", sandbox.key,
    )
    await sandbox.ready(child, tls)
    return Endpoints(Endpoint(tls, path="/"), child=child)


PEERS = [
    Peer("libwebsockets", "server", start, apt=("libwebsockets-test-server",),
         version=("dpkg-query", "-W", "libwebsockets-test-server"), capable=True,
         can=frozenset(), ending="cancel", subprotocol="lws-mirror-protocol", largest=4096, streams=24,
         note="mirrors its 4,096-byte buffer: packed messages come back split in two"),
]
