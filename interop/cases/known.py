"""The known behaviour of each server peer with TLS, verified by independent clients.

The SETTINGS are compared with the output of `nghttp`; endings, compression and
the response header with the observations of the Python clients. Faults are the
probe's own verdict: those of Apache and Hypercorn, which leave streams open
until the client ends them, follow from the ending `nothing`.
"""

import asyncio
import re
from dataclasses import dataclass, field

from wsproto.extensions import PerMessageDeflate

from lib import install, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import PeerError
from lib.rfc8441 import Connection
from lib.sandbox import run
from lib.websocket import Socket

from .reference import headers, is_server

NO_END = "server RFC 8441 §5"
ENDED = {"end_stream", "end_stream_with_data"}


@dataclass
class Known:
    """The known behaviour of a peer with TLS."""

    # SETTINGS by id; None without HTTP/2.
    settings: dict[int, int] | None
    # How it ends the stream of a closed socket, before the client ends its side.
    endings: set[str] = field(default_factory=lambda: ENDED)
    # Faults, each as often as it is reported.
    faults: list[str] = field(default_factory=list)
    # Which of the probe's sockets work. The first is requested again if a key is required.
    streams: list[int] = field(default_factory=lambda: [1, 3, 5])
    # Whether permessage-deflate is accepted over HTTP/2, and over HTTP/1.1.
    deflate: tuple[bool, bool] = (False, False)
    # The ALPN protocol of peers without HTTP/2.
    alpn: str | None = "http/1.1"
    # A header of its responses.
    field: str = ""


KNOWN = {
    "nghttpx": Known({3: 100, 4: 65_535, 9: 1, 8: 1}, field="via"),
    "haproxy": Known({8: 1, 3: 100}),
    "apache": Known({3: 100, 8: 1}, {"nothing"}, [NO_END] * 3),
    "lighttpd": Known({3: 8, 4: 65_536, 6: 65_535, 8: 1, 9: 1}, field="server"),
    "libwebsockets": Known({1: 65_536, 2: 0, 3: 24, 4: 0, 6: 4096, 8: 1}, {"end_stream_with_data"}),
    "hypercorn": Known({1: 4096, 2: 0, 3: 100, 4: 65_535, 5: 16_384, 6: 65_536, 8: 1},
                       {"nothing"}, [NO_END] * 3, deflate=(True, True), field="server"),
    "anycorn": Known({1: 4096, 2: 0, 3: 100, 4: 65_535, 5: 16_384, 6: 65_536, 8: 1},
                     {"nothing"}, [NO_END] * 3, deflate=(True, True), field="server"),
    "node": Known({8: 1}),
    "axum": Known({3: 200, 4: 1 << 20, 5: 16_384, 6: 16_384, 8: 1}),
    "h2-crate": Known({8: 1}),
    "h2o": Known({3: 100, 4: 1 << 24}),
    "nginx": Known({3: 128, 4: 65_536, 5: 16_777_215}),
    "caddy": Known({3: 250, 4: 1 << 20, 5: 1 << 20, 6: 1_048_896}),
    "granian": Known({3: 200, 4: 1 << 20, 5: 16_384, 6: 1 << 24}),
    "envoy": Known({1: 4096, 3: 1024, 4: 1 << 24, 8: 1}, {"RST_STREAM(10)"}, streams=[3, 5, 7], field="server"),
    "envoy-h2": Known({1: 4096, 3: 1024, 4: 1 << 24, 8: 1}, field="server"),
    "caddy-2.11": Known({1: 4096, 3: 250, 4: 1 << 20, 5: 1 << 20, 6: 16_704, 9: 1}),
    "caddy-h2": Known({1: 4096, 3: 250, 4: 1 << 20, 5: 1 << 20, 6: 16_704, 8: 1, 9: 1}, field="server"),
    "traefik": Known({1: 4096, 3: 250, 4: 1 << 20, 5: 1 << 20, 6: 1_048_896}),
    "traefik-501": Known({1: 4096, 3: 250, 4: 1 << 20, 5: 1 << 20, 6: 1_048_896, 8: 1}, set(), ["server RFC 8441 §3"]),
    "tomcat": Known({3: 100}, deflate=(False, True)),
    "jetty-websocket": Known({1: 4096, 3: 128, 4: 524_288, 6: 8192}, deflate=(False, True)),
    "bun": Known(None, alpn=None),
    "workerd": Known(None, deflate=(False, True), alpn=None),
    "websockets": Known(None, deflate=(False, True)),
    "ws": Known(None, deflate=(False, True)),
}


# After this many seconds without an end of the stream, the ending is `nothing`.
NO_END_WITHIN = 2


async def settings_by_nghttp(url: str) -> dict[int, int] | None:
    """The peer's SETTINGS, or None if it does not support HTTP/2."""
    _, out, _ = await run("nghttp", "-nv", "--no-verify-peer", url)
    seen = {}
    # An event starts with its time; its details are indented.
    for event in re.split(r"^(?=\[ *\d)", out, flags=re.MULTILINE):
        if "recv SETTINGS" in event:
            seen |= {int(id, 16): int(value) for id, value in re.findall(r"\(0x([0-9a-f]+)\):(\d+)", event)}
    return seen or None


async def how_it_ends(socket: Socket) -> str:
    """How the peer ends its side of the stream after both Close frames, while ours stays open."""
    stream = socket.stream
    await socket.begin_close()
    try:
        await socket.connection.until(lambda: stream.over, "end", NO_END_WITHIN)
    except PeerError:
        return "nothing"
    if not stream.ended:
        return f"RST_STREAM({stream.reset})"
    return "end_stream_with_data" if stream.ended_with_data else "end_stream"


@case("reference", wants=is_server)
async def known_as_others_see_it(ctx: Context):
    """RFC 9113 §6.5, RFC 8441 §5: the table that `probe` is compared with: SETTINGS by nghttp, endings by Python's h2."""
    install.debian("nghttp2-client")
    known, tls = KNOWN[ctx.peer.name], ctx.endpoints.tls
    equal(await settings_by_nghttp(tls.http_url(tls.path)), known.settings, "SETTINGS, as printed by nghttp")
    if ctx.peer.capable:
        async with Connection.to(tls) as connection:
            offer = PerMessageDeflate()
            socket = await connection.socket(headers=headers(ctx.peer), extensions=[offer])
            equal(offer.enabled(), known.deflate[0], "compression")
            check(not known.field or known.field in socket.stream.headers, f"no {known.field} in {socket.stream.headers}")
            ending = await how_it_ends(socket)
        check(ending in known.endings, f"after the Close frames {ending}, expected one of {known.endings}")
        ctx.note(f"after the Close frames: {ending}")
    if ctx.peer.http1:
        offered = [ctx.peer.subprotocol] if ctx.peer.subprotocol else None
        async with asyncio.timeout(60), rfc6455.connect(tls, compression="deflate", subprotocols=offered) as ws:
            equal(bool(ws.protocol.extensions), known.deflate[1], "compression over HTTP/1.1")
