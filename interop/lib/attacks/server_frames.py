"""Floods of frames and header blocks against the server: the sender loses its connection, others are unaffected."""

from __future__ import annotations

import contextlib
import itertools
import time

from . import frames as f
from .raw import Gone
from .context import row


def repeated(chunk: bytes):
    return itertools.repeat(chunk)


def flooded(t, chunks, code=f.CALM, seconds=4, connection=None, **options) -> None:
    """Floods a connection, which the server has to end."""
    connection = connection or t.connect(**options)
    connection.until(lambda: connection.settings is not None)
    t.flood(connection, chunks, seconds)
    t.forbidden(connection, code)


def sockets(connection, count: int, behind, first: int = 0):
    """Endless CONNECT requests, each followed by what `behind` returns."""
    fields = f.block(f.connect_fields(connection.authority))
    while True:
        out = []
        for _ in range(count):
            stream = connection.next_id()
            out.append(f.headers(stream, fields) + behind(stream))
        yield b"".join(out)


# -- resets

@row("server", quick=True)
def rapid_reset(t):
    """Endless HEADERS and RST_STREAM (CVE-2023-44487), as fast as 100,000 per second."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    # Built in advance, because building them takes longer than sending them.
    chunks = [next(sockets(c, 100, f.rst)) for _ in range(600)]
    began = time.monotonic()
    sent = t.flood(c, chunks, 4) // len(chunks[0]) * 100
    rate = sent / (time.monotonic() - began)
    t.forbidden(c)
    t.got(f"{t.result.got} after {sent:,}, {rate:,.0f}/s")


@row("server")
def rapid_reset_of_requests(t):
    """Endless GET and RST_STREAM."""
    c = t.connect()
    fields = f.block(f.request_fields(c.authority))

    def chunks():
        while True:
            yield b"".join(f.headers(s, fields, end=True) + f.rst(s) for s in [c.next_id() for _ in range(100)])

    flooded(t, chunks(), connection=c)


@row("server", quick=True)
def cancelled_thirty_at_once(t):
    """L3: 30 sockets requested and cancelled in one write; the connection must stay open."""
    c = t.connect()
    t.beside(c)
    c.send(next(sockets(c, 30, f.rst)))
    c.until(lambda: c.goaway, 1)
    t.got(c.end())
    t.want(c.end() == "connection open", "a client that cancels 30 attempts loses its connection")


@row("server")
def cancelled_a_hundred_a_second(t):
    """L3: ten sockets every 100 ms, cancelled at once, for 4 s; the connection must stay open."""
    c = t.connect()
    t.beside(c)
    for _ in range(40):
        c.send(next(sockets(c, 10, f.rst)))
        time.sleep(0.1)
    t.got(c.end())
    t.want(c.end() == "connection open", "a client that cancels 100 attempts a second loses its connection")


def made_you_reset(t, behind, fields=None, **options):
    """Makes the server reset each stream that it accepts (CVE-2025-8671)."""
    c = t.connect(**options)
    block = f.block(fields or f.connect_fields(c.authority))

    def chunks():
        while True:
            yield b"".join(f.headers(s, block) + behind(s) for s in [c.next_id() for _ in range(50)])

    c.until(lambda: c.settings is not None)
    t.flood(c, chunks(), 4)
    said = t.ended(c, 1)
    resets = sum(stream.reset is not None for stream in c.streams.values())
    t.got(f"{resets} resets, {said}")
    # Streams that end cleanly are not resets, and cost no more than other sockets.
    t.want(said != "connection open" or not resets, "the server resets streams without limit")


@row("server", quick=True)
def made_you_reset_by_window_overflow(t):
    """MadeYouReset: WINDOW_UPDATE beyond 2^31-1 on each socket."""
    made_you_reset(t, lambda s: f.window(s, (1 << 31) - 1))


@row("server")
def made_you_reset_by_window_of_zero(t):
    """MadeYouReset: WINDOW_UPDATE of 0 on each socket."""
    made_you_reset(t, lambda s: f.window(s, 0))


@row("server")
def made_you_reset_by_priority_on_itself(t):
    """MadeYouReset: each socket depends on itself."""
    made_you_reset(t, lambda s: f.frame(f.PRIORITY, 0, s, s.to_bytes(4, "big") + b"\x10"))


@row("server")
def made_you_reset_by_priority_of_a_wrong_size(t):
    """MadeYouReset: PRIORITY of 4 bytes."""
    made_you_reset(t, lambda s: f.frame(f.PRIORITY, 0, s, bytes(4)))


@row("server")
def made_you_reset_by_trailers(t):
    """MadeYouReset: trailers with a pseudo-header field."""
    made_you_reset(t, lambda s: f.headers(s, [(":path", "/")], end=True))


@row("server")
def made_you_reset_by_trailers_without_end(t):
    """MadeYouReset: trailers without END_STREAM."""
    made_you_reset(t, lambda s: f.headers(s, [("x", "y")]))


@row("server")
def made_you_reset_by_content_length(t):
    """MadeYouReset: a body longer than its content-length."""
    made_you_reset(t, lambda s: f.data(s, b"four"), f.request_fields("localhost", "POST", extra=[("content-length", "1")]))


@row("server")
def made_you_reset_by_a_short_body(t):
    """MadeYouReset: a body shorter than its content-length."""
    made_you_reset(t, lambda s: f.data(s, b"four", end=True), f.request_fields("localhost", "POST", extra=[("content-length", "9")]))


@row("server")
def made_you_reset_by_data_behind_the_end(t):
    """MadeYouReset: DATA after END_STREAM."""
    made_you_reset(t, lambda s: f.data(s, b"", end=True) + f.data(s, b"more"))


@row("server")
def made_you_reset_by_a_malformed_request(t):
    """MadeYouReset: a field that HTTP/2 forbids, in each request."""
    made_you_reset(t, lambda s: b"", f.connect_fields("localhost", extra=[("connection", "close")]))


@row("server")
def made_you_reset_by_wrong_frames(t):
    """MadeYouReset by RFC 6455: an unmasked frame on each socket, which fails the socket."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    seen = 0
    for _ in range(40):
        streams = [c.next_id() for _ in range(50)]
        try:
            c.send(b"".join(f.headers(s, f.connect_fields(c.authority)) + f.data(s, f.ws(b"x", mask=False)) for s in streams))
        except Gone:
            break
        c.until(lambda: all(c[s].received or c[s].over for s in streams), 3)
        seen += sum(c[s].close_code() == 1002 for s in streams)
    t.got(f"{seen} x close 1002, {c.end()}")


