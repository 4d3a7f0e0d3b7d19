"""`h2ws connect` against every server peer.

The HTTP version of a socket is reported by the peer's backend ("?request"), not by h2ws.
"""

import json

from lib import program
from lib.cases import Context, case, check, equal
from lib.relay import Relay

from .reference import carried_by_h2, is_server

PREFACE = b"PRI * HTTP/2.0"


def can(*features: str, capable: bool | None = None):
    """Selects peers whose echo supports all of these (and that support, or do not support, RFC 8441)."""
    def wants(peer) -> bool:
        return is_server(peer) and set(features) <= peer.can and capable in (None, peer.capable)
    return wants


async def talk(ctx: Context, lines: list[str], *options: str, path: str | None = None, clear: bool = False, status: int | None = 0):
    """Sends these lines; the program has to end with `status`, unless it is None."""
    endpoint = ctx.endpoints.clear if clear else ctx.endpoints.tls
    extra = ["--subprotocol", ctx.peer.subprotocol] if ctx.peer.subprotocol and "--subprotocol" not in options else []
    result = await program.connect(ctx.h2ws, endpoint.ws_url(path), lines, *options, *extra)
    if status is not None:
        check(result.status == status, f"expected exit {status}: {result}")
    return result


def echoed(result, lines: list[str]) -> None:
    equal(result.out, lines, "lines on stdout")


async def transport_of(ctx: Context, *options: str) -> dict:
    """Queries the backend for the request that it received."""
    result = await talk(ctx, ["?request"], *options)
    check(len(result.out) == 1, f"expected one answer: {result}")
    return json.loads(result.out[0])


@case("client", wants=is_server)
async def echoes_lines(ctx: Context):
    """RFC 6455 §6: lines are echoed in order, over either version of HTTP."""
    lines = ["hello", "ü€😀", "x" * 125, "x" * 126]
    if ctx.peer.largest > 4096:
        lines.append("x" * 4000)
    echoed(await talk(ctx, lines), lines)


@case("client", wants=can("request", capable=True))
async def chooses_h2_by_itself(ctx: Context):
    """RFC 8441 §3: a wss:// URL uses HTTP/2 if the server has the capability."""
    facts = await transport_of(ctx)
    check(carried_by_h2(ctx.peer, facts), f"not carried by h2: {facts}")


@case("client", wants=is_server)
async def http2_when_told(ctx: Context):
    """RFC 8441 §3: --http2 works with the capability, and fails with a message without it."""
    if ctx.peer.capable:
        echoed(await talk(ctx, ["over h2"], "--http2"), ["over h2"])
        return
    result = await talk(ctx, ["over h2"], "--http2", status=1)
    check(result.err.strip(), "exit 1 without a message")
    ctx.note(result.err.strip().splitlines()[-1][:120])


@case("client", wants=can("request", capable=False))
async def falls_back_by_itself(ctx: Context):
    """RFC 8441 §3, RFC 7301: without the capability, or without h2, the socket uses HTTP/1.1."""
    facts = await transport_of(ctx)
    check(facts["version"].startswith("1"), f"not HTTP/1.1: {facts}")


@case("client", wants=lambda peer: is_server(peer) and peer.http1)
async def http1_when_told(ctx: Context):
    """RFC 6455 §4: --http1 uses the Upgrade even if HTTP/2 is available."""
    if "request" in ctx.peer.can:
        facts = await transport_of(ctx, "--http1")
        check(not carried_by_h2(ctx.peer, facts), f"carried by h2: {facts}")
    else:
        echoed(await talk(ctx, ["over h1"], "--http1"), ["over h1"])


@case("client", wants=lambda peer: is_server(peer) and peer.clear_h2)
async def cleartext_with_prior_knowledge(ctx: Context):
    """RFC 9113 §3.3: ws:// with --http2 begins with the HTTP/2 preface."""
    async with Relay(ctx.endpoints.clear.port) as relay:
        url = ctx.endpoints.clear.on(relay.port).ws_url()
        result = await program.connect(ctx.h2ws, url, ["one", "two"], "--http2")
        check(result.status == 0, f"expected exit 0: {result}")
        echoed(result, ["one", "two"])
        check(relay.first_bytes[0].startswith(PREFACE), f"first bytes: {relay.first_bytes[0]!r}")


@case("client", wants=lambda peer: peer.name == "ws")
async def cleartext_is_http1_by_itself(ctx: Context):
    """DESIGN, contract: a ws:// URL without --http2 is an Upgrade."""
    # Through a relay to a peer that supports only HTTP/1.1, which does not send first.
    async with Relay(ctx.endpoints.clear.port) as relay:
        url = ctx.endpoints.clear.on(relay.port).ws_url()
        result = await program.connect(ctx.h2ws, url, ["hi"])
        check(result.status == 0, f"expected exit 0: {result}")
        echoed(result, ["hi"])
        check(relay.first_bytes[0].startswith(b"GET "), f"first bytes: {relay.first_bytes[0]!r}")


@case("client", wants=lambda peer: is_server(peer) and peer.largest > 4096)
async def large_and_many_lines(ctx: Context):
    """RFC 9113 §5.2, RFC 6455 §5.4: 1,000,000 bytes, and 1,000 lines, within the peer's windows."""
    lines = ["x" * 65_535, "x" * 65_536, "ü" * 500_000] + [f"line {n}" for n in range(1000)]
    echoed(await talk(ctx, lines), lines)


