"""Importing this registers every case."""

from . import bomb, bridge, bridge_life, bridge_tcp, browsers, client, conformance, deflate, foreign, load, manners, probe, proxies, reference, restarts, server, tls, wire  # noqa: F401
