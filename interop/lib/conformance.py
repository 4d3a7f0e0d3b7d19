"""The table of RFC 6455, 7692 and 8441 for an endpoint that echoes.

Each clause is run on a socket of its own against any URL, over HTTP/1.1 or
HTTP/2. Verdicts: `ok`; `lax` where the RFC says SHOULD or leaves the choice
and the endpoint does the lesser thing; `FAIL` where it breaks a MUST; `n/a`.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from .channel import Channel, Ended, Http1, Http2, Received, frame
from .rfc8441 import Connection, Endpoint, PeerError

OK, LAX, FAIL, NA = "ok", "lax", "FAIL", "n/a"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


@dataclass
class Verdict:
    name: str
    section: str
    result: str
    detail: str = ""


@dataclass
class Target:
    """What is judged, and how long its silence is listened to."""

    endpoint: Endpoint
    http2: bool
    subprotocol: str | None = None
    patience: float = 5

    def open(self, fields=(), **how):
        fields = [*fields, *([("sec-websocket-protocol", self.subprotocol)] if self.subprotocol else [])]
        return (Http2 if self.http2 else Http1).open(self.endpoint, fields, **how)


class Broken(Exception):
    """A MUST is broken."""


class Lesser(Exception):
    """A SHOULD is."""


class NotApplicable(Exception):
    """Nothing to judge here."""


@dataclass
class Clause:
    name: str
    section: str
    run: Callable
    transport: str = "any"


CLAUSES: list[Clause] = []


def clause(section: str, name: str, transport: str = "any"):
    def register(function):
        CLAUSES.append(Clause(name, section, function, transport))
        return function
    return register


# -- what a case says -------------------------------------------------------


async def opened(target: Target, channel: Channel) -> None:
    wanted = range(200, 300) if target.http2 else (101,)
    if channel.status not in wanted:
        raise Broken(f"opening was answered by {channel.status or 'a reset'}")


async def message(channel: Channel, patience: float) -> tuple[int, bytes]:
    """The next whole message; control frames in between are passed over."""
    opcode, parts = None, []
    while True:
        try:
            received = await channel.frame(patience)
        except Ended as end:
            raise Broken(f"{end} instead of a message") from None
        if received is None:
            raise Broken("no answer")
        _well_formed(received)
        if received.opcode == CLOSE:
            raise Broken(f"Close {received.code} instead of a message")
        if received.opcode in (PING, PONG):
            continue
        opcode = received.opcode if opcode is None else opcode
        parts.append(received.payload)
        if received.fin:
            return opcode, b"".join(parts)


def _well_formed(received: Received) -> None:
    if received.masked:
        raise Broken("a masked frame from a server (§5.1)")
    if received.rsv & 3:
        raise Broken("RSV2 or RSV3 from the server (§5.2)")


async def fails(channel: Channel, codes: tuple[int, ...], patience: float) -> None:
    """The endpoint fails the connection (RFC 6455 §7.1.7), by a Close with one of these codes or without one."""
    while True:
        try:
            received = await channel.frame(patience)
        except Ended as end:
            raise Lesser(f"{end} without a Close (§7.1.7 SHOULD)") from None
        if received is None:
            raise Broken("no Close, and the stream goes on")
        _well_formed(received)
        if received.opcode in (TEXT, BINARY, CONTINUATION):
            raise Broken("accepted and echoed")
        if received.opcode == CLOSE:
            if received.code not in codes:
                raise Lesser(f"Close {received.code}, not {' or '.join(map(str, codes))} (§7.4.1)")
            return


async def closes(channel: Channel, codes: tuple, patience: float) -> Received:
    """A Close in answer to ours."""
    while True:
        try:
            received = await channel.frame(patience)
        except Ended as end:
            raise Broken(f"{end} without a Close (§5.5.1)") from None
        if received is None:
            raise Broken("no Close in answer (§5.5.1)")
        _well_formed(received)
        if received.opcode in (TEXT, BINARY):
            raise Broken("a message after our Close was echoed (§5.5.1)")
        if received.opcode == CLOSE:
            if received.code not in codes:
                raise Lesser(f"Close {received.code} in answer, not {codes[0]} (§5.5.1: typically echoed)")
            return received


# -- echoes: RFC 6455 §5.2, §5.4, §5.6 --------------------------------------


def echoes(section: str, name: str, opcode: int, payload: bytes, *chunks: bytes) -> None:
    """These chunks of bytes must come back as that one message."""
    @clause(section, name)
    async def run(target: Target) -> None:
        async with target.open() as channel:
            await opened(target, channel)
            for chunk in chunks:
                await channel.write(chunk)
            got = await message(channel, target.patience)
            if got != (opcode, payload):
                raise Broken(f"came back as opcode {got[0]}, {len(got[1])} bytes {got[1][:20]!r}")


def _fragments(opcode: int, *parts: bytes, between: bytes = b"") -> list[bytes]:
    last = len(parts) - 1
    return [frame(opcode if n == 0 else CONTINUATION, part, fin=n == last) + (between if n < last else b"")
            for n, part in enumerate(parts)]


for _size in (0, 1, 125, 126, 127, 65_535, 65_536, 300_000):
    echoes("RFC 6455 §5.2", f"text of {_size} bytes", TEXT, b"x" * _size, frame(TEXT, b"x" * _size))
    _bytes = (bytes(range(256)) * (_size // 256 + 1))[:_size]
    echoes("RFC 6455 §5.2", f"binary of {_size} bytes", BINARY, _bytes, frame(BINARY, _bytes))
_cut = frame(TEXT, "cut anywhere ü€😀".encode())
echoes("RFC 6455 §5.2", "a frame byte by byte", TEXT, "cut anywhere ü€😀".encode(), *(bytes([b]) for b in _cut))
_long = frame(BINARY, bytes(300))
echoes("RFC 6455 §5.2", "a 16-bit length cut in the middle", BINARY, bytes(300), _long[:3], _long[3:7], _long[7:])
echoes("RFC 6455 §5.4", "two fragments", TEXT, b"onetwo", *_fragments(TEXT, b"one", b"two"))
echoes("RFC 6455 §5.4", "fragments in one write", TEXT, b"onetwo", b"".join(_fragments(TEXT, b"one", b"two")))
echoes("RFC 6455 §5.4", "100 fragments of a byte", BINARY, b"z" * 100, *_fragments(BINARY, *[b"z"] * 100))
echoes("RFC 6455 §5.4", "empty fragments around one", TEXT, b"middle", *_fragments(TEXT, b"", b"middle", b""))
echoes("RFC 6455 §5.4", "nothing but empty fragments", TEXT, b"", *_fragments(TEXT, b"", b"", b""))
echoes("RFC 6455 §5.4", "Pings between fragments", TEXT, b"onetwothree",
       *_fragments(TEXT, b"one", b"two", b"three", between=frame(PING, b"now")))
echoes("RFC 6455 §5.5.3", "an unsolicited Pong is ignored", TEXT, b"after", frame(PONG, b"unasked") + frame(TEXT, b"after"))
echoes("RFC 6455 §5.6", "UTF-8 cut between fragments", TEXT, "€😀".encode(),
       *_fragments(TEXT, b"\xe2", b"\x82\xac\xf0", b"\x9f\x98", b"\x80"))
for _name, _text in {
    "NUL": "\0", "the largest code point": "\U0010ffff", "a noncharacter": "\ufffe\uffff", "the first of 2, 3 and 4 bytes": "\x80\u0800\U00010000",
    "around the surrogates": "\ud7ff\ue000", "a byte order mark": "\ufeffx",
}.items():
    echoes("RFC 6455 §8.1", f"valid UTF-8: {_name}", TEXT, _text.encode(), frame(TEXT, _text.encode()))


@clause("RFC 6455 §5.4", "messages keep their order")
async def _order(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        await channel.write(b"".join(frame(TEXT, b"number %d" % n) for n in range(50)))
        for number in range(50):
            if (got := await message(channel, target.patience))[1] != b"number %d" % number:
                raise Broken(f"wanted number {number}, got {got[1]!r}")


for _payload in (b"", b"x", bytes(range(125))):
    @clause("RFC 6455 §5.5.2", f"Ping of {len(_payload)} bytes")
    async def _ping(target: Target, payload=_payload) -> None:
        async with target.open() as channel:
            await opened(target, channel)
            await channel.write(frame(PING, payload))
            try:
                received = await channel.frame(target.patience)
            except Ended as end:
                raise Broken(f"{end} instead of a Pong") from None
            if received is None or (received.opcode, received.payload) != (PONG, payload):
                raise Broken(f"wanted that Pong, got {received}")


# -- failures: RFC 6455 §5, §7.1.7, §8.1 ------------------------------------


def wrong(section: str, name: str, codes: tuple[int, ...], *chunks: bytes) -> None:
    """These bytes must fail the connection."""
    @clause(section, name)
    async def run(target: Target) -> None:
        async with target.open() as channel:
            await opened(target, channel)
            for chunk in chunks:
                await channel.write(chunk)
            await fails(channel, codes, target.patience)


PROTOCOL, INVALID, TOO_BIG = (1002,), (1007,), (1009,)
wrong("RFC 6455 §5.1", "an unmasked text", PROTOCOL, frame(TEXT, b"hi", masked=False))
wrong("RFC 6455 §5.1", "an unmasked Ping", PROTOCOL, frame(PING, b"hi", masked=False))
for _bit, _rsv in ((1, 4), (2, 2), (3, 1)):
    wrong("RFC 6455 §5.2", f"RSV{_bit} that nobody negotiated", PROTOCOL, frame(TEXT, b"hi", rsv=_rsv))
    wrong("RFC 6455 §5.2", f"RSV{_bit} on a Ping", PROTOCOL, frame(PING, b"hi", rsv=_rsv))
for _opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
    wrong("RFC 6455 §5.2", f"reserved opcode {_opcode}", PROTOCOL, frame(_opcode, b"hi"))
wrong("RFC 6455 §5.2", "a 16-bit length that fits in 7 bits", PROTOCOL, frame(BINARY, b"hi", length=b"\x7e\0\2"))
wrong("RFC 6455 §5.2", "a 64-bit length that fits in 7 bits", PROTOCOL, frame(BINARY, b"hi", length=b"\x7f" + bytes(7) + b"\2"))
wrong("RFC 6455 §5.2", "a 64-bit length that fits in 16 bits", PROTOCOL,
      frame(BINARY, bytes(300), length=b"\x7f" + (300).to_bytes(8, "big")))
wrong("RFC 6455 §5.2", "a length with its top bit set", (1002, 1009), frame(BINARY, b"", length=b"\x7f\x80" + bytes(7)))
wrong("RFC 6455 §5.5", "a Ping of 126 bytes", PROTOCOL, frame(PING, bytes(126)))
wrong("RFC 6455 §5.5", "a Close of 126 bytes", PROTOCOL, frame(CLOSE, b"\3\xe8" + b"x" * 124))
wrong("RFC 6455 §5.5", "a fragmented Ping", PROTOCOL, frame(PING, b"hi", fin=False))
wrong("RFC 6455 §5.5", "a fragmented Close", PROTOCOL, frame(CLOSE, b"\3\xe8", fin=False))
wrong("RFC 6455 §5.4", "a continuation of nothing", PROTOCOL, frame(CONTINUATION, b"hi"))
wrong("RFC 6455 §5.4", "an unfinished continuation of nothing", PROTOCOL, frame(CONTINUATION, b"hi", fin=False))
wrong("RFC 6455 §5.4", "a text within a text", PROTOCOL, frame(TEXT, b"one", fin=False) + frame(TEXT, b"two"))
wrong("RFC 6455 §5.4", "a binary within a text", PROTOCOL, frame(TEXT, b"one", fin=False) + frame(BINARY, b"two"))
wrong("RFC 6455 §5.4", "a continuation after the end", PROTOCOL, frame(PING) + frame(CONTINUATION, b"two"))
for _name, _bad in {
    "a lone byte": b"\xff", "a lone continuation": b"\x80", "overlong /": b"\xc0\xaf", "overlong in 3 bytes": b"\xe0\x80\xaf",
    "overlong in 4 bytes": b"\xf0\x80\x80\xaf", "a high surrogate": b"\xed\xa0\x80", "a low surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80", "beyond U+10FFFF": b"\xf4\x90\x80\x80", "5 bytes": b"\xf8\x88\x80\x80\x80",
    "cut at the end": b"ok \xe2\x82", "after good text": "ok ü".encode() + b"\xfe",
}.items():
    wrong("RFC 6455 §8.1", f"invalid UTF-8: {_name}", INVALID, frame(TEXT, _bad))
wrong("RFC 6455 §8.1", "invalid UTF-8 across fragments", INVALID, *_fragments(TEXT, b"\xe2", b"\x28\xa1"))


@clause("RFC 6455 §10.4", "a frame of 2^62 bytes")
async def _huge(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        await channel.write(frame(BINARY, b"x", length=b"\x7f\x40" + bytes(7)))
        try:
            await fails(channel, TOO_BIG, target.patience)
        except Broken as waits:
            raise Lesser(str(waits)) from None  # a limit is a SHOULD




def early(name: str, codes: tuple[int, ...], first: bytes, rest: bytes) -> None:
    """Certain after `first`; an endpoint that waits for `rest` is lax."""
    @clause("RFC 6455 §8.1", name)
    async def run(target: Target) -> None:
        async with target.open() as channel:
            await opened(target, channel)
            await channel.write(first)
            try:
                await fails(channel, codes, target.patience)
            except Broken:
                await channel.write(rest)
                await fails(channel, codes, target.patience)
                raise Lesser("found only at the message's end") from None


early("invalid UTF-8 in a fragment that is not the last", INVALID,
      frame(TEXT, b"ok \xff", fin=False), frame(CONTINUATION, b"ok"))
_whole = frame(TEXT, b"\xc0" + b"x" * 20_000)
early("invalid UTF-8 at the start of a long frame", INVALID, _whole[:1000], _whole[1000:])


# -- closing: RFC 6455 §5.5.1, §7 -------------------------------------------


def close_with(payload: bytes, name: str, codes: tuple, then: bytes = b"") -> None:
    @clause("RFC 6455 §7.4", name)
    async def run(target: Target) -> None:
        async with target.open() as channel:
            await opened(target, channel)
            await channel.write(frame(CLOSE, payload) + then)
            await closes(channel, codes, target.patience)


for _code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
    close_with(_code.to_bytes(2, "big"), f"close code {_code} is answered", (_code, 1000))
close_with(b"", "a Close without a code is answered", (None, 1000))
close_with(b"\3\xe8" + "ü".encode() * 61, "a reason of 124 bytes is answered", (1000,))
close_with(b"\3\xe8", "what follows a Close is not read", (1000,), frame(TEXT, b"too late"))
for _code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535):
    wrong("RFC 6455 §7.4", f"close code {_code}", PROTOCOL, frame(CLOSE, _code.to_bytes(2, "big")))
wrong("RFC 6455 §5.5.1", "a Close of one byte", PROTOCOL, frame(CLOSE, b"\3"))
wrong("RFC 6455 §5.5.1", "a reason that is no UTF-8", (1007, 1002), frame(CLOSE, b"\3\xe8\xff"))


@clause("RFC 6455 §7.1.1, RFC 8441 §5", "the stream ends after the closing handshake")
async def _ends(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        await channel.write(frame(CLOSE, b"\3\xe8"))
        await closes(channel, (1000, None), target.patience)
        if target.http2:
            await channel.write(b"", end=True)
        try:
            received = await channel.frame(target.patience)
        except Ended as end:
            if "RST" in str(end) or "reset" in str(end):
                raise Lesser(f"{end} instead of an orderly end") from None
            if target.http2 and "END_STREAM" not in str(end):
                raise Broken(f"the whole connection: {end}") from None
            return
        raise Broken("still open" if received is None else f"a frame after the Close: {received}")


# -- opening over HTTP/1.1: RFC 6455 §4 -------------------------------------


def refuses1(name: str, statuses, section: str = "RFC 6455 §4.2.1", header: tuple[str, str] | None = None, **how) -> None:
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


refuses1("version 8", (426, 400), "RFC 6455 §4.4", ("sec-websocket-version", "13"), version="8")
refuses1("no version", (400, 426), version=None)
refuses1("no key", (400,), key=None)
refuses1("a key of 3 bytes", (400,), key="AAEC")
refuses1("a key that is no base64", (400,), key="!!!!!!!!!!!!!!!!!!!!!!==")
refuses1("POST", (400, 405, 426), method="POST")
refuses1("no Upgrade", (200, 400, 404, 426), upgrade=None)
refuses1("Upgrade to something else", (200, 400, 404, 426), upgrade="h2c")
refuses1("no Connection: Upgrade", (200, 400, 404, 426), connection="keep-alive")


def accepts1(name: str, **how) -> None:
    @clause("RFC 6455 §4.2.1", name, "http1")
    async def run(target: Target) -> None:
        async with target.open(**how) as channel:
            await opened(target, channel)
            if channel.headers.get("sec-websocket-accept") != channel.accept:
                raise Broken("a wrong sec-websocket-accept (§4.2.2)")
            for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
                if name in channel.headers and not target.subprotocol:
                    raise Broken(f"{name} that nobody offered (§4.2.2)")


accepts1("a plain Upgrade is accepted")
accepts1("Upgrade: WebSocket in other letters is accepted", upgrade="WebSocket")
accepts1("Connection: keep-alive, Upgrade is accepted", connection="keep-alive, Upgrade")


# -- opening over HTTP/2: RFC 8441 ------------------------------------------


@clause("RFC 8441 §3", "SETTINGS_ENABLE_CONNECT_PROTOCOL is 1", "http2")
async def _setting(target: Target) -> None:
    async with Connection.to(target.endpoint) as connection:
        if not connection.capable:
            raise Broken("it is not")


def refuses2(section: str, name: str, malformed: bool = False, statuses=range(400, 600), header=None, **how) -> None:
    """Refused with a status or, where the request is malformed, a stream error; a sibling lives on."""
    @clause(section, name, "http2")
    async def run(target: Target) -> None:
        async with Connection.to(target.endpoint, strict=False) as connection:
            fields = [("sec-websocket-protocol", target.subprotocol)] if target.subprotocol else []
            sibling = await Http2.on(connection, fields)
            try:
                channel = await Http2.on(connection, **how)
            except PeerError as error:
                raise Broken(str(error)) from None
            if 200 <= channel.status < 300:
                raise Broken(f"accepted with {channel.status}")
            if malformed and channel.status not in (0, 400):
                raise Lesser(f"status {channel.status} to a malformed request")
            if not malformed and channel.status not in statuses:
                raise Lesser(f"status {channel.status}" if channel.status else f"RST_STREAM({channel.stream.reset})")
            if header and channel.headers.get(header[0]) != header[1]:
                raise Lesser(f"no {header[0]}: {header[1]}")
            await sibling.write(frame(TEXT, b"the sibling"))
            if (await message(sibling, target.patience))[1] != b"the sibling":
                raise Broken("the sibling is harmed")


refuses2("RFC 8441 §4", "another :protocol", protocol="connect-udp")
refuses2("RFC 9113 §8.5", "CONNECT without :protocol", protocol=None, scheme=None, path=None, version=None)
refuses2("RFC 8441 §4", "no :path", malformed=True, path=None)
refuses2("RFC 8441 §4", "no :scheme", malformed=True, scheme=None)
refuses2("RFC 9113 §8.3.1", "an empty :path", malformed=True, path="")
refuses2("RFC 8441 §5", ":scheme wss", malformed=True, scheme="wss")
refuses2("RFC 8441 §4", ":protocol with GET", malformed=True, method="GET")
refuses2("RFC 6455 §4.4", "version 8", header=("sec-websocket-version", "13"), version="8")
refuses2("RFC 6455 §4.2.1", "no version", version=None)
refuses2("RFC 9113 §8.2.2", "Connection: Upgrade in the request", malformed=True, fields=[("connection", "Upgrade")])


@clause("RFC 8441 §5", "the 200 is open and names nothing that was not offered", "http2")
async def _answer(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        if channel.stream.ended:
            raise Broken("END_STREAM on the 200")
        for name in ("sec-websocket-extensions", *([] if target.subprotocol else ["sec-websocket-protocol"])):
            if name in channel.headers:
                raise Broken(f"{name} that nobody offered")
        for name in ("content-length", "transfer-encoding", "upgrade", "connection"):
            if name in channel.headers:
                raise Broken(f"{name} in the 200")
        if "sec-websocket-accept" in channel.headers:
            raise Lesser("a sec-websocket-accept that no key asked for")


@clause("RFC 8441 §5", "END_STREAM without a Close ends the socket", "http2")
async def _fin(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        await channel.write(frame(TEXT, b"hi"))
        await message(channel, target.patience)
        await channel.write(b"", end=True)
        try:
            while (received := await channel.frame(target.patience)) is not None:
                if received.opcode != CLOSE:
                    raise Broken(f"answered by {received}")
        except Ended as end:
            if "END_STREAM" not in str(end) and "RST" not in str(end):
                raise Broken(f"the whole connection: {end}") from None
            return
        raise Lesser("nothing happens: the stream stays half open")


@clause("RFC 8441 §5", "RST_STREAM ends one socket alone", "http2")
async def _reset(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        fields = [("sec-websocket-protocol", target.subprotocol)] if target.subprotocol else []
        other = await Http2.on(channel.connection, fields)
        await other.write(frame(TEXT, b"x" * 1000)[:500])
        channel.connection.reset(other.stream)
        await channel.write(frame(TEXT, b"the sibling"))
        if (await message(channel, target.patience))[1] != b"the sibling":
            raise Broken("the sibling is harmed")


@clause("RFC 6455 §7.1.7, RFC 8441 §5", "a failed socket leaves its siblings alone", "http2")
async def _failed(target: Target) -> None:
    async with target.open() as channel:
        await opened(target, channel)
        fields = [("sec-websocket-protocol", target.subprotocol)] if target.subprotocol else []
        other = await Http2.on(channel.connection, fields)
        await other.write(frame(3, b"hi"))
        await fails(other, (1002,), target.patience)
        await channel.write(frame(TEXT, b"the sibling"))
        if (await message(channel, target.patience))[1] != b"the sibling":
            raise Broken("the sibling is harmed")


# -- permessage-deflate: RFC 7692 -------------------------------------------

OFFER = "permessage-deflate"


def squeeze(payload: bytes, *, blocks: int = 1, final: bool = False) -> bytes:
    """RFC 7692 §7.2.1, in so many DEFLATE blocks or with one that says it is the last (§7.2.3.5)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    step = max(1, -(-len(payload) // blocks))
    parts = [payload[at:at + step] for at in range(0, len(payload), step)] or [b""]
    data = b"".join(deflate.compress(part) + deflate.flush(zlib.Z_FULL_FLUSH) for part in parts[:-1]) + deflate.compress(parts[-1])
    if final:
        return data + deflate.flush(zlib.Z_FINISH) + b"\0"
    return (data + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def agreed(target: Target, channel: Channel) -> dict[str, str]:
    """The parameters that the endpoint answered; not applicable if it declined."""
    await opened(target, channel)
    answer = channel.headers.get("sec-websocket-extensions")
    if not answer:
        raise NotApplicable("declines permessage-deflate")
    name, *parameters = [part.strip() for part in answer.split(";")]
    if name != OFFER or "," in answer:
        raise Broken(f"answered {answer!r}")
    pairs = [parameter.partition("=") for parameter in parameters]
    if len({pair[0] for pair in pairs}) != len(pairs):
        raise Broken(f"a parameter twice: {answer!r} (§7.1)")
    return {name.strip(): value.strip().strip('"') for name, _, value in pairs}


async def inflated(channel: Channel, patience: float, inflate) -> bytes:
    """A message, compressed or not."""
    parts, first = [], None
    while True:
        try:
            received = await channel.frame(patience)
        except Ended as end:
            raise Broken(f"{end} instead of a message") from None
        if received is None or received.opcode == CLOSE:
            raise Broken(f"wanted a message, got {received and f'Close {received.code}' or 'nothing'}")
        if received.opcode >= CLOSE:
            continue
        if first is None:
            first = received
        elif received.rsv:
            raise Broken("RSV1 on a continuation (§6.1)")
        parts.append(received.payload)
        if received.fin:
            data = b"".join(parts)
            if not first.rsv:
                return data
            try:
                return inflate.decompress(data + b"\0\0\xff\xff")
            except zlib.error as error:
                raise Broken(f"does not inflate: {error}") from None


def compressed(name: str, payload: bytes, *chunks: bytes, offer: str = OFFER, section: str = "RFC 7692 §7.2.2") -> None:
    @clause(section, name)
    async def run(target: Target) -> None:
        async with target.open([("sec-websocket-extensions", offer)]) as channel:
            await agreed(target, channel)
            inflate = zlib.decompressobj(-15)
            for chunk in chunks:
                await channel.write(chunk)
            if (got := await inflated(channel, target.patience, inflate)) != payload:
                raise Broken(f"came back as {len(got)} bytes {got[:20]!r}")


_prose = b"the same words again and again, " * 400
_small = squeeze(_prose)
compressed("a compressed text", _prose, frame(TEXT, _small, rsv=4))
compressed("a compressed empty text", b"", frame(TEXT, b"\0", rsv=4), section="RFC 7692 §7.2.3.6")
compressed("an uncompressed text beside", b"plain", frame(TEXT, b"plain"), section="RFC 7692 §6")
compressed("a compressed text in fragments", _prose, frame(TEXT, _small[:10], rsv=4, fin=False),
           frame(CONTINUATION, _small[10:11], fin=False), frame(CONTINUATION, _small[11:]), section="RFC 7692 §6.1")
compressed("a Ping between compressed fragments", _prose, frame(TEXT, _small[:10], rsv=4, fin=False),
           frame(PING, b"now"), frame(CONTINUATION, _small[10:]), section="RFC 7692 §6.1")
compressed("several DEFLATE blocks", _prose, frame(TEXT, squeeze(_prose, blocks=5), rsv=4), section="RFC 7692 §7.2.3.4")
compressed("a block with BFINAL", b"final", frame(TEXT, squeeze(b"final", final=True), rsv=4), section="RFC 7692 §7.2.3.5")
compressed("the RFC's example: two frames", b"Hello", frame(TEXT, b"\xf2\x48\xcd", rsv=4, fin=False),
           frame(CONTINUATION, b"\xc9\xc9\x07\x00"), section="RFC 7692 §7.2.3.1")
compressed("the RFC's example: no compression", b"Hello",
           frame(TEXT, b"\x00\x05\x00\xfa\xffHello\x00", rsv=4), section="RFC 7692 §7.2.3.3")


@clause("RFC 7692 §7.2.3.2", "the window is kept between messages")
async def _window(target: Target) -> None:
    async with target.open([("sec-websocket-extensions", OFFER)]) as channel:
        parameters = await agreed(target, channel)
        if "client_no_context_takeover" in parameters:
            raise NotApplicable("client_no_context_takeover")
        deflate, inflate = zlib.compressobj(9, zlib.DEFLATED, -15), zlib.decompressobj(-15)
        for _ in range(5):
            data = (deflate.compress(_prose) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
            await channel.write(frame(TEXT, data, rsv=4))
            if "server_no_context_takeover" in parameters:
                inflate = zlib.decompressobj(-15)
            if await inflated(channel, target.patience, inflate) != _prose:
                raise Broken("came back differently")


@clause("RFC 7692 §7.1.1.1", "server_no_context_takeover is kept to")
async def _no_takeover(target: Target) -> None:
    async with target.open([("sec-websocket-extensions", f"{OFFER}; server_no_context_takeover")]) as channel:
        if "server_no_context_takeover" not in await agreed(target, channel):
            raise Broken("accepted the offer without it")
        for _ in range(3):
            await channel.write(frame(TEXT, _prose))
            if await inflated(channel, target.patience, zlib.decompressobj(-15)) != _prose:
                raise Broken("came back differently")


@clause("RFC 7692 §7.1.2.1", "server_max_window_bits=9 is kept to")
async def _bits(target: Target) -> None:
    async with target.open([("sec-websocket-extensions", f"{OFFER}; server_max_window_bits=9")]) as channel:
        bits = (await agreed(target, channel)).get("server_max_window_bits", "15")
        if not bits.isdigit() or not 8 <= int(bits) <= 9:
            raise Broken(f"answered {bits}")
        inflate = zlib.decompressobj(-9)
        far = bytes(range(256)) * 20
        await channel.write(frame(BINARY, far))
        if await inflated(channel, target.patience, inflate) != far:
            raise Broken("came back differently")


def declines(name: str, offer: str) -> None:
    """An offer that is invalid is declined, and the socket works without."""
    @clause("RFC 7692 §7.1", name)
    async def run(target: Target) -> None:
        async with target.open([("sec-websocket-extensions", offer)]) as channel:
            if channel.status == 400:
                raise Lesser("refused with 400 instead of declined")
            await opened(target, channel)
            if answer := channel.headers.get("sec-websocket-extensions"):
                raise Broken(f"accepted: {answer}")


declines("an unknown parameter", f"{OFFER}; unknown_parameter")
declines("server_max_window_bits=16", f"{OFFER}; server_max_window_bits=16")
declines("server_max_window_bits=7", f"{OFFER}; server_max_window_bits=7")
declines("server_max_window_bits with a leading zero", f"{OFFER}; server_max_window_bits=010")
declines("server_max_window_bits without a value", f"{OFFER}; server_max_window_bits")
declines("server_no_context_takeover with a value", f"{OFFER}; server_no_context_takeover=1")
declines("a parameter twice", f"{OFFER}; server_no_context_takeover; server_no_context_takeover")
declines("an unknown extension", "x-unknown; a=1")


def uncompressed(name: str, codes: tuple[int, ...], section: str, *chunks: bytes) -> None:
    @clause(section, name)
    async def run(target: Target) -> None:
        async with target.open([("sec-websocket-extensions", OFFER)]) as channel:
            await agreed(target, channel)
            for chunk in chunks:
                await channel.write(chunk)
            await fails(channel, codes, target.patience)


uncompressed("RSV1 on a Ping, compression agreed", PROTOCOL, "RFC 7692 §6.1", frame(PING, b"hi", rsv=4))
uncompressed("RSV1 on a continuation", PROTOCOL, "RFC 7692 §6.1",
             frame(TEXT, _small[:5], rsv=4, fin=False), frame(CONTINUATION, _small[5:], rsv=4))
uncompressed("RSV2, compression agreed", PROTOCOL, "RFC 6455 §5.2", frame(TEXT, b"hi", rsv=2))
uncompressed("bytes that are no DEFLATE", (1002, 1003, 1007), "RFC 7692 §7.2.2", frame(TEXT, b"\xff\xff\xff\xff\xff", rsv=4))
uncompressed("invalid UTF-8 that was compressed", INVALID, "RFC 6455 §8.1", frame(TEXT, squeeze(b"ok \xff"), rsv=4))


# -- running ----------------------------------------------------------------


async def judge(target: Target, only: str | None = None) -> list[Verdict]:
    """Every clause that applies to the transport, one after the other."""
    verdicts = []
    for number in CLAUSES:
        if number.transport not in ("any", "http2" if target.http2 else "http1") or (only and only not in number.name):
            continue
        verdicts.append(await _verdict(number, target))
    return verdicts


async def _verdict(what: Clause, target: Target) -> Verdict:
    result, detail = OK, ""
    try:
        await asyncio.wait_for(what.run(target), 6 * target.patience)
    except Lesser as lesser:
        result, detail = LAX, str(lesser)
    except NotApplicable as reason:
        result, detail = NA, str(reason)
    except asyncio.TimeoutError:
        result, detail = FAIL, "no end to it"
    except (Broken, Ended, PeerError, OSError, asyncio.IncompleteReadError) as error:
        result, detail = FAIL, str(error) or repr(error)
    return Verdict(what.name, what.section, result, detail)
