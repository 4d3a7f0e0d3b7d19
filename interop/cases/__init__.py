"""Importing this registers every case."""

from . import browsers, client, foreign, load, reference, server  # noqa: F401
