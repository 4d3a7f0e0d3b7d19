"""`h2ws connect` against every server peer.

What carried a socket is told by the peer's backend ("?request"), not by h2ws.
"""

import json

from lib import program
from lib.cases import Turn, case, check, equal
from lib.relay import Relay

from .reference import carried_by_h2, is_server

PREFACE = b"PRI * HTTP/2.0"


def can(*features: str, capable: bool | None = None):
    """Peers whose echo does all of these (and speaks, or does not speak, RFC 8441)."""
    def wants(peer) -> bool:
        return is_server(peer) and set(features) <= peer.can and capable in (None, peer.capable)
    return wants


async def talk(turn: Turn, lines: list[str], *options: str, path: str | None = None, clear: bool = False, status: int | None = 0):
    """Speak these lines; unless told otherwise the program must succeed."""
    endpoint = turn.served.clear if clear else turn.served.tls
    extra = ["--subprotocol", turn.peer.subprotocol] if turn.peer.subprotocol and "--subprotocol" not in options else []
    spoken = await program.connect(turn.h2ws, endpoint.ws_url(path), lines, *options, *extra)
    if status is not None:
        check(spoken.status == status, f"wanted exit {status}: {spoken}")
    return spoken


def echoed(spoken, lines: list[str]) -> None:
    equal(spoken.out, lines, "lines on stdout")


async def transport_of(turn: Turn, *options: str) -> dict:
    """Asks the backend what it saw."""
    spoken = await talk(turn, ["?request"], *options)
    check(len(spoken.out) == 1, f"wanted one answer: {spoken}")
    return json.loads(spoken.out[0])


@case("client", wants=is_server)
async def echoes_lines(turn: Turn):
    """RFC 6455 §6: lines go and come back in order, whatever carries them."""
    lines = ["hello", "ü€😀", "x" * 125, "x" * 126]
    if turn.peer.largest > 4096:
        lines.append("x" * 4000)
    echoed(await talk(turn, lines), lines)


@case("client", wants=can("request", capable=True))
async def chooses_h2_by_itself(turn: Turn):
    """RFC 8441 §3: a wss URL whose server has the capability goes over h2."""
    facts = await transport_of(turn)
    check(carried_by_h2(turn.peer, facts), f"not carried by h2: {facts}")


@case("client", wants=is_server)
async def http2_when_told(turn: Turn):
    """RFC 8441 §3: --http2 works with the capability, and without it fails and says so."""
    if turn.peer.capable:
        echoed(await talk(turn, ["over h2"], "--http2"), ["over h2"])
        return
    spoken = await talk(turn, ["over h2"], "--http2", status=1)
    check(spoken.err.strip(), "exit 1 without a word")
    turn.note(spoken.err.strip().splitlines()[-1][:120])


@case("client", wants=can("request", capable=False))
async def falls_back_by_itself(turn: Turn):
    """RFC 8441 §3, RFC 7301: without the capability, or h2, the socket goes over HTTP/1.1."""
    facts = await transport_of(turn)
    check(facts["version"].startswith("1"), f"not HTTP/1.1: {facts}")


@case("client", wants=lambda peer: is_server(peer) and peer.http1)
async def http1_when_told(turn: Turn):
    """RFC 6455 §4: --http1 uses the Upgrade even where h2 would do."""
    if "request" in turn.peer.can:
        facts = await transport_of(turn, "--http1")
        check(not carried_by_h2(turn.peer, facts), f"carried by h2: {facts}")
    else:
        echoed(await talk(turn, ["over h1"], "--http1"), ["over h1"])


@case("client", wants=lambda peer: is_server(peer) and peer.clear_h2)
async def cleartext_with_prior_knowledge(turn: Turn):
    """RFC 9113 §3.3: ws:// with --http2 begins with the HTTP/2 preface."""
    async with Relay(turn.served.clear.port) as relay:
        url = turn.served.clear.on(relay.port).ws_url()
        spoken = await program.connect(turn.h2ws, url, ["one", "two"], "--http2")
        check(spoken.status == 0, f"wanted exit 0: {spoken}")
        echoed(spoken, ["one", "two"])
        check(relay.first_bytes[0].startswith(PREFACE), f"first bytes: {relay.first_bytes[0]!r}")


@case("client", wants=lambda peer: peer.name == "ws")
async def cleartext_is_http1_by_itself(turn: Turn):
    """DESIGN, contract: a ws:// URL without --http2 is an Upgrade."""
    # Through a relay to a peer with HTTP/1.1 alone, which speaks only when spoken to.
    async with Relay(turn.served.clear.port) as relay:
        url = turn.served.clear.on(relay.port).ws_url()
        spoken = await program.connect(turn.h2ws, url, ["hi"])
        check(spoken.status == 0, f"wanted exit 0: {spoken}")
        echoed(spoken, ["hi"])
        check(relay.first_bytes[0].startswith(b"GET "), f"first bytes: {relay.first_bytes[0]!r}")


@case("client", wants=lambda peer: is_server(peer) and peer.largest > 4096)
async def large_and_many_lines(turn: Turn):
    """RFC 9113 §5.2, RFC 6455 §5.4: 1,000,000 bytes, and 1,000 lines, within the peer's windows."""
    lines = ["x" * 65_535, "x" * 65_536, "ü" * 500_000] + [f"line {n}" for n in range(1000)]
    echoed(await talk(turn, lines), lines)


