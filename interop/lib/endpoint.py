"""Addresses of servers, and what clients of either version of HTTP share."""

from __future__ import annotations

import ssl
from dataclasses import dataclass


class PeerError(Exception):
    """The peer violated the protocol, or the connection ended."""


@dataclass(frozen=True)
class Endpoint:
    """The address of a server, and whether it uses TLS."""

    port: int
    tls: bool = True
    host: str = "127.0.0.1"
    path: str = "/echo"

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    def ws_url(self, path: str | None = None) -> str:
        scheme = "wss" if self.tls else "ws"
        return f"{scheme}://{self.authority}{path or self.path}"

    def http_url(self, path: str = "/") -> str:
        return f"{self.scheme}://{self.authority}{path}"

    def on(self, port: int) -> Endpoint:
        """The same endpoint at another port (that of a relay)."""
        return Endpoint(port, self.tls, self.host, self.path)


def tls_context(alpn: list[str]) -> ssl.SSLContext:
    """A client context that accepts any certificate: the peers are on loopback."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(alpn)
    return context
