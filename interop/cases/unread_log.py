"""`h2ws bridge` whose stderr is a full pipe that nobody reads."""

import asyncio
import json
import os
import re

from lib import program
from lib.cases import Context, case, check, equal
from lib.sandbox import run

from .bridge import named

# Each socket is logged with its path; together the lines exceed what the pipe and the queue behind it hold (4 MiB).
LOGGED, PATH = 2_000, "/" + "x" * 4_000
SOCKETS = 100
LOST = re.compile(rb"log lines were dropped.*?lines=(\d+)")


def lost_lines(pipe: int) -> int:
    """Reads the log up to the number of lost lines, or to its end."""
    rest = b""
    while part := os.read(pipe, 1 << 16):
        if found := LOST.search(rest + part):
            return int(found[1])
        rest = part[-1_000:]
    return 0


@case("bridge", wants=named("ws"))
async def unread_stderr_stalls_nobody(ctx: Context):
    """DESIGN, logging: with stderr a full pipe, messages flow; once it is read, the number of lost lines is there."""
    behind, _ = await program.serve_one(ctx.sandbox, "--cleartext")
    read, write = os.pipe()
    try:
        endpoint, bridge = await program.serve_one(
            ctx.sandbox, "--cleartext", "--to", behind.ws_url("/"), "--upstream-http1", command="bridge",
            env={"RUST_LOG": "info"}, stderr=write)
        os.close(write)

        async def bench(path: str, *options) -> dict:
            status, out, err = await run(
                ctx.h2ws, "bench", endpoint.ws_url(path), "--http2", "--json", *options, timeout=100)
            check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
            seen = json.loads(out)
            equal(seen["failed"], 0, "failed sockets")
            return seen

        await bench(PATH, "--sockets", LOGGED, "--messages", 1)
        messages = 1_000 if ctx.quick else 20_000
        seen = await bench("/", "--sockets", SOCKETS, "--messages", messages, "--in-flight", 16)
        equal(seen["messages"], SOCKETS * messages, "messages echoed")
        reading = asyncio.create_task(asyncio.to_thread(lost_lines, read))
        done, _ = await asyncio.wait([reading], timeout=20)
        # Ends the pipe, and with it the thread.
        await bridge.stop()
        lost = await reading
        check(lost and done, f"{lost} lines reported as lost")
        check(LOGGED > lost, f"{lost} of {LOGGED} lines lost")
        ctx.note(f"{seen['messages']:,} messages, {seen['messages_per_second']:,.0f} a second; {lost} of {LOGGED + SOCKETS} lines lost")
    finally:
        os.close(read)
