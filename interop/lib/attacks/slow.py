"""Slow clients at every step: each is cut off by a named time limit. The rows run together."""

from __future__ import annotations

import time

from . import frames as f
from .raw import Gone, upgrade
from .context import row

# `handshake_timeout` is 20 s, from the ninth byte of a frame; `close_timeout` plus `linger` is 15 s.
PATIENCE = 32
# The start of a TLS 1.2 or 1.3 ClientHello, whose record header announces more.
HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(32)) + b"\x00"


def slow(part: str = "server", *options: str, **more):
    return row(part, *options, slow=True, limit=50, **more)


def cut(t, connection, drip: bytes = b"", pause: float = 1, answer_first: bool = False, patience: float = PATIENCE) -> None:
    """Sends bytes one by one, then nothing. The server has to end the connection."""
    began = time.monotonic()
    tcp = getattr(connection, "tcp", connection)
    got, drip = bytearray(), iter(drip)
    while time.monotonic() - began < patience and not tcp.closed:
        byte = next(drip, None)
        if byte is not None:
            try:
                tcp.send(bytes([byte]), 1)
            except Gone:
                break
        if tcp is connection:
            got += tcp.receive(pause)
        else:
            time.sleep(pause)
    if tcp is connection and not tcp.closed:
        got += tcp.receive(0.5)
    said = got.split(b"\r\n")[0].decode("latin-1")[:30] if got.startswith(b"HTTP/") else ""
    goaway = connection.end() if tcp is not connection else ""
    t.got(f"{' '.join(each for each in (said, goaway) if each) or 'nothing'}, closed after {time.monotonic() - began:.0f} s"
          if tcp.closed or "GOAWAY" in goaway else f"still open after {patience} s")
    t.want(tcp.closed or "GOAWAY" in goaway, "not cut off")


@slow()
def slow_silence(t):
    """A TCP connection without a byte."""
    cut(t, t.tcp())


@slow()
def slow_preface(t):
    """The preface, one byte per second."""
    cut(t, t.tcp(), f.PREFACE * 3)


@slow()
def slow_no_settings(t):
    """H7: the preface, without SETTINGS after it (RFC 9113 §3.4)."""
    tcp = t.tcp()
    tcp.send(f.PREFACE)
    cut(t, tcp)


@slow()
def slow_half_settings(t):
    """The preface and half a SETTINGS frame."""
    tcp = t.tcp()
    tcp.send(f.PREFACE + f.settings({f.INITIAL_WINDOW: 65535})[:10])
    cut(t, tcp)


@slow()
def slow_no_settings_ack(t):
    """The server's SETTINGS are never acknowledged (RFC 9113 §6.5.3: it may end the connection); others are unaffected."""
    c = t.connect(ack=False)
    c.open()
    time.sleep(3)
    t.got(c.end())


@slow()
def slow_headers(t):
    """H7: HEADERS, one byte per second."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    cut(t, c, f.headers(1, f.connect_fields(c.authority)))


@slow()
def slow_headers_behind_a_socket(t):
    """H7: HEADERS, one byte per second, while another socket of the connection is open."""
    c = t.connect()
    c.open()
    cut(t, c, f.headers(3, f.connect_fields(c.authority)))


@slow()
def slow_continuation(t):
    """HEADERS without END_HEADERS, then one-byte CONTINUATION frames, one per second."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    block = f.block(f.connect_fields(c.authority, extra=[("x", "y" * 300)]))
    c.send(f.frame(f.HEADERS, 0, 1, block[:1]))
    began = time.monotonic()
    try:
        for byte in block[1:]:
            c.send(f.frame(f.CONTINUATION, 0, 1, bytes([byte])))
            time.sleep(0.5)
            if c.goaway or c.closed or time.monotonic() - began > PATIENCE:
                break
    except Gone:
        pass
    t.got(f"{c.end()} after {time.monotonic() - began:.0f} s")
    t.want("open" not in c.end(), "not cut off")


@slow()
def slow_http1_head(t):
    """The head of an Upgrade, one byte per second."""
    cut(t, t.tcp(), upgrade(t.port))


@slow()
def slow_http1_fields(t):
    """The head of an Upgrade with one field per second, without end."""
    tcp = t.tcp()
    tcp.send(f"GET / HTTP/1.1\r\nHost: localhost:{t.port}\r\n".encode())
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE and not tcp.closed:
        try:
            tcp.send(b"X-Filler: y\r\n", 1)
        except Gone:
            break
        tcp.receive(1)
    tcp.receive(0.5)
    t.got(f"closed after {time.monotonic() - began:.0f} s" if tcp.closed else "still open")
    t.want(tcp.closed, "not cut off")