@case("client", wants=lambda peer: can("refuse")(peer) and not peer.rejects_method)
async def refusal_is_reported(ctx: Context):
    """RFC 8441 §4, RFC 6455 §4.1: a 403 ends with exit 1, its status and its body on stderr."""
    result = await talk(ctx, ["hi"], path="/refuse", status=1)
    check("403" in result.err, f"no 403 on stderr: {result}")
    if ctx.peer.rejects_with_body:
        check("not you" in result.err, f"no body on stderr: {result}")
    equal(result.out, [], "stdout")


@case("client", wants=lambda peer: is_server(peer) and peer.rejects_method)
async def refusal_over_both_is_reported(ctx: Context):
    """RFC 8441 §3: if HTTP/1.1 opens no socket either, the error is the HTTP/2 response, after one more request."""
    async with Relay(ctx.endpoints.tls.port) as relay:
        url = ctx.endpoints.tls.on(relay.port).ws_url("/refuse")
        result = await program.connect(ctx.h2ws, url, ["hi"])
        equal((result.status, result.out), (1, []), "exit status, stdout")
        check("501" in result.err, f"no 501 on stderr: {result}")
        equal(relay.accepted, 2, "TCP connections")


@case("client", wants=can("subprotocol", "request"))
async def subprotocol_and_fields_arrive(ctx: Context):
    """RFC 6455 §4.1, RFC 8441 §5: --subprotocol, --origin and -H reach the peer."""
    facts = await transport_of(
        ctx, "--subprotocol", "echo.example", "--origin", "https://origin.example", "-H", "X-Case: a value")
    fields = facts["headers"]
    equal(facts["subprotocol"], "echo.example", "subprotocol selected by the peer")
    equal(fields.get("origin"), "https://origin.example", "origin")
    equal(fields.get("x-case"), "a value", "x-case")
    equal(fields.get("sec-websocket-version"), "13", "sec-websocket-version")
    if carried_by_h2(ctx.peer, facts) and not ctx.peer.h2_mark and ctx.peer.name == "node":
        check("sec-websocket-key" not in fields, "a key over h2")
        equal(fields.get(":scheme"), "https", ":scheme")


@case("client", wants=can("subprotocol", "request"))
async def subprotocol_that_nobody_picks(ctx: Context):
    """RFC 6455 §4.2.2: the server may select no subprotocol, and the socket works."""
    facts = await transport_of(ctx, "--subprotocol", "unknown.example")
    equal(facts["subprotocol"], "", "subprotocol")


@case("client", wants=lambda peer: peer.name in ("node", "ws"))
async def subprotocol_not_offered_fails(ctx: Context):
    """RFC 6455 §4.1: a response with a subprotocol that was not offered is an error."""
    for options in ([], ["--subprotocol", "echo.example"]):
        if not options and ctx.peer.name == "ws":
            continue  # ws sends no subprotocol unless some were offered
        await talk(ctx, ["hi"], *options, path="/wrong-subprotocol", status=1)


@case("client", wants=can("close"))
async def peer_closes_with_code(ctx: Context):
    """RFC 6455 §7.1.5: a Close from the peer ends the program, without a hang."""
    result = await talk(ctx, ["?close 1000 done"])
    equal(result.out, [], "stdout")


@case("client", wants=can("abort"))
async def peer_aborts(ctx: Context):
    """RFC 6455 §7.1.5: an end without a Close frame (1006) is a failure, exit 1."""
    await talk(ctx, ["?abort"], status=1)


@case("client", wants=can("ping"))
async def ping_is_answered(ctx: Context):
    """RFC 6455 §5.5.3: the Pong carries the Ping's payload."""
    echoed(await talk(ctx, ["?ping"]), ["ponged are you there"])


@case("client", wants=can("fragments"))
async def fragments_are_joined(ctx: Context):
    """RFC 6455 §5.4: three fragments with a Ping between them are one message."""
    echoed(await talk(ctx, ["?fragments"]), ["fragmented"])


@case("client", wants=is_server)
async def nobody_listens(ctx: Context):
    """DESIGN, contract: if nothing listens, the program ends soon with exit 1 and a reason."""
    result = await program.connect(ctx.h2ws, f"wss://127.0.0.1:{ctx.sandbox.port()}/", ["hi"])
    check(result.status == 1 and result.err.strip(), f"expected exit 1 and a reason: {result}")


@case("client", wants=is_server)
async def cut_connection_is_an_error(ctx: Context):
    """RFC 6455 §7.1.5: a TCP reset ends an idle program with exit 1."""
    async with Relay(ctx.endpoints.tls.port) as relay:
        url = ctx.endpoints.tls.on(relay.port).ws_url()
        options = ["--subprotocol", ctx.peer.subprotocol] if ctx.peer.subprotocol else []
        result = await program.converse(ctx.h2ws, url, "hello", relay.cut, *options)
        equal(result.out, ["hello"], "lines on stdout before the cut")
        check(result.status == 1 and result.err.strip(), f"expected exit 1 and a reason: {result}")
