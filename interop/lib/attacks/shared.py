"""Two clients of a bridge share one connection to the upstream: an attack by one does not affect the other."""

from __future__ import annotations

import itertools
import threading
import time

from . import frames as f
from .raw import Gone, upgrade
from .server_streams import compressed, ends, fill, open_window, overrun
from .context import row

# MiB for a client that fills `connection_buffer`: its 256, up to 16 KiB for each of some hundred sockets on both sides, to
# which they are counted, what the allocator keeps for a second, and 128 for the machine. Without that limit it is 790.
UNREAD = 480


def upstream(t) -> str:
    """Summarizes the report of the strict upstream."""
    report = t.up.report()
    t.want(not report["ends"], f"the upstream ended a connection: {', '.join(report['ends'][:3])}")
    return f"{report['requests']} requests, {report['resets']} resets, {report['connections']} connection{'s' * (report['connections'] != 1)} at the upstream"


@row("bridge", upstream="h2", quick=True)
def shared_big_heads(t):
    """H1: header lists of 1 to 63 KiB for an upstream that accepts 16: 431 from the bridge."""
    c = t.connect()
    t.beside(c)
    seen: dict[str, int] = {}
    for size in (1000, 8000, 15000, 15500, 15900, 16100, 16300, 17000, 30000, 63000):
        extra = [(f"x-{n}", "y" * min(900, size - n * 960)) for n in range(size // 960 + 1) if size - n * 960 > 0]
        stream = c.ask(f.connect_fields(c.authority, extra=extra))
        c.until(lambda: c[stream].status or c[stream].over, 3)
        said = str(c[stream].status or c[stream])
        seen[said] = seen.get(said, 0) + 1
    t.got(f"{', '.join(f'{count} x {said}' for said, count in seen.items())}; {upstream(t)}")


@row("bridge", upstream="h2")
def shared_big_heads_http1(t):
    """H1: large heads over HTTP/1.1, for an upstream that accepts 16 KiB."""
    seen: dict[str, int] = {}
    for size in (15000, 15900, 16300, 20000, 50000):
        extra = "".join(f"X-{n}: {'y' * 900}\r\n" for n in range(size // 940))
        said = t.ask(upgrade(t.port, extra=extra), 0.4).split(b"\r\n")[0].decode("latin-1")[9:12] or "closed"
        seen[said] = seen.get(said, 0) + 1
    t.got(f"{', '.join(f'{count} x {said}' for said, count in seen.items())}; {upstream(t)}")


@row("bridge", upstream="h2")
def shared_big_pages(t):
    """H1: plain HTTP requests with header lists of 20 and 60 KiB."""
    c = t.connect()
    t.beside(c)
    for size in (20, 60):
        stream = c.ask(f.request_fields(c.authority, extra=[(f"x-{n}", "y" * 1000) for n in range(size)]), end=True)
        c.until(lambda: c[stream].status or c[stream].over, 3)
    t.got(f"{c[stream]}; {upstream(t)}")


@row("bridge", upstream="busy", quick=True)
def shared_cancels(t):
    """H2: ten sockets requested and cancelled 0.5 ms later, before the upstream answers, 200 times."""
    c = t.connect()
    t.beside(c)
    fields = f.block(f.connect_fields(c.authority))
    for _ in range(200):
        streams = [c.next_id() for _ in range(10)]
        c.send(b"".join(f.headers(s, fields) for s in streams))
        time.sleep(0.0005)
        c.send(b"".join(f.rst(s) for s in streams))
        time.sleep(0.002)
    time.sleep(0.3)
    t.got(f"{c.end()}; {upstream(t)}")


@row("bridge", upstream="busy", quick=True)
def shared_cancels_http1(t):
    """H2: 500 HTTP/1.1 clients that disconnect right after their Upgrade."""
    for _ in range(50):
        clients = [t.tcp() for _ in range(10)]
        for each in clients:
            each.send(upgrade(t.port))
        time.sleep(0.001)
        for each in clients:
            each.close()
        time.sleep(0.002)
    time.sleep(0.3)
    t.got(upstream(t))


@row("bridge", upstream="busy")
def shared_cancels_of_pages(t):
    """H2: plain HTTP requests, cancelled before the response."""
    c = t.connect()
    t.beside(c)
    fields = f.block(f.request_fields(c.authority))
    for _ in range(100):
        streams = [c.next_id() for _ in range(10)]
        c.send(b"".join(f.headers(s, fields, end=True) for s in streams))
        time.sleep(0.0005)
        c.send(b"".join(f.rst(s) for s in streams))
        time.sleep(0.002)
    time.sleep(0.3)
    t.got(f"{c.end()}; {upstream(t)}")


@row("bridge", upstream="busy", quick=True)
def shared_rapid_reset(t):
    """Endless HEADERS and RST_STREAM: the attacker's connection ends, the shared one does not."""
    c = t.connect()
    fields = f.block(f.connect_fields(c.authority))
    t.flood(c, (b"".join(f.headers(s, fields) + f.rst(s) for s in [c.next_id() for _ in range(100)]) for _ in itertools.count()), 4)
    t.forbidden(c)
    t.got(f"{c.end()}; {upstream(t)}")


@row("bridge", upstream="h2")
def shared_cut_connections(t):
    """Connections with 50 open sockets each, cut by RST, 20 times."""
    import socket
    import struct
    for _ in range(20):
        c = t.connect()
        c.open_many(50)
        c.tcp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    time.sleep(0.5)
    t.got(upstream(t))


@row("bridge", upstream="serve", memory=UNREAD, quick=True, limit=30)
def shared_unread_sockets(t):
    """H5: 600 sockets through the bridge whose echoes are never read."""
    c = t.connect(grant=0)
    c.until(lambda: c.settings is not None)
    t.beside(c, open_window(c, c.open()), queues=True)
    streams = c.open_many(600)
    sent = fill(t, c, streams, f.ws(bytes(32000)))
    t.got(f"{sent >> 20} MiB accepted on {len(streams)} sockets; {ends(c, streams)}; {c.end()}")


# Two names of one upstream, so that the bridge has two connections to it.
TWO_CONNECTIONS = """
cleartext = true
[[route]]
path = "/*"
to = "ws://127.0.0.1:UPSTREAM"
version = "http2"
[[route]]
path = "/other/*"
to = "ws://localhost:UPSTREAM"
version = "http2"
"""


def under_bulk(**more):
    """Compares the neighbours with what they get while the same bulk uses another connection to the same upstream: with
    all processors busy, they are slower then too."""
    return row("bridge", upstream="serve", config=TWO_CONNECTIONS, limit=40, times=5, **more)


@under_bulk(memory=UNREAD, quick=True)
def shared_bulk(t):
    """H8: 900 sockets at full throughput; short messages of others are not delayed."""
    bulk(t, [900])


@under_bulk(memory=576)
def shared_bulk_of_two_connections(t):
    """H8: 1,900 sockets on two connections at full throughput."""
    bulk(t, [950, 950])


def bulk(t, counts: list[int]) -> None:
    _, t.baseline = transfer(t, counts, "/other/bulk")
    time.sleep(1)
    sent, t.during = transfer(t, counts, "/bulk")
    t.got(f"{sent >> 20} MiB transferred")


def transfer(t, counts: list[int], path: str) -> tuple[int, list]:
    """Sends for some seconds on as many sockets, each of which gets its echoes. Returns the bytes sent, and the
    neighbours' round trips meanwhile."""
    message = f.ws(bytes(65536 - 14))
    opened, sent = [], []
    for count in counts:
        c = t.connect(grant=1 << 20)
        c.until(lambda: c.settings is not None)
        streams = c.open_many(count, path=path)
        for stream in streams:
            # Received bytes are returned to the window at once.
            c.listen(stream, lambda body, c=c, s=stream: c.send(f.window(s, len(body))) if body else None)
        opened.append((c, streams))

    def one(c, streams) -> None:
        try:
            sent.append(fill(t, c, streams, message, 4))
        except Gone:
            pass

    threads = [threading.Thread(target=one, args=each, daemon=True) for each in opened]
    t.phases()
    for each in threads:
        each.start()
    for each in threads:
        each.join(10)
    trips = t.phases()
    for c, _ in opened:
        c.close()
    return sum(sent), trips


@row("bridge", upstream="h2")
def shared_tiny_data(t):
    """Messages in DATA frames of one byte: the bridge does not forward them one by one."""
    c = t.connect()
    t.beside(c)
    streams = c.open_many(20)
    message = f.ws(bytes(50))
    for _ in range(50):
        for stream in streams:
            c.send(b"".join(f.data(stream, message[at:at + 1]) for at in range(len(message))))
    time.sleep(0.5)
    t.got(f"{c.end()}; {upstream(t)}")


@row("bridge", upstream="h2")
def shared_wrong_frames(t):
    """Frames that violate RFC 6455 on 200 sockets: the upstream closes these sockets only."""
    c = t.connect()
    t.beside(c)
    streams = c.open_many(200)
    c.send(b"".join(f.data(s, bytes([0xFF]) * 40) for s in streams))
    time.sleep(0.5)
    c.send(b"".join(f.rst(s) for s in streams))
    t.got(f"{c.end()}; {upstream(t)}")


@row("bridge", upstream="serve", quick=True)
def shared_window_overrun(t):
    """A client that exceeds its window to the bridge: only its stream is reset."""
    c = t.connect(grant=0)
    t.beside(c, open_window(c, c.open()))
    stream = c.open()
    # The echoes are not read, so the buffers on the way fill up, and the window stays closed.
    overrun(c, stream, f.ws(bytes(16000)))
    t.got(f"{c[stream]}, {c.end()}")
    t.want(c[stream].over, "no reset")


@row("bridge", upstream="h2")
def shared_half_answers(t):
    """500 sockets that the upstream never ends, whose client then disappears."""
    c = t.connect()
    c.open_many(500)
    c.close()
    time.sleep(0.5)
    t.got(upstream(t))


@row("bridge", "--max-sockets", "50", upstream="h2")
def shared_places(t):
    """Sockets beyond `--max-sockets`: 503, and released capacity goes to others."""
    c = t.connect()
    streams = [c.next_id() for _ in range(200)]
    c.send(b"".join(f.headers(s, f.connect_fields(c.authority)) for s in streams))
    c.until(lambda: all(c[s].status or c[s].over for s in streams), 5)
    rejected = sum(c[s].status == 503 for s in streams)
    c.close()
    time.sleep(0.5)
    why = t.newcomer()
    t.got(f"{rejected} x 503; then a newcomer {'was accepted' if not why else 'was not: ' + why}; {upstream(t)}")
    t.want(rejected >= 148 and not why, "fewer than 148 rejected, or a newcomer is not accepted")


@row("bridge", upstream="serve1", memory=320, limit=30)
def http1_unread_sockets(t):
    """H5: 400 sockets that are never read, to an HTTP/1.1 upstream."""
    c = t.connect(grant=0)
    c.until(lambda: c.settings is not None)
    t.beside(c, open_window(c, c.open()), queues=True)
    streams = c.open_many(400)
    sent = fill(t, c, streams, f.ws(bytes(32000)))
    t.got(f"{sent >> 20} MiB accepted on {len(streams)} sockets; {ends(c, streams)}; {c.end()}")


@row("bridge", upstream="h1", memory=96)
def bodies_unread(t):
    """200 POST requests whose bodies the upstream does not read."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    t.beside(c, queues=True)
    streams = [c.ask(f.request_fields(c.authority, "POST", "/silent", [("content-length", "10000000")])) for _ in range(200)]
    sent = fill(t, c, streams, bytes(32000), 4)
    t.got(f"{sent >> 20} MiB accepted; {c.end()}")


@row("bridge", upstream="serve", memory=160, limit=30)
def bombs_pass_by(t):
    """Compressed messages that inflate to 15 MiB: the bridge forwards them without inflating."""
    c = t.connect()
    t.beside(c)
    stream = c.open(extra=[("sec-websocket-extensions", "permessage-deflate")])
    message = f.ws(compressed(bytes(15 << 20)), rsv=4)
    c.listen(stream, lambda body: None)
    for _ in range(100):
        c.data(stream, message)
    t.got(f"100 passed; {c.end()}")


@row("bridge", upstream="h1", quick=True, limit=25)
def log_that_nobody_reads(t):
    """H3: standard error is a full pipe; 2,000 sockets end, and others continue."""
    import os
    import subprocess

    from .target import Target
    bridge = Target([t.program, "bridge", "--cleartext", "--listen", "127.0.0.1:0", "--to", f"ws://127.0.0.1:{t.up.port}", "--upstream-http1"],
                    t.dir / "full.log", stderr=subprocess.PIPE, tied=False)
    t._children.append(bridge)
    port = bridge.port()
    c = t.connect(port)
    t.beside(c, name="behind the full pipe")
    opened = 0
    for _ in range(20):
        if not c.closed:
            streams = c.open_many(100, patience=3)
            opened += len(streams)
            c.send(b"".join(f.data(s, f.ws(b"\x03\xe8", 8), end=True) for s in streams))
            c.until(lambda: all(c[s].over for s in streams), 3)
    t.got(f"{opened} sockets opened; {c.end()}")
    t.want(opened == 2000, f"only {opened} of 2000 sockets opened")
    os.set_blocking(bridge.process.stderr.fileno(), False)
    bridge.process.stderr.read()
