"""Raw connections, as client or as server, that send arbitrary bytes and record what they receive."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

from hpack import Decoder

from . import frames as f


class Gone(Exception):
    """The peer ended the connection, or does not accept more bytes."""


class Stream:
    """What was received on a stream."""

    def __init__(self):
        self.fields: list = []
        self.blocks = 0
        self.data = bytearray()
        self.received = 0
        self.ended = False
        self.reset: int | None = None

    def field(self, name: str) -> str | None:
        return next((value for known, value in self.fields if known == name), None)

    @property
    def status(self) -> int | None:
        return int(self.field(":status")) if self.field(":status") else None

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    def close_code(self) -> int | None:
        for opcode, _, payload in f.Messages().feed(bytes(self.data)):
            if opcode == 8:
                return int.from_bytes(payload[:2], "big") if payload else 1005
        return None

    def __str__(self) -> str:
        said = [str(self.status)] if self.status else []
        code = self.close_code()
        said += [f"close {code}"] if code else []
        said += [f"RST {f.code_name(self.reset)}"] if self.reset is not None else []
        said += ["END_STREAM"] if self.ended else []
        return " ".join(said) or "nothing"


class Tcp:
    """A TCP connection whose operations take at most `patience` seconds."""

    def __init__(self, port: int, receive_buffer: int | None = None, sock: socket.socket | None = None, source: str = ""):
        if sock is None:
            sock = socket.socket()
            sock.bind((source, 0))
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(5)
            sock.connect(("127.0.0.1", port))
        self.sock = sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self.closed = False
        self.why = ""
        self._lock = threading.Lock()

    def send(self, payload: bytes, patience: float = 5) -> None:
        with self._lock:
            view, until = memoryview(payload), time.monotonic() + patience
            while view:
                if self.closed:
                    raise Gone(self.why)
                try:
                    view = view[self.sock.send(view[:1 << 18]):]
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise Gone("takes no more bytes") from None
                    with contextlib.suppress(ValueError, OSError):
                        select.select([], [self.sock], [], 0.05)
                except (OSError, ValueError) as error:
                    # What the peer sent before can still be read.
                    raise Gone(str(error)) from None

    def receive(self, patience: float = 5, most: int = 1 << 18) -> bytes:
        """The next bytes. Empty at the end of the stream or after `patience` seconds (see `closed`)."""
        until = time.monotonic() + patience
        while not self.closed:
            try:
                got = self.sock.recv(most)
                if not got:
                    self._end("FIN")
                return got
            except BlockingIOError:
                left = until - time.monotonic()
                if left <= 0:
                    return b""
                with contextlib.suppress(ValueError, OSError):
                    select.select([self.sock], [], [], min(left, 0.2))
            except (OSError, ValueError) as error:
                self._end("RST" if isinstance(error, ConnectionResetError) else type(error).__name__)
        return b""

    def read_all(self, patience: float = 5, most: int = 1 << 20) -> bytes:
        """Reads until the end of the stream, or for `patience` seconds."""
        until, got = time.monotonic() + patience, bytearray()
        while not self.closed and len(got) < most and (left := until - time.monotonic()) > 0:
            got += self.receive(left)
        return bytes(got)

    def read_until(self, what: bytes, patience: float = 5) -> bytes:
        until, got = time.monotonic() + patience, bytearray()
        while what not in got and not self.closed and (left := until - time.monotonic()) > 0:
            got += self.receive(left)
        return bytes(got)

    def _end(self, why: str) -> None:
        self.closed, self.why = True, self.why or why

    def close(self) -> None:
        self._end("closed by us")
        self.sock.close()


class H2:
    """One HTTP/2 connection in cleartext. A thread reads it, unless `read` is false."""

    def __init__(self, port: int = 0, settings: dict | None = None, sock=None, read: bool = True, start: bytes | None = None,
                 receive_buffer: int | None = None, ack: bool = True, grant: int = 1 << 30):
        self.server = sock is not None
        self.tcp = Tcp(port, receive_buffer, sock)
        self.authority = f"localhost:{port}"
        self.changed = threading.Condition()
        self.streams: dict[int, Stream] = {}
        self.goaway: tuple[int, int, bytes] | None = None
        self.settings: dict[int, int] | None = None
        self.acked = self.pongs = self.frames = 0
        self.granted: dict[int, int] = {}
        self.spent: dict[int, int] = {}
        self._decoder = Decoder(max_header_list_size=1 << 24)
        self._decoder.max_allowed_table_size = 1 << 20
        self._ack = ack
        self._next = 1
        self._listeners: dict[int, object] = {}
        if start is None:
            values = {f.INITIAL_WINDOW: grant, **(settings or {})}
            start = (b"" if self.server else f.PREFACE) + f.settings(values) + f.window(0, (1 << 31) - 1 - 65535)
        if start:
            self.send(start)
        if read:
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()

    # -- sending

    def send(self, payload: bytes, patience: float = 5) -> None:
        self.tcp.send(payload, patience)

    def next_id(self) -> int:
        stream, self._next = self._next, self._next + 2
        return stream

    def open(self, path: str = "/", extra=(), patience: float = 5) -> int:
        """Opens a socket and awaits the 200."""
        stream = self.ask(f.connect_fields(self.authority, path, extra))
        self.until(lambda: self[stream].status or self[stream].over, patience)
        if self[stream].status != 200:
            raise Gone(f"socket not opened: {self[stream]}, {self.end()}")
        return stream

    def open_many(self, count: int, extra=(), path: str = "/", patience: float = 20) -> list[int]:
        """Requests sockets all at once, and awaits the answers."""
        streams = [self.next_id() for _ in range(count)]
        fields = f.block(f.connect_fields(self.authority, path, extra))
        for at in range(0, count, 100):
            self.send(b"".join(f.headers(stream, fields) for stream in streams[at:at + 100]))
        self.until(lambda: all(self[s].status or self[s].over for s in streams), patience)
        return [stream for stream in streams if self[stream].status == 200]

    def credit(self, stream: int) -> int:
        """Bytes left in the peer's window for this stream."""
        first = (self.settings or {}).get(f.INITIAL_WINDOW, 65535)
        return first + self.granted.get(stream, 0) - self.spent.get(stream, 0)

    def data(self, stream: int, payload: bytes, patience: float = 5) -> None:
        """Sends DATA in frames of 16 KiB, within the peer's window."""
        until = time.monotonic() + patience
        while payload:
            # Margin for answers sent by the reading thread, which are not counted.
            if not self.until(lambda: self.credit(stream) > 4096 or self[stream].over, until - time.monotonic()) or self[stream].over:
                raise Gone(f"stream {stream} takes no more: {self[stream]}, {self.end()}")
            piece = payload[:min(16384, self.credit(stream) - 4096)]
            payload = payload[len(piece):]
            self.spent[stream] = self.spent.get(stream, 0) + len(piece)
            self.send(f.data(stream, piece), max(0.1, until - time.monotonic()))

    def ask(self, fields, end: bool = False) -> int:
        stream = self.next_id()
        self.send(f.headers(stream, fields, end))
        return stream

    # -- what came

    def __getitem__(self, stream: int) -> Stream:
        return self.streams.get(stream) or self.streams.setdefault(stream, Stream())

    def until(self, condition, patience: float = 5) -> bool:
        until = time.monotonic() + patience
        with self.changed:
            while not condition():
                left = until - time.monotonic()
                if left <= 0 or self.tcp.closed:
                    return bool(condition())
                self.changed.wait(min(left, 0.25))
        return True

    @property
    def closed(self) -> bool:
        return self.tcp.closed

    def end(self) -> str:
        """Describes the state of the connection."""
        said = []
        if self.goaway:
            _, code, why = self.goaway
            said.append(f"GOAWAY {f.code_name(code)}" + (f" ({why.decode(errors='replace')[:40]})" if why else ""))
        if self.tcp.closed and not said:
            said.append(f"connection closed ({self.tcp.why})")
        return ", ".join(said) or "connection open"

    def listen(self, stream: int, take) -> None:
        """Passes DATA of this stream to `take` on the reading thread, instead of keeping it."""
        self._listeners[stream] = take

    def close(self) -> None:
        self.tcp.close()

    # -- the reading thread

    def _answer(self, payload: bytes) -> None:
        with contextlib.suppress(Gone):
            self.send(payload)

    def _read(self) -> None:
        buffer, preface = bytearray(), self.server
        fragments = bytearray()
        opened = 0
        try:
            while not self.tcp.closed:
                got = self.tcp.receive(1)
                if not got:
                    continue
                buffer += got
                at = 0
                if preface:
                    if len(buffer) < 24:
                        continue
                    at, preface = 24, False
                while len(buffer) - at >= 9:
                    size = int.from_bytes(buffer[at:at + 3], "big")
                    if len(buffer) - at < 9 + size:
                        break
                    kind, flags = buffer[at + 3], buffer[at + 4]
                    stream = int.from_bytes(buffer[at + 5:at + 9], "big") & 0x7FFF_FFFF
                    payload = bytes(buffer[at + 9:at + 9 + size])
                    at += 9 + size
                    self.frames += 1
                    if kind in (f.HEADERS, f.CONTINUATION):
                        if kind == f.HEADERS:
                            fragments = bytearray(_unpad(payload, flags))
                            opened = flags
                        else:
                            fragments += payload
                        if flags & f.END_HEADERS:
                            # An invalid header block is recorded, and does not end the thread.
                            with contextlib.suppress(Exception):
                                fields = self._decoder.decode(bytes(fragments))
                                if not (self[stream].blocks and fields and fields[0][0] != ":status"):
                                    self[stream].fields = fields
                            self[stream].blocks += 1
                            if opened & f.END_STREAM:
                                self[stream].ended = True
                    elif kind == f.DATA:
                        self._data(stream, flags, payload)
                    else:
                        self._control(kind, flags, stream, payload)
                del buffer[:at]
                with self.changed:
                    self.changed.notify_all()
        except Gone as error:
            self.tcp._end(str(error))
        finally:
            with self.changed:
                self.changed.notify_all()

    def _data(self, stream: int, flags: int, payload: bytes) -> None:
        known = self[stream]
        known.received += len(payload)
        body = _unpad(payload, flags & f.PADDED)
        if take := self._listeners.get(stream):
            take(body)
        elif len(known.data) < 1 << 20:
            known.data += body
        if flags & f.END_STREAM:
            known.ended = True

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == f.SETTINGS and flags & f.ACK:
            self.acked += 1
        elif kind == f.SETTINGS:
            values = {int.from_bytes(payload[i:i + 2], "big"): int.from_bytes(payload[i + 2:i + 6], "big")
                      for i in range(0, len(payload), 6)}
            self.settings = {**(self.settings or {}), **values}
            if self._ack:
                self._answer(f.settings(ack=True))
        elif kind == f.PING and flags & f.ACK:
            self.pongs += 1
        elif kind == f.PING:
            self._answer(f.ping(payload, ack=True))
        elif kind == f.RST:
            self[stream].reset = int.from_bytes(payload[:4], "big")
        elif kind == f.WINDOW:
            self.granted[stream] = self.granted.get(stream, 0) + int.from_bytes(payload[:4], "big")
        elif kind == f.GOAWAY:
            self.goaway = int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big"), payload[8:]


