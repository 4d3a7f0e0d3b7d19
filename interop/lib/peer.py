"""The description of a peer. Peers are discovered from the files in `peers/`."""

from __future__ import annotations

import importlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .endpoint import Endpoint
from .sandbox import INTEROP, NODE_MODULES, Sandbox, run


@dataclass
class Endpoints:
    """The addresses of a listening peer, and its process if it has one."""

    tls: Endpoint | None = None
    clear: Endpoint | None = None
    child: object = None

    def all(self):
        return [e for e in (self.tls, self.clear) if e]


# Commands that an echo behind the peer may support; cases select peers by them.
FULL = frozenset({"request", "close", "abort", "ping", "fragments", "refuse", "subprotocol", "binary"})


@dataclass
class Peer:
    """One third-party program.

    `kind` is "server" (our client connects to it), "client" (it connects to our
    server), "bridge" (it forwards to our server over HTTP/2), "proxy" (our client
    reaches other peers through it), "interceptor" (a proxy that terminates TLS
    with its own CA), "tcp" (an upstream of our bridge without WebSockets),
    "framework" (an upstream with a page that depends on the client's scheme) or
    "application" (a whole application with pages, as an upstream of our bridge).
    """

    name: str
    kind: str
    start: Callable[[Sandbox], Awaitable[Endpoints]] | None = None
    # For clients: run against an endpoint; return the observations, or raise.
    cases: dict[str, Callable] = field(default_factory=dict)
    apt: tuple[str, ...] = ()
    # A command that prints the version, the version, or a function called after installation.
    version: tuple[str, ...] | str | Callable[[], str] = ()
    # Advertises ENABLE_CONNECT_PROTOCOL, so our client must use HTTP/2.
    capable: bool = False
    # Advertises it but rejects the method. Such a peer is not `capable`.
    rejects_method: bool = False
    # Requires a Sec-WebSocket-Key over HTTP/2, which RFC 8441 §5 does not use.
    wants_key: bool = False
    # Forwards such a key in addition to its own; its backend rejects the two keys.
    doubles_key: bool = False
    # Accepts HTTP/2 with prior knowledge on its cleartext port.
    clear_h2: bool = False
    # Accepts HTTP/1.1 WebSockets on its TLS port.
    http1: bool = True
    can: frozenset[str] = FULL
    # The SETTINGS_MAX_CONCURRENT_STREAMS that it sends, if any.
    streams: int | None = None
    # Its rejection of /refuse has the body `not you`.
    rejects_with_body: bool = True
    # Closes the TCP connection once its last stream has ended.
    hangs_up: bool = False
    # False if building or starting it takes too long for a quick run.
    quick: bool = True
    # How the reference client ends its side of a stream after the closing handshake:
    # "end_stream", or "cancel" (RST_STREAM) where the peer leaves its own side open.
    ending: str = "end_stream"
    # The header that the peer sets for its backend, and its value over HTTP/2.
    h2_mark: tuple[str, str] | None = None
    subprotocol: str | None = None
    # Largest message that the peer passes.
    largest: int = 1 << 20
    # Case name -> evidence that the peer is at fault when it fails this case.
    excused: dict[str, str] = field(default_factory=dict)
    note: str = ""

    async def read_version(self) -> str:
        """The version reported by the peer itself."""
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
    """All peers, from the files in `peers/`."""
    found = []
    for path in sorted((INTEROP / "peers").glob("*.py")):
        if path.stem != "__init__":
            found += importlib.import_module(f"peers.{path.stem}").PEERS
    return found
