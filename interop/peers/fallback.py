"""Servers with HTTP/2 but without RFC 8441: our client must fall back to HTTP/1.1."""

from lib.endpoint import Endpoint
from lib.peer import FULL, Peer, Endpoints, pypi
from lib.sandbox import INTEROP, PYTHON, Sandbox

H2O = """\
listen:
  host: 127.0.0.1
  port: {tls}
  ssl:
    certificate-file: {cert}
    key-file: {key}
listen:
  host: 127.0.0.1
  port: {clear}
user: root
pid-file: {dir}/h2o.pid
error-log: {dir}/error.log
http2-reprioritize-blocking-assets: OFF
hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: http://127.0.0.1:{backend}/
        proxy.websocket: ON
"""
NGINX = """\
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        listen 127.0.0.1:{clear};
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location / {{
            proxy_pass http://127.0.0.1:{backend};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
        }}
    }}
}}
"""
CADDY = """\
{{
    admin off
    auto_https off
    skip_install_trust
    servers {{
        protocols h1 h2
    }}
}}
https://127.0.0.1:{tls} {{
    tls {cert} {key}
    reverse_proxy 127.0.0.1:{backend}
}}
http://127.0.0.1:{clear} {{
    reverse_proxy 127.0.0.1:{backend}
}}
"""


async def proxy(sandbox: Sandbox, config: str, text: str, *argv) -> Endpoints:
    ports = {"tls": sandbox.port(), "clear": sandbox.port()}
    path = sandbox.write(config, text.format(
        dir=sandbox.dir, cert=sandbox.cert, key=sandbox.key, backend=await sandbox.backend(), **ports))
    child = await sandbox.spawn(*argv, path, env={"HOME": str(sandbox.dir), "XDG_DATA_HOME": str(sandbox.dir)})
    await sandbox.ready(child, *ports.values())
    return Endpoints(Endpoint(ports["tls"]), Endpoint(ports["clear"], tls=False), child)


async def h2o(sandbox: Sandbox) -> Endpoints:
    return await proxy(sandbox, "h2o.yaml", H2O, "h2o", "-m", "worker", "-c")


async def nginx(sandbox: Sandbox) -> Endpoints:
    return await proxy(sandbox, "nginx.conf", NGINX, "nginx", "-p", sandbox.dir, "-e", "stderr", "-c")


async def caddy(sandbox: Sandbox) -> Endpoints:
    return await proxy(sandbox, "Caddyfile", CADDY, "caddy", "run", "--adapter", "caddyfile", "--config")


async def granian(sandbox: Sandbox) -> Endpoints:
    tls = sandbox.port()
    child = await sandbox.spawn(
        PYTHON, "-m", "granian", "asgi_echo:app", "--interface", "asgi", "--http", "auto",
        "--host", "127.0.0.1", "--port", tls, "--ssl-certificate", sandbox.cert, "--ssl-keyfile", sandbox.key,
        name="granian", cwd=INTEROP / "apps")
    await sandbox.ready(child, tls)
    return Endpoints(Endpoint(tls), child=child)


PEERS = [
    Peer("h2o", "server", h2o, apt=("h2o",), version=("h2o", "--version")),
    Peer("nginx", "server", nginx, apt=("nginx-light",), version=("nginx", "-v")),
    Peer("caddy", "server", caddy, apt=("caddy",), version=("caddy", "version")),
    Peer("granian", "server", granian, version=pypi("granian"),
         can=FULL - {"abort", "ping", "fragments"}, rejects_with_body=False),
]
