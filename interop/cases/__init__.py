"""Importing this registers every case."""

from . import browsers, client, conformance, foreign, load, reference, server, wire  # noqa: F401
