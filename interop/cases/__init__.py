"""Importing this registers every case."""

from . import browsers, client, foreign, load, reference, server, wire  # noqa: F401
