"""Peers that end and restart while one `h2ws` client has open sockets.

Every socket is accounted for: those that were open report how they ended, and
those that are opened meanwhile either work or report an error.
"""

import asyncio
import os
import signal

from lib.cases import Context, case, check, equal
from lib.program import Driver, CommandResult
from lib.relay import Relay

from .load import capable

SOCKETS = 200


def by_nghttpx(peer) -> bool:
    return peer.name == "nghttpx"


@case("client", wants=capable)
async def peer_is_killed_and_restarted(ctx: Context):
    """RFC 6455 §7.1.5: sockets of a killed peer end with 1006; new ones reach its successor."""
    first = await ctx.peer.start(ctx.sandbox)
    async with Relay(first.tls.port) as relay:
        driver = await Driver.start(ctx, first.tls.on(relay.port))
        count = 5  # Apache stalls at the 7th
        await driver.all(f"open {count}", count)
        first.child.signal(signal.SIGKILL)
        await first.child.process.wait()
        gone = await driver.order("ends")
        check(gone.asked == count and gone.times("1006") == count, f"expected {count} sockets with 1006: {gone}")
        equal((await driver.order("open 1")).done, 0, "sockets opened while nothing listens")
        relay.target = (await ctx.peer.start(ctx.sandbox)).tls.port
        await driver.all(f"open {count}", count)
        if not ctx.peer.subprotocol:  # libwebsockets' mirror answers on every socket
            await driver.all("echo", count)
        await driver.all("close", count)
        ctx.note(gone.said[:100])


@case("client", wants=by_nghttpx)
async def killed_under_200_sockets(ctx: Context):
    """RFC 6455 §7.1.5: on SIGKILL 200 active sockets end with 1006, new ones work again, none hangs or is lost."""
    await _under_sockets(ctx, signal.SIGKILL)


@case("client", wants=by_nghttpx)
async def stopped_under_200_sockets(ctx: Context):
    """RFC 6455 §7.1.5: on SIGTERM the peer ends its connections; 200 active sockets end, new ones work again."""
    await _under_sockets(ctx, signal.SIGTERM)


async def _under_sockets(ctx: Context, number: int) -> None:
    first, driver = await _talking(ctx)
    first.child.signal(number)
    await first.child.process.wait()
    await _start_on(ctx, first)
    await driver.all("row 100", 100)
    new = _accounted(ctx, await driver.order("churned"))
    # Their number depends on the machine; the hundred sockets above all succeeded.
    check(new.done > 0, f"{new.done} of {new.asked} new sockets succeeded")
    ends = await driver.order("ends")
    equal(ends.asked, SOCKETS, "sockets that reported their end")
    equal(ends.times("1006") + ends.times("1001"), SOCKETS, f"sockets that ended with 1006 or 1001 ({ends.said[:300]})")
    ctx.note(f"old: {ends.said[:120]}")


@case("client", wants=by_nghttpx)
async def replaced_under_200_sockets(ctx: Context):
    """RFC 9113 §6.8: a successor takes over the port while the old process drains: old sockets work, no new one fails."""
    first, driver = await _talking(ctx)
    old = first.child.process.pid
    os.kill(old, signal.SIGUSR2)  # re-executes nghttpx, on the same listening sockets
    await _log_says(first.child, "Created worker thread", 2)
    os.kill(old, signal.SIGQUIT)
    await driver.all("row 50", 50)
    new = _accounted(ctx, await driver.order("churned"))
    equal(new.done, new.asked, f"new sockets that succeeded ({new.said[:300]})")
    # The old sockets stayed active until they were closed.
    await driver.all("hush", SOCKETS)
    await driver.all("echo", SOCKETS)
    await driver.all("close", SOCKETS)
    equal(await asyncio.wait_for(first.child.process.wait(), 30), 0, "exit status of the drained nghttpx")


@case("client", wants=by_nghttpx)
async def peer_drains_and_restarts(ctx: Context):
    """RFC 9113 §6.8: after GOAWAY open sockets still work, new ones reach the successor."""
    first, driver = await _beginning(ctx, 20)
    first.child.signal(signal.SIGQUIT)
    await _refuses(first.tls.port)
    await _start_on(ctx, first)
    await driver.all("open 10", 10)
    echoed = await driver.all("echo", 30)
    equal(echoed.connections, 2, "connections of 30 sockets")
    await driver.all("close", 30)
    # The old process exits once its last socket is closed.
    equal(await asyncio.wait_for(first.child.process.wait(), 30), 0, "exit status of the drained nghttpx")


async def _talking(ctx: Context):
    """Starts 200 constantly active sockets, while new ones are opened continuously."""
    first, driver = await _beginning(ctx, SOCKETS)
    await driver.order("churn 10")
    await driver.all("chat", SOCKETS)
    await driver.all("row 20", 20)
    return first, driver


async def _beginning(ctx: Context, count: int):
    """Starts a separate peer, and opens sockets to it."""
    from peers.nghttpx import start_on
    endpoints = await start_on(ctx.sandbox, ctx.sandbox.port(), ctx.sandbox.port())
    driver = await Driver.start(ctx, endpoints.tls)
    await driver.all(f"open {count}", count)
    await driver.all("echo", count)
    return endpoints, driver


async def _start_on(ctx: Context, first) -> None:
    from peers.nghttpx import start_on
    await start_on(ctx.sandbox, first.tls.port, first.clear.port)


def _accounted(ctx: Context, new: CommandResult) -> CommandResult:
    """Checks that no socket opened meanwhile hung, and that each failed one reported a reason."""
    equal(new.times("HUNG"), 0, "calls that hung")
    equal(new.times(""), new.asked - new.done, "new sockets that failed with a reason")
    ctx.note(f"new: {new.done} of {new.asked} work {new.said[:160]}")
    return new


async def _log_says(child, words: str, times: int) -> None:
    while child.log.read_text().count(words) < times:
        await asyncio.sleep(0.05)


async def _refuses(port: int) -> None:
    """Waits until connections to the port are refused."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.05)
