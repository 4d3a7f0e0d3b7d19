"""Attacks on the server within streams: windows, unread sockets, RFC 6455 frames, compression. Siblings are unaffected."""

from __future__ import annotations

import itertools
import time
import zlib

from . import frames as f
from .raw import Gone
from .context import row

DEFLATE = [("sec-websocket-extensions", "permessage-deflate")]


def fill(t, c, streams, message: bytes, seconds: float = 5) -> int:
    """Sends messages to each socket as long as its window allows. Returns the bytes sent."""
    until, sent, moved = time.monotonic() + seconds, 0, True
    while moved and time.monotonic() < until:
        moved = False
        for stream in streams:
            if c.credit(stream) < len(message) or c[stream].over:
                continue
            c.spent[stream] = c.spent.get(stream, 0) + len(message)
            c.send(b"".join(f.data(stream, message[at:at + 16384]) for at in range(0, len(message), 16384)))
            sent += len(message)
            moved = True
        if not moved:
            c.until(lambda: any(c.credit(s) >= len(message) and not c[s].over for s in streams), 0.4)
            moved = any(c.credit(s) >= len(message) and not c[s].over for s in streams)
    return sent


def overrun(c, stream: int, message: bytes, most: int = 1 << 24) -> None:
    """Sends messages, whatever the window allows, until the stream is over."""
    for _ in range(most // len(message)):
        if c[stream].over:
            return
        c.send(b"".join(f.data(stream, message[at:at + 16384]) for at in range(0, len(message), 16384)))
    c.until(lambda: c[stream].over, 5)


def open_window(c, stream: int) -> int:
    """Opens a sibling's window on a connection where all other windows are closed."""
    c.send(f.window(stream, 1 << 30))
    return stream


def ends(c, streams) -> str:
    """Counts these sockets by their state."""
    seen: dict[str, int] = {}
    for stream in streams:
        said = str(c[stream]).removeprefix("200 ") if c[stream].over or c[stream].close_code() else "open"
        seen[said] = seen.get(said, 0) + 1
    return ", ".join(f"{count} x {said}" for said, count in sorted(seen.items(), key=lambda each: -each[1])[:3])


def unread(t, count: int) -> None:
    c = t.connect(grant=0)
    c.until(lambda: c.settings is not None)
    t.beside(c, open_window(c, c.open()), queues=True)
    streams = c.open_many(count)
    sent = fill(t, c, streams, f.ws(bytes(32000)))
    t.got(f"{sent >> 20} MiB accepted on {len(streams)} sockets; {ends(c, streams)}; {c.end()}")


@row("server", memory=320, quick=True, limit=30)
def unread_sockets(t):
    """H5, H6: 1,000 sockets whose echoes are never read."""
    unread(t, 1000)


@row("server", memory=320, limit=40)
def unread_sockets_by_thousands(t):
    """H5, H6: 4,000 sockets whose echoes are never read."""
    unread(t, 4000)


@row("server", memory=320, limit=30)
def unread_connections(t):
    """H5: three connections with 200 sockets each, with open windows, whose TCP side is never read."""
    sent = 0
    for _ in range(3):
        c = t.connect(read=False, receive_buffer=4096)
        streams = [c.next_id() for _ in range(200)]
        c.send(b"".join(f.headers(s, f.connect_fields(c.authority)) for s in streams))
        message = f.ws(bytes(16000))
        # Within the server's initial windows: no WINDOW_UPDATE is read here.
        sent += t.flood(c, (b"".join(f.data(s, message) for s in streams) for _ in range(15)), 4)
    t.got(f"{sent >> 20} MiB accepted")


@row("server")
def windows_that_never_open(t):
    """A thousand sockets with a window of 0, and a message to each."""
    c = t.connect(grant=0)
    t.beside(c, open_window(c, c.open()))
    streams = c.open_many(990)
    c.send(b"".join(f.data(s, f.ws(bytes(4000))) for s in streams))
    time.sleep(2)
    t.got(f"{ends(c, streams)}; {c.end()}")
    t.want(sum(not c[s].over for s in streams) == 990, "some of the waiting sockets ended, although waiting is allowed")


@row("server", quick=True)
def window_overrun(t):
    """A client that exceeds the window of a socket whose echoes are never read (RFC 9113 §6.9.1)."""
    c = t.connect(grant=0)
    t.beside(c, open_window(c, c.open()))
    stream = c.open()
    overrun(c, stream, f.ws(bytes(60000)))
    t.got(f"{c[stream]}, {c.end()}")
    t.want(c[stream].reset in (3, 5, 8, 11), "no reset")


@row("server", quick=True)
def data_that_is_empty(t):
    """Endless empty DATA frames (CVE-2019-9518)."""
    c = t.connect()
    stream = c.open()
    t.flood(c, itertools.repeat(f.data(stream) * 4000), 3)
    t.forbidden(c)


@row("server")
def data_of_padding_alone(t):
    """Endless DATA frames with 255 bytes of padding and no data."""
    c = t.connect()
    stream = c.open()
    sent = t.flood(c, itertools.repeat(f.frame(f.DATA, f.PADDED, stream, b"\xff" + bytes(255)) * 200), 3)
    c.until(lambda: c.goaway or c[stream].over, 1)
    t.got(f"{sent >> 20} MiB, {c[stream]}, {c.end()}")
    t.want(c.end() != "connection open" or c[stream].over, "accepted without limit")


@row("server")
def data_of_one_byte(t):
    """Messages in DATA frames of one byte each; serving them is allowed."""
    c = t.connect()
    stream = c.open()
    c.listen(stream, lambda body: None)
    message = f.ws(bytes(2000))
    frames = b"".join(f.data(stream, message[at:at + 1]) for at in range(len(message)))
    until = time.monotonic() + 3
    try:
        while time.monotonic() < until and not c.goaway and not c[stream].over:
            if c.until(lambda: c.credit(stream) > 4000 or c[stream].over, 1):
                c.spent[stream] = c.spent.get(stream, 0) + len(message)
                c.send(frames)
    except Gone:
        pass
    t.got(f"{c.spent.get(stream, 0)} bytes, {c[stream]}, {c.end()}")


@row("server")
def data_behind_a_reset(t):
    """Endless DATA on a stream that was reset."""
    c = t.connect()
    stream = c.open()
    c.send(f.rst(stream))
    sent = t.flood(c, itertools.repeat(f.data(stream, bytes(200)) * 400), 3)
    c.until(lambda: c.goaway, 2)
    t.got(f"{sent >> 20} MiB, {c.end()}")


@row("server", "--max-concurrent-streams", "100", quick=True)
def sockets_beyond_the_limit(t):
    """1,000 sockets where 100 are allowed: REFUSED_STREAM, and siblings are unaffected."""
    c = t.connect()
    t.beside(c)
    streams = [c.next_id() for _ in range(1000)]
    c.send(b"".join(f.headers(s, f.connect_fields(c.authority)) for s in streams))
    c.until(lambda: all(c[s].status or c[s].over for s in streams) or c.goaway, 5)
    refused = sum(c[s].reset == 7 for s in streams)
    t.got(f"{refused} x REFUSED_STREAM, {sum(c[s].status == 200 for s in streams)} x 200, {c.end()}")
    t.want(refused == 901, "not 901 refused streams")


@row("server", "--max-concurrent-streams", "100")
def sockets_beyond_the_limit_without_end(t):
    """Endless CONNECT requests beyond the limit, whatever the server answers."""
    c = t.connect()
    c.open_many(100)
    fields = f.block(f.connect_fields(c.authority))
    t.flood(c, (b"".join(f.headers(c.next_id(), fields) for _ in range(200)) for _ in itertools.count()), 4)
    t.forbidden(c, None)


# -- RFC 6455

@row("server", quick=True)
def frames_of_rfc_6455_that_are_wrong(t):
    """11 frames that fail a socket by RFC 6455, 100 times each; siblings are unaffected."""
    wrong = [
        (f.ws(b"x", mask=False), 1002), (f.ws(b"x", rsv=4), 1002), (f.ws(b"x", rsv=1), 1002), (f.ws(b"x", opcode=3), 1002),
        (f.ws(b"x", opcode=11), 1002), (f.ws(b"x" * 126, opcode=9), 1002), (f.ws(b"x", opcode=9, fin=False), 1002),
        (f.ws(b"x", opcode=0), 1002), (f.ws(b"\xff", opcode=1), 1007), (f.ws(b"\x03\xed", opcode=8), 1002), (f.ws(b"\x03", opcode=8), 1002),
    ]
    c = t.connect()
    t.beside(c)
    for bad, code in wrong:
        streams = c.open_many(100)
        c.send(b"".join(f.data(s, bad) for s in streams))
        c.until(lambda: all(c[s].close_code() or c[s].over for s in streams), 5)
        seen = {c[s].close_code() for s in streams}
        t.want(seen == {code}, f"{bad.hex()}: {seen}, not {code}")
        c.send(b"".join(f.data(s, end=True) for s in streams))
    t.got(f"1100 x close 1002 or 1007, {c.end()}")


@row("server", quick=True)
def lengths_that_are_lies(t):
    """900 frames with lengths of 2^63-1, 2^40 or 17 MiB: 1009 or 1002; and 900 of 15 MiB that stop after the header: no memory is allocated in advance."""
    c = t.connect()
    t.beside(c)
    said = []
    for claim in ((1 << 63) - 1, 1 << 40, 17 << 20):
        streams = c.open_many(300)
        c.send(b"".join(f.data(s, f.ws(claim=claim)) for s in streams))
        c.until(lambda: all(c[s].close_code() or c[s].over for s in streams), 5)
        codes = {c[s].close_code() for s in streams}
        said.append(", ".join(sorted(str(code) for code in codes)))
        t.want(codes <= {1009, 1002}, f"{claim}: {codes}")
        c.send(b"".join(f.data(s, end=True) for s in streams))
    streams = c.open_many(900)
    c.send(b"".join(f.data(s, f.ws(b"x" * 100, claim=15 << 20)) for s in streams))
    time.sleep(0.5)
    t.got(f"close {'; '.join(said)}; {c.end()}")


@row("server", memory=320, limit=30)
def half_messages(t):
    """2,000 sockets, each with 250 KiB of a 1 MB message that never ends."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    t.beside(c)
    streams = c.open_many(2000)
    half = f.ws(bytes(250_000), claim=1_000_000)
    sent = 0
    for stream in streams:
        try:
            c.data(stream, half, 1)
            sent += len(half)
        except Gone:
            if c.closed:
                break
    time.sleep(0.5)
    t.got(f"{sent >> 20} MiB accepted; {ends(c, streams)}; {c.end()}")


@row("server")
def fragments_of_one_byte(t):
    """One message in a million fragments: an echo or 1009."""
    c = t.connect()
    t.beside(c)
    stream = c.open()
    fragments = f.ws(b"x", 2, fin=False) + f.ws(b"x", 0, fin=False) * 999_998 + f.ws(b"x", 0)
    try:
        for at in range(0, len(fragments), 65520):
            c.data(stream, fragments[at:at + 65520])
        c.until(lambda: c[stream].received > 1_000_000 or c[stream].over or c[stream].close_code(), 10)
    except Gone:
        pass
    t.got(f"{c[stream].received} bytes back, {c[stream]}, {c.end()}")
    t.want(c[stream].received >= 1_000_000 or c[stream].close_code() == 1009, "neither an echo nor 1009")


@row("server", quick=True)
def fragments_that_are_empty(t):
    """One message of empty fragments, without end: 1008 or 1009."""
    c = t.connect()
    t.beside(c)
    stream = c.open()
    fragments = f.ws(b"x", 2, fin=False) + f.ws(b"", 0, fin=False) * 1_000_000
    try:
        for at in range(0, len(fragments), 60000):
            c.data(stream, fragments[at:at + 60000])
            if c[stream].over or c[stream].close_code():
                break
    except Gone:
        pass
    c.until(lambda: c[stream].over or c[stream].close_code(), 3)
    t.got(f"{c[stream]}, {c.end()}")
    t.want(c[stream].close_code() in (1008, 1009, 1002), "the socket is not closed")


@row("server")
def messages_that_are_empty(t):
    """A million empty messages: echoed, without delaying siblings."""
    c = t.connect()
    t.beside(c)
    stream = c.open()
    c.listen(stream, lambda body: None)
    messages = f.ws(b"", 1) * 10_000
    try:
        for _ in range(100):
            c.data(stream, messages)
    except Gone:
        pass
    t.got(f"{c[stream].received} bytes back, {c[stream]}, {c.end()}")


@row("server")
def pings_of_a_socket(t):
    """Endless WebSocket Pings of 125 bytes, whose Pongs are never read."""
    c = t.connect(grant=0)
    c.until(lambda: c.settings is not None)
    t.beside(c, open_window(c, c.open()))
    streams = c.open_many(100)
    sent = fill(t, c, streams, f.ws(bytes(125), 9) * 400, 3)
    t.got(f"{sent >> 20} MiB of Pings accepted; {ends(c, streams)}; {c.end()}")


@row("server", memory=96)
def pongs_of_a_socket(t):
    """Endless unsolicited Pongs."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    t.beside(c)
    streams = c.open_many(10)
    sent = fill(t, c, streams, f.ws(bytes(125), 10) * 400, 3)
    t.got(f"{sent >> 20} MiB accepted; {ends(c, streams)}; {c.end()}")


# -- compression

def compressed(raw: bytes) -> bytes:
    """Compresses by RFC 7692 §7.2.1."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(raw) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def bombs(t, c, message: bytes, seconds: float) -> int:
    stream = c.open(extra=DEFLATE)
    t.want("permessage-deflate" in (c[stream].field("sec-websocket-extensions") or ""), "compression was not negotiated")
    c.listen(stream, lambda body: None)
    until, sent = time.monotonic() + seconds, 0
    while time.monotonic() < until and not c[stream].over:
        try:
            c.data(stream, message)
            sent += 1
        except Gone:
            break
    return sent


@row("server", "--deflate", quick=True, memory=160, limit=30)
def deflate_bombs(t):
    """H4: consecutive messages of 15 KB that inflate to 15 MiB."""
    c = t.connect()
    t.beside(c)
    t.got(f"{bombs(t, c, f.ws(compressed(bytes(15 << 20)), rsv=4), 4)} accepted, {c.end()}")


@row("server", "--deflate", memory=320, limit=30)
def deflate_bombs_on_eight_sockets(t):
    """H4: messages of 15 KB that inflate to 15 MiB, on eight connections at once."""
    import threading
    message = f.ws(compressed(bytes(15 << 20)), rsv=4)
    taken = []
    connections = [t.connect() for _ in range(8)]
    threads = [threading.Thread(target=lambda c=c: taken.append(bombs(t, c, message, 4)), daemon=True) for c in connections]
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    t.got(f"{sum(taken)} accepted, {sum('open' in c.end() for c in connections)} connections open")


@row("server", "--deflate", memory=96, limit=30)
def deflate_bomb_of_a_gigabyte(t):
    """1 MB that inflates to 1 GB: 1009 at the message limit."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)) * 64
    c = t.connect()
    t.beside(c)
    stream = c.open(extra=DEFLATE)
    try:
        c.data(stream, f.ws(packed[:-4], rsv=4))
    except Gone:
        pass
    c.until(lambda: c[stream].close_code() or c[stream].over, 5)
    t.got(f"{c[stream]}, {c.end()}")
    t.want(c[stream].close_code() == 1009, "not 1009")


@row("server", "--deflate", memory=320)
def deflate_contexts(t):
    """500 sockets with compression, each used once: their contexts are freed with the sockets."""
    c = t.connect()
    t.beside(c)
    streams = c.open_many(500, DEFLATE)
    for stream in streams:
        c.data(stream, f.ws(compressed(b"hello, compression " * 20), rsv=4))
    c.until(lambda: all(c[s].received for s in streams), 10)
    t.got(f"{sum(c[s].received > 0 for s in streams)} answers, {c.end()}")


@row("server", "--deflate")
def deflate_that_is_garbage(t):
    """Messages marked as compressed that do not inflate: the socket is closed, siblings are unaffected."""
    c = t.connect()
    t.beside(c)
    streams = c.open_many(200, DEFLATE)
    c.send(b"".join(f.data(s, f.ws(b"\xff\xff\xff\xff" * 9, rsv=4)) for s in streams))
    c.until(lambda: all(c[s].close_code() or c[s].over for s in streams), 5)
    seen = {c[s].close_code() for s in streams}
    t.got(f"close {seen}, {c.end()}")
    t.want(seen <= {1007, 1002}, "neither 1007 nor 1002")


# -- the server's connection limits

def filled(t, connections: int, fill_one) -> None:
    opened = []
    for _ in range(connections):
        try:
            opened.append(fill_one())
        except (Gone, OSError):
            break
    why = t.newcomer(8)
    t.got(f"{len(opened)} connections; a newcomer {'was accepted' if not why else 'was not: ' + why}")
    t.want(not why, "a newcomer is not accepted")


@row("server", "--max-connections", "20", quick=True, limit=30)
def idle_connections(t):
    """H7: idle HTTP/2 connections up to the limit; the one idle for the longest is closed for a new one."""
    filled(t, 30, lambda: t.connect())


@row("server", "--max-connections", "20", limit=30)
def idle_connections_http1(t):
    """H7: kept-alive HTTP/1.1 connections up to the limit."""
    def one():
        tcp = t.tcp()
        tcp.send(f"GET / HTTP/1.1\r\nHost: localhost:{t.port}\r\n\r\n".encode())
        tcp.receive(0.5)
        return tcp
    filled(t, 30, one)


@row("server", "--max-connections", "20", limit=30)
def silent_connections(t):
    """H7: TCP connections that send nothing, up to the limit."""
    filled(t, 30, lambda: t.tcp())


@row("server", "--max-connections-per-client", "5", quick=True, limit=30)
def connections_of_one_address(t):
    """H7: 50 connections from one address, where 5 are allowed: the others are closed, and other addresses are accepted."""
    opened = [t.tcp(source="127.0.0.2") for _ in range(50)]
    for each in opened:
        each.receive(0.05)
    closed = sum(each.closed for each in opened)
    why = t.newcomer(8)
    t.got(f"{closed} of 50 closed; a newcomer {'was accepted' if not why else 'was not: ' + why}")
    t.want(closed == 45 and not why, "not 45 closed, or a newcomer is not accepted")


@row("server", "--process-buffer", str(64 << 20), memory=160, limit=40)
def unread_sockets_on_many_connections(t):
    """H5: 500 unread sockets on each of 4 connections, with a process limit of 64 MiB."""
    sent = 0
    for _ in range(4):
        c = t.connect(grant=0)
        c.until(lambda: c.settings is not None)
        sent += fill(t, c, c.open_many(500), f.ws(bytes(32000)), 4)
    t.got(f"{sent >> 20} MiB accepted")
