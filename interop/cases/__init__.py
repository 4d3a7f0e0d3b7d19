"""Importing this registers every case."""

from . import browsers, client, conformance, foreign, load, reference, server, tls, wire  # noqa: F401
