"""Many sockets of one `h2ws` client: load, limits, endings, and peers that restart.

How many TCP connections they took is counted by a relay.
"""

import asyncio
import json
import math
import signal

from lib.cases import Turn, case, check, equal
from lib.program import Driver
from lib.relay import Relay
from lib.stage import run

from .reference import is_server


def capable(peer) -> bool:
    return is_server(peer) and peer.capable


async def bench(turn: Turn, sockets: int, messages: int, *options: str, timeout: float = 60) -> tuple[dict, int]:
    """`h2ws bench` over h2, which must succeed: what it reports, and the connections counted."""
    async with Relay(turn.served.tls.port) as relay:
        url = turn.served.tls.on(relay.port).ws_url()
        status, out, err = await run(
            turn.h2ws, "bench", url, "--insecure", "--http2", "--json",
            "--sockets", sockets, "--messages", messages, *options, timeout=timeout)
        check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
        report = json.loads(out)
        equal(report["failed"], 0, "failed sockets")
        equal(report["over_http2"], sockets, "sockets over HTTP/2")
        equal(report["messages"], sockets * messages, "messages echoed")
        equal(report["connections"], relay.accepted, "connections reported, against those counted")
        turn.note(f"{sockets} sockets on {relay.accepted} TCP connection(s)")
        return report, relay.accepted


@case("client", wants=lambda peer: capable(peer) and peer.streams, timeout=90)
async def sockets_beyond_the_peers_limit(turn: Turn):
    """RFC 9113 §5.1.2: more sockets at once than streams allowed take further connections, no more than needed."""
    limit = turn.peer.streams
    sockets = 250 if limit >= 100 else 4 * limit + 4
    # libwebsockets' mirror shows each message to every socket, so that no echo could be counted.
    messages = 0 if turn.peer.subprotocol else 4
    _, connections = await bench(turn, sockets, messages, timeout=80)
    equal(connections, math.ceil(sockets / limit), f"connections of {limit} streams")


@case("client", wants=lambda peer: peer.name in ("axum", "h2-crate", "node"), timeout=120)
async def sockets_1000_with_16_messages_at_once(turn: Turn):
    """RFC 9113 §10.5, §7: 16 messages of 20 bytes on every socket at once: no ENHANCE_YOUR_CALM."""
    await bench(turn, 1000, 16, "--size", "20", "--in-flight", "16", timeout=110)


@case("client", wants=lambda peer: peer.name == "apache", timeout=90, quick=False)
async def stalled_opening_is_an_error(turn: Turn):
    """DESIGN, contract: Apache's silence at the 7th socket ends with exit 1 and a reason, without a hang."""
    url = turn.served.tls.ws_url()
    status, out, err = await run(
        turn.h2ws, "bench", url, "--insecure", "--http2", "--json", "--sockets", 8, "--messages", 1, timeout=80)
    equal(status, 1, f"exit status ({out.strip()})")
    check("in time" in err or "timed out" in err, f"no word of time on stderr: {err!r}")
    turn.note(err.strip().splitlines()[-1])


@case("client", wants=capable, timeout=90)
async def sockets_130_in_a_row_from_us(turn: Turn):
    """RFC 9113 §5.1: our endings neither leak the peer's streams nor kill its connection."""
    async with Relay(turn.served.tls.port) as relay:
        driver = await Driver.start(turn, turn.served.tls.on(relay.port))
        row = await driver.order("row 130", timeout=80)
        check(row.done == 130, f"{row.done} of 130 went well: {row.said}")
        turn.note(f"130 sockets on {relay.accepted} TCP connection(s)")
        if not turn.peer.hangs_up:
            equal(relay.accepted, 1, "TCP connections")


@case("client", wants=lambda peer: peer.name == "nghttpx", timeout=60)
async def peer_is_killed_and_restarted(turn: Turn):
    """RFC 6455 §7.1.5: sockets of a peer that is gone end with 1006; new ones reach its successor."""
    first, driver = await _beginning(turn)
    first.child.signal(signal.SIGKILL)
    await first.child.process.wait()
    gone = await driver.order("ends")
    check(gone.done == 20 and gone.said.startswith("1006"), f"wanted 20 sockets with 1006: {gone}")
    refused = await driver.order("open 1")
    equal(refused.done, 0, "sockets opened while nobody listens")
    await _again(turn, first)
    check((await driver.order("open 20")).done == 20, "no new sockets")
    check((await driver.order("echo")).done == 20, "no echo from the successor")
    check((await driver.order("close")).done == 20, "no clean close")
    turn.note(gone.said[:100])


@case("client", wants=lambda peer: peer.name == "nghttpx", timeout=60)
async def peer_drains_and_restarts(turn: Turn):
    """RFC 9113 §6.8: after GOAWAY open sockets go on, new ones reach the successor."""
    first, driver = await _beginning(turn)
    first.child.signal(signal.SIGQUIT)
    await _refuses(first.tls.port)
    await _again(turn, first)
    more = await driver.order("open 10")
    check(more.done == 10, f"new sockets: {more}")
    echoed = await driver.order("echo")
    check(echoed.done == 30 and echoed.connections == 2, f"wanted 30 echoes over 2 connections: {echoed}")
    check((await driver.order("close")).done == 30, "no clean close")
    # Its last socket closed, the old process may go.
    equal(await asyncio.wait_for(first.child.process.wait(), 30), 0, "exit status of the drained nghttpx")


async def _beginning(turn: Turn):
    """A peer of the case's own, and 20 sockets there."""
    from peers.nghttpx import start_on
    served = await start_on(turn.stage, turn.stage.port(), turn.stage.port())
    driver = await Driver.start(turn, served.tls)
    opened = await driver.order("open 20")
    check(opened.done == 20, f"first sockets: {opened}")
    check((await driver.order("echo")).done == 20, "no echo")
    return served, driver


async def _again(turn: Turn, first) -> None:
    from peers.nghttpx import start_on
    await start_on(turn.stage, first.tls.port, first.clear.port)


async def _refuses(port: int) -> None:
    """Wait until nobody listens there."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return
        writer.close()
        await asyncio.sleep(0.05)
