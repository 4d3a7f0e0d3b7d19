"""An RFC 8441 client on `h2` and `wsproto`, which shares no code with h2ws.

One `Connection` carries many sockets. It respects the peer's windows and
stream limit, acknowledges what it reads, and records how every stream ended,
so that cases can assert on END_STREAM and RST_STREAM, not only on what an
application would see.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from .endpoint import Endpoint, PeerError, tls_context
from .websocket import Socket

STREAM_WINDOW = 1 << 20
CONNECTION_WINDOW = (1 << 31) - 1
CAPABILITY = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


@dataclass
class Stream:
    """One HTTP/2 stream, and what was received on it."""

    id: int
    headers: dict[str, str] | None = None
    data: bytearray = field(default_factory=bytearray)
    received: int = 0
    ended: bool = False
    # Whether END_STREAM came on a DATA frame with a payload.
    ended_with_data: bool = False
    reset: int | None = None
    sent_end: bool = False
    hold: bool = False
    trace: list[str] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        return int(self.headers[":status"]) if self.headers else None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def __str__(self) -> str:
        return f"stream {self.id}: {', '.join(self.trace) or 'nothing received'}"


class _Http2(h2.connection.H2Connection):
    """`h2` treats any GOAWAY as the end; with NO_ERROR it only announces a drain (RFC 9113 §6.8)."""

    def _receive_goaway_frame(self, frame):
        state, unsent = self.state_machine.state, self.data_to_send()
        answer = super()._receive_goaway_frame(frame)
        if frame.error_code == 0:
            self.state_machine.state = state
            self._data_to_send = bytearray(unsent)
        return answer


class Connection:
    """A client's HTTP/2 connection."""

    def __init__(self, endpoint: Endpoint, reader, writer, strict: bool):
        self.endpoint = endpoint
        self._reader, self._writer = reader, writer
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            # Off for cases that send malformed requests on purpose.
            validate_outbound_headers=strict,
            normalize_outbound_headers=strict,
        )
        self.h2 = _Http2(config)
        self.streams: dict[int, Stream] = {}
        self.goaway: tuple[int, int] | None = None
        self.error: str | None = None
        self.closed = False
        self.settings_seen = False
        self._changed = asyncio.Event()
        # When data was last received, by the loop's clock.
        self._heard = 0.0
        self._pump: asyncio.Task | None = None
        self.pongs: list[bytes] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, endpoint: Endpoint, *, strict: bool = True, stream_window: int = STREAM_WINDOW, context: ssl.SSLContext | None = None):
        """Connects by ALPN `h2` or with prior knowledge, and waits for SETTINGS."""
        if context is None and endpoint.tls:
            context = tls_context(["h2"])
        reader, writer = await asyncio.open_connection(
            endpoint.host, endpoint.port, ssl=context, limit=1 << 22
        )
        if context:
            chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
            if chosen != "h2":
                writer.close()
                raise PeerError(f"ALPN chose {chosen!r}, not h2")
        self = cls(endpoint, reader, writer, strict)
        # As initial values: `update` would take effect only when acknowledged by
        # the peer, and would never be sent.
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values={
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
            h2.settings.SettingCodes.ENABLE_PUSH: 0,
        })
        self.h2.initiate_connection()
        grow = CONNECTION_WINDOW - self.h2.inbound_flow_control_window
        self.h2.increment_flow_control_window(grow)
        self._flush()
        self._pump = asyncio.create_task(self._read_forever())
        try:
            await self.until(lambda: self.settings_seen, "SETTINGS")
            yield self
        finally:
            await self.close()

    @property
    def capable(self) -> bool:
        return self.h2.remote_settings.enable_connect_protocol == 1

    @property
    def stream_limit(self) -> int:
        return self.h2.remote_settings.max_concurrent_streams

    async def close(self) -> None:
        """Sends GOAWAY and FIN."""
        if not self.closed:
            with contextlib.suppress(h2.exceptions.ProtocolError):
                self.h2.close_connection()
                self._flush()
        await self._hang_up()

    async def abort(self) -> None:
        """Drops the TCP connection without GOAWAY."""
        self._writer.transport.abort()
        await self._hang_up()

    async def _hang_up(self) -> None:
        if self._pump:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._writer.wait_closed(), 2)
        self._over("closed by us")

    # -- reading ----------------------------------------------------------

    async def _read_forever(self) -> None:
        try:
            while chunk := await self._reader.read(1 << 18):
                for event in self.h2.receive_data(chunk):
                    self._on(event)
                self._heard = asyncio.get_running_loop().time()
                self._flush()
                self._wake()
            self._over("the peer closed the TCP connection")
        except h2.exceptions.ProtocolError as error:
            self._flush()
            self._over(f"the peer broke HTTP/2: {error!r}")
        except (OSError, ssl.SSLError) as error:
            self._over(f"TCP connection lost: {error!r}")

    def _over(self, why: str) -> None:
        if not self.closed:
            self.closed = True
            self.error = why
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _on(self, event) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settings_seen = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = (int(event.error_code), event.last_stream_id)
            if event.error_code:
                text = (event.additional_data or b"").decode("latin-1")
                self._over(f"GOAWAY({event.error_code!r}) {text}")
        elif isinstance(event, h2.events.PingAckReceived):
            self.pongs.append(event.ping_data)
        elif (stream := self.streams.get(getattr(event, "stream_id", None))) is not None:
            self._on_stream(stream, event)

    def _on_stream(self, stream: Stream, event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            stream.headers = dict(event.headers)
            stream.trace.append(f"HEADERS {stream.status}")
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            stream.received += len(event.data)
            stream.ended_with_data = bool(event.stream_ended and event.data)
            if len(stream.trace) < 40:
                stream.trace.append(f"DATA {len(event.data)}")
            if not stream.hold and event.flow_controlled_length:
                with contextlib.suppress(h2.exceptions.StreamClosedError):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream.id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
            stream.trace.append("END_STREAM")
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)
            stream.trace.append(f"RST_STREAM({event.error_code!r})")

    async def until(self, condition, what: str, timeout: float = 60) -> None:
        """Waits until the condition holds. Raises PeerError if the connection ends, or receives nothing for `timeout` seconds."""
        loop = asyncio.get_running_loop()

        async def wait():
            while not condition():
                if self.closed:
                    raise PeerError(f"waiting for {what}: {self.error}")
                await self._changed.wait()

        started = loop.time()
        while not condition():
            patience = max(started, self._heard) + timeout - loop.time()
            if patience <= 0:
                raise PeerError(f"no {what} within {timeout:g} s")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(wait(), patience)

    # -- writing ----------------------------------------------------------

    def _flush(self) -> None:
        data = self.h2.data_to_send()
        if data and not self._writer.is_closing():
            self._writer.write(data)

    async def request(self, headers: list[tuple[str, str]], end: bool = False) -> Stream:
        """Sends HEADERS verbatim, once the stream limit allows another stream."""
        room = lambda: self.h2.open_outbound_streams < self.stream_limit
        while not room():  # checked again, since a sibling may have taken it
            await self.until(room, "room for a stream")
        id = self.h2.get_next_available_stream_id()
        stream = self.streams[id] = Stream(id, sent_end=end)
        self.h2.send_headers(id, headers, end_stream=end)
        self._flush()
        return stream

    async def answer(self, stream: Stream, timeout: float = 60) -> int | None:
        """The status of the response, or None if the stream was reset instead."""
        await self.until(lambda: stream.headers or stream.over, f"answer on stream {stream.id}", timeout)
        return stream.status

    async def get(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """A plain HTTP request on the same connection as the sockets."""
        stream = await self.request([
            (":method", method),
            (":scheme", self.endpoint.scheme),
            (":authority", self.endpoint.authority),
            (":path", path),
        ], end=True)
        await self.until(lambda: stream.over, f"end of {method} {path}")
        if stream.reset is not None:
            raise PeerError(str(stream))
        return stream.status, stream.headers, bytes(stream.data)

    async def send(self, stream: Stream, data: bytes, end: bool = False) -> None:
        """Sends as the flow-control windows allow, waiting for WINDOW_UPDATE."""
        view = memoryview(data)
        while view:
            room = lambda: stream.reset is not None or self.h2.local_flow_control_window(stream.id) > 0
            await self.until(room, f"window on stream {stream.id}")
            if stream.reset is not None:
                raise PeerError(f"sending on {stream}")
            size = min(
                len(view),
                self.h2.local_flow_control_window(stream.id),
                self.h2.max_outbound_frame_size,
            )
            if size <= 0:  # used up by a sibling; an empty DATA frame would count as an attack
                continue
            last = end and size == len(view)
            self.h2.send_data(stream.id, bytes(view[:size]), end_stream=last)
            stream.sent_end |= last
            view = view[size:]
            self._flush()
            await self._writer.drain()
        if end and not stream.sent_end:
            self.h2.end_stream(stream.id)
            stream.sent_end = True
            self._flush()

    def reset(self, stream: Stream, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        """Sends RST_STREAM."""
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self.h2.reset_stream(stream.id, code)
            self._flush()

    async def ping(self) -> None:
        """Sends an HTTP/2 PING and awaits its ACK, to prove that the connection works."""
        token = len(self.pongs).to_bytes(8, "big")
        self.h2.ping(token)
        self._flush()
        await self.until(lambda: token in self.pongs, "PING answer")

    # -- sockets ----------------------------------------------------------

    def connect_headers(self, **pseudo: str | None) -> list[tuple[str, str]]:
        """The fields of an extended CONNECT (RFC 8441 §4). `pseudo` replaces pseudo-headers; None removes one."""
        fields = {
            "method": "CONNECT",
            "protocol": "websocket",
            "scheme": self.endpoint.scheme,
            "authority": self.endpoint.authority,
            "path": self.endpoint.path,
        } | pseudo
        return [(f":{name}", value) for name, value in fields.items() if value is not None]

    async def socket(self, path: str | None = None, *, headers=(), extensions=(), timeout: float = 60) -> Socket:
        """Opens a WebSocket. Raises PeerError unless the status is 2xx."""
        if not self.capable:
            raise PeerError("the peer did not send ENABLE_CONNECT_PROTOCOL = 1")
        fields = [("sec-websocket-version", "13"), *headers]
        if extensions:
            offers = ", ".join(f"{extension.name}; {extension.offer()}" for extension in extensions)
            fields.append(("sec-websocket-extensions", offers))
        stream = await self.request(self.connect_headers(path=path or self.endpoint.path) + fields)
        status = await self.answer(stream, timeout)
        if status is None or not 200 <= status < 300:
            raise PeerError(f"rejected: {stream}")
        if stream.ended:
            raise PeerError(f"END_STREAM on the 200: {stream}")
        agreed = stream.headers.get("sec-websocket-extensions")
        chosen = []
        if agreed:
            for extension in extensions:
                if agreed.startswith(extension.name):
                    extension.finalize(agreed)
                    chosen.append(extension)
            if not chosen:
                raise PeerError(f"the peer chose an extension that was not offered: {agreed}")
        return Socket(self, stream, chosen)
