"""`h2ws probe` against every server peer: its report matches the peer's known behaviour.

The expectations are in the table of `known.py`, which has its own case with
`nghttp` and the Python clients.
"""

from lib import program, record
from lib.cases import Context, case, check, equal
from lib.relay import Relay

from .known import KNOWN, Known
from .reference import is_server
from .server import by_h2


def offers(peer) -> list[str]:
    return ["--subprotocol", peer.subprotocol] if peer.subprotocol else []


def remarks(probed: program.Probed) -> list[str]:
    return [f["text"] for f in probed.said["findings"] if not f["fault"]]


def worked(socket: dict, status: int, subprotocol: str | None) -> None:
    """Checks the report on a socket that was opened, used and closed."""
    check(socket["works"], f"does not work: {socket}")
    equal(socket["opening"]["status"], status, "status")
    equal(socket["opening"]["subprotocol"], subprotocol, "subprotocol")
    equal(socket["echo"]["result"], "same", "echo")
    equal(socket["pings_answered"], socket["pings_sent"], "pings answered")
    equal(socket["close"], {"code": 1000, "reason": socket["close"]["reason"], "begun_by": "probe"}, "close")


def how(ending: dict) -> str:
    """The ending, as named in `known.py`."""
    return f"RST_STREAM({ending['code']})" if ending["how"] == "rst_stream" else ending["how"]


def over_http2(said: dict, known: Known, subprotocol: str | None, deflate: bool) -> None:
    http2 = said["http2"]
    equal(http2["enable_connect_protocol"], "first", "capability")
    equal([s["stream"] for s in http2["sockets"]], known.streams, "streams")
    for socket in http2["sockets"]:
        worked(socket, 200, subprotocol)
        check(how(socket["ending"]) in known.endings, f"ended by {socket['ending']}, expected one of {known.endings}")
        equal(bool(socket["opening"]["extensions"]), deflate, "compression")
        names = {name for name, _ in socket["opening"]["headers"]}
        check(not known.field or known.field in names, f"no {known.field} in {names}")
    equal(http2["sockets"][0]["pings_sent"], 5, "pings")


def settings(said: dict) -> dict[int, int]:
    return {s["id"]: s["value"] for frame in said["http2"]["settings_frames"] for s in frame["settings"]}


@case("client", wants=is_server)
async def probe_tells_what_the_peer_does(ctx: Context):
    """DESIGN, contract: exit status, capability, SETTINGS, sockets, endings; two connections at most."""
    known = KNOWN[ctx.peer.name]
    async with Relay(ctx.endpoints.tls.port) as relay:
        url = ctx.endpoints.tls.on(relay.port).ws_url()
        probed = await program.probe(ctx.h2ws, url, *offers(ctx.peer))
        check(relay.accepted <= 2, f"{relay.accepted} connections")
    said = probed.said
    ctx.cells = record.probed(said)
    equal(probed.status, 0 if ctx.peer.capable else 3, "exit status")
    equal(said["verdict"], "http2" if ctx.peer.capable else "http1", "verdict")
    equal(probed.clauses(), known.faults, "faults")
    tls = said["connection"]["tls"]
    check(tls["version"].startswith("TLS 1."), f"TLS: {tls}")
    check("localhost" in tls["certificate"]["subject"], f"certificate: {tls}")
    equal(tls["alpn"], "h2" if known.settings else known.alpn, "ALPN")
    if known.settings:
        equal(settings(said), known.settings, "SETTINGS")
    if ctx.peer.capable:
        over_http2(said, known, ctx.peer.subprotocol, known.deflate[0])
    elif known.settings:
        advertised = "first" if ctx.peer.rejects_method else "absent"
        equal(said["http2"]["enable_connect_protocol"], advertised, "capability")
        check(not any(socket["works"] for socket in said["http2"]["sockets"]), "sockets without the capability")
    if ctx.peer.http1:
        socket = said["http1"]["socket"]
        worked(socket, 101, ctx.peer.subprotocol)
        equal(socket["ending"]["how"], "disconnected", "end of the HTTP/1.1 connection")
        equal(bool(socket["opening"]["extensions"]), known.deflate[1], "compression over HTTP/1.1")
    else:
        equal(said["http1"], None, "HTTP/1.1")
    ctx.note(f"{said['verdict_text']}; {len(probed.clauses())} faults")


@case("client", wants=lambda peer: is_server(peer) and peer.name not in ("libwebsockets", "granian", "hypercorn"))
async def probe_in_cleartext(ctx: Context):
    """RFC 9113 §3.3: HTTP/2 by prior knowledge where the peer has it, HTTP/1.1 otherwise."""
    probed = await program.probe(ctx.h2ws, ctx.endpoints.clear.ws_url(), *offers(ctx.peer))
    equal(probed.said["connection"]["tls"], None, "TLS")
    equal(probed.status, 0 if ctx.peer.clear_h2 else 3, "exit status")
    equal(probed.clauses(), KNOWN[ctx.peer.name].faults, "faults")
    ctx.note("; ".join(remarks(probed)))


@case("client", wants=lambda peer: is_server(peer) and "refuse" in peer.can)
async def probe_tells_refusals(ctx: Context):
    """DESIGN, contract: a path that the peer answers with 403 means exit 1, without faults."""
    probed = await program.probe(ctx.h2ws, ctx.endpoints.tls.ws_url("/refuse"))
    equal(probed.status, 1, "exit status")
    equal(probed.clauses(), KNOWN[ctx.peer.name].faults if ctx.peer.rejects_method else [], "faults")
    said = [text for text in remarks(probed) if "403" in text]
    equal(len(said), int(ctx.peer.capable) + int(ctx.peer.http1), "rejections reported")


@case("client", wants=lambda peer: peer.name == "node")
async def probe_blames_an_unoffered_subprotocol(ctx: Context):
    """RFC 6455 §4.1: a subprotocol that was not offered is reported as the server's fault."""
    probed = await program.probe(ctx.h2ws, ctx.endpoints.tls.ws_url("/wrong-subprotocol"))
    equal(probed.clauses(), ["server RFC 6455 §4.1"], "faults")
    equal(probed.status, 3, "exit status")  # its Upgrade works


@case("client", wants=lambda peer: peer.name == "libwebsockets")
async def probe_blames_silence(ctx: Context):
    """RFC 8441 §4: an extended CONNECT that is never answered is reported, without a hang."""
    probed = await program.probe(ctx.h2ws, ctx.endpoints.tls.ws_url(), "--subprotocol", "unknown.example", "--timeout", "2")
    check(probed.status != 0, "a socket that was never opened works")
    texts = [f["text"] for f in probed.said["findings"] if f["place"] == "HTTP/2 socket 1"]
    equal(texts, ["timed out waiting for an answer to the opening request"], "findings")


@case("server", wants=by_h2)
async def probe_finds_nothing_wrong_with_serve(ctx: Context):
    """DESIGN, contract: probing our own server finds no faults."""
    for endpoint in (ctx.endpoints.tls, ctx.endpoints.clear):
        probed = await program.probe(ctx.h2ws, endpoint.ws_url())
        ctx.cells = ctx.cells or record.probed(probed.said)
        equal((probed.status, probed.said["findings"]), (0, []), "exit status and findings")
        over_http2(probed.said, Known(None, {"end_stream"}), None, False)
        worked(probed.said["http1"]["socket"], 101, None)
