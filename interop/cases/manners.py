"""Third-party clients beyond echoes: rejections, subprotocols, closes and aborts.

Each case runs against Node's `http2` + `ws` as the reference, and against a
server on our library that accepts the same commands.
"""

import websockets

from lib import program, rfc6455
from lib.browser import BROWSERS
from lib.cases import Context, case, check, equal
from lib.endpoint import PeerError
from lib.peer import Endpoints
from lib.relay import Relay
from lib.rfc8441 import Connection
from lib.sandbox import INTEROP, PYTHON

from .browsers import is_browser
from .foreign import named, report
from .server import by_h2

LARGE = 4 << 20
SCRIPT = (INTEROP / "clients/manners.mjs").read_text()


async def listener(ctx: Context) -> Endpoints:
    """The server: the reference, or one on our library."""
    return ctx.endpoints if ctx.role == "reference" else await program.echo_server(ctx.sandbox)


@case("server", "reference", wants=by_h2)
async def refusal_subprotocol_close_abort(ctx: Context):
    """RFC 8441 §5, RFC 6455 §4.2.2, §7: a 403 with its body, subprotocols, 4 MiB, closes and aborts by the server."""
    endpoints = await listener(ctx)
    async with Connection.to(endpoints.tls) as connection:
        sibling = await connection.socket()
        refused = await connection.request(
            connection.connect_headers(path="/refuse") + [("sec-websocket-version", "13")])
        equal(await connection.answer(refused), 403, "status")
        await connection.until(lambda: refused.over, "end of the rejection")
        equal(bytes(refused.data), b"not you\n", "its body")
        for offered, want in (("unknown.example, echo.example", "echo.example"), ("unknown.example", None)):
            socket = await connection.socket(headers=[("sec-websocket-protocol", offered)])
            equal(socket.stream.headers.get("sec-websocket-protocol"), want, f"subprotocol for {offered}")
            await socket.echo("hello")
        await socket.echo(bytes(range(256)) * (LARGE >> 8))
        await socket.send("?ping")
        equal(await socket.recv(), "ponged are you there", "the server's report of our Pong")
        await socket.send("?close 4002 bye")
        ending = await socket.answer_close()
        equal((ending.code, ending.reason), (4002, "bye"), "the server's Close")
        aborted = await connection.socket()
        await aborted.send("?abort")
        await connection.until(lambda: aborted.stream.over, "end of the aborted stream")
        try:
            await aborted.recv()
            raise AssertionError("a message instead of an abort")
        except PeerError as error:
            ctx.note(str(error))
        check(aborted.close_frame is None, "a Close frame in an abort (RFC 6455 §7.1.5)")
        await sibling.echo("unharmed")


@case("server", "reference", wants=named("python-websockets"))
async def refusal_subprotocol_close_abort_over_http1(ctx: Context):
    """RFC 6455 §4.2.2, §7: a 403 with its body, subprotocols, 4 MiB, closes and aborts over HTTP/1.1."""
    endpoints = await listener(ctx)
    try:
        async with rfc6455.connect(endpoints.tls, "/refuse"):
            raise AssertionError("/refuse was not rejected")
    except websockets.InvalidStatus as error:
        equal((error.response.status_code, error.response.body), (403, b"not you\n"), "rejection")
    for offered, want in ((["unknown.example", "echo.example"], "echo.example"), (["unknown.example"], None)):
        async with rfc6455.connect(endpoints.tls, subprotocols=offered) as ws:
            equal(ws.subprotocol, want, f"subprotocol for {offered}")
            await ws.send(bytes(LARGE))
            equal(await ws.recv(), bytes(LARGE), "4 MiB")
            await ws.send("?close 4002 bye")
            await ws.wait_closed()
        equal((ws.close_code, ws.close_reason), (4002, "bye"), "the server's Close")
    async with rfc6455.connect(endpoints.tls) as ws:
        await ws.send("?abort")
        await ws.wait_closed()
    equal(ws.close_code, 1006, "close code after an abort")


