"""lighttpd: mod_proxy with upgrades in front of an RFC 6455 backend."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints
from lib.sandbox import Sandbox

CONFIG = """\
server.modules = ("mod_openssl", "mod_magnet", "mod_proxy")
server.document-root = "{dir}"
server.errorlog = "{dir}/error.log"
server.bind = "127.0.0.1"
server.port = {clear}
server.feature-flags = ("server.h2proto" => "enable", "server.h2c" => "enable")
$SERVER["socket"] == "127.0.0.1:{tls}" {{
    ssl.engine = "enable"
    ssl.pemfile = "{both}"
}}
magnet.attract-raw-url-to = ("{lua}")
proxy.header = ("upgrade" => "enable")
proxy.server = ("" => (("host" => "127.0.0.1", "port" => {backend})))
"""
LUA = """\
lighty.r.req_header["x-front-version"] = lighty.r.req_attr["request.protocol"]
"""


async def start(sandbox: Sandbox) -> Endpoints:
    backend, tls, clear = await sandbox.backend(), sandbox.port(), sandbox.port()
    lua = sandbox.write("version.lua", LUA)
    config = sandbox.write("lighttpd.conf", CONFIG.format(
        dir=sandbox.dir, tls=tls, clear=clear, both=sandbox.both, backend=backend, lua=lua))
    child = await sandbox.spawn("lighttpd", "-D", "-f", config)
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


PEERS = [
    Peer("lighttpd", "server", start, apt=("lighttpd", "lighttpd-mod-openssl", "lighttpd-modules-lua"),
         version=("lighttpd", "-v"), capable=True, clear_h2=True,
         h2_mark=("x-front-version", "HTTP/2"), ending="cancel", streams=8),
]
