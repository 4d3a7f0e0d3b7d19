"""Importing this registers every case."""

from . import browsers, client, conformance, foreign, load, probe, reference, restarts, server, tls, wire  # noqa: F401
