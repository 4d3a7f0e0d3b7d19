"""Hostile servers against `connect` and `bench`. Meanwhile the client's other sockets have to answer a server's Pings."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import os
import signal
import subprocess
import time

from . import frames as f
from .raw import Gone
from .server_streams import compressed
from .context import row

OK = [(":status", "200")]


def flood(t, chunks, seconds: float = 3, must_end: bool = True, options=()) -> None:
    """Floods a connection: the client has to end that one, and no other."""
    c, _ = t.victims(*options)
    # Sockets on the flooded connection end with it.
    t.besides[:1] = [(name, talk, quiet, False, times) for name, talk, quiet, _, times in t.besides[:1]]
    sent = t.flood(c, chunks(c) if callable(chunks) else chunks, seconds, most=1 << (27 if must_end else 24))
    if must_end:
        t.forbidden(c, None)
    else:
        c.until(lambda: c.goaway, 0.5)
        t.got(f"{sent >> 20} MiB accepted, {c.end()}")


def repeated(chunk: bytes):
    return itertools.repeat(chunk)


def at_client(**more):
    return row("client", limit=30, **more)


@at_client(quick=True)
def client_settings_without_end(t):
    """Endless SETTINGS."""
    flood(t, repeated(f.settings({f.INITIAL_WINDOW: 65535}) * 500))


@at_client(quick=True)
def client_pings_without_end(t):
    """Endless PING."""
    flood(t, repeated(f.ping() * 500))


@at_client()
def client_goaways_without_end(t):
    """Endless GOAWAY with NO_ERROR."""
    flood(t, repeated(f.goaway((1 << 31) - 1) * 500))


@at_client()
def client_window_updates_without_end(t):
    """Endless WINDOW_UPDATE of 1."""
    flood(t, repeated(f.window(1, 1) * 500))


@at_client()
def client_window_updates_of_the_connection(t):
    """WINDOW_UPDATE of 0 for the connection: PROTOCOL_ERROR."""
    flood(t, repeated(f.window(0, 0)))


@at_client()
def client_priorities_without_end(t):
    """Endless PRIORITY."""
    flood(t, repeated(f.frame(f.PRIORITY, 0, 1, b"\0\0\0\0\x10") * 500))


@at_client()
def client_unknown_frames_without_end(t):
    """Endless frames of an unknown type."""
    flood(t, repeated(f.frame(0x77, 0, 0, bytes(8)) * 500))


@at_client()
def client_resets_of_closed_streams(t):
    """Endless RST_STREAM on a closed stream."""
    flood(t, repeated(f.rst(1) * 500))


@at_client(quick=True)
def client_continuation_without_end(t):
    """Endless CONTINUATION without END_HEADERS."""
    flood(t, lambda c: itertools.chain([f.frame(f.HEADERS, f.END_STREAM, 1, f.field("x", "y"))],
                                       repeated(f.frame(f.CONTINUATION, 0, 1, f.field("x", "y" * 900)) * 16)))


@at_client()
def client_empty_data_without_end(t):
    """Endless empty DATA."""
    flood(t, repeated(f.data(1) * 500))


@at_client()
def client_tiny_data(t):
    """Messages in DATA frames of one byte each."""
    message = f.ws(bytes(100), mask=False)
    flood(t, repeated(b"".join(f.data(1, message[at:at + 1]) for at in range(len(message)))), must_end=False)


@at_client()
def client_push(t):
    """PUSH_PROMISE."""
    flood(t, [f.frame(f.PUSH, f.END_HEADERS, 1, b"\0\0\0\2" + f.block(f.request_fields("localhost")))])


@at_client()
def client_window_churn(t):
    """SETTINGS_INITIAL_WINDOW_SIZE raised and lowered between DATA frames."""
    message = f.ws(bytes(300), mask=False)
    flood(t, repeated((f.settings({f.INITIAL_WINDOW: 60000}) + f.data(1, message) + f.settings({f.INITIAL_WINDOW: 1 << 20}) + f.data(1, message)) * 100), must_end=False)


@at_client()
def client_hpack_index_of_nothing(t):
    """An HPACK index beyond the table."""
    flood(t, [f.headers(1, f.indexed(5000), end=True)])


def attack_socket(t, send, codes=(), seconds: float = 3, options=(), answer=None) -> None:
    """Attacks one socket: it has to end, and no sibling."""
    c, stream = t.victims(*options, **({"answer": answer} if answer else {}))
    messages, seen = f.Messages(), []
    c.listen(stream, lambda body: seen.extend(messages.feed(body)))
    try:
        send(c, stream)
    except Gone as error:
        t.got(error)
    def over():
        return any(opcode == 8 for opcode, _, _ in seen) or c[stream].over

    c.until(over, seconds)
    code = next((int.from_bytes(payload[:2], "big") for opcode, _, payload in seen if opcode == 8 and payload), None)
    t.got(f"close {code}, {c[stream]}; {c.end()}" if code else f"{c[stream]}; {c.end()}")
    if codes:
        t.want(code in codes or (c[stream].reset is not None and None in codes), f"not close {' or '.join(str(code) for code in codes)}")


@at_client(quick=True)
def client_masked_frame(t):
    """A masked frame from a server."""
    attack_socket(t, lambda c, s: c.send(f.data(s, f.ws(b"x"))), {1002})


@at_client()
def client_reserved_bits(t):
    """RSV1 without an extension."""
    attack_socket(t, lambda c, s: c.send(f.data(s, f.ws(b"x", rsv=4, mask=False))), {1002})


@at_client()
def client_wrong_utf8(t):
    """A text message that is not valid UTF-8."""
    attack_socket(t, lambda c, s: c.send(f.data(s, f.ws(b"\xff\xfe", 1, mask=False))), {1007})


@at_client()
def client_length_that_is_a_lie(t):
    """A frame with a length of 2^62."""
    attack_socket(t, lambda c, s: c.send(f.data(s, f.ws(b"", claim=1 << 62, mask=False))), {1009})


@at_client()
def client_fragments_that_are_empty(t):
    """A message of empty fragments, without end."""
    piece = f.data(1, f.ws(b"", 0, fin=False, mask=False) * 8000)

    def send(c, s):
        c.send(f.data(s, f.ws(b"x", 2, fin=False, mask=False)))
        t.flood(c, itertools.repeat(piece, 64), 3)

    attack_socket(t, send, {1008, 1009, 1002})


@at_client(memory=96)
def client_half_message(t):
    """15 of 16 MiB of a message, which never ends."""
    def send(c, s):
        c.send(f.data(s, f.ws(b"", claim=(16 << 20) - 1, mask=False)))
        for _ in range(15 * 64):
            c.data(s, bytes(16384))
    attack_socket(t, send, seconds=0.5)


@at_client()
def client_pings_of_a_socket(t):
    """Endless WebSocket Pings, whose Pongs are never read."""
    piece = f.ws(bytes(125), 9, mask=False) * 120
    attack_socket(t, lambda c, s: [c.data(s, piece) for _ in range(400)], seconds=0.5)


@at_client(memory=96)
def client_deflate_bomb(t):
    """1 MB that inflates to 1 GB."""
    import zlib
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = (packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)) * 64
    attack_socket(t, lambda c, s: c.data(s, f.ws(bomb[:-4], rsv=4, mask=False)), {1009, None}, options=["--deflate"],
                  answer=[*OK, ("sec-websocket-extensions", "permessage-deflate")])


@at_client(memory=160)
def client_deflate_bombs(t):
    """40 messages of 15 KB that inflate to 15 MiB each."""
    bomb = f.ws(compressed(bytes(15 << 20)), rsv=4, mask=False)
    attack_socket(t, lambda c, s: [c.data(s, bomb) for _ in range(40)], options=["--deflate"], seconds=1,
                  answer=[*OK, ("sec-websocket-extensions", "permessage-deflate")])


@at_client(quick=True)
def client_window_overrun(t):
    """8 MiB beyond the window of a socket."""
    # Half a message, which the application cannot read, so that the window is not replenished.
    def send(c, s):
        for _ in range(8 * 64):
            c.send(f.data(s, f.ws(bytes(16000), mask=False)))
    attack_socket(t, send, seconds=1)


@at_client()
def client_unasked_messages(t):
    """Unsolicited messages, as many as the windows allow."""
    piece = f.ws(bytes(16000), mask=False)
    attack_socket(t, lambda c, s: [c.data(s, piece) for _ in range(4000)], seconds=0.5)


@at_client()
def client_resets_its_sockets(t):
    """RST_STREAM of one socket: only this one ends."""
    attack_socket(t, lambda c, s: c.send(f.rst(s, 11)), seconds=0.5)


# -- one `connect`, answered by hand

def connect(t, *options: str, http1: bool = False, **streams):
    """Starts `h2ws connect` and accepts its connection; HTTP/2 unless `http1`."""
    listener = t.listen()
    child = t.start("connect", "--http1" if http1 else "--http2", *options, f"ws://127.0.0.1:{listener.getsockname()[1]}/",
                    stdin=subprocess.PIPE, **streams)
    if http1:
        tcp = t.accept_tcp(listener)
        return child, tcp, tcp.read_until(b"\r\n\r\n")
    c = t.accept(listener)
    t.requested(c, 1)
    return child, c, None


def last(child) -> str:
    """The last line of its log, without the program's name."""
    return repr(child.tail().split("h2ws: ")[-1])[1:-1]


