"""Tomcat and Jetty in Debian's versions: HTTP/2 without RFC 8441, and WebSockets over HTTP/1.1."""

from pathlib import Path

from lib.endpoint import Endpoint
from lib.peer import FULL, Peer, Endpoints
from lib.sandbox import INTEROP, Sandbox



def jars(prefix: str, *names: str) -> list[str]:
    return [f"/usr/share/java/{prefix}{name}.jar" for name in names]


TOMCAT = jars("tomcat10-", "annotations-api", "api", "catalina", "coyote", "el-api", "jasper-el", "jaspic-api", "jni", "juli",
              "servlet-api", "util", "util-scan", "websocket", "websocket-api", "websocket-client-api")
JETTY = jars("jetty9-", "alpn-java-server", "alpn-server", "client", "http", "http2-common", "http2-hpack", "http2-server", "io",
             "security", "server", "servlet", "util", "websocket-api", "websocket-client", "websocket-common",
             "websocket-server", "websocket-servlet") + jars("", "servlet-api")


async def run(sandbox: Sandbox, classes: list[str], program: Path) -> Endpoints:
    """Starts a Java program from its source, which takes some seconds."""
    tls, clear = sandbox.port(), sandbox.port()
    child = await sandbox.spawn("java", f"-Djava.io.tmpdir={sandbox.dir}", "-cp", ":".join(classes), program, tls, clear, sandbox.cert, sandbox.key,
                                name=program.stem)
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def tomcat(sandbox: Sandbox) -> Endpoints:
    return await run(sandbox, TOMCAT, INTEROP / "apps/TomcatEcho.java")


async def jetty(sandbox: Sandbox) -> Endpoints:
    return await run(sandbox, JETTY, INTEROP / "apps/JettyEcho.java")


def debian(package: str) -> tuple[str, ...]:
    return ("dpkg-query", "-W", "-f", "${Version}", package)


PEERS = [
    Peer("tomcat", "server", tomcat, apt=("openjdk-17-jdk-headless", "libtomcat10-java"),
         version=debian("libtomcat10-java"), can=FULL - {"abort"}, quick=False),
    Peer("jetty-websocket", "server", jetty, apt=("openjdk-17-jdk-headless", "libjetty9-extra-java"),
         version=debian("libjetty9-extra-java"), quick=False),
]
