"""A page's socket through `h2ws bridge` when its backend dies.

The bridge allows one socket. A browser neither ends nor resets the stream of a
socket that its server ended without a Close frame, and the page's next socket
needs the capacity that the first one held.
"""

import asyncio
import signal

from lib import program
from lib.browser import BROWSERS
from lib.cases import Context, case, check, equal
from lib.relay import Relay
from lib.sandbox import INTEROP, Child, node_env

from .browsers import is_browser

# Opens a socket, and another one as soon as an open one has ended. An attempt that fails is repeated after 20 ms.
SCRIPT = """
window.seen = {opened: 0, codes: [], rejected: 0, gaps: []};
let lost = null;
function again() {
  const ws = new WebSocket(`wss://${location.host}/echo`);
  let open = false;
  ws.onopen = () => {
    open = true;
    if (lost !== null) seen.gaps.push(Math.round(performance.now() - lost));
    seen.opened += 1;
    window.socket = ws;
  };
  ws.onclose = ({code}) => {
    if (open) { seen.codes.push(code); lost = performance.now(); again(); }
    // Before the first one is open, the browser's request for a favicon may count.
    else { if (seen.opened) seen.rejected += 1; setTimeout(again, 20); }
  };
}
again();
"""
ECHO = """
new Promise((resolve) => {
  socket.onmessage = ({data}) => resolve(data);
  socket.send('hello');
})
"""


async def backend(ctx: Context) -> tuple[Child, int]:
    port = ctx.sandbox.port()
    child = await ctx.sandbox.spawn("node", INTEROP / "apps/backend.mjs", port, name=f"backend-{port}", env=node_env())
    await ctx.sandbox.ready(child, port)
    return child, port


async def opened(page, count: int) -> dict:
    """Waits until the page has opened this many sockets. Returns what it has seen."""
    async with asyncio.timeout(60):
        while (seen := await page.evaluate("seen"))["opened"] < count:
            await asyncio.sleep(0.05)
    return seen


@case("bridge", wants=is_browser)
async def page_reopens_when_its_backend_dies(ctx: Context):
    """RFC 6455 §7.1.5, RFC 9113 §5.1: the only socket that a bridge allows ends without a Close frame; the page's next one opens at once."""
    times = 2 if ctx.quick else 5
    child, port = await backend(ctx)
    async with Relay(port) as to_backend, BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        endpoint, bridge = await program.bridge(
            ctx.sandbox, "--to", f"ws://127.0.0.1:{to_backend.port}", "--max-sockets", "1")
        await page.open(endpoint.http_url("/"))
        equal(await page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol"), "h2", "the page's protocol")
        await page.evaluate(f"void eval({SCRIPT!r})")
        for number in range(1, times + 1):
            await opened(page, number)
            equal(await page.evaluate(ECHO), "hello", "echo")
            # The successor listens before the backend is killed, and takes over its address.
            successor, to_backend.target = await backend(ctx)
            child.signal(signal.SIGKILL)
            child = successor
        seen = await opened(page, times + 1)
        equal(await page.evaluate(ECHO), "hello", "echo")
        equal(seen["codes"], [1006] * times, "codes that the page saw")
        # By the closing timeout of 10 s, hundreds would have been rejected.
        equal(seen["rejected"], 0, "attempts of the page that failed")
        await bridge.stop()
    ctx.note(f"open again after {', '.join(map(str, seen['gaps']))} ms, {seen['rejected']} attempts rejected")