def judge(ctx: Context, seen: dict) -> None:
    """Checks the report of `clients/manners.mjs`."""
    def closed(name: str, code: int, messages: list, **more) -> None:
        socket = seen[name]
        wanted = {"opened": True, "messages": messages, "code": code, **more}
        equal({key: socket[key] for key in wanted}, wanted, name)

    if ctx.peer.name == "undici" and seen["refused"]["code"] == "silence":
        ctx.note("undici reports no event for a rejection")
    else:
        equal((seen["refused"]["opened"], seen["refused"]["code"]), (False, 1006), "refused")
    closed("chosen", 4001, ["hello"], subprotocol="echo.example", wasClean=True)
    closed("unchosen", 4001, ["hello"], subprotocol="", wasClean=True)
    closed("closed", 4002, [], reason="bye", wasClean=True)
    closed("aborted", 1006, [], wasClean=False)
    closed("pinged", 4001, ["ponged are you there"])
    closed("large", 4001, [LARGE], wasClean=True)
    again, page = seen["after"]
    equal(again["messages"], ["again"], "a socket after the others")
    equal((seen["page"], page), (200, 200), "answers to GET between sockets and after them")


@case("server", "reference", wants=named("undici"))
async def undici_minds_its_manners(ctx: Context):
    """RFC 6455 §7.1: undici reports rejections, subprotocols, closes, aborts, 4 MiB and pages as a browser does."""
    endpoints = await listener(ctx)
    judge(ctx, await report("node", INTEROP / "clients/undici-manners.mjs", endpoints.tls.ws_url()))


@case("server", "reference", wants=named("node-client"))
async def node_minds_its_manners(ctx: Context):
    """RFC 8441 §5: Node's http2 client does too, with the body of the rejection; its ten aborts do not affect a sibling."""
    endpoints = await listener(ctx)
    async with Relay(endpoints.tls.port) as relay:
        url = endpoints.tls.on(relay.port).ws_url()
        seen = await report("node", INTEROP / "clients/node-manners.mjs", url)
        equal(relay.accepted, 1, "TCP connections")
    judge(ctx, seen)
    equal(seen["refusals"], {"/refuse": {"status": 403, "body": "not you\n"}}, "rejections")
    equal((seen["abortedByUs"], seen["sibling"]), ([1006] * 10, "unharmed"), "aborts by the client, and a sibling")


@case("server", "reference", wants=named("niquests"))
async def niquests_minds_its_manners(ctx: Context):
    """RFC 8441 §5: niquests reports a 403 with its body, subprotocols, a Close, an abort, and a page afterwards."""
    endpoints = await listener(ctx)
    async with Relay(endpoints.tls.port) as relay:
        url = endpoints.tls.on(relay.port).ws_url()
        seen = await report(PYTHON, "-W", "ignore", INTEROP / "clients/niquests_manners.py", url)
        equal(relay.accepted, 1, "TCP connections")
    equal(seen.pop("refused"), {"status": 403, "body": "not you\n", "socket": False}, "refused")
    equal(seen.pop("page"), 200, "answer to the final GET")
    talked = {"status": 200, "answer": "hello", "error": None, "subprotocol": "", "closed": False}
    # It reports no close code, so a Close and the end of a stream look the same; a reset is an error.
    ended = talked | {"answer": None, "closed": True}
    aborted = seen.pop("aborted")
    check(aborted == ended or aborted["error"] == "StreamClosedError", f"aborted: {aborted}")
    ctx.note(f"niquests reports an abort as {aborted['error'] or 'an end without an error'}")
    for name, want in {
        "chosen": talked | {"subprotocol": "echo.example"}, "unchosen": talked, "closed": ended,
        "pinged": talked | {"answer": "ponged are you there"}, "after": talked | {"answer": "again"},
    }.items():
        equal(seen[name], want, name)


@case("server", "reference", wants=is_browser)
async def page_minds_its_manners(ctx: Context):
    """RFC 6455 §7.1: a page in a browser reports rejections, subprotocols, closes, aborts and 4 MiB."""
    endpoints = await listener(ctx)
    async with BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        await page.open(endpoints.tls.http_url("/page"))
        function = SCRIPT[SCRIPT.index("export default "):].removeprefix("export default ")
        judge(ctx, await page.evaluate(
            f"({function})((path, protocols) => new WebSocket(`wss://${{location.host}}${{path}}`, protocols), "
            "async (path) => { const answer = await fetch(path); await answer.text(); return answer.status; })"))
