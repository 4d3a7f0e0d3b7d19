"""Hostile upstreams of a bridge: an attack on one route does not affect sockets of another."""

from __future__ import annotations

import itertools
import time

from . import frames as f
from .client import answer
from .raw import Gone
from .context import row

TWO = """
cleartext = true
[[route]]
path = "/*"
to = "ws://127.0.0.1:UPSTREAM"
version = "http1"
[[route]]
path = "/evil/*"
to = "ws://127.0.0.1:HOSTILE"
version = "%s"
"""


def hostile(version: str, **more):
    return row("bridge", upstream="h1", config=TWO % version, limit=30, **more)


def victim(t, count: int = 1):
    """Opens sockets on the hostile route. Returns them, and the bridge's connection to the attacker."""
    c = t.connect()
    t.beside(c)
    streams = [c.ask(f.connect_fields(c.authority, "/evil/x")) for _ in range(count)]
    up = t.accept(t.hostile)
    for n in range(count):
        t.requested(up, 2 * n + 1)
    return c, streams, up


def flood(t, chunks, seconds: float = 3, must_end: bool = True) -> None:
    c, streams, up = victim(t)
    up.send(f.headers(1, [(":status", "200")]))
    c.until(lambda: c[streams[0]].status, 3)
    sent = t.flood(up, chunks, seconds)
    said = t.ended(up, 4 if must_end else 0.5)
    c.until(lambda: c[streams[0]].over, 2)
    t.got(f"{sent >> 10} KiB accepted, {said}; its client: {c[streams[0]]}")
    if must_end:
        t.want("open" not in said, "the connection is still open")


@hostile("http2", quick=True)
def upstream_settings_without_end(t):
    """Endless SETTINGS."""
    flood(t, itertools.repeat(f.settings({f.INITIAL_WINDOW: 65535}) * 500))


@hostile("http2")
def upstream_goaways_without_end(t):
    """Endless GOAWAY."""
    flood(t, itertools.repeat(f.goaway((1 << 31) - 1) * 500))


@hostile("http2")
def upstream_continuation_without_end(t):
    """Endless CONTINUATION without END_HEADERS."""
    flood(t, itertools.chain([f.frame(f.HEADERS, f.END_STREAM, 1, f.field("x", "y"))],
                             itertools.repeat(f.frame(f.CONTINUATION, 0, 1, f.field("x", "y" * 900)) * 16)))


@hostile("http2", memory=96)
def upstream_data_to_who_does_not_read(t):
    """Data up to and beyond the window, for a client that reads nothing."""
    c = t.connect(grant=0)
    stream = c.ask(f.connect_fields(c.authority, "/evil/x"))
    up = t.accept(t.hostile)
    t.requested(up, 1)
    up.send(f.headers(1, [(":status", "200")]))
    sent = t.flood(up, itertools.repeat(f.data(1, bytes(16384)) * 4), 3)
    t.got(f"{sent >> 10} KiB accepted, upstream stream: {up[1]}; client: {c[stream]}")


@hostile("http2")
def upstream_resets_all(t):
    """200 requests are reset by REFUSED_STREAM each time they are retried: the client gets a response."""
    c = t.connect()
    t.beside(c)
    streams = [c.ask(f.connect_fields(c.authority, "/evil/x")) for _ in range(200)]
    up = t.accept(t.hostile)
    # Some are sent again on another connection, which nobody serves: 504 after the time limit for handshakes of 10 s.
    until, done = time.monotonic() + 20, set()
    while time.monotonic() < until and not all(c[s].status or c[s].over for s in streams):
        for stream in [s for s in list(up.streams) if up[s].fields and s not in done]:
            done.add(stream)
            up.send(f.rst(stream, 7))
        time.sleep(0.02)
    seen = {c[s].status for s in streams}
    t.got(f"{len(done)} requests reset; their clients got {seen}")
    t.want(None not in seen, "some clients got no response")


@hostile("http2")
def upstream_is_silent(t):
    """HTTP/2 without SETTINGS: the client gets 502 or 504 within the `connect` time limit; others are unaffected."""
    c = t.connect()
    t.beside(c)
    stream = c.ask(f.connect_fields(c.authority, "/evil/x"))
    tcp = t.accept_tcp(t.hostile)
    c.until(lambda: c[stream].status or c[stream].over, 25)
    t.got(f"{c[stream]}")
    t.want((c[stream].status or 0) >= 500, "no response")
    tcp.close()


