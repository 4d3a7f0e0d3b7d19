"""The closing handshake and the end of the stream: RFC 6455 §5.5.1, §7."""

from __future__ import annotations

from ..channel import Ended, frame
from .clause import Broken, Lesser, Target, clause
from .expect import CLOSE, PROTOCOL, TEXT, closes, opened
from .failures import wrong


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
                raise Lesser(f"{end} instead of a clean end of the stream") from None
            if target.http2 and "END_STREAM" not in str(end):
                raise Broken(f"the whole connection ended: {end}") from None
            return
        raise Broken("the stream is still open" if received is None else f"a frame after the Close: {received}")
