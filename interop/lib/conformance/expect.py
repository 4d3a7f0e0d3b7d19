"""Expectations of clauses: an opened socket, a message, a failed connection, a Close."""

from __future__ import annotations

from ..channel import Channel, Ended, Received
from .clause import Broken, Lesser, Target

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
# Close codes of a failure (RFC 6455 §7.4.1).
PROTOCOL, INVALID, TOO_BIG = (1002,), (1007,), (1009,)


async def opened(target: Target, channel: Channel) -> None:
    wanted = range(200, 300) if target.http2 else (101,)
    if channel.status not in wanted:
        raise Broken(f"the opening request was answered by {channel.status or 'a reset'}")


async def message(channel: Channel, patience: float) -> tuple[int, bytes]:
    """The next complete message. Control frames before it are skipped."""
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
    """Expects the endpoint to fail the connection (RFC 6455 §7.1.7), with one of these codes in its Close."""
    while True:
        try:
            received = await channel.frame(patience)
        except Ended as end:
            raise Lesser(f"{end} without a Close (§7.1.7 SHOULD)") from None
        if received is None:
            raise Broken("no Close, and the stream stays open")
        _well_formed(received)
        if received.opcode in (TEXT, BINARY, CONTINUATION):
            raise Broken("accepted and echoed")
        if received.opcode == CLOSE:
            if received.code not in codes:
                raise Lesser(f"Close {received.code}, not {' or '.join(map(str, codes))} (§7.4.1)")
            return


async def closes(channel: Channel, codes: tuple, patience: float) -> Received:
    """Expects a Close in answer to ours."""
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
