"""The table of attacks: see `attacks` and README.md beside `lib`."""

from . import (  # noqa: F401  (each file adds its rows)
    client,
    kills,
    server_frames,
    shared,
    slow,
    smuggling,
    upstreams,
    server_streams,
)
from .context import ROWS, run_rows

__all__ = ["ROWS", "run_rows"]