@case("client", wants=lambda peer: can("refuse")(peer) and not peer.refuses_method)
async def refusal_is_reported(turn: Turn):
    """RFC 8441 §4, RFC 6455 §4.1: a 403 ends with exit 1, its status and its body on stderr."""
    spoken = await talk(turn, ["hi"], path="/refuse", status=1)
    check("403" in spoken.err, f"no 403 on stderr: {spoken}")
    if turn.peer.refuses_with_body:
        check("not you" in spoken.err, f"no body on stderr: {spoken}")
    equal(spoken.out, [], "stdout")


@case("client", wants=lambda peer: is_server(peer) and peer.refuses_method)
async def refusal_over_both_is_reported(turn: Turn):
    """RFC 8441 §3: where HTTP/1.1 opens no socket either, what HTTP/2 answered is the error, after one more request."""
    async with Relay(turn.served.tls.port) as relay:
        url = turn.served.tls.on(relay.port).ws_url("/refuse")
        spoken = await program.connect(turn.h2ws, url, ["hi"])
        equal((spoken.status, spoken.out), (1, []), "exit status, stdout")
        check("501" in spoken.err, f"no 501 on stderr: {spoken}")
        equal(relay.accepted, 2, "TCP connections")


@case("client", wants=can("subprotocol", "request"))
async def subprotocol_and_fields_arrive(turn: Turn):
    """RFC 6455 §4.1, RFC 8441 §5: --subprotocol, --origin and -H reach the peer."""
    facts = await transport_of(
        turn, "--subprotocol", "echo.example", "--origin", "https://origin.example", "-H", "X-Case: a value")
    fields = facts["headers"]
    equal(facts["subprotocol"], "echo.example", "subprotocol that the peer picked")
    equal(fields.get("origin"), "https://origin.example", "origin")
    equal(fields.get("x-case"), "a value", "x-case")
    equal(fields.get("sec-websocket-version"), "13", "sec-websocket-version")
    if carried_by_h2(turn.peer, facts) and not turn.peer.h2_mark and turn.peer.name == "node":
        check("sec-websocket-key" not in fields, "a key over h2")
        equal(fields.get(":scheme"), "https", ":scheme")


@case("client", wants=can("subprotocol", "request"))
async def subprotocol_that_nobody_picks(turn: Turn):
    """RFC 6455 §4.2.2: the server may pick none, and the socket works."""
    facts = await transport_of(turn, "--subprotocol", "unknown.example")
    equal(facts["subprotocol"], "", "subprotocol")


@case("client", wants=lambda peer: peer.name in ("node", "ws"))
async def subprotocol_not_offered_fails(turn: Turn):
    """RFC 6455 §4.1: a server that picks what was not offered is refused."""
    for options in ([], ["--subprotocol", "echo.example"]):
        if not options and turn.peer.name == "ws":
            continue  # ws itself names none unless some were offered
        await talk(turn, ["hi"], *options, path="/wrong-subprotocol", status=1)


@case("client", wants=can("close"))
async def peer_closes_with_code(turn: Turn):
    """RFC 6455 §7.1.5: a Close from the peer ends the program, without a hang."""
    spoken = await talk(turn, ["?close 1000 done"])
    equal(spoken.out, [], "stdout")


@case("client", wants=can("abort"))
async def peer_aborts(turn: Turn):
    """RFC 6455 §7.1.5: a cut without a Close frame (1006) is a failure, exit 1."""
    await talk(turn, ["?abort"], status=1)


@case("client", wants=can("ping"))
async def ping_is_answered(turn: Turn):
    """RFC 6455 §5.5.3: the Pong carries the Ping's payload."""
    echoed(await talk(turn, ["?ping"]), ["ponged are you there"])


@case("client", wants=can("fragments"))
async def fragments_are_joined(turn: Turn):
    """RFC 6455 §5.4: three frames with a Ping between them are one message."""
    echoed(await talk(turn, ["?fragments"]), ["fragmented"])


@case("client", wants=is_server)
async def nobody_listens(turn: Turn):
    """DESIGN, contract: no server is exit 1 with a reason, and soon."""
    spoken = await program.connect(turn.h2ws, f"wss://127.0.0.1:{turn.stage.port()}/", ["hi"])
    check(spoken.status == 1 and spoken.err.strip(), f"wanted exit 1 and a reason: {spoken}")


@case("client", wants=is_server)
async def cut_connection_is_an_error(turn: Turn):
    """RFC 6455 §7.1.5: a TCP connection that is reset ends an idle program with exit 1."""
    async with Relay(turn.served.tls.port) as relay:
        url = turn.served.tls.on(relay.port).ws_url()
        options = ["--subprotocol", turn.peer.subprotocol] if turn.peer.subprotocol else []
        spoken = await program.converse(turn.h2ws, url, "hello", relay.cut, *options)
        equal(spoken.out, ["hello"], "lines on stdout before the cut")
        check(spoken.status == 1 and spoken.err.strip(), f"wanted exit 1 and a reason: {spoken}")
