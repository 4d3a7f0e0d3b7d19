"""permessage-deflate, if the endpoint accepts it: RFC 7692."""

from __future__ import annotations

import zlib

from ..channel import Channel, Ended, frame
from .clause import Broken, Lesser, NotApplicable, Target, clause
from .expect import BINARY, CLOSE, CONTINUATION, INVALID, PING, PROTOCOL, TEXT, fails, opened

OFFER = "permessage-deflate"


def squeeze(payload: bytes, *, blocks: int = 1, final: bool = False) -> bytes:
    """Compresses by RFC 7692 §7.2.1, into `blocks` DEFLATE blocks; `final` sets BFINAL (§7.2.3.5)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    step = max(1, -(-len(payload) // blocks))
    parts = [payload[at:at + step] for at in range(0, len(payload), step)] or [b""]
    data = b"".join(deflate.compress(part) + deflate.flush(zlib.Z_FULL_FLUSH) for part in parts[:-1]) + deflate.compress(parts[-1])
    if final:
        return data + deflate.flush(zlib.Z_FINISH) + b"\0"
    return (data + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def agreed(target: Target, channel: Channel) -> dict[str, str]:
    """The parameters in the endpoint's answer. Not applicable if it declined."""
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
    """Receives a message, compressed or not, and inflates it."""
    parts, first = [], None
    while True:
        try:
            received = await channel.frame(patience)
        except Ended as end:
            raise Broken(f"{end} instead of a message") from None
        if received is None or received.opcode == CLOSE:
            raise Broken(f"expected a message, got {received and f'Close {received.code}' or 'nothing'}")
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
                raise Broken("the echo differs")


@clause("RFC 7692 §7.1.1.1", "server_no_context_takeover is kept to")
async def _no_takeover(target: Target) -> None:
    async with target.open([("sec-websocket-extensions", f"{OFFER}; server_no_context_takeover")]) as channel:
        if "server_no_context_takeover" not in await agreed(target, channel):
            raise Broken("accepted the offer without the parameter")
        for _ in range(3):
            await channel.write(frame(TEXT, _prose))
            if await inflated(channel, target.patience, zlib.decompressobj(-15)) != _prose:
                raise Broken("the echo differs")


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
            raise Broken("the echo differs")


def declines(name: str, offer: str) -> None:
    """An invalid offer is declined, and the socket works without the extension."""
    @clause("RFC 7692 §7.1", name)
    async def run(target: Target) -> None:
        async with target.open([("sec-websocket-extensions", offer)]) as channel:
            if channel.status == 400:
                raise Lesser("rejected with 400 instead of declined")
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
