"""Browsers on pages of `h2ws serve`, of a foreign server, of a server behind `h2ws bridge`, and of an axum application.

The relay's count of TCP connections is the evidence that sockets share the
page's HTTP/2 connection: over HTTP/1.1 each would open its own.
"""

import asyncio

from lib import install, program, wire
from lib.browser import BROWSERS
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.relay import Relay

SOCKETS = 50
SCRIPT = """
(async (count) => {
  const one = (number) => new Promise((resolve) => {
    const ws = new WebSocket(`wss://${location.host}/echo`);
    ws.binaryType = 'arraybuffer';
    const binary = new Uint8Array(70000).fill(number);
    const messages = ['text ü', '', 'x'.repeat(65536), binary];
    let next = 0, error = null;
    const send = () => next < messages.length ? ws.send(messages[next]) : ws.close(4000 + number, 'bye');
    ws.onopen = send;
    ws.onerror = () => { error ??= 'error event'; };
    ws.onmessage = ({data}) => {
      const want = messages[next++];
      const same = typeof want === 'string' ? data === want
        : data.byteLength === want.length && new Uint8Array(data).every((byte, at) => byte === want[at]);
      if (!same) error ??= `message ${next} came back differently`;
      send();
    };
    ws.onclose = ({code, reason, wasClean}) =>
      resolve({number, code, reason, wasClean, error, echoed: next, extensions: ws.extensions});
  });
  const sockets = await Promise.all(Array.from({length: count}, (_, number) => one(number)));
  return {hop: performance.getEntriesByType('navigation')[0].nextHopProtocol, sockets};
})(%d)
"""


def is_browser(peer) -> bool:
    return peer.name in BROWSERS


@case("server", "reference", wants=is_browser)
async def sockets_50_on_the_pages_connection(ctx: Context):
    """RFC 8441 §5: 50 sockets on the page's own h2 connection, text, binary, close codes."""
    await page_and_sockets(ctx, ctx.endpoints.tls)


@case("bridge", wants=is_browser)
async def page_and_sockets_through_the_bridge(ctx: Context):
    """RFC 8441 §5: a page of an HTTP/1.1 server and 50 sockets to it, all on one h2 connection to the bridge."""
    endpoint, _ = await program.bridge(ctx.sandbox, "--to", ctx.endpoints.clear.ws_url("/"))
    await page_and_sockets(ctx, endpoint)


async def page_and_sockets(ctx: Context, endpoint: Endpoint) -> None:
    async with Relay(endpoint.port) as relay, BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        await page.open(endpoint.on(relay.port).http_url("/"))
        before = relay.accepted
        result = await page.evaluate(SCRIPT % SOCKETS)
        ctx.note(f"page over {result['hop']}, {before} connection(s) before and {relay.accepted} after {SOCKETS} sockets")
        equal(result["hop"], "h2", "the page's protocol")
        # A browser may open a spare connection, but not one per socket.
        check(relay.accepted <= before + 1, f"{relay.accepted - before} connections for {SOCKETS} sockets")
        for socket in result["sockets"]:
            check(not socket["error"], f"socket {socket}")
            # The peer echoes the code; it may omit the reason (RFC 6455 §5.5.1).
            equal((socket["echoed"], socket["code"], socket["wasClean"]),
                  (4, 4000 + socket["number"], True), "messages, close")
        ctx.note(f"extensions: {result['sockets'][0]['extensions'] or 'none'}")
        await page.picture(f"{ctx.peer.name}-{ctx.role}")


@case("server", wants=is_browser)
async def page_compresses(ctx: Context):
    """RFC 7692 §6.1: with `serve --deflate` both ends of the page's sockets compress, by the page's report and tshark's."""
    keys = ctx.sandbox.dir / "deflate.keylog"
    keys.unlink(missing_ok=True)
    endpoint, child = await program.serve_one(
        ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key, "--deflate", env={"SSLKEYLOGFILE": str(keys)})
    async with wire.capture(ctx.sandbox, endpoint.port) as file:
        async with BROWSERS[ctx.peer.name](ctx.sandbox) as page:
            # Not "/", whose page opens its own sockets.
            await page.open(endpoint.http_url("/absent"))
            result = await page.evaluate(SCRIPT % 2)
    await child.stop()
    for socket in result["sockets"]:
        equal((socket["error"], socket["echoed"], socket["code"]), (None, 4, 4000 + socket["number"]), "messages, close")
        check("permessage-deflate" in socket["extensions"], f"the page's extensions: {socket['extensions']!r}")
    seen = await wire.dissect(file, keys, endpoint.port)
    compressed = 0
    for stream in seen.tunnels():
        messages, _ = await wire.websocket(seen, stream, ctx.sandbox.dir / f"tunnel-{stream}.pcap")
        for from_client in (True, False):
            if any(m.rsv == 4 for m in messages if m.from_client == from_client):
                compressed += 1
        offer, answer = (dict(seen.of(stream, wire.HEADERS, way)[0].headers)["sec-websocket-extensions"] for way in (True, False))
    check(compressed >= 4, f"RSV1 in {compressed} directions of {len(seen.tunnels())} sockets, expected at least 4")
    ctx.note(f"offered {offer}; agreed {answer}; RSV1 both ways")


GUESTS = """
(async (count) => {
  const one = (number) => new Promise((resolve) => {
    const name = `guest${number}`, room = number %% 5;
    const ws = new WebSocket(`wss://${location.host}/chat/room${room}?name=${name}`);
    let error = null, heard = 0;
    ws.onerror = () => { error ??= 'error event'; };
    ws.onmessage = ({data}) => {
      if (data === `${name} joined`) ws.send('hello');
      if (data === `${name}: hello`) { heard++; ws.close(4000 + number, 'bye'); }
    };
    ws.onclose = ({code, wasClean}) => resolve({number, code, wasClean, error, heard});
  });
  const sockets = await Promise.all(Array.from({length: count}, (_, number) => one(number)));
  return {hop: performance.getEntriesByType('navigation')[0].nextHopProtocol, sockets,
          log: document.getElementById('log').textContent};
})(%d)
"""


@case("server", wants=is_browser, timeout=600)
async def axum_application_and_its_sockets(ctx: Context):
    """RFC 8441 §5: a page and 50 sockets, routed by axum, on one h2 connection."""
    app, port = await asyncio.to_thread(install.axum_example), ctx.sandbox.port()
    child = await ctx.sandbox.spawn(app, f"127.0.0.1:{port}", ctx.sandbox.cert, ctx.sandbox.key)
    await ctx.sandbox.ready(child, port)
    async with Relay(port) as relay, BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        # The page asks for a name, and has a socket of its own.
        await page.before_pages("window.prompt = () => 'page';")
        await page.open(Endpoint(relay.port).http_url("/"))
        before = relay.accepted
        result = await page.evaluate(GUESTS % SOCKETS)
        ctx.note(f"page over {result['hop']}, {before} connection(s) before and {relay.accepted} after {SOCKETS} sockets")
        equal(result["hop"], "h2", "the page's protocol")
        check(relay.accepted <= before + 1, f"{relay.accepted - before} connections for {SOCKETS} sockets")
        for socket in result["sockets"]:
            equal((socket["error"], socket["heard"], socket["code"], socket["wasClean"]),
                  (None, 1, 4000 + socket["number"], True), f"guest {socket['number']}")
        check("page joined" in result["log"], f"the page's log: {result['log']!r}")
        await page.picture(f"{ctx.peer.name}-axum")
    await child.stop()
