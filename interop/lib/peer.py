"""What a peer is: one small file in `peers/` each, found by its name there."""

from __future__ import annotations

import importlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .rfc8441 import Endpoint
from .sandbox import INTEROP, NODE_MODULES, Sandbox, run


@dataclass
class Endpoints:
    """A peer that listens: its endpoints, and its process if it is one."""

    tls: Endpoint | None = None
    clear: Endpoint | None = None
    child: object = None

    def all(self):
        return [e for e in (self.tls, self.clear) if e]


# What an echo behind the peer can do beyond echoing; cases ask for these.
FULL = frozenset({"request", "close", "abort", "ping", "fragments", "refuse", "subprotocol", "binary"})


@dataclass
class Peer:
    """One third-party program.

    `kind` is "server" (our client talks to it), "client" (it talks to our
    server), "bridge" (it stands before our server and speaks HTTP/2 to it),
    "proxy" (our client goes through it to other peers), "interceptor" (a proxy that
    ends TLS with an authority of its own), "tcp" (it knows no
    WebSockets, and stands behind our bridge) or "application" (a whole one, with
    pages, behind our bridge).
    """

    name: str
    kind: str
    start: Callable[[Sandbox], Awaitable[Endpoints]] | None = None
    # Client kind: run against an endpoint, return what was seen, or raise.
    cases: dict[str, Callable] = field(default_factory=dict)
    apt: tuple[str, ...] = ()
    # A command that tells it, itself, or what finds it once packages are there.
    version: tuple[str, ...] | str | Callable[[], str] = ()
    # Advertises ENABLE_CONNECT_PROTOCOL, so that our client must use h2.
    capable: bool = False
    # Advertises it all the same, and refuses the method: not `capable`.
    refuses_method: bool = False
    # Wants a Sec-WebSocket-Key over HTTP/2, which RFC 8441 §5 makes no use of.
    wants_key: bool = False
    # Passes such a key on beside one of its own, which its backend refuses.
    doubles_key: bool = False
    # Speaks HTTP/2 on its cleartext port with prior knowledge.
    clear_h2: bool = False
    # Speaks HTTP/1.1 WebSockets on its TLS port.
    http1: bool = True
    can: frozenset[str] = FULL
    # SETTINGS_MAX_CONCURRENT_STREAMS that it sends, if any.
    streams: int | None = None
    # Its answer to /refuse has the body `not you`.
    refuses_with_body: bool = True
    # Closes the TCP connection once its last stream has ended.
    hangs_up: bool = False
    # Built or started at a cost that a quick run does not pay.
    quick: bool = True
    # How the reference client ends a stream here: PROTOCOL.md, "Ending it".
    ending: str = "end_stream"
    # Header that the peer sets for its backend, and what it holds over h2.
    h2_mark: tuple[str, str] | None = None
    subprotocol: str | None = None
    # Largest message that the peer passes.
    largest: int = 1 << 20
    # Case name to the reason why this peer cannot pass it: the peer's fault.
    excused: dict[str, str] = field(default_factory=dict)
    note: str = ""

    async def read_version(self) -> str:
        """The version that the peer itself tells."""
        if isinstance(self.version, str):
            return self.version
        if callable(self.version):
            return self.version()
        _, out, err = await run(*self.version, timeout=20)
        match = re.search(r"\d+\.\d+(\.\d+)*", out + err)
        return match.group(0) if match else "?"


def pypi(name: str) -> str:
    """The version of an installed PyPI package."""
    from importlib.metadata import PackageNotFoundError, version
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def npm(name: str) -> str:
    """The version of an installed npm package."""
    import json
    try:
        return json.loads((NODE_MODULES / name / "package.json").read_text())["version"]
    except OSError:
        return "?"


def every() -> list[Peer]:
    """All peers, by the files that are there."""
    found = []
    for path in sorted((INTEROP / "peers").glob("*.py")):
        if path.stem != "__init__":
            found += importlib.import_module(f"peers.{path.stem}").PEERS
    return found