def finished(t, child, patience: float, said: str = "") -> None:
    t.mark()
    status = child.ended(patience)
    t.got(f"{said}the client {'still runs' if status is None else f'ends with {status}'}: {last(child)}")
    t.want(status is not None, f"still runs after {patience:g} s")
    t.want(status != 0, "no error")


def waiting(**more):
    return row("client", slow=True, limit=45, **more)


@waiting()
def client_slow_tcp(t):
    """A server that accepts the connection, and sends nothing."""
    listener = t.listen()
    child = t.start("connect", "--http2", f"ws://127.0.0.1:{listener.getsockname()[1]}/")
    tcp = t.accept_tcp(listener)
    finished(t, child, 26)
    tcp.close()


@waiting()
def client_slow_answer(t):
    """A server that never answers the request."""
    child, *_ = connect(t)
    finished(t, child, 26)


@waiting()
def client_slow_head(t):
    """HTTP/1.1: a response at one byte per second."""
    child, tcp, _ = connect(t, http1=True)
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 3:
        if child.ended(0.5) is not None:
            break
        try:
            tcp.send(bytes([byte]))
        except Gone:
            break
    finished(t, child, 5)


@waiting()
def client_slow_informational(t):
    """A 103 every half second, without a final response."""
    child, c, _ = connect(t)
    for _ in range(60):
        if child.ended(0.5) is not None:
            break
        try:
            c.send(f.headers(1, [(":status", "103")]))
        except Gone:
            break
    finished(t, child, 5)


