"""Messages and Pings that must be answered: RFC 6455 §5.2, §5.4 to §5.6, §8.1."""

from __future__ import annotations

from ..channel import Ended, frame
from .clause import Broken, Target, clause
from .expect import BINARY, CONTINUATION, PING, PONG, TEXT, message, opened


def echoes(section: str, name: str, opcode: int, payload: bytes, *chunks: bytes) -> None:
    """Registers a clause: these chunks of bytes must come back as this one message."""
    @clause(section, name)
    async def run(target: Target) -> None:
        async with target.open() as channel:
            await opened(target, channel)
            for chunk in chunks:
                await channel.write(chunk)
            got = await message(channel, target.patience)
            if got != (opcode, payload):
                raise Broken(f"came back as opcode {got[0]}, {len(got[1])} bytes {got[1][:20]!r}")


def fragments(opcode: int, *parts: bytes, between: bytes = b"") -> list[bytes]:
    """A message in these fragments, with `between` after each but the last."""
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
echoes("RFC 6455 §5.4", "two fragments", TEXT, b"onetwo", *fragments(TEXT, b"one", b"two"))
echoes("RFC 6455 §5.4", "fragments in one write", TEXT, b"onetwo", b"".join(fragments(TEXT, b"one", b"two")))
echoes("RFC 6455 §5.4", "100 fragments of a byte", BINARY, b"z" * 100, *fragments(BINARY, *[b"z"] * 100))
echoes("RFC 6455 §5.4", "empty fragments around one", TEXT, b"middle", *fragments(TEXT, b"", b"middle", b""))
echoes("RFC 6455 §5.4", "nothing but empty fragments", TEXT, b"", *fragments(TEXT, b"", b"", b""))
echoes("RFC 6455 §5.4", "Pings between fragments", TEXT, b"onetwothree",
       *fragments(TEXT, b"one", b"two", b"three", between=frame(PING, b"now")))
echoes("RFC 6455 §5.5.3", "an unsolicited Pong is ignored", TEXT, b"after", frame(PONG, b"unasked") + frame(TEXT, b"after"))
echoes("RFC 6455 §5.6", "UTF-8 cut between fragments", TEXT, "€😀".encode(),
       *fragments(TEXT, b"\xe2", b"\x82\xac\xf0", b"\x9f\x98", b"\x80"))
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
                raise Broken(f"expected number {number}, got {got[1]!r}")


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
                raise Broken(f"expected the Pong, got {received}")
