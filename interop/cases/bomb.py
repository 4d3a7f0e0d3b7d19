"""Messages that inflate beyond the server's limit, over a real socket."""

import asyncio
import zlib

from lib import program
from lib.cases import Context, case, check, equal
from lib.channel import Http2, frame
from lib.rfc8441 import Connection

from .server import by_h2, clean, sockets

GIGABYTE = 1 << 30
OFFER = [("sec-websocket-extensions", "permessage-deflate")]
# `Limits::max_message_size`: the most that `h2ws serve` buffers of a message.
LIMIT = 16 << 20

# The buffer of a message grows by doubling, and the allocator keeps freed blocks for a second.
# At the peak all of them exist, which is twice the largest.
PEAK = 2 * LIMIT


def bomb() -> bytes:
    """A compressed gigabyte of zeros, as a client would send it (RFC 7692 §7.2.1)."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [deflate.compress(bytes(1 << 24)) for _ in range(GIGABYTE >> 24)]
    return b"".join([*parts, deflate.flush(zlib.Z_SYNC_FLUSH)])[:-4]


def peak(child) -> int:
    """The peak memory of the process, in bytes."""
    with open(f"/proc/{child.process.pid}/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@case("server", wants=by_h2)
async def bomb_of_a_gigabyte(ctx: Context):
    """RFC 7692 §8, RFC 6455 §7.4.1: 1 MB that inflates to 1 GB gets 1009, within the memory limit; siblings are unaffected."""
    data = await asyncio.to_thread(bomb)
    endpoint, child = await program.serve_one(
        ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key, "--deflate")
    async with Connection.to(endpoint) as connection:
        siblings = await sockets(connection, 10)
        # Buffers that any client may use, compressed or not, are allocated first, and do not count as growth.
        whole = await connection.socket()
        await whole.echo(bytes(len(data)))
        before = peak(child)
        for attempt in range(3):
            victim = await Http2.on(connection, OFFER)
            check("permessage-deflate" in victim.headers.get("sec-websocket-extensions", ""), "compression was not negotiated")
            await victim.write(frame(2, data, rsv=4))
            close = await victim.frame(30)
            equal((close.opcode, close.code), (8, 1009), "answer to the bomb")
            await victim.write(b"", end=True)
            await connection.until(lambda: victim.stream.over, "end of the stream")
            await asyncio.gather(*(socket.echo(f"after bomb {attempt}") for socket in siblings))
        grown = peak(child) - before
        check(grown <= PEAK, f"{grown >> 10} KiB more at the peak, for a limit of {LIMIT >> 10} KiB")
        ctx.note(f"{len(data)} bytes for {GIGABYTE}; peak {before >> 10} KiB before, {grown >> 10} KiB more after 3 of them")
        clean(ctx, await asyncio.gather(*(socket.close() for socket in [whole, *siblings])))
    await child.stop()