@row("server")
def resets_of_closed_streams(t):
    """H10: endless RST_STREAM on a closed stream."""
    c = t.connect()
    stream = c.open()
    c.send(f.rst(stream))
    flooded(t, repeated(f.rst(stream) * 5000), code=None, connection=c)


# -- header blocks

@row("server", quick=True)
def continuation_without_end(t):
    """Endless CONTINUATION without END_HEADERS (VU#421644)."""
    c = t.connect()
    stream = c.next_id()
    c.send(f.frame(f.HEADERS, 0, stream, f.block(f.connect_fields(c.authority))))
    flooded(t, repeated(f.frame(f.CONTINUATION, 0, stream, f.field("x-filler", "y" * 900)) * 16), code=None, connection=c)


@row("server")
def continuation_that_is_empty(t):
    """Endless empty CONTINUATION frames (CVE-2019-9518)."""
    c = t.connect()
    stream = c.next_id()
    c.send(f.frame(f.HEADERS, 0, stream, f.block(f.connect_fields(c.authority))))
    flooded(t, repeated(f.frame(f.CONTINUATION, 0, stream) * 500), code=None, connection=c)


@row("server", quick=True)
def hpack_bomb(t):
    """A field of 4 KB in the dynamic table, referenced 15,000 times in a block of 16 KiB: 60 MB."""
    c = t.connect()
    bomb = f.block(f.connect_fields(c.authority)) + f.stored("x", "y" * 4000) + f.indexed(62) * 15000
    last = 1
    try:
        for _ in range(50):
            last = c.ask(bomb)
            if c.goaway:
                break
    except Gone:
        # The server may end the connection meanwhile.
        pass
    c.until(lambda: c[last].status or c[last].over or c.goaway, 5)
    t.got(f"{c[last]}, {c.end()}")
    t.want(c[last].status == 431 or c[last].over or c.goaway or c.closed, "the bomb was accepted")


