"""Web frameworks that read the fields of forwarding proxies, each with one page that requires HTTPS.

Jetty prefers `Forwarded` to `X-Forwarded-*`, Rack 2 reads the latter only, and
Hypercorn's middleware the former only.
"""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints, pypi
from lib.sandbox import INTEROP, PYTHON, Sandbox

JARS = ":".join(f"/usr/share/java/{name}.jar" for name in
                ("jetty9-server", "jetty9-http", "jetty9-io", "jetty9-util", "servlet-api"))
APPS = INTEROP / "apps"


async def program(sandbox: Sandbox, name: str, port: int, *argv) -> Endpoints:
    child = await sandbox.spawn(*argv, name=name, cwd=APPS)
    await sandbox.ready(child, port)
    return Endpoints(clear=Endpoint(port, tls=False), child=child)


async def jetty(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    return await program(sandbox, "jetty", port, "java", "-cp", JARS, APPS / "Forwarded.java", port)


async def rack(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    return await program(sandbox, "rack", port, "ruby", APPS / "forwarded.rb", port)


async def hypercorn(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    return await program(sandbox, "proxy-fix", port,
                         PYTHON, "-m", "hypercorn", "forwarded_asgi:app", "--bind", f"127.0.0.1:{port}")


PEERS = [
    Peer("jetty", "framework", jetty, apt=("libjetty9-java", "openjdk-17-jdk-headless"), quick=False,
         version=("dpkg-query", "-W", "-f", "${Version}", "libjetty9-java"), note="prefers Forwarded"),
    Peer("rack", "framework", rack, apt=("ruby-rack", "ruby-webrick"), quick=False,
         version=("ruby", "-e", "require 'rack'; puts Rack.release"), note="reads X-Forwarded-*"),
    Peer("proxy-fix", "framework", hypercorn, version=pypi("hypercorn"), note="Hypercorn's middleware, reads Forwarded"),
]
