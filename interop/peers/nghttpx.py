"""nghttpx: in front of an RFC 6455 backend, and from HTTP/1.1 to an RFC 8441 upstream."""

import shutil

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints
from lib.sandbox import Sandbox

VERSION = ("nghttpx", "--version")


async def start(sandbox: Sandbox) -> Endpoints:
    return await start_on(sandbox, sandbox.port(), sandbox.port())


async def start_on(sandbox: Sandbox, tls: int, clear: int) -> Endpoints:
    backend = await sandbox.backend()
    child = await sandbox.spawn(
        # By its path, because it re-executes itself in one case.
        shutil.which("nghttpx") or "nghttpx", "--conf=/dev/null", "--workers=1",
        f"-f127.0.0.1,{tls}", f"-f127.0.0.1,{clear};no-tls",
        f"-b127.0.0.1,{backend}", sandbox.key, sandbox.cert,
    )
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def before(sandbox: Sandbox, upstream: Endpoint) -> Endpoints:
    """From HTTP/1.1 to an RFC 8441 upstream."""
    clear = sandbox.port()
    tls = ";tls;sni=localhost" if upstream.tls else ""
    child = await sandbox.spawn(
        "nghttpx", "--conf=/dev/null", "--workers=1", f"-f127.0.0.1,{clear};no-tls",
        f"-b{upstream.host},{upstream.port};;proto=h2{tls}", "--insecure",
        name="nghttpx-h1-to-h2",
    )
    await sandbox.ready(child, clear)
    return Endpoints(clear=Endpoint(clear, tls=False), child=child)


PEERS = [
    Peer("nghttpx", "server", start, apt=("nghttp2-proxy",), version=VERSION,
         capable=True, clear_h2=True, h2_mark=("via", "2 nghttpx"), streams=100, doubles_key=True),
    Peer("nghttpx-bridge", "bridge", before, apt=("nghttp2-proxy",), version=VERSION),
]
