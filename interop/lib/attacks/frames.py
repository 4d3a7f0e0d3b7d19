"""Encodes HTTP/2, HPACK and RFC 6455 frames, without any validation."""

from __future__ import annotations

import struct

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST, _, CONNECT = range(1, 9)

CODES = ["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
         "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
         "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"]
CALM = "ENHANCE_YOUR_CALM"


def code_name(code: int) -> str:
    return CODES[code] if code < len(CODES) else hex(code)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(values: dict[int, int] | None = None, ack: bool = False) -> bytes:
    payload = b"".join(struct.pack(">HI", name, value) for name, value in (values or {}).items())
    return frame(SETTINGS, ACK if ack else 0, 0, payload)


def window(stream: int, by: int) -> bytes:
    return frame(WINDOW, 0, stream, struct.pack(">I", by))


def rst(stream: int, code: int = 8) -> bytes:
    return frame(RST, 0, stream, struct.pack(">I", code))


def goaway(last: int, code: int = 0, text: bytes = b"") -> bytes:
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


def data(stream: int, payload: bytes = b"", end: bool = False) -> bytes:
    return frame(DATA, END_STREAM if end else 0, stream, payload)


def ping(payload: bytes = bytes(8), ack: bool = False) -> bytes:
    return frame(PING, ACK if ack else 0, 0, payload)


def number(value: int, bits: int, first: int) -> bytes:
    """An integer (RFC 7541 §5.1)."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: bytes | str) -> bytes:
    value = value.encode("latin-1") if isinstance(value, str) else value
    return number(len(value), 7, 0) + value


def field(name, value) -> bytes:
    """A literal without indexing (RFC 7541 §6.2.2)."""
    return b"\0" + text(name) + text(value)


def stored(name, value) -> bytes:
    """A literal with incremental indexing (RFC 7541 §6.2.1)."""
    return b"\x40" + text(name) + text(value)


def indexed(index: int) -> bytes:
    return number(index, 7, 0x80)


def table_size(size: int) -> bytes:
    return number(size, 5, 0x20)


def block(fields) -> bytes:
    return b"".join(field(name, value) for name, value in fields)


def connect_fields(authority: str, path: str = "/", extra=()) -> list:
    """A valid extended CONNECT (RFC 8441 §4), unless `extra` makes it invalid."""
    return [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path),
            (":authority", authority), ("sec-websocket-version", "13"), *extra]


def request_fields(authority: str, method: str = "GET", path: str = "/", extra=()) -> list:
    return [(":method", method), (":scheme", "http"), (":path", path), (":authority", authority), *extra]


def headers(stream: int, fields, end: bool = False, largest: int = 16384) -> bytes:
    """HEADERS, followed by CONTINUATION if the block is larger than a frame."""
    encoded = fields if isinstance(fields, bytes) else block(fields)
    pieces = [encoded[at:at + largest] for at in range(0, len(encoded), largest)] or [b""]
    out = []
    for at, piece in enumerate(pieces):
        flags = (END_STREAM if end and at == 0 else 0) | (END_HEADERS if at == len(pieces) - 1 else 0)
        out.append(frame(CONTINUATION if at else HEADERS, flags, stream, piece))
    return b"".join(out)


MASK = b"\x11\x22\x33\x44"


def masked(payload: bytes, key: bytes = MASK) -> bytes:
    size = len(payload)
    if not size:
        return b""
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


def ws(payload: bytes = b"", opcode: int = 2, fin: bool = True, mask: bool = True, rsv: int = 0, claim: int | None = None) -> bytes:
    """A WebSocket frame. `claim` replaces the encoded length."""
    size = len(payload) if claim is None else claim
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if mask else 0
    if size < 126:
        head = struct.pack(">BB", first, bit | size)
    elif size < 65536:
        head = struct.pack(">BBH", first, bit | 126, size)
    else:
        head = struct.pack(">BBQ", first, bit | 127, size)
    return head + (MASK + masked(payload) if mask else payload)


class Frame(tuple):
    """A tuple of opcode, FIN and payload, with the reserved bits as an attribute."""

    rsv = 0


class Messages:
    """Splits a byte stream into WebSocket frames."""

    def __init__(self):
        self.rest = bytearray()

    def feed(self, received: bytes):
        self.rest += received
        out = []
        while (one := self._next()) is not None:
            out.append(one)
        return out

    def _next(self):
        rest = self.rest
        if len(rest) < 2:
            return None
        size, at = rest[1] & 127, 2
        if size == 126:
            at = 4
            size = int.from_bytes(rest[2:4], "big")
        elif size == 127:
            at = 10
            size = int.from_bytes(rest[2:10], "big")
        key = None
        if rest[1] & 128:
            key = bytes(rest[at:at + 4])
            at += 4
        if len(rest) < at + size:
            return None
        payload = bytes(rest[at:at + size])
        first = rest[0]
        del rest[:at + size]
        one = Frame((first & 15, bool(first & 128), masked(payload, key) if key else payload))
        one.rsv = first >> 4 & 7
        return one
