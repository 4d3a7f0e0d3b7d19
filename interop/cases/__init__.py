"""Importing this registers every case."""

from . import browsers, client, foreign, reference, server  # noqa: F401