@at_client(quick=True)
def client_informational_without_end(t):
    """H13: endless 103 responses over HTTP/2, as fast as possible."""
    child, c, _ = connect(t)
    t.flood(c, repeated(f.headers(1, [(":status", "103"), ("link", "x" * 100)]) * 100), 6, most=1 << 30)
    finished(t, child, 2, f"{c[1].blocks or ''}{c.end()}; ")


@at_client()
def client_informational_without_end_http1(t):
    """H13: endless 103 responses over HTTP/1.1, as fast as possible."""
    child, tcp, _ = connect(t, http1=True)
    t.flood(tcp, repeated(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 500), 6, most=1 << 30)
    finished(t, child, 2)


@at_client()
def client_head_without_end_http1(t):
    """An endless response head over HTTP/1.1."""
    child, tcp, _ = connect(t, http1=True)
    sent = t.flood(tcp, itertools.chain([b"HTTP/1.1 101 Switching Protocols\r\n"], repeated(b"X: yyyyyyyyyyyyyyy\r\n" * 500)), 5)
    finished(t, child, 2, f"{sent >> 10} KiB accepted, ")


@at_client()
def client_big_answer(t):
    """A response with 1 MB of fields over HTTP/2."""
    child, c, _ = connect(t)
    t.flood(c, [f.headers(1, [*OK, *((f"x-{n}", "y" * 10000) for n in range(100))])])
    finished(t, child, 5)


@at_client(quick=True)
def client_hpack_bomb(t):
    """A response of 16 KiB that decodes to 60 MB of fields."""
    child, c, _ = connect(t)
    c.send(f.headers(1, f.block(OK) + f.stored("x", "y" * 4000) + f.indexed(62) * 15000))
    finished(t, child, 5)


@at_client()
def client_body_without_end(t):
    """A rejection with an endless body."""
    child, c, _ = connect(t)
    c.send(f.headers(1, [(":status", "403")]))
    t.flood(c, repeated(f.data(1, bytes(16000))), 3)
    finished(t, child, 8)