@hostile("http1", quick=True)
def upstream_wrong_answers(t):
    """HTTP/1.1: 12 invalid responses to an Upgrade: 502 each, and no part of them becomes another response."""
    wrong = [
        ("HTTP/1.0", lambda head: answer(head, b"1.0")), ("a wrong accept", lambda head: answer(head, accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        ("a subprotocol", lambda head: answer(head, more=b"Sec-WebSocket-Protocol: x\r\n")),
        ("an extension", lambda head: answer(head, more=b"Sec-WebSocket-Extensions: permessage-deflate\r\n")),
        ("no Upgrade", lambda head: answer(head).replace(b"Upgrade: websocket\r\n", b"")),
        ("no accept", lambda head: answer(head).replace(b"Sec-WebSocket-Accept", b"X")),
        ("garbage", lambda head: b"\x16\x03\x01" * 50 + b"\r\n\r\n"), ("nothing", lambda head: b""),
        ("a bare LF", lambda head: answer(head).replace(b"\r\n", b"\n").replace(b"HTTP/1.1", b"HTTP/9.1")),
        ("a NUL", lambda head: answer(head, more=b"X: a\0b\r\n")),
        ("a head of 4 MB", lambda head: answer(head, more=b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 130_000)),
        ("a status of 999999", lambda head: answer(head).replace(b"101", b"999999")),
    ]
    c = t.connect()
    t.beside(c)
    seen: dict[int | None, int] = {}
    for what, make in wrong:
        stream = c.ask(f.connect_fields(c.authority, "/evil/x"))
        try:
            tcp = t.accept_tcp(t.hostile)
        except TimeoutError:
            # The upstream is ejected after failures; the client still gets a response.
            c.until(lambda: c[stream].status, 1)
            t.want(c[stream].status in (502, 503), f"{what}: no request at the upstream, {c[stream]}")
            continue
        try:
            tcp.send(make(tcp.read_until(b"\r\n\r\n")), 2)
        except Gone:
            pass
        time.sleep(0.05)
        tcp.close()
        c.until(lambda: c[stream].status or c[stream].over, 5)
        seen[c[stream].status] = seen.get(c[stream].status, 0) + 1
        t.want(c[stream].status in (502, 503, 504), f"{what}: {c[stream]}")
    t.got(f"{', '.join(f'{count} x {status}' for status, count in seen.items())}")


@hostile("http1")
def upstream_informational_without_end(t):
    """HTTP/1.1: endless 103 responses."""
    http1(t, itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 500))


@hostile("http1")
def upstream_head_without_end(t):
    """HTTP/1.1: an endless response head."""
    http1(t, itertools.chain([b"HTTP/1.1 101 Switching Protocols\r\n"], itertools.repeat(b"X: yyyyyyyyyyyyyyy\r\n" * 500)))


def http1(t, chunks) -> None:
    c = t.connect()
    t.beside(c)
    stream = c.ask(f.connect_fields(c.authority, "/evil/x"))
    tcp = t.accept_tcp(t.hostile)
    tcp.read_until(b"\r\n\r\n")
    sent = t.flood(tcp, chunks, 5, most=1 << 28)
    c.until(lambda: c[stream].status or c[stream].over, 3)
    t.got(f"{sent >> 10} KiB accepted; {c[stream]}")
    t.want((c[stream].status or 0) >= 500, "no 502")


@hostile("http1")
def upstream_page_of_two_meanings(t):
    """HTTP/1.1: ambiguous responses to GET; no part of them becomes the response to another request."""
    second = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    wrong = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 40\r\n\r\nok" + second,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + second,
        b"HTTP/1.1 204 No Content\r\n\r\n" + second,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + second,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + second,
    ]
    c = t.connect()
    t.beside(c)
    evil = 0
    statuses = []
    for bad in wrong:
        stream = c.ask(f.request_fields(c.authority, path="/evil/x"), end=True)
        tcp = t.accept_tcp(t.hostile)
        tcp.read_until(b"\r\n\r\n")
        tcp.send(bad)
        c.until(lambda: c[stream].over, 1)
        # The next request must not get the rest of the previous response.
        following = c.ask(f.request_fields(c.authority, path="/evil/y"), end=True)
        c.until(lambda: c[following].over, 0.3)
        evil += c[following].data == b"evil"
        c.send(f.rst(following))
        statuses.append(str(c[stream].status))
        tcp.close()
        # The connection opened for the second request.
        t.hostile.settimeout(0.3)
        try:
            t.accept_tcp(t.hostile).close()
        except TimeoutError:
            pass
        t.hostile.settimeout(10)
    t.got(f"{', '.join(statuses)}; {evil} responses to another request")
    t.want(not evil, "a response went to another request")
