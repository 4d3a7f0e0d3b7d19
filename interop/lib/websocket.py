"""A WebSocket on a stream of the RFC 8441 client, framed by `wsproto`."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsproto.connection import Connection as Framing
from wsproto.connection import ConnectionType
from wsproto.events import (
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    TextMessage,
)

from .endpoint import PeerError

if TYPE_CHECKING:
    from .rfc8441 import Connection, Stream


@dataclass
class Ending:
    """How a socket ended, as received from the peer."""

    code: int | None
    reason: str | None
    ended: bool
    reset: int | None


class Socket:
    """A WebSocket over one stream, framed by wsproto."""

    def __init__(self, connection: Connection, stream: Stream, extensions=()):
        self.connection, self.stream = connection, stream
        self._framing = Framing(ConnectionType.CLIENT, list(extensions))
        self._parts: list = []
        self._ready: list = []
        # A Pong must not be sent in the middle of a frame that waits for window.
        self._writing = asyncio.Lock()
        self.close_frame: CloseConnection | None = None
        self.pongs: list[bytes] = []

    async def send(self, message: str | bytes, fragments: int = 1) -> None:
        """Sends a message in this many frames."""
        event = TextMessage if isinstance(message, str) else BytesMessage
        step = max(1, -(-len(message) // fragments))
        parts = [message[i:i + step] for i in range(0, len(message), step)] or [message]
        for number, part in enumerate(parts, 1):
            await self.raw(self._framing.send(event(part, message_finished=number == len(parts))))

    async def ping(self, payload: bytes = b"") -> None:
        await self.raw(self._framing.send(Ping(payload)))

    async def raw(self, data: bytes, end: bool = False) -> None:
        """Sends bytes on the stream verbatim."""
        async with self._writing:
            await self.connection.send(self.stream, data, end)

    async def recv(self, timeout: float = 60) -> str | bytes:
        """The next complete message. Pings received meanwhile are answered."""
        while not self._ready:
            if self.close_frame:
                raise PeerError(f"closed with {self.close_frame.code} {self.close_frame.reason!r}")
            await self._more("message", timeout)
        return self._ready.pop(0)

    async def echo(self, message: str | bytes, fragments: int = 1) -> None:
        """Sends a message and checks that the same one comes back."""
        _, answer = await asyncio.gather(self.send(message, fragments), self.recv())
        if answer != message:
            raise PeerError(f"echo differs: sent {_brief(message)}, got {_brief(answer)}; {self.stream}")

    async def pong(self, payload: bytes, timeout: float = 60) -> None:
        """Waits for a Pong with this payload."""
        while payload not in self.pongs:
            await self._more("pong", timeout)

    async def closing(self, timeout: float = 60) -> CloseConnection:
        """Waits for the peer's Close frame. Messages before it are discarded."""
        while not self.close_frame:
            await self._more("Close frame", timeout)
        return self.close_frame

    async def close(self, code: int = 1000, reason: str = "", *, ending: str = "end_stream") -> Ending:
        """Starts the closing handshake (RFC 6455 §7.1.2), then ends the stream."""
        await self.begin_close(code, reason)
        return await self._finish(ending)

    async def begin_close(self, code: int = 1000, reason: str = "") -> None:
        """Starts the closing handshake; our side of the stream stays open."""
        await self.raw(self._framing.send(CloseConnection(code, reason)))
        await self.closing()

    async def answer_close(self, *, ending: str = "end_stream") -> Ending:
        """Completes the closing handshake started by the peer, then ends the stream."""
        frame = await self.closing()
        with contextlib.suppress(Exception):
            await self.raw(self._framing.send(frame.response()))
        return await self._finish(ending)

    async def _finish(self, ending: str) -> Ending:
        if ending == "cancel":
            self.connection.reset(self.stream)
            return self.ending()
        if not self.stream.sent_end and self.stream.reset is None:
            await self.connection.send(self.stream, b"", end=True)
        await self.connection.until(lambda: self.stream.over, f"end of stream {self.stream.id}")
        return self.ending()

    def ending(self) -> Ending:
        frame = self.close_frame
        return Ending(
            int(frame.code) if frame else None,
            frame.reason if frame else None,
            self.stream.ended,
            self.stream.reset,
        )

    async def _more(self, what: str, timeout: float) -> None:
        stream = self.stream
        await self.connection.until(lambda: stream.data or stream.over, f"{what} on stream {stream.id}", timeout)
        if not stream.data:
            raise PeerError(f"no {what}: {stream}")
        data = bytes(stream.data)
        stream.data.clear()
        self._framing.receive_data(data)
        for event in self._framing.events():
            await self._on(event)

    async def _on(self, event) -> None:
        if isinstance(event, (TextMessage, BytesMessage)):
            self._parts.append(event.data)
            if event.message_finished:
                empty = "" if isinstance(event, TextMessage) else b""
                self._ready.append(empty.join(self._parts))
                self._parts.clear()
        elif isinstance(event, Ping):
            await self.raw(self._framing.send(event.response()))
        elif isinstance(event, Pong):
            self.pongs.append(bytes(event.payload))
        elif isinstance(event, CloseConnection):
            self.close_frame = event


def _brief(message) -> str:
    kind = "text" if isinstance(message, str) else "binary"
    return f"{len(message)} {kind} {message[:24]!r}"
