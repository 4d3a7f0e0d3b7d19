"""A WebSocket as a byte stream, over either transport, for the conformance clauses.

Outgoing frames, valid or invalid, are built only by `frame`; incoming frames
are split without being validated.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import ssl
from dataclasses import dataclass

from .endpoint import Endpoint, PeerError, tls_context
from .rfc8441 import Connection

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True,
          length: bytes | None = None) -> bytes:
    """A client frame. `length` replaces the encoded length field, without its mask bit."""
    if length is None:
        size = len(payload)
        length = (bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big") if size < 1 << 16
                  else b"\x7f" + size.to_bytes(8, "big"))
    key = os.urandom(4)
    bit = 0x80 if masked else 0
    head = bytes([(fin << 7) | (rsv << 4) | opcode, length[0] | bit]) + length[1:]
    if not masked:
        return head + payload
    pad = (key * (len(payload) // 4 + 1))[:len(payload)]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")).to_bytes(len(payload), "big")
    return head + key + body


@dataclass(frozen=True)
class Received:
    """A frame sent by the server."""

    fin: bool
    rsv: int
    opcode: int
    masked: bool
    payload: bytes

    @property
    def code(self) -> int | None:
        """A Close frame's code."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) >= 2 else None


class Ended(Exception):
    """The byte stream ended; the message says how."""


class Channel:
    """A bidirectional byte stream. `read` raises `Ended`."""

    status = 0
    headers: dict[str, str]

    def __init__(self):
        self._buffer = bytearray()

    async def frame(self, patience: float) -> Received | None:
        """The next frame, or None after `patience` seconds without one."""
        try:
            return await asyncio.wait_for(self._frame(), patience)
        except asyncio.TimeoutError:
            return None

    async def _frame(self) -> Received:
        while (received := self._take()) is None:
            self._buffer += await self.read()
        return received

    def _take(self) -> Received | None:
        data = self._buffer
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        if size > 125:
            at = 4 if size == 126 else 10
            if len(data) < at:
                return None
            size = int.from_bytes(data[2:at], "big")
        masked = bool(data[1] & 0x80)
        at += 4 * masked
        if len(data) < at + size:
            return None
        received = Received(bool(data[0] & 0x80), data[0] >> 4 & 7, data[0] & 15, masked, bytes(data[at:at + size]))
        del data[:at + size]
        return received


class Http2(Channel):
    """A stream opened by an extended CONNECT (RFC 8441)."""

    def __init__(self, connection: Connection, stream):
        super().__init__()
        self.connection, self.stream = connection, stream

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, endpoint: Endpoint, fields=(), **pseudo):
        async with Connection.to(endpoint, strict=False) as connection:
            yield await cls.on(connection, fields, **pseudo)

    @classmethod
    async def on(cls, connection: Connection, fields=(), version: str | None = "13", **pseudo) -> Http2:
        """Opens another socket on this connection."""
        extra = [("sec-websocket-version", version)] if version else []
        stream = await connection.request(connection.connect_headers(**pseudo) + extra + list(fields))
        self = cls(connection, stream)
        self.status = await connection.answer(stream, 10) or 0
        self.headers = stream.headers or {}
        return self

    async def write(self, data: bytes, end: bool = False) -> None:
        with contextlib.suppress(PeerError):
            await self.connection.send(self.stream, data, end)

    async def read(self) -> bytes:
        stream = self.stream
        while not stream.data:
            if stream.reset is not None:
                raise Ended(f"RST_STREAM({stream.reset})")
            if stream.ended:
                raise Ended("END_STREAM")
            try:
                await self.connection.until(lambda: stream.data or stream.over, "data", 3600)
            except PeerError as error:
                raise Ended(str(error)) from None
        data = bytes(stream.data)
        stream.data.clear()
        return data


class Http1(Channel):
    """A connection opened by an HTTP/1.1 Upgrade (RFC 6455)."""

    def __init__(self, reader, writer):
        super().__init__()
        self._reader, self._writer = reader, writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, endpoint: Endpoint, fields=(), *, method: str = "GET", upgrade: str | None = "websocket",
                   connection: str = "Upgrade", version: str | None = "13", key: str | None = ""):
        context = tls_context(["http/1.1"]) if endpoint.tls else None
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context, limit=1 << 22)
        try:
            self = cls(reader, writer)
            self.key = base64.b64encode(os.urandom(16)).decode() if key == "" else key
            lines = [f"{method} {endpoint.path} HTTP/1.1", f"Host: {endpoint.authority}", f"Connection: {connection}"]
            lines += [f"Upgrade: {upgrade}"] if upgrade else []
            lines += [f"Sec-WebSocket-Version: {version}"] if version else []
            lines += [f"Sec-WebSocket-Key: {self.key}"] if self.key is not None else []
            lines += [f"{name}: {value}" for name, value in fields]
            writer.write("\r\n".join([*lines, "", ""]).encode())
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1").split("\r\n")
            self.status = int(head[0].split()[1])
            pairs = [line.partition(":") for line in head[1:] if line]
            self.headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            yield self
        finally:
            writer.transport.abort()

    @property
    def accept(self) -> str:
        """The Sec-WebSocket-Accept value expected for our key (RFC 6455 §4.2.2)."""
        return base64.b64encode(hashlib.sha1((self.key + GUID).encode()).digest()).decode()

    async def write(self, data: bytes, end: bool = False) -> None:
        with contextlib.suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()

    async def read(self) -> bytes:
        try:
            data = await self._reader.read(1 << 16)
        except (OSError, ssl.SSLError) as error:
            raise Ended(f"TCP reset: {error!r}") from None
        if not data:
            raise Ended("TCP closed")
        return data
