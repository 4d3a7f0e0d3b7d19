"""Many sockets of one `h2ws` client: load, limits and endings.

A relay counts their TCP connections.
"""

import json
import math

from lib.cases import Context, case, check, equal
from lib.program import Driver
from lib.relay import Relay
from lib.sandbox import run

from .reference import is_server


def capable(peer) -> bool:
    return is_server(peer) and peer.capable


async def bench(ctx: Context, sockets: int, messages: int, *options: str, timeout: float = 60) -> tuple[dict, int]:
    """Runs `h2ws bench` over HTTP/2, which must succeed. Returns its report, and the connections counted."""
    async with Relay(ctx.endpoints.tls.port) as relay:
        url = ctx.endpoints.tls.on(relay.port).ws_url()
        status, out, err = await run(
            ctx.h2ws, "bench", url, "--insecure", "--http2", "--json",
            "--sockets", sockets, "--messages", messages, *options, timeout=timeout)
        check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
        report = json.loads(out)
        equal(report["failed"], 0, "failed sockets")
        equal(report["over_http2"], sockets, "sockets over HTTP/2")
        equal(report["messages"], sockets * messages, "messages echoed")
        equal(report["connections"], relay.accepted, "connections reported and counted")
        ctx.note(f"{sockets} sockets on {relay.accepted} TCP connection(s)")
        return report, relay.accepted


@case("client", wants=lambda peer: capable(peer) and peer.streams)
async def sockets_beyond_the_peers_limit(ctx: Context):
    """RFC 9113 §5.1.2: sockets above the stream limit use further connections, no more than necessary."""
    limit = ctx.peer.streams
    sockets = 250 if limit >= 100 else 4 * limit + 4
    # libwebsockets' mirror sends each message to every socket, so echoes cannot be counted.
    messages = 0 if ctx.peer.subprotocol else 4
    _, connections = await bench(ctx, sockets, messages, timeout=80)
    equal(connections, math.ceil(sockets / limit), f"connections of {limit} streams")


@case("client", wants=lambda peer: peer.name in ("axum", "h2-crate", "node"))
async def sockets_1000_with_16_messages_at_once(ctx: Context):
    """RFC 9113 §10.5, §7: 16 messages of 20 bytes on every socket at once: no ENHANCE_YOUR_CALM."""
    await bench(ctx, 1000, 16, "--size", "20", "--in-flight", "16", timeout=110)


@case("client", wants=lambda peer: peer.name == "apache", quick=False)
async def stalled_opening_is_an_error(ctx: Context):
    """DESIGN, contract: when Apache does not answer the 7th socket, the program exits with 1 and a reason, without a hang."""
    url = ctx.endpoints.tls.ws_url()
    status, out, err = await run(
        ctx.h2ws, "bench", url, "--insecure", "--http2", "--json", "--sockets", 8, "--messages", 1, timeout=80)
    equal(status, 1, f"exit status ({out.strip()})")
    check("in time" in err or "timed out" in err, f"no timeout reported on stderr: {err!r}")
    ctx.note(err.strip().splitlines()[-1])


@case("client", wants=capable)
async def sockets_130_in_a_row_from_us(ctx: Context):
    """RFC 9113 §5.1: our endings neither leak streams at the peer nor end its connection."""
    async with Relay(ctx.endpoints.tls.port) as relay:
        driver = await Driver.start(ctx, ctx.endpoints.tls.on(relay.port))
        row = await driver.order("row 130", timeout=80)
        check(row.done == 130, f"{row.done} of 130 succeeded: {row.said}")
        ctx.note(f"130 sockets on {relay.accepted} TCP connection(s)")
        if not ctx.peer.hangs_up:
            equal(relay.accepted, 1, "TCP connections")


@case("client", wants=lambda peer: capable(peer) and not peer.subprotocol)
async def aborts_by_us_leave_siblings(ctx: Context):
    """RFC 8441 §5: dropping sockets without a Close does not affect siblings or new sockets."""
    async with Relay(ctx.endpoints.tls.port) as relay:
        driver = await Driver.start(ctx, ctx.endpoints.tls.on(relay.port))
        await driver.all("open 5", 5)
        for _ in range(10):
            await driver.all("echo", 5)
            await driver.all("abort 2", 2)
            await driver.all("echo", 3)
            await driver.all("open 2", 2)
        await driver.all("close", 5)
        if not ctx.peer.hangs_up:
            equal(relay.accepted, 1, "TCP connections")


@case("client", wants=lambda peer: is_server(peer) and peer.largest > 4096)
async def messages_of_4_mib(ctx: Context):
    """RFC 6455 §5.2, RFC 9113 §5.2: 4 MiB each way on three sockets at once, within the peer's windows."""
    options = [] if ctx.peer.capable else ["--http1"]
    driver = await Driver.start(ctx, ctx.endpoints.tls, *options)
    await driver.all("open 3", 3)
    await driver.all(f"large {4 << 20}", 3, timeout=80)
    await driver.all("echo", 3)
    await driver.all("close", 3)
