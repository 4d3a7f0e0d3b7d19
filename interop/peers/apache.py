"""Apache httpd: mod_http2 with `H2WebSockets on` in front of an RFC 6455 backend."""

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints
from lib.sandbox import Sandbox

MODULES = ("mpm_event", "authz_core", "ssl", "http2", "headers", "proxy", "proxy_http", "proxy_wstunnel")
CONFIG = """\
ServerRoot {dir}
DefaultRuntimeDir {dir}
ServerName localhost
PidFile {dir}/apache-{tls}.pid
ErrorLog {dir}/error.log
LogLevel warn
User www-data
Group www-data
{modules}
Listen 127.0.0.1:{tls}
Listen 127.0.0.1:{clear}
H2WebSockets on
RequestHeader set x-front-version "expr=%{{SERVER_PROTOCOL}}"
ProxyPass / http://127.0.0.1:{backend}/ upgrade=websocket
<VirtualHost 127.0.0.1:{tls}>
    Protocols h2 http/1.1
    SSLEngine on
    SSLCertificateFile {cert}
    SSLCertificateKeyFile {key}
    RequestHeader set x-front-version "expr=%{{SERVER_PROTOCOL}}"
    ProxyPass / http://127.0.0.1:{backend}/ upgrade=websocket
</VirtualHost>
<VirtualHost 127.0.0.1:{clear}>
    Protocols h2c http/1.1
    ProxyPass / http://127.0.0.1:{backend}/ upgrade=websocket
</VirtualHost>
"""


async def start(sandbox: Sandbox) -> Endpoints:
    backend, tls, clear = await sandbox.backend(), sandbox.port(), sandbox.port()
    modules = "\n".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so" for m in MODULES)
    config = sandbox.write(f"apache-{tls}.conf", CONFIG.format(
        dir=sandbox.dir, modules=modules, tls=tls, clear=clear, backend=backend, cert=sandbox.cert, key=sandbox.key))
    child = await sandbox.spawn("apache2", "-f", config, "-DFOREGROUND", name="apache2")
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


PEERS = [
    Peer("apache", "server", start, apt=("apache2",), version=("apache2", "-v"),
         capable=True, clear_h2=True, h2_mark=("x-front-version", "HTTP/2"),
         excused={"aborts-by-us-leave-siblings":
                  "Apache counts aborted sockets among the six of a connection: python h2, which resets two of five "
                  "and opens two, gets no answer in its second round either"},
         note="stalls in silence at its 7th open socket on a connection"),
]
