"""Opening over HTTP/1.1: RFC 6455 §4."""

from __future__ import annotations

import asyncio

from .clause import Broken, Lesser, Target, clause
from .expect import opened


def rejects1(name: str, statuses, section: str = "RFC 6455 §4.2.1", header: tuple[str, str] | None = None, **how) -> None:
    @clause(section, name, "http1")
    async def run(target: Target) -> None:
        try:
            async with target.open(**how) as channel:
                if channel.status == 101:
                    raise Broken("accepted")
                if header and channel.headers.get(header[0], "").lower() != header[1]:
                    raise Broken(f"no {header[0]}: {header[1]} in the {channel.status}")
                if channel.status not in statuses:
                    raise Lesser(f"status {channel.status}")
        except asyncio.IncompleteReadError:
            raise Lesser("connection closed without a status") from None


rejects1("version 8", (426, 400), "RFC 6455 §4.4", ("sec-websocket-version", "13"), version="8")
rejects1("no version", (400, 426), version=None)
rejects1("no key", (400,), key=None)
rejects1("a key of 3 bytes", (400,), key="AAEC")
rejects1("a key that is no base64", (400,), key="!!!!!!!!!!!!!!!!!!!!!!==")
rejects1("POST", (400, 405, 426), method="POST")
rejects1("no Upgrade", (200, 400, 404, 426), upgrade=None)
rejects1("Upgrade to something else", (200, 400, 404, 426), upgrade="h2c")
rejects1("no Connection: Upgrade", (200, 400, 404, 426), connection="keep-alive")


def accepts1(name: str, **how) -> None:
    @clause("RFC 6455 §4.2.1", name, "http1")
    async def run(target: Target) -> None:
        async with target.open(**how) as channel:
            await opened(target, channel)
            if channel.headers.get("sec-websocket-accept") != channel.accept:
                raise Broken("a wrong sec-websocket-accept (§4.2.2)")
            for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
                if name in channel.headers and not target.subprotocol:
                    raise Broken(f"{name}, which was not offered (§4.2.2)")


accepts1("a plain Upgrade is accepted")
accepts1("Upgrade: WebSocket in other letters is accepted", upgrade="WebSocket")
accepts1("Connection: keep-alive, Upgrade is accepted", connection="keep-alive, Upgrade")
