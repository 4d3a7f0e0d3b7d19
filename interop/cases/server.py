"""`h2ws serve` under an independent RFC 8441 client (python `h2` + `wsproto`).

The cases marked "reference" also run against Node's `http2` + `ws`: a case that
a foreign server passes does not demand more than the RFCs.
"""

import asyncio
import base64
import hashlib
import signal
from dataclasses import dataclass, field

from wsproto.extensions import PerMessageDeflate

from lib import program
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint, PeerError
from lib.rfc8441 import Connection
from lib.websocket import Socket

SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_000_000]
PROTOCOL_ERROR = 1


def by_h2(peer) -> bool:
    return peer.name == "python-h2"


def both(size: int) -> list:
    """A text and a binary message of this many bytes."""
    return ["é" * (size // 2) + "x" * (size % 2), bytes(range(256)) * (size // 256) + bytes(size % 256)]


def clean(ctx: Context, endings) -> None:
    """Checks for a Close from both sides, END_STREAM from the peer, and no RST_STREAM.

    RST_STREAM(NO_ERROR) after END_STREAM, which RFC 9113 §8.1 allows and Node
    sends, is accepted from references only.
    """
    forgiven = (None, 0) if ctx.role == "reference" else (None,)
    bad = [e for e in endings if e.code is None or not e.ended or e.reset not in forgiven]
    check(not bad, f"{len(bad)} of {len(endings)} did not end with Close and END_STREAM: {bad[:1]}")


async def sockets(connection: Connection, count: int) -> list[Socket]:
    return await asyncio.gather(*(connection.socket() for _ in range(count)))


async def many(ctx: Context, endpoint: Endpoint) -> None:
    count = 500
    async with Connection.to(endpoint) as connection:
        opened = await sockets(connection, count)
        for size in SIZES:
            # A gigabyte each way takes minutes in Python; only a full run does it.
            some = opened[::10] if ctx.quick and size == 1_000_000 else opened
            at_once = 50 if size == 1_000_000 else len(some)
            for message in both(size):
                for first in range(0, len(some), at_once):
                    await asyncio.gather(*(s.echo(message) for s in some[first:first + at_once]))
        clean(ctx, await asyncio.gather(*(s.close(4000 + n % 1000, "bye") for n, s in enumerate(opened))))
        codes = {s.close_frame.code - 4000 for s in opened}
        equal(len(codes), count, "distinct close codes that came back")
        await connection.ping()


@case("server", "reference", wants=by_h2, timeout=400)
async def sockets_500_over_tls(ctx: Context):
    """RFC 8441 §5: 500 sockets on one TLS connection, 0 to 1,000,000 bytes, clean ends."""
    await many(ctx, ctx.endpoints.tls)


@case("server", wants=by_h2, timeout=400)
async def sockets_500_over_cleartext(ctx: Context):
    """RFC 9113 §3.3: 500 sockets on one cleartext connection with prior knowledge, clean ends."""
    await many(ctx, ctx.endpoints.clear)


@case("server", "reference", wants=by_h2)
async def advertises_the_capability(ctx: Context):
    """RFC 8441 §3: ENABLE_CONNECT_PROTOCOL = 1 over TLS and cleartext."""
    for endpoint in ctx.endpoints.all():
        async with Connection.to(endpoint) as connection:
            check(connection.capable, f"{endpoint.scheme}: the setting is missing")


@case("server", "reference", wants=by_h2)
async def sockets_130_in_a_row(ctx: Context):
    """RFC 9113 §5.1: 130 consecutive sockets neither leak a stream nor end the connection."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        for number in range(130):
            socket = await connection.socket()
            await socket.echo(f"number {number}")
            clean(ctx, [await socket.close(1000)])
        await connection.ping()


@case("server", "reference", wants=by_h2)
async def reset_harms_that_stream_alone(ctx: Context):
    """RFC 8441 §5: RST_STREAM(CANCEL) by the client ends one socket, siblings still work."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        opened = await sockets(connection, 20)
        for socket in opened[::2]:
            await socket.send("cut in the mid" * 1000)
            connection.reset(socket.stream)
        await asyncio.gather(*(socket.echo("alive") for socket in opened[1::2]))
        opened = opened[1::2] + await sockets(connection, 10)
        clean(ctx, await asyncio.gather(*(socket.close() for socket in opened)))


@case("server", "reference", wants=by_h2)
async def tcp_drop_harms_that_connection_alone(ctx: Context):
    """RFC 9113 §5.4.1: a dropped TCP connection does not affect other connections."""
    async with Connection.to(ctx.endpoints.tls) as sibling:
        survivors = await sockets(sibling, 5)
        for _ in range(3):
            async with Connection.to(ctx.endpoints.tls) as connection:
                for socket in await sockets(connection, 10):
                    await socket.send("unread")
                await connection.abort()
        await asyncio.gather(*(socket.echo("alive") for socket in survivors))
        clean(ctx, await asyncio.gather(*(socket.close() for socket in survivors)))


@case("server", "reference", wants=by_h2)
async def fragments_and_cut_bytes(ctx: Context):
    """RFC 6455 §5.4: messages in many frames, and frames cut at every byte."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        socket = await connection.socket()
        for message in ["äöü" * 400, bytes(1000)]:
            for fragments in (2, 7, 100):
                await socket.echo(message, fragments)
        frame = socket._framing.send(_text("split anywhere: ü€😀"))
        for byte in frame:
            await socket.raw(bytes([byte]))
        equal(await socket.recv(), "split anywhere: ü€😀", "message sent byte by byte")
        clean(ctx, [await socket.close()])


@case("server", "reference", wants=by_h2)
async def pings_are_answered(ctx: Context):
    """RFC 6455 §5.5.2-3: a Pong with the same payload, also between fragments."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        socket = await connection.socket()
        for payload in (b"", b"x", bytes(range(125))):
            await socket.ping(payload)
            await socket.pong(payload)
        await socket.raw(socket._framing.send(_text("first half, ", last=False)))
        await socket.ping(b"in between")
        await socket.pong(b"in between")
        await socket.raw(socket._framing.send(_text("second half")))
        equal(await socket.recv(), "first half, second half", "the interrupted message")
        clean(ctx, [await socket.close()])


@case("server", "reference", wants=by_h2)
async def ordinary_get_beside_sockets(ctx: Context):
    """RFC 9113 §8: a page on the connection that carries sockets."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        opened = await sockets(connection, 5)
        for _ in range(3):
            status, headers, body = await connection.get("/")
            equal(status, 200, "status of GET /")
            check(body, "GET / has an empty body")
            await asyncio.gather(*(socket.echo("still here") for socket in opened))
        ctx.note(f"GET /: {headers.get('content-type')}, {len(body)} bytes")
        clean(ctx, await asyncio.gather(*(socket.close() for socket in opened)))


@dataclass
class Rejection:
    """A request that must not open a socket, and the valid answers."""

    what: str
    statuses: tuple[int, ...] = ()
    resets: tuple[int, ...] = ()
    pseudo: dict = field(default_factory=dict)
    version: str | None = "13"
    header: tuple[str, str] | None = None


ANY_REJECTION = tuple(range(400, 600))
ANY_RESET = tuple(range(14))
REJECTIONS = [
    Rejection("version 8 (RFC 6455 §4.4)", (400,), version="8", header=("sec-websocket-version", "13")),
    Rejection("no version (RFC 6455 §4.2.1)", (400,), version=None),
    Rejection("plain CONNECT (RFC 9113 §8.5)", ANY_REJECTION, ANY_RESET,
              {"protocol": None, "scheme": None, "path": None}, version=None),
    Rejection("other :protocol (RFC 8441 §4)", (501,), pseudo={"protocol": "connect-udp"}),
    Rejection("no :path (RFC 8441 §4)", (), (PROTOCOL_ERROR,), {"path": None}),
    Rejection("no :scheme (RFC 8441 §4)", (), (PROTOCOL_ERROR,), {"scheme": None}),
    Rejection("empty :path (RFC 9113 §8.3.1)", (400,), (PROTOCOL_ERROR,), {"path": ""}),
    Rejection(":scheme wss (RFC 8441 §5)", (400,), (PROTOCOL_ERROR,), {"scheme": "wss"}),
    Rejection(":protocol with GET (RFC 8441 §4)", (400,), (PROTOCOL_ERROR,), {"method": "GET"}),
]


@case("server", wants=by_h2)
async def refusals(ctx: Context):
    """RFC 8441 §4, RFC 9113 §8.1.1: invalid requests get the right status or stream error, on that stream only."""
    wrong = []
    for endpoint in ctx.endpoints.all():
        for rejection in REJECTIONS:
            async with Connection.to(endpoint, strict=False) as connection:
                sibling = await connection.socket()
                try:
                    await check_rejected(connection, rejection)
                    await sibling.echo("the sibling")
                    clean(ctx, [await sibling.close()])
                except (PeerError, AssertionError) as error:
                    wrong.append(f"{rejection.what} over {endpoint.scheme}: {error}")
    check(not wrong, "; ".join(wrong))


async def check_rejected(connection: Connection, rejection: Rejection) -> None:
    version = [("sec-websocket-version", rejection.version)] if rejection.version else []
    stream = await connection.request(connection.connect_headers(**rejection.pseudo) + version)
    status = await connection.answer(stream, timeout=20)
    if status is None:
        check(stream.reset in rejection.resets, f"expected {rejection.statuses or 'RST_STREAM(PROTOCOL_ERROR)'}, got {stream}")
        return
    wanted = rejection.statuses if len(rejection.statuses) < 9 else "a rejection"
    check(status in rejection.statuses, f"expected {wanted or 'RST_STREAM(PROTOCOL_ERROR)'}, got {stream}")
    if rejection.header:
        name, value = rejection.header
        equal(stream.headers.get(name), value, name)
    # The request's side is still open: the rejection must end the stream.
    await connection.until(lambda: stream.over, "end of the rejected stream", timeout=20)
    check(stream.ended, f"a rejection without END_STREAM: {stream}")


@case("server", "reference", wants=by_h2)
async def key_and_accept(ctx: Context):
    """RFC 8441 §5: no accept without a key; the right one for undici and niquests, which send a key."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        plain = await connection.socket()
        check("sec-websocket-accept" not in plain.stream.headers, "an accept although no key was sent")
        key = base64.b64encode(bytes(range(16))).decode()
        keyed = await connection.socket(headers=[("sec-websocket-key", key)])
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        want = base64.b64encode(hashlib.sha1((key + guid).encode()).digest()).decode()
        equal(keyed.stream.headers.get("sec-websocket-accept"), want, "sec-websocket-accept")
        for socket in (plain, keyed):
            check("content-length" not in socket.stream.headers, "content-length in the 200")
            clean(ctx, [await socket.close()])


MASK = b"\1\2\3\4"


def frame(first: int, payload: bytes, *, masked: bool = True, length: bytes | None = None) -> bytes:
    """A hand-made client frame, valid or invalid."""
    bit = 0x80 if masked else 0
    size = length if length is not None else bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + len(payload).to_bytes(2, "big")
    size = bytes([size[0] | bit]) + size[1:]
    key = MASK if masked else b""
    body = bytes(b ^ MASK[i % 4] for i, b in enumerate(payload)) if masked else payload
    return bytes([first]) + size + key + body


BAD_FRAMES = [
    ("unmasked frame (§5.1)", frame(0x81, b"hi", masked=False), 1002),
    ("RSV1 without an extension (§5.2)", frame(0xC1, b"hi"), 1002),
    ("RSV2 (§5.2)", frame(0xA1, b"hi"), 1002),
    ("RSV3 (§5.2)", frame(0x91, b"hi"), 1002),
    ("reserved opcode 3 (§5.2)", frame(0x83, b"hi"), 1002),
    ("reserved opcode 11 (§5.2)", frame(0x8B, b"hi"), 1002),
    ("ping of 126 bytes (§5.5)", frame(0x89, bytes(126)), 1002),
    ("fragmented ping (§5.5)", frame(0x09, b"hi"), 1002),
    ("continuation without start (§5.4)", frame(0x80, b"hi"), 1002),
    ("start within a message (§5.4)", frame(0x01, b"hi") + frame(0x81, b"hi"), 1002),
    ("length not minimal, 16 bits (§5.2)", frame(0x81, b"hi", length=b"\x7e\0\2"), 1002),
    ("length not minimal, 64 bits (§5.2)", frame(0x81, b"hi", length=b"\x7f" + bytes(7) + b"\2"), 1002),
    ("length with the top bit (§5.2)", frame(0x82, b"", length=b"\x7f\x80" + bytes(7)), 1002),
    ("close with 1 byte (§5.5.1)", frame(0x88, b"\3"), 1002),
    ("close code 1005 (§7.4.1)", frame(0x88, (1005).to_bytes(2, "big")), 1002),
    ("close code 1006 (§7.4.1)", frame(0x88, (1006).to_bytes(2, "big")), 1002),
    ("close code 999 (§7.4.2)", frame(0x88, (999).to_bytes(2, "big")), 1002),
    ("close code 5000 (§7.4.2)", frame(0x88, (5000).to_bytes(2, "big")), 1002),
    ("text that is not UTF-8 (§8.1)", frame(0x81, b"\xff"), 1007),
    ("overlong UTF-8 (§8.1)", frame(0x81, b"\xc0\xaf"), 1007),
    ("a surrogate (§8.1)", frame(0x81, b"\xed\xa0\x80"), 1007),
    ("UTF-8 cut at the message's end (§8.1)", frame(0x81, b"\xe2\x82"), 1007),
    ("bad UTF-8 before the message is whole (§8.1)", frame(0x01, b"ok \xf8"), 1007),
    ("close reason that is not UTF-8 (§5.5.1)", frame(0x88, b"\3\xe8\xff"), 1007),
]


@case("server", wants=by_h2)
async def bad_frames(ctx: Context):
    """RFC 6455 §7.1.7: invalid frames fail the socket with the right code, and do not affect siblings."""
    wrong = []
    async with Connection.to(ctx.endpoints.tls) as connection:
        sibling = await connection.socket()
        for what, data, code in BAD_FRAMES:
            try:
                socket = await connection.socket()
                await socket.raw(data)
                close = await socket.closing(timeout=20)
                equal(int(close.code), code, "close code")
                await connection.send(socket.stream, b"", end=True)
                await connection.until(lambda: socket.stream.over, "end of the failed stream", timeout=20)
                await sibling.echo(what)
            except (PeerError, AssertionError) as error:
                wrong.append(f"{what}: {error}")
        clean(ctx, [await sibling.close()])
    check(not wrong, "; ".join(wrong))
    ctx.note(f"{len(BAD_FRAMES)} frames")


@case("server", wants=by_h2)
async def deflate_if_agreed(ctx: Context):
    """RFC 7692 §7: permessage-deflate, if the server accepts the offer."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        deflate = PerMessageDeflate()
        socket = await connection.socket(extensions=[deflate])
        ctx.note("agreed" if deflate.enabled() else "declined")
        for size in (0, 1, 1000, 100_000):
            for message in both(size):
                await socket.echo(message)
        await socket.echo("fragmented " * 100, fragments=3)
        if deflate.enabled():
            check(socket.stream.received < 100_000, f"{socket.stream.received} bytes came: not compressed")
        clean(ctx, [await socket.close()])


@case("server", "reference", wants=by_h2)
async def small_frames_at_once(ctx: Context):
    """RFC 9113 §10.5: 500 sockets, each 16 DATA frames of 20 bytes at once: no ENHANCE_YOUR_CALM."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        opened = await sockets(connection, 500)
        for socket in opened:
            for number in range(16):
                # Not flushed while the window lasts, so that they reach the server together.
                data = socket._framing.send(_text(f"message {number:06}"))
                if connection.h2.local_flow_control_window(socket.stream.id) >= len(data):
                    connection.h2.send_data(socket.stream.id, data)
                else:
                    await socket.raw(data)
        await connection.ping()
        await asyncio.gather(*(expect_numbers(socket) for socket in opened))
        await connection.ping()


async def expect_numbers(socket: Socket) -> None:
    for number in range(16):
        equal(await socket.recv(), f"message {number:06}", "message")


@case("server", "reference", wants=by_h2)
async def unread_socket_stalls_nobody(ctx: Context):
    """RFC 9113 §5.2: a socket with an exhausted window does not delay its siblings."""
    async with Connection.to(ctx.endpoints.tls, stream_window=65_535) as connection:
        stuck, *siblings = await sockets(connection, 100)
        stuck.stream.hold = True
        flood = asyncio.create_task(stuck.send(bytes(8 << 20), fragments=128))
        try:
            await connection.until(lambda: stuck.stream.received >= 65_535, "an exhausted window")
            for _ in range(5):
                await asyncio.gather(*(socket.echo("x" * 1000) for socket in siblings))
        finally:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)
        clean(ctx, await asyncio.gather(*(socket.close() for socket in siblings)))


@case("server", wants=by_h2)
async def client_that_never_ends_its_side(ctx: Context):
    """RFC 9113 §8.1: after a clean close the server ends a stream that the client (Firefox) leaves open."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        opened = await sockets(connection, 5)
        for socket in opened:
            await socket.raw(frame(0x88, b"\3\xe8"))
            equal(int((await socket.closing()).code), 1000, "close code")
        done = lambda: all(socket.stream.reset is not None for socket in opened)
        await connection.until(done, "RST_STREAM(NO_ERROR) for the side left open", timeout=45)
        equal({socket.stream.reset for socket in opened}, {0}, "reset codes")


@case("server", "reference", wants=by_h2)
async def end_stream_without_close(ctx: Context):
    """RFC 8441 §5: END_STREAM corresponds to a FIN; the server ends its side too."""
    async with Connection.to(ctx.endpoints.tls) as connection:
        sibling = await connection.socket()
        socket = await connection.socket()
        await socket.echo("hi")
        await socket.raw(b"", end=True)
        await connection.until(lambda: socket.stream.over, "end of the stream", timeout=20)
        await sibling.echo("alive")


@case("server", wants=by_h2)
async def drains_on_sigterm(ctx: Context):
    """RFC 9113 §6.8, RFC 6455 §7.4.1: GOAWAY(NO_ERROR), Close 1001, END_STREAM, exit 0."""
    endpoint, child = await program.serve_one(ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key)
    async with Connection.to(endpoint) as connection:
        opened = await sockets(connection, 10)
        child.signal(signal.SIGTERM)
        endings = await asyncio.gather(*(socket.answer_close() for socket in opened))
        equal({ending.code for ending in endings}, {1001}, "close codes")
        clean(ctx, endings)
        if not connection.goaway:
            await connection.until(lambda: connection.goaway is not None, "GOAWAY", timeout=30)
        equal(connection.goaway[0], 0, "GOAWAY's error code")
    equal(await asyncio.wait_for(child.process.wait(), 20), 0, "exit status of h2ws serve")


def _text(data: str, last: bool = True):
    from wsproto.events import TextMessage
    return TextMessage(data, message_finished=last)
