"""Forward proxies, with passwords where supported, in front of servers that support RFC 8441."""

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lib import install
from lib.peer import Peer, Endpoints
from lib.sandbox import INTEROP, NotRun, Sandbox

from . import hypercorn, nghttpx

USER, PASSWORD = "user", "pass-word"
QUOTED = "pass%2Dword"  # the password as a valid spelling in a URL

TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 60
MaxClients 100
LogLevel Connect
BasicAuth {user} {password}
"""
SQUID = """\
{listen}
pid_filename none
cache deny all
memory_cache_shared off
cache_log /dev/null
access_log none
pinger_enable off
cache_effective_user nobody
auth_param basic program /usr/lib/squid/basic_ncsa_auth {dir}/passwords
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
shutdown_lifetime 0 seconds
"""
DANTE = """\
internal: 127.0.0.1 port = {port}
external: lo
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect }}
"""


@dataclass
class Proxied(Endpoints):
    """The endpoints of servers behind a proxy, and of the proxy."""

    proxy: int = 0
    scheme: str = "http"
    # Whether the proxy requires a password.
    closed: bool = True
    origin: Endpoints | None = None
    # The CA certificate of an interceptor.
    authority: Path | None = None

    def url(self, port: int, password: str | None = QUOTED) -> str:
        """The URL of the proxy at this port (that of a relay)."""
        login = f"{USER}:{password}@" if self.closed and password else ""
        return f"{self.scheme}://{login}127.0.0.1:{port}"


async def behind(sandbox: Sandbox, child, port: int, **kind) -> Proxied:
    """Waits for a starting proxy, and starts nghttpx and Hypercorn behind it."""
    await sandbox.ready(child, port)
    front, origin = await nghttpx.start(sandbox), await hypercorn.start(sandbox)
    return Proxied(front.tls, front.clear, child, port, origin=origin, **kind)


async def tinyproxy(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    config = sandbox.write("tinyproxy.conf", TINYPROXY.format(port=port, user=USER, password=PASSWORD))
    return await behind(sandbox, await sandbox.spawn("tinyproxy", "-d", "-c", config), port)


async def squid(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    return await squid_on(sandbox, port, f"http_port 127.0.0.1:{port}")


async def squid_with_tls(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    certificate = f"tls-cert={sandbox.cert} tls-key={sandbox.key}"
    return await squid_on(sandbox, port, f"https_port 127.0.0.1:{port} {certificate}", scheme="https")


async def squid_on(sandbox: Sandbox, port: int, listen: str, **kind) -> Endpoints:
    hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True).stdout.strip()
    if not hashed:
        raise NotRun("openssl does not create a password hash")
    sandbox.write("passwords", f"{USER}:{hashed}\n")
    config = sandbox.write("squid.conf", SQUID.format(listen=listen, dir=sandbox.dir))
    return await behind(sandbox, await sandbox.spawn("squid", "-N", "-n", f"interop{port}", "-f", config), port, **kind)


async def microsocks(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    child = await sandbox.spawn("microsocks", "-i", "127.0.0.1", "-p", port, "-u", USER, "-P", PASSWORD)
    return await behind(sandbox, child, port, scheme="socks5")


async def dante(sandbox: Sandbox) -> Endpoints:
    port = sandbox.port()
    config = sandbox.write("danted.conf", DANTE.format(port=port))
    child = await sandbox.spawn("danted", "-f", config, "-p", sandbox.dir / "danted.pid")
    return await behind(sandbox, child, port, scheme="socks5", closed=False)


async def mitmproxy(sandbox: Sandbox) -> Endpoints:
    """In front of nghttpx, whose certificate it does not check. Its own CA certificate is in `authority`."""
    python = await asyncio.to_thread(install.venv, "mitmproxy", "mitmproxy.txt")
    port, front = sandbox.port(), await nghttpx.start(sandbox)
    folder = sandbox.dir / "mitmproxy"
    child = await sandbox.spawn(
        python.with_name("mitmdump"), "--listen-host", "127.0.0.1", "--listen-port", port, "--ssl-insecure",
        "--set", f"confdir={folder}", name="mitmproxy")
    await sandbox.ready(child, port)
    return Proxied(front.tls, front.clear, child, port, closed=False, authority=folder / "mitmproxy-ca-cert.pem")


def mitmproxy_version() -> str:
    line = next(line for line in (INTEROP / "mitmproxy.txt").read_text().splitlines() if line.startswith("mitmproxy=="))
    return line.split("==")[1]


CURL = ("curl", "nghttp2-proxy")
PEERS = [
    Peer("tinyproxy", "proxy", tinyproxy, apt=("tinyproxy", *CURL), version=("tinyproxy", "-v")),
    Peer("squid", "proxy", squid, apt=("squid", *CURL), version=("squid", "-v")),
    Peer("squid-https", "proxy", squid_with_tls, apt=("squid", *CURL), version=("squid", "-v"), note="TLS to the proxy itself"),
    Peer("microsocks", "proxy", microsocks, apt=("microsocks", *CURL), version=("dpkg-query", "-W", "microsocks")),
    Peer("dante", "proxy", dante, apt=("dante-server", *CURL), version=("danted", "-v")),
    Peer("mitmproxy", "interceptor", mitmproxy, apt=("nghttp2-proxy",), version=mitmproxy_version, quick=False,
         note="intercepts TLS with its own CA"),
]
