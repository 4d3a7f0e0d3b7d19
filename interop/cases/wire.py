"""Our traffic, as dissected by tshark."""

import asyncio
import functools

from wsproto.extensions import PerMessageDeflate

from lib import program, rfc6455, wire
from lib.cases import Context, case, check, equal
from lib.rfc8441 import Connection
from lib.sandbox import run

from .foreign import named

RSV1 = 4
# `Deflate::THRESHOLD`, in bytes.
THRESHOLD = 64
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
LINES = ["hello", "hello", "ü€😀", "x" * 125, "x" * 126, "y" * 70_000]


def twice(dissect):
    """Repeats a failed case once: on a busy machine a capture may lose a packet. Real errors recur."""

    @functools.wraps(dissect)
    async def again(ctx: Context):
        try:
            await dissect(ctx)
        except AssertionError as error:
            ctx.note(f"captured again after: {error}")
            await dissect(ctx)

    return again


async def judge(ctx: Context, file, keys, port: int, sockets: int) -> list[tuple[int, list[wire.Message]]]:
    """Checks what must hold for every tunnel. Returns the WebSocket frames of each."""
    seen = await wire.dissect(file, keys, port)
    check(not seen.complaints, f"tshark on HTTP/2: {seen.complaints[:3]}")
    tunnels = seen.tunnels()
    equal(len(tunnels), sockets, "CONNECT requests with :protocol websocket")
    we_are_client = ctx.role == "client"
    # Some servers answer END_STREAM with RST_STREAM(NO_ERROR). Ours does not; our client sends
    # RST_STREAM only if the server leaves its side open.
    resets = [f for f in seen.frames if f.type == wire.RST_STREAM and f.from_client == we_are_client]
    check(not resets or (we_are_client and ctx.peer.ending == "cancel"), "RST_STREAM in a clean close")
    result, keys_seen = [], []
    for stream in tunnels:
        request = dict(seen.of(stream, wire.HEADERS, True)[0].headers)
        equal((request[":method"], request[":scheme"]), ("CONNECT", "https"), "method and scheme")
        answer = dict(seen.of(stream, wire.HEADERS, False)[0].headers)
        equal(answer[":status"], "200", "status")
        ended = any(f.flags & wire.END_STREAM for f in seen.of(stream, wire.DATA, we_are_client))
        if we_are_client and not ended:
            ctx.note("h2ws connect ended without END_STREAM")
        else:
            check(ended, f"stream {stream}: no END_STREAM")
        messages, complaints = await wire.websocket(seen, stream, ctx.sandbox.dir / f"tunnel-{stream}.pcap")
        check(not complaints, f"tshark on WebSocket: {complaints[:3]}")
        ours = [m for m in messages if m.from_client]
        check(ours and all(m.masked for m in ours), "a client frame without a mask (RFC 6455 §5.1)")
        check(not any(m.masked for m in messages if not m.from_client), "a masked server frame (RFC 6455 §5.1)")
        if "sec-websocket-extensions" not in answer:
            check(all(m.rsv == 0 for m in messages), "a reserved bit without an extension (RFC 6455 §5.2)")
        for from_client in (True, False):
            last = [m for m in messages if m.from_client == from_client][-1]
            equal(last.opcode, CLOSE, "opcode of the last frame")
        keys_seen += [m.key for m in ours]
        result.append((stream, messages))
    equal(len(set(keys_seen)), len(keys_seen), "distinct masking keys (RFC 6455 §5.3)")
    ctx.note(f"{len(seen.frames)} HTTP/2 frames, {sum(len(m) for _, m in result)} WebSocket frames")
    return result


def texts(messages: list[wire.Message], from_client: bool) -> list[bytes]:
    """The complete text messages in one direction. Control frames may come between fragments."""
    whole, parts = [], []
    for message in messages:
        if message.from_client == from_client and message.opcode in (0, TEXT, BINARY):
            parts.append(message.payload)
            if message.fin:
                whole.append(b"".join(parts))
                parts = []
    return whole


@case("client", wants=lambda peer: peer.name in ("node", "h2-crate"))
@twice
async def dissected_by_tshark(ctx: Context):
    """RFC 8441 §4-§5, RFC 6455 §5.2-3: CONNECT with :protocol, a new masking key per frame, no RST_STREAM."""
    endpoint, keys = ctx.endpoints.tls, ctx.sandbox.dir / "client.keylog"
    keys.unlink(missing_ok=True)
    async with wire.capture(ctx.sandbox, endpoint.port) as file:
        lines = "".join(f"{line}\n" for line in LINES).encode()
        status, out, err = await run(
            ctx.h2ws, "connect", endpoint.ws_url(), "--insecure", "--http2", stdin=lines, env={"SSLKEYLOGFILE": str(keys)})
        check(status == 0 and out.splitlines() == LINES, f"exit {status}: {err[-200:]}")
    [(_, messages)] = await judge(ctx, file, keys, endpoint.port, 1)
    want = [line.encode() for line in LINES]
    check(texts(messages, True) == want, "the client's messages, as unmasked by tshark, differ from those sent")
    check(texts(messages, False) == want, "the peer's messages differ")


