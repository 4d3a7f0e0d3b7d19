"""HAProxy: in front of an RFC 6455 backend, and from HTTP/1.1 to an RFC 8441 upstream."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints
from lib.sandbox import Sandbox

VERSION = ("haproxy", "-v")
CONFIG = """\
global
    nbthread 1
    tune.h2.max-concurrent-streams {streams}
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s
frontend front
{binds}
    http-request set-header x-front-version %[req.ver]
    default_backend back
backend back
    server s {server}
"""


STREAMS = 100  # HAProxy's default, set explicitly


async def run(sandbox: Sandbox, name: str, binds: str, server: str, *ports: int):
    config = sandbox.write(f"{name}.cfg", CONFIG.format(binds=binds, server=server, streams=STREAMS))
    child = await sandbox.spawn("haproxy", "-db", "-f", config, name=name)
    await sandbox.ready(child, *ports)
    return child


async def start(sandbox: Sandbox) -> Endpoints:
    backend, tls, clear = await sandbox.backend(), sandbox.port(), sandbox.port()
    binds = (f"    bind 127.0.0.1:{tls} ssl crt {sandbox.both} alpn h2,http/1.1\n"
             f"    bind 127.0.0.1:{clear} proto h2")
    child = await run(sandbox, "haproxy", binds, f"127.0.0.1:{backend}", tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def before(sandbox: Sandbox, upstream: Endpoint) -> Endpoints:
    """From HTTP/1.1 to an RFC 8441 upstream."""
    clear = sandbox.port()
    how = "ssl verify none alpn h2 ws h2" if upstream.tls else "proto h2 ws h2"
    child = await run(sandbox, "haproxy-h1-to-h2", f"    bind 127.0.0.1:{clear}",
                      f"{upstream.authority} {how}", clear)
    return Endpoints(clear=Endpoint(clear, tls=False), child=child)


PEERS = [
    Peer("haproxy", "server", start, apt=("haproxy",), version=VERSION,
         capable=True, clear_h2=True, h2_mark=("x-front-version", "2.0"), streams=STREAMS),
    Peer("haproxy-bridge", "bridge", before, apt=("haproxy",), version=VERSION),
]