def _unpad(payload: bytes, flags: int) -> bytes:
    if flags & f.PADDED:
        payload = payload[1:len(payload) - payload[0]]
    if flags & f.PRIORITIZED:
        payload = payload[5:]
    return payload


def upgrade(port: int, path: str = "/", extra: str = "", behind: bytes = b"") -> bytes:
    """A valid Upgrade (RFC 6455 §4.1), followed by `behind`."""
    return (f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n").encode("latin-1") + behind


class H1:
    """A socket over HTTP/1.1."""

    def __init__(self, port: int, path: str = "/", extra: str = ""):
        self.tcp = Tcp(port)
        self.tcp.send(upgrade(port, path, extra))
        head = self.tcp.read_until(b"\r\n\r\n")
        self.status = int(head.split()[1]) if head.startswith(b"HTTP/1.") else 0
        self.head, _, rest = head.partition(b"\r\n\r\n")
        self._messages, self._ready = f.Messages(), []
        if self.status == 101:
            self._ready = self._messages.feed(rest)

    def send(self, payload: bytes) -> None:
        self.tcp.send(payload)

    def message(self, patience: float = 5):
        until = time.monotonic() + patience
        while not self._ready:
            left = until - time.monotonic()
            if left <= 0 or self.tcp.closed:
                return None
            self._ready += self._messages.feed(self.tcp.receive(left))
        return self._ready.pop(0)

    def close(self) -> None:
        self.tcp.close()
