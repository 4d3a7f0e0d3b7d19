"""The table of attacks; see `interop/attacks` and README.md."""

from . import (  # noqa: F401  (each file registers its rows)
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
