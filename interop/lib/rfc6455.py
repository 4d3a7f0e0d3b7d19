"""HTTP/1.1 clients: PyPI `websockets`, and raw requests."""

from __future__ import annotations

import asyncio

import websockets

from .endpoint import Endpoint, tls_context


def connect(endpoint: Endpoint, path: str | None = None, **options):
    """A `websockets` client for this endpoint, without limits, with ALPN `http/1.1`."""
    options.setdefault("max_size", None)
    options.setdefault("open_timeout", 60)
    # No keep-alive Pings: their timeouts would close sockets on a slow machine.
    options.setdefault("ping_interval", None)
    options.setdefault("compression", None)
    if endpoint.tls:
        options.setdefault("ssl", tls_context(["http/1.1"]))
    return websockets.connect(endpoint.ws_url(path), proxy=None, **options)


async def bare(endpoint: Endpoint, request: str, timeout: float = 10) -> tuple[int, dict[str, str], bytes]:
    """Sends a request verbatim. Returns the status, headers and start of the body."""
    context = tls_context(["http/1.1"]) if endpoint.tls else None
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context)
    try:
        writer.write(request.replace("\n", "\r\n").encode())
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout)
        except (asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            raise AssertionError(f"no answer to {request.splitlines()[0]}: {error!r}") from None
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length") or 0)
        body = await asyncio.wait_for(reader.readexactly(length), timeout) if length else b""
        return int(lines[0].split()[1]), headers, body
    finally:
        writer.close()
