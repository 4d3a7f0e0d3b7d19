"""Importing this registers every case."""

from . import applications, bomb, bridge, bridge_http, bridge_life, bridge_tcp, browsers, client, conformance, deflate, drops, everyday, foreign, forwarded, fragments, identity, known, listeners, load, manners, page, pings, probe, proxies, reconnects, reference, restarts, seen, server, silence, tls, tunnel, tunnel_speed, unread_log, upgrades, wire  # noqa: F401
