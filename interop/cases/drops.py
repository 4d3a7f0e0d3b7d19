"""A thousand sockets opened and dropped at once, again and again, beside one that talks on the same connection.

A dropped socket ends with RST_STREAM, which servers count (CVE-2023-44487):
neither `h2ws serve` nor an upstream behind `h2ws bridge` may end the
connection for it. The client is the one of the attacks (`lib/attacks/raw.py`).
"""

import asyncio
import time

from lib import program
from lib.attacks import frames as f
from lib.attacks.raw import H2
from lib.attacks.siblings import Beside, over_h2
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint

AT_ONCE = 1_000
PATH = "/echo"
# A million sockets, which takes a minute, and through the bridge five to ten.
ROUNDS, QUICK_ROUNDS = 1_000, 10


def dropped(port: int, rounds: int) -> str:
    """Runs the rounds. Returns what the talking socket noticed: nothing but its round trips."""
    connection = H2(port)
    try:
        connection.until(lambda: connection.settings is not None)
        talk = Beside(over_h2(connection, connection.open(PATH)))
        began = time.monotonic()
        for number in range(rounds):
            opened = connection.open_many(AT_ONCE, path=PATH, patience=60)
            equal(len(opened), AT_ONCE, f"sockets opened in round {number + 1} ({connection.end()})")
            connection.send(b"".join(f.rst(stream) for stream in opened))
            for stream in opened:
                del connection.streams[stream]
        took = time.monotonic() - began
        trips = talk.phase()
        talk.stop()
        check(not trips.lost, f"the talking socket: {trips.lost}")
        check(connection.goaway is None and not connection.closed, connection.end())
        return (f"{rounds * AT_ONCE:,} sockets in {took:.0f} s; {len(trips.seconds)} round trips of the one beside them, "
                f"median {trips.median * 1000:.1f} ms, worst {trips.worst * 1000:.0f} ms")
    finally:
        connection.close()


async def harmless(ctx: Context, endpoint: Endpoint, child, rounds: int = ROUNDS) -> None:
    rounds = QUICK_ROUNDS if ctx.quick else rounds
    ctx.note(await asyncio.to_thread(dropped, endpoint.port, rounds))
    check(child.running, f"h2ws ended: {child.tail()}")
    await child.stop()


# Without a line of the log per socket.
QUIET = {"RUST_LOG": "warn"}


@case("server", wants=lambda peer: peer.name == "python-h2", timeout=900)
async def sockets_dropped_a_thousand_at_once(ctx: Context):
    """RFC 9113 §5.4.2, §10.5: a million sockets, opened and reset a thousand at once, and one beside them that talks."""
    await harmless(ctx, *await program.serve_one(ctx.sandbox, "--cleartext", env=QUIET))


@case("bridge", wants=lambda peer: peer.name in ("axum", "h2-crate"), timeout=900)
async def sockets_dropped_a_thousand_at_once_through_us(ctx: Context):
    """RFC 9113 §5.4.2, §10.5: the same through the bridge to hyper with its default limits; a tenth of it to bare `h2`."""
    rounds = ROUNDS if ctx.peer.name == "axum" else ROUNDS // 10
    await harmless(ctx, *await program.serve_one(
        ctx.sandbox, "--cleartext", "--to", ctx.endpoints.clear.ws_url("/"), "--upstream-http2",
        "--max-concurrent-streams", str(2 * AT_ONCE), command="bridge", env=QUIET), rounds)