@case("server", wants=lambda peer: peer.name == "python-h2")
@twice
async def dissected_by_tshark_too(ctx: Context):
    """RFC 8441 §5, RFC 6455 §5.1: our server's frames on 10 sockets: unmasked, complete, END_STREAM, no RST_STREAM."""
    keys = ctx.sandbox.dir / "server.keylog"
    keys.unlink(missing_ok=True)
    endpoint, child = await program.serve_one(
        ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key, env={"SSLKEYLOGFILE": str(keys)})
    async with wire.capture(ctx.sandbox, endpoint.port) as file:
        async with Connection.to(endpoint) as connection:
            sockets = await asyncio.gather(*(connection.socket() for _ in range(10)))
            for line in LINES:
                await asyncio.gather(*(socket.echo(line) for socket in sockets))
            for socket in sockets:
                await socket.ping(b"are you there")
                await socket.pong(b"are you there")
            await asyncio.gather(*(socket.close(4000 + n, "bye") for n, socket in enumerate(sockets)))
    await child.stop()
    for number, (_, messages) in enumerate(await judge(ctx, file, keys, endpoint.port, 10)):
        check(texts(messages, False) == [line.encode() for line in LINES], "the server's messages differ")
        pongs = [m.payload for m in messages if not m.from_client and m.opcode == PONG]
        equal(pongs, [b"are you there"], "Pongs")
        close = [m.payload for m in messages if not m.from_client and m.opcode == CLOSE][0]
        equal(int.from_bytes(close[:2], "big"), 4000 + number, "close code")


async def upgraded_or_judged(ctx: Context, file, keys, endpoint, over_h2: bool) -> list[wire.Message]:
    """The WebSocket frames of one socket, over either version of HTTP."""
    if over_h2:
        [(_, messages)] = await judge(ctx, file, keys, endpoint.port, 1)
        return messages
    messages, complaints = await wire.upgraded(file, endpoint.port)
    check(not complaints, f"tshark on WebSocket: {complaints[:3]}")
    return messages


def compressed(ctx: Context, messages: list[wire.Message], from_client: bool) -> None:
    """Checks for RSV1 on the first frame of each compressed message only, and for the text inflated by tshark."""
    ours = [m for m in messages if m.from_client == from_client]
    marked = [m for m in ours if m.rsv == RSV1]
    check(all(m.rsv in (0, RSV1) for m in ours), "RSV2 or RSV3 (RFC 6455 §5.2)")
    check(all(m.opcode in (TEXT, BINARY) for m in marked), "RSV1 on a control frame or a continuation (RFC 7692 §6.1)")
    # Messages below the threshold are not compressed.
    equal(len(marked), sum(len(line.encode()) >= THRESHOLD for line in LINES), "messages with RSV1")
    check(texts(messages, from_client) == [line.encode() for line in LINES], "the messages inflated by tshark differ from those sent")
    ctx.note(f"{len(marked)} of {len(LINES)} messages with RSV1")


@case("client", wants=named("websockets", "hypercorn"))
@twice
async def compressed_by_us_for_tshark(ctx: Context):
    """RFC 7692 §6.1: messages compressed by our client have RSV1, and tshark inflates them, over both versions of HTTP."""
    keys = ctx.sandbox.dir / "deflate.keylog"
    keys.unlink(missing_ok=True)
    over_h2 = ctx.peer.capable
    endpoint = ctx.endpoints.tls if over_h2 else ctx.endpoints.clear
    async with wire.capture(ctx.sandbox, endpoint.port) as file:
        lines = "".join(f"{line}\n" for line in LINES).encode()
        version = "--http2" if over_h2 else "--http1"
        status, out, err = await run(ctx.h2ws, "connect", endpoint.ws_url(), "--insecure", version, "--deflate",
                                     stdin=lines, env={"SSLKEYLOGFILE": str(keys)})
        check(status == 0 and out.splitlines() == LINES, f"exit {status}: {err[-200:]}")
    compressed(ctx, await upgraded_or_judged(ctx, file, keys, endpoint, over_h2), True)


@case("server", wants=named("python-websockets", "python-h2"))
@twice
async def compressed_by_us_for_tshark_too(ctx: Context):
    """RFC 7692 §6.1: messages compressed by our server have RSV1, and tshark inflates them, over both versions of HTTP."""
    keys, over_h2 = ctx.sandbox.dir / "deflate.keylog", ctx.peer.name == "python-h2"
    keys.unlink(missing_ok=True)
    clothes = ["--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key] if over_h2 else ["--cleartext"]
    endpoint, child = await program.serve_one(ctx.sandbox, *clothes, "--deflate", env={"SSLKEYLOGFILE": str(keys)})
    async with wire.capture(ctx.sandbox, endpoint.port) as file:
        if over_h2:
            async with Connection.to(endpoint) as connection:
                socket = await connection.socket(extensions=[PerMessageDeflate()])
                for line in LINES:
                    await socket.echo(line)
                await socket.close()
        else:
            async with rfc6455.connect(endpoint, compression="deflate") as ws:
                for line in LINES:
                    await ws.send(line)
                    equal(await ws.recv(), line, "echo")
    await child.stop()
    compressed(ctx, await upgraded_or_judged(ctx, file, keys, endpoint, over_h2), False)