@row("server")
def hpack_table_of_a_gigabyte(t):
    """A dynamic table of 1 GiB is requested: the server's own setting limits it."""
    c = t.connect(settings={f.TABLE_SIZE: 1 << 30})
    c.ask(f.table_size(1 << 30) + f.block(f.connect_fields(c.authority)))
    t.forbidden(c, None)


@row("server")
def hpack_table_up_and_down(t):
    """10,000 table size changes in each block; RFC 7541 §4.2 allows two, and lets the server ignore the others."""
    c = t.connect()
    t.flood(c, (f.headers(c.next_id(), (f.table_size(0) + f.table_size(4096)) * 5000 + f.block(f.connect_fields(c.authority)))
                for _ in range(400)), 3)
    t.got(c.end())


@row("server")
def hpack_index_of_nothing(t):
    """An HPACK index beyond the table."""
    c = t.connect()
    c.ask(f.indexed(5000))
    t.forbidden(c, None)


@row("server")
def hpack_number_without_end(t):
    """An HPACK integer of 200 bytes (RFC 7541 §5.1)."""
    c = t.connect()
    c.ask(b"\x00\x7f" + b"\xff" * 200 + b"\x01")
    t.forbidden(c, None)


@row("server", quick=True)
def fields_of_100_kib(t):
    """Header lists of 100 KiB, above the limit of 64: 431, and siblings are unaffected."""
    c = t.connect()
    t.beside(c)
    big = f.connect_fields(c.authority, extra=[(f"x-{n}", "y" * 1000) for n in range(100)])
    answers = set()
    for _ in range(20):
        stream = c.ask(big)
        c.until(lambda: c[stream].status or c[stream].over, 3)
        answers.add(str(c[stream].status or c[stream]))
    t.got(f"{', '.join(sorted(answers))}; {c.end()}")
    t.want(answers == {"431"}, "not 431")


@row("server")
def fields_of_a_megabyte(t):
    """Consecutive header lists of 1 MB."""
    c = t.connect()
    big = f.connect_fields(c.authority, extra=[(f"x-{n}", "y" * 10000) for n in range(100)])
    flooded(t, (f.headers(c.next_id(), big) for _ in range(20)), code=None, connection=c)


# -- control frames

@row("server", quick=True)
def settings_without_end(t):
    """Endless SETTINGS, each of which requires an ACK."""
    flooded(t, repeated(f.settings({f.INITIAL_WINDOW: 65535}) * 2000))


@row("server")
def settings_unread(t):
    """Endless SETTINGS from a client that reads no ACK (CVE-2019-9515)."""
    _unread(t, f.settings() * 2000)


def _unread(t, chunk: bytes) -> None:
    c = t.connect(read=False, receive_buffer=4096)
    sent = t.flood(c, repeated(chunk), 4)
    t.got(f"{sent >> 10} KiB accepted, then " + ("the connection ended" if c.closed else "back-pressure"))


@row("server")
def acks_of_nothing(t):
    """Endless unsolicited SETTINGS ACK."""
    flooded(t, repeated(f.settings(ack=True) * 5000), code=None)


@row("server", "--max-concurrent-streams", "9000", memory=128)
def windows_changed_under_many_sockets(t):
    """H10: SETTINGS_INITIAL_WINDOW_SIZE raised and lowered with 9,000 open sockets, between DATA frames."""
    c = t.connect()
    streams = c.open_many(8990)
    t.want(len(streams) == 8990, f"only {len(streams)} sockets opened: {c.end()}")
    if not streams:
        return
    chunk = b"".join(f.settings({f.INITIAL_WINDOW: 60000 + n % 2}) + f.data(streams[n % len(streams)], f.ws(b"x" * 300))
                     for n in range(400))
    t.flood(c, repeated(chunk), 4)
    c.until(lambda: c.goaway, 1)
    t.got(c.end())


@row("server", quick=True)
def pings_without_end(t):
    """Endless PING, each of which requires an ACK (CVE-2019-9512)."""
    flooded(t, repeated(f.ping() * 4000))