def answer(head: bytes, version: bytes = b"1.1", accept: bytes | None = None, more: bytes = b"") -> bytes:
    index = head.lower().index(b"sec-websocket-key: ") + len("sec-websocket-key: ")
    key = head[index:].split(b"\r\n")[0]
    accept = accept or base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (b"HTTP/" + version + b" 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept + b"\r\n" + more + b"\r\n")


@at_client(quick=True)
def client_wrong_answers_http1(t):
    """H13: a 101 over HTTP/1.0, with a wrong accept, with an extension that was not offered, and 6 more: none opens a socket."""
    wrong = [
        ("HTTP/1.0", lambda head: answer(head, b"1.0")),
        ("a wrong accept", lambda head: answer(head, accept=b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        ("a subprotocol", lambda head: answer(head, more=b"Sec-WebSocket-Protocol: x\r\n")),
        ("an extension", lambda head: answer(head, more=b"Sec-WebSocket-Extensions: permessage-deflate\r\n")),
        ("no Upgrade", lambda head: answer(head).replace(b"Upgrade: websocket\r\n", b"")),
        ("no Connection", lambda head: answer(head).replace(b"Connection: Upgrade\r\n", b"")),
        ("no accept", lambda head: answer(head).replace(b"Sec-WebSocket-Accept", b"X")),
        ("two accepts", lambda head: answer(head, more=b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n")),
        ("200", lambda head: answer(head).replace(b"101 Switching Protocols", b"200 OK\r\nContent-Length: 0")),
        ("obs-fold", lambda head: answer(head, more=b"X: y\r\n Z\r\n")),
    ]
    statuses = []
    for what, make in wrong:
        child, tcp, head = connect(t, http1=True)
        tcp.send(make(head))
        with contextlib.suppress(BrokenPipeError):
            child.process.stdin.write(b"hello\n")
            child.process.stdin.flush()
        status = child.ended(3)
        statuses.append(status)
        t.want(status not in (None, 0), f"{what}: accepted ({status}, {child.tail()[-60:]!r})")
        child.kill()
    t.got(f"{sum(status == 1 for status in statuses)} of {len(wrong)} rejected")


@at_client(quick=True)
def client_escape_sequences(t):
    """H12: escape sequences in the body of a rejection, a message and a close reason, on a terminal."""
    evil = b"\x1b]0;owned\x07\x1b[2J\xc2\x9b31m"
    shown = b""
    for way in ("refusal", "message", "reason"):
        ours, theirs = os.openpty()
        child, c, _ = connect(t, stdout=theirs, stderr=theirs)
        os.close(theirs)
        if way == "refusal":
            c.send(f.headers(1, [(":status", "403")]) + f.data(1, b"no " + evil + b"\n", end=True))
        elif way == "message":
            c.send(f.headers(1, OK) + f.data(1, f.ws(b"hi " + evil, 1, mask=False)) + f.data(1, f.ws(b"\x03\xe8", 8, mask=False)))
        else:
            c.send(f.headers(1, OK) + f.data(1, f.ws(b"\x03\xe9bye " + evil, 8, mask=False)))
        child.ended(3)
        child.kill()
        os.set_blocking(ours, False)
        try:
            while got := os.read(ours, 65536):
                shown += got
        except OSError:
            pass
        os.close(ours)
    t.got(f"{shown.count(b'owned')} shown, {shown.count(evil[:3])} raw")
    t.want(b"\x1b]0" not in shown and b"\x1b[2J" not in shown and b"\xc2\x9b" not in shown, "escape sequences reach the terminal")
    t.want(b"owned" in shown, "nothing was printed")


@waiting()
def client_close_never_answered(t):
    """L4: a server that opens the socket, and never answers the Close."""
    child, c, _ = connect(t, "--wait", "1")
    c.send(f.headers(1, OK))
    child.process.stdin.write(b"hello\n")
    child.process.stdin.close()
    child.process.stdin = None
    finished(t, child, 18)


@waiting(memory=160)
def client_window_that_never_opens(t):
    """L4: a message of 8 MB, a window of 0, and SIGINT: the client ends anyway."""
    listener = t.listen()
    child = t.start("connect", "--http2", f"ws://127.0.0.1:{listener.getsockname()[1]}/", stdin=subprocess.PIPE)
    c = t.accept(listener, grant=0)
    t.requested(c, 1)
    c.send(f.headers(1, OK))
    child.process.stdin.write(b"x" * 8_000_000 + b"\n")
    child.process.stdin.flush()
    time.sleep(1)
    os.kill(child.pid, signal.SIGINT)
    t.mark()
    status = child.ended(20)
    t.got(f"the client {'still runs' if status is None else f'ends with {status}'}: {last(child)}")
    t.want(status is not None, "still runs 20 s after SIGINT")