@slow()
def slow_second_head(t):
    """A kept-alive HTTP/1.1 connection whose second request is half a head."""
    tcp = t.tcp()
    tcp.send(f"GET / HTTP/1.1\r\nHost: localhost:{t.port}\r\n\r\n".encode())
    tcp.receive(2)
    cut(t, tcp, upgrade(t.port)[:60], pause=0.1)


@slow()
def slow_close_never_answered(t):
    """A server's Close that is never answered, on a stream that is never ended."""
    c = t.connect()
    stream = c.open()
    c.send(f.data(stream, f.ws(b"x", mask=False)))
    c.until(lambda: c[stream].over, PATIENCE)
    t.got(c[stream])
    t.want(c[stream].over, "the server does not end the stream")


@slow()
def slow_close_without_an_end(t):
    """A complete closing handshake, on a stream that the client never ends."""
    c = t.connect()
    stream = c.open()
    c.send(f.data(stream, f.ws(b"\x03\xe8", 8)))
    c.until(lambda: c[stream].over, PATIENCE)
    t.got(c[stream])
    t.want(c[stream].over, "the server does not end the stream")


@slow()
def slow_close_never_answered_http1(t):
    """A server's Close that is never answered, over HTTP/1.1."""
    h = t.h1()
    h.send(f.ws(b"x", mask=False))
    cut(t, h.tcp)


@slow()
def slow_half_closed_http1(t):
    """A FIN on an HTTP/1.1 socket without a Close frame, while the other direction stays open."""
    import socket as s
    h = t.h1()
    h.tcp.sock.shutdown(s.SHUT_WR)
    cut(t, h.tcp)


@slow("server", "--tls")
def slow_tls_silence(t):
    """TLS: a TCP connection without a byte."""
    cut(t, t.tcp())


@slow("server", "--tls")
def slow_tls_half_a_hello(t):
    """TLS: half a ClientHello."""
    tcp = t.tcp()
    tcp.send(HELLO)
    cut(t, tcp)


@slow("server", "--tls")
def slow_tls_hello(t):
    """TLS: a ClientHello, one byte per second."""
    cut(t, t.tcp(), HELLO + bytes(100))


@slow("server", "--tls")
def slow_tls_no_request(t):
    """TLS: the handshake with ALPN h2, without a byte of HTTP."""
    tls(t, ["h2"])


@slow("server", "--tls")
def slow_tls_no_request_http1(t):
    """TLS: the handshake with ALPN http/1.1, without a byte of HTTP."""
    tls(t, ["http/1.1"])


def tls(t, alpn: list[str]) -> None:
    import socket
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(alpn)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", t.port)) as raw, context.wrap_socket(raw, server_hostname="localhost") as sock:
        sock.settimeout(0.5)
        over = False
        while not over and time.monotonic() - began < PATIENCE:
            try:
                over = not sock.recv(4096)
            except TimeoutError:
                pass
            except OSError:
                over = True
    t.got(f"closed after {time.monotonic() - began:.0f} s" if over else f"still open after {PATIENCE} s")
    t.want(over, "not cut off")


@slow("bridge", upstream="h1")
def slow_bodies(t):
    """100 HTTP/2 requests whose bodies arrive at one byte per second; serving them is allowed."""
    c = t.connect()
    t.beside(c)
    streams = [c.ask(f.request_fields(c.authority, "POST", "/x", [("content-length", "100000")])) for _ in range(100)]
    for _ in range(8):
        c.send(b"".join(f.data(s, b"x") for s in streams if not c[s].over))
        time.sleep(1)
    t.got(f"{sum(not c[s].over for s in streams)} of 100 in progress; {c.end()}")


@slow("bridge", upstream="h1")
def slow_bodies_http1(t):
    """50 HTTP/1.1 requests whose chunks arrive at one byte per second; serving them is allowed."""
    host = f"Host: localhost:{t.port}\r\n".encode()
    clients = [t.tcp() for _ in range(50)]
    for each in clients:
        each.send(b"POST /x HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(8):
        for each in clients:
            try:
                each.send(b"1\r\nx\r\n")
            except Gone:
                pass
        time.sleep(1)
    t.got(f"{sum(not each.closed for each in clients)} of 50 in progress")


@slow("bridge", upstream="h1")
def slow_upstream_answers(t):
    """100 sockets and 100 plain requests that the upstream never answers: 504 for the sockets, others are unaffected."""
    c = t.connect()
    t.beside(c)
    sockets = [c.ask(f.connect_fields(c.authority, "/silent")) for _ in range(100)]
    pages = [c.ask(f.request_fields(c.authority, path="/silent"), end=True) for _ in range(100)]
    c.until(lambda: all(c[s].status or c[s].over for s in sockets), PATIENCE)
    t.got(f"{sum(c[s].status == 504 for s in sockets)} of 100 sockets x 504, {sum(bool(c[s].status) for s in pages)} of 100 plain requests answered")
    t.want(all((c[s].status or 0) >= 500 for s in sockets), "no 504 within 26 s")