@row("server")
def pings_unread(t):
    """Endless PING from a client that reads no ACK."""
    _unread(t, f.ping() * 4000)


@row("server", quick=True)
def priorities_without_end(t):
    """Endless PRIORITY (CVE-2019-9513)."""
    flooded(t, repeated(f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0\x10") * 4000))


@row("server", quick=True)
def window_updates_without_end(t):
    """H10: endless WINDOW_UPDATE of 1 byte for the connection."""
    flooded(t, repeated(f.window(0, 1) * 4000), start=f.PREFACE + f.settings())


@row("server")
def window_updates_of_a_socket(t):
    """H10: endless WINDOW_UPDATE of 1 byte for a socket that has nothing to send."""
    c = t.connect(settings={f.INITIAL_WINDOW: 65535})
    stream = c.open()
    flooded(t, repeated(f.window(stream, 1) * 4000), connection=c)


@row("server")
def goaways_without_end(t):
    """H10: endless GOAWAY."""
    c = t.connect()
    c.open()
    flooded(t, repeated(f.goaway(0) * 4000), connection=c)


@row("server")
def unknown_frames_without_end(t):
    """Endless frames of an unknown type: ignored at first, but not without limit."""
    flooded(t, repeated(f.frame(0x77, 0, 0, bytes(8)) * 4000))


@row("server")
def unknown_frames_of_64_kib(t):
    """The largest frames of an unknown type."""
    c = t.connect()
    sent = t.flood(c, repeated(f.frame(0x77, 0, 0, bytes(16384)) * 16), 2)
    t.got(f"{sent >> 20} MiB ignored, {c.end()}")


# -- frames that break the protocol

@row("server", quick=True)
def frames_that_break_the_protocol(t):
    """14 frames that RFC 9113 makes connection errors, each with the specified code."""
    wrong = [
        ("DATA on stream 0", f.data(0, b"x"), "PROTOCOL_ERROR"),
        ("DATA on an idle stream", f.data(7, b"x"), "PROTOCOL_ERROR"),
        ("HEADERS on an even stream", f.headers(2, [(":method", "GET")]), "PROTOCOL_ERROR"),
        ("HEADERS on stream 0", f.headers(0, [(":method", "GET")]), "PROTOCOL_ERROR"),
        ("PUSH_PROMISE", f.frame(f.PUSH, 4, 1, b"\0\0\0\2"), "PROTOCOL_ERROR"),
        ("SETTINGS of 5 bytes", f.frame(f.SETTINGS, 0, 0, bytes(5)), "FRAME_SIZE_ERROR"),
        ("SETTINGS on a stream", f.frame(f.SETTINGS, 0, 1), "PROTOCOL_ERROR"),
        ("a window of 2^31", f.settings({f.INITIAL_WINDOW: 1 << 31}), "FLOW_CONTROL_ERROR"),
        ("PING of 7 bytes", f.frame(f.PING, 0, 0, bytes(7)), "FRAME_SIZE_ERROR"),
        ("PING on a stream", f.frame(f.PING, 0, 1, bytes(8)), "PROTOCOL_ERROR"),
        ("WINDOW_UPDATE of 0", f.window(0, 0), "PROTOCOL_ERROR"),
        ("a window beyond 2^31-1", f.window(0, (1 << 31) - 1), "FLOW_CONTROL_ERROR"),
        ("a frame larger than announced", f.frame(0x77, 0, 0, bytes(1 << 20)), "FRAME_SIZE_ERROR"),
        ("padding longer than the frame", f.frame(f.DATA, f.PADDED, 1, b"\xff"), "PROTOCOL_ERROR"),
    ]
    codes = []
    for what, bad, code in wrong:
        c = t.connect()
        c.open()
        # GOAWAY and FIN may arrive while the rest of a large frame is being sent.
        with contextlib.suppress(Gone):
            c.send(bad)
        said = t.ended(c)
        codes.append(said)
        t.want("open" not in said, f"{what}: {said}")
        if "GOAWAY" in said:
            t.want(code in said or "PROTOCOL_ERROR" in said, f"{what}: {said}, not {code}")
        c.close()
    t.got(f"{sum('GOAWAY' in said for said in codes)} x GOAWAY, {sum('closed' in said for said in codes)} x closed")
