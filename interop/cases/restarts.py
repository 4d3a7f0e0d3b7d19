"""Peers that end and come back, under the open sockets of one `h2ws` client.

Every socket is accounted for: those that were open say how they ended, and
those that are opened meanwhile either work or say why not.
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
    """RFC 6455 §7.1.5: sockets of a peer that is gone end with 1006; new ones reach its successor."""
    first = await ctx.peer.start(ctx.sandbox)
    async with Relay(first.tls.port) as relay:
        driver = await Driver.start(ctx, first.tls.on(relay.port))
        count = 5  # Apache stalls at the 7th
        await driver.all(f"open {count}", count)
        first.child.signal(signal.SIGKILL)
        await first.child.process.wait()
        gone = await driver.order("ends")
        check(gone.asked == count and gone.times("1006") == count, f"wanted {count} sockets with 1006: {gone}")
        equal((await driver.order("open 1")).done, 0, "sockets opened while nobody listens")
        relay.target = (await ctx.peer.start(ctx.sandbox)).tls.port
        await driver.all(f"open {count}", count)
        if not ctx.peer.subprotocol:  # libwebsockets' mirror answers to everybody
            await driver.all("echo", count)
        await driver.all("close", count)
        ctx.note(gone.said[:100])


@case("client", wants=by_nghttpx)
async def killed_under_200_sockets(ctx: Context):
    """RFC 6455 §7.1.5: SIGKILL: 200 talking sockets end with 1006, new ones work again, none hangs or is lost."""
    await _under_sockets(ctx, signal.SIGKILL)


@case("client", wants=by_nghttpx)
async def stopped_under_200_sockets(ctx: Context):
    """RFC 6455 §7.1.5: SIGTERM: the same, where the peer ends its connections itself."""
    await _under_sockets(ctx, signal.SIGTERM)


async def _under_sockets(ctx: Context, number: int) -> None:
    first, driver = await _talking(ctx)
    first.child.signal(number)
    await first.child.process.wait()
    await _start_on(ctx, first)
    await driver.all("row 100", 100)
    new = _accounted(ctx, await driver.order("churned"))
    # How many it had time for is the machine's matter; the hundred all went well.
    check(new.done > 0, f"{new.done} of {new.asked} new sockets went well")
    ends = await driver.order("ends")
    equal(ends.asked, SOCKETS, "sockets whose end is known")
    equal(ends.times("1006") + ends.times("1001"), SOCKETS, f"sockets that ended with 1006 or 1001 ({ends.said[:300]})")
    ctx.note(f"old: {ends.said[:120]}")


@case("client", wants=by_nghttpx)
async def replaced_under_200_sockets(ctx: Context):
    """RFC 9113 §6.8: a successor takes the port over and the old one drains: old sockets go on, no new one fails."""
    first, driver = await _talking(ctx)
    old = first.child.process.pid
    os.kill(old, signal.SIGUSR2)  # executes nghttpx anew, on the same listening sockets
    await _log_says(first.child, "Created worker thread", 2)
    os.kill(old, signal.SIGQUIT)
    await driver.all("row 50", 50)
    new = _accounted(ctx, await driver.order("churned"))
    equal(new.done, new.asked, f"new sockets that went well ({new.said[:300]})")
    # They talked all the while, and do so until their own end.
    await driver.all("hush", SOCKETS)
    await driver.all("echo", SOCKETS)
    await driver.all("close", SOCKETS)
    equal(await asyncio.wait_for(first.child.process.wait(), 30), 0, "exit status of the drained nghttpx")


@case("client", wants=by_nghttpx)
async def peer_drains_and_restarts(ctx: Context):
    """RFC 9113 §6.8: after GOAWAY open sockets go on, new ones reach the successor."""
    first, driver = await _beginning(ctx, 20)
    first.child.signal(signal.SIGQUIT)
    await _refuses(first.tls.port)
    await _start_on(ctx, first)
    await driver.all("open 10", 10)
    echoed = await driver.all("echo", 30)
    equal(echoed.connections, 2, "connections of 30 sockets")
    await driver.all("close", 30)
    # Its last socket closed, the old process may go.
    equal(await asyncio.wait_for(first.child.process.wait(), 30), 0, "exit status of the drained nghttpx")


async def _talking(ctx: Context):
    """200 sockets that talk without a pause, while new ones are opened all the time."""
    first, driver = await _beginning(ctx, SOCKETS)
    await driver.order("churn 10")
    await driver.all("chat", SOCKETS)
    await driver.all("row 20", 20)
    return first, driver


async def _beginning(ctx: Context, count: int):
    """A peer of the case's own, and sockets there."""
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
    """Of those opened in the meantime none hung, and each that failed said why."""
    equal(new.times("HUNG"), 0, "calls that hung")
    equal(new.times(""), new.asked - new.done, "new sockets that say why they failed")
    ctx.note(f"new: {new.done} of {new.asked} work {new.said[:160]}")
    return new


async def _log_says(child, words: str, times: int) -> None:
    while child.log.read_text().count(words) < times:
        await asyncio.sleep(0.05)


async def _refuses(port: int) -> None:
    """Wait until nobody listens there."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.05)
