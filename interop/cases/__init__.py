"""Importing this registers every case."""

from . import applications, bomb, bridge, bridge_http, bridge_life, bridge_tcp, browsers, client, conformance, deflate, everyday, foreign, forwarded, known, load, manners, probe, proxies, reconnects, reference, restarts, server, silence, tls, wire  # noqa: F401
