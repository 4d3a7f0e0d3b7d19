"""Frames that must fail the connection, and how soon: RFC 6455 §5, §7.1.7, §8.1."""

from __future__ import annotations

from ..channel import frame
from .clause import Broken, Lesser, Target, clause
from .expect import BINARY, CLOSE, CONTINUATION, INVALID, PING, PROTOCOL, TEXT, TOO_BIG, fails, opened
from .messages import fragments


def wrong(section: str, name: str, codes: tuple[int, ...], *chunks: bytes) -> None:
    """Registers a clause: these bytes must fail the connection."""
    @clause(section, name)
    async def run(target: Target) -> None:
        async with target.open() as channel:
            await opened(target, channel)
            for chunk in chunks:
                await channel.write(chunk)
            await fails(channel, codes, target.patience)


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
wrong("RFC 6455 §8.1", "invalid UTF-8 across fragments", INVALID, *fragments(TEXT, b"\xe2", b"\x28\xa1"))


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
    """Registers a clause: the error is certain after `first`; an endpoint that waits for `rest` is lax."""
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
                raise Lesser("detected only at the end of the message") from None


early("invalid UTF-8 in a fragment that is not the last", INVALID,
      frame(TEXT, b"ok \xff", fin=False), frame(CONTINUATION, b"ok"))
_whole = frame(TEXT, b"\xc0" + b"x" * 20_000)
early("invalid UTF-8 at the start of a long frame", INVALID, _whole[:1000], _whole[1000:])
