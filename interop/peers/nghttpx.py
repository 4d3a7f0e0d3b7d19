"""nghttpx: a bridge to an RFC 6455 backend, and one into an RFC 8441 upstream."""

import shutil

from lib.peer import Peer, Served
from lib.rfc8441 import Endpoint
from lib.stage import Stage

VERSION = ("nghttpx", "--version")


async def start(stage: Stage) -> Served:
    return await start_on(stage, stage.port(), stage.port())


async def start_on(stage: Stage, tls: int, clear: int) -> Served:
    backend = await stage.backend()
    child = await stage.spawn(
        # By its path: it executes itself anew when a case tells it to.
        shutil.which("nghttpx") or "nghttpx", "--conf=/dev/null", "--workers=1",
        f"-f127.0.0.1,{tls}", f"-f127.0.0.1,{clear};no-tls",
        f"-b127.0.0.1,{backend}", stage.key, stage.cert,
    )
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


async def before(stage: Stage, upstream: Endpoint) -> Served:
    """HTTP/1.1 in front, RFC 8441 behind."""
    clear = stage.port()
    tls = ";tls;sni=localhost" if upstream.tls else ""
    child = await stage.spawn(
        "nghttpx", "--conf=/dev/null", "--workers=1", f"-f127.0.0.1,{clear};no-tls",
        f"-b{upstream.host},{upstream.port};;proto=h2{tls}", "--insecure",
        name="nghttpx-h1-to-h2",
    )
    await stage.ready(child, clear)
    return Served(clear=Endpoint(clear, tls=False), child=child)


PEERS = [
    Peer("nghttpx", "server", start, apt=("nghttp2-proxy",), version=VERSION,
         capable=True, clear_h2=True, h2_mark=("via", "2 nghttpx"), streams=100, doubles_key=True),
    Peer("nghttpx-bridge", "bridge", before, apt=("nghttp2-proxy",), version=VERSION),
]
