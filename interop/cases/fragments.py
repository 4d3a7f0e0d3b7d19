"""Messages in very many frames, over both versions of HTTP, with default limits.

Small frames that carry bytes are honest, however many there are (Autobahn's
cases 9.3 and 9.4); frames that carry nothing are not.
"""

import asyncio
import re
from pathlib import Path

from lib import program
from lib.cases import Context, case, check, equal
from lib.channel import Ended, Http1, Http2, frame

TEXT, BINARY, CLOSE, CONTINUATION = 1, 2, 8, 0
SIZE, PIECE, EMPTY = 4 << 20, 64, 1_000_000
VERSIONS = {"HTTP/2": Http2, "HTTP/1.1": Http1}


def peak(process: int) -> float:
    """The largest resident memory so far, in MiB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024


@case("server", wants=lambda peer: peer.name == "python-h2")
async def message_of_4_mib_in_frames_of_64_bytes(ctx: Context):
    """RFC 6455 §5.4: 4 MiB, text and binary, in 65,536 frames of 64 bytes are echoed over both versions of HTTP."""
    endpoint, _ = await program.serve_one(ctx.sandbox, "--cleartext")
    payload = b"x" * SIZE
    for version, channel in VERSIONS.items():
        for opcode in (TEXT, BINARY):
            first, middle, last = (frame(code, payload[:PIECE], fin=fin) for code, fin in
                                   ((opcode, False), (CONTINUATION, False), (CONTINUATION, True)))
            async with channel.open(endpoint) as socket:
                sending = asyncio.create_task(socket.write(first + middle * (SIZE // PIECE - 2) + last))
                got = b""
                while True:
                    part = await socket.frame(60)
                    check(part, f"no answer over {version}")
                    check(part.opcode != CLOSE, f"Close {part.code} over {version}")
                    got += part.payload
                    if part.fin:
                        break
                await sending
            check(got == payload, f"{len(got)} bytes came back over {version}")
    ctx.note(f"{SIZE:,} bytes in {SIZE // PIECE:,} frames, text and binary, over {' and '.join(VERSIONS)}")


@case("server", wants=lambda peer: peer.name == "python-h2")
async def million_empty_fragments_end_with_1009(ctx: Context):
    """RFC 6455 §7.4.1, §10.4: a message of a million empty fragments ends with 1009, over both versions, with flat memory."""
    for version, channel in VERSIONS.items():
        endpoint, child = await program.serve_one(ctx.sandbox, "--cleartext")
        async with channel.open(endpoint) as beside, channel.open(endpoint) as socket:
            before = peak(child.process.pid)
            empty = frame(CONTINUATION, fin=False) * 10_000

            async def flood() -> None:
                await socket.write(frame(TEXT, b"x", fin=False))
                for _ in range(EMPTY // 10_000):
                    await socket.write(empty)

            sending = asyncio.create_task(flood())
            try:
                received = await socket.frame(60)
            except Ended as end:
                raise AssertionError(f"over {version}: {end} without a Close frame") from None
            check(received, f"no Close over {version}")
            equal((received.opcode, received.code), (CLOSE, 1009), f"answer over {version}")
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            grown = peak(child.process.pid) - before
            check(grown < 16, f"{grown:.0f} MiB more memory over {version}")
            await beside.write(frame(TEXT, b"still here"))
            equal((await beside.frame(60)).payload, b"still here", "echo on another socket")
            ctx.note(f"{version}: 1009, {grown:+.1f} MiB")
        await child.stop()
