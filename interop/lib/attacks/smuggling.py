"""Ambiguous requests (request smuggling): at the server, and through the bridge to an HTTP/1.1 upstream."""

from __future__ import annotations

import time

from . import frames as f
from .raw import Gone, upgrade
from .context import row


def status(answer: bytes) -> str:
    return answer.split(b" ")[1].decode("latin-1") if answer.startswith(b"HTTP/1.") else "closed"


def heads(port: int) -> list[tuple[str, bytes]]:
    """HTTP/1.1 requests that two servers could delimit differently; each hides a GET /smuggled."""
    host = f"Host: localhost:{port}\r\n".encode()
    hidden = b"GET /smuggled HTTP/1.1\r\n" + host + b"\r\n"
    post = b"POST /front HTTP/1.1\r\n" + host
    return [
        ("CL and TE", post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden),
        ("TE and CL", post + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + hidden),
        ("two CL", post + b"Content-Length: 0\r\nContent-Length: 44\r\n\r\n" + hidden),
        ("CL in a list", post + b"Content-Length: 0, 44\r\n\r\n" + hidden),
        ("CL with a sign", post + b"Content-Length: +0\r\n\r\n" + hidden),
        ("CL in hex", post + b"Content-Length: 0x0\r\n\r\n" + hidden),
        ("CL below 0", post + b"Content-Length: -1\r\n\r\n" + hidden),
        ("TE twice", post + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden),
        ("TE gzip, chunked", post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + hidden),
        ("TE xchunked", post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden),
        ("TE before a tab", post + b"Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n" + hidden),
        ("a space before the colon", post + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden),
        ("obs-fold", post + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden),
        ("folded TE", post + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + hidden),
        ("bare CR", post + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden),
        ("NUL", post + b"X: y\0\r\nContent-Length: 0\r\n\r\n" + hidden),
        ("chunk size with a sign", post + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + hidden),
        ("chunk size beyond 2^64", post + b"Transfer-Encoding: chunked\r\n\r\n1FFFFFFFFFFFFFFFF\r\n" + hidden),
        ("chunk extension with LF", post + b"Transfer-Encoding: chunked\r\n\r\n1;x\nGET\r\nZ\r\n0\r\n\r\n" + hidden),
        ("no Host", b"GET /front HTTP/1.1\r\n\r\n" + hidden),
        ("two Host", b"GET /front HTTP/1.1\r\n" + host + b"Host: elsewhere\r\n\r\n" + hidden),
        ("a space in the path", b"GET /front HTTP/1.1 x HTTP/1.1\r\n" + host + b"\r\n"),
        ("TE in HTTP/1.0", b"POST /front HTTP/1.0\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden),
    ]


# Not rejected by their head: one response may come before the body is read, but no second one.
BY_BODY = {"chunk size with a sign", "chunk size beyond 2^64", "chunk extension with LF", "TE in HTTP/1.0"}
# Rejected, with a body that is delimited unambiguously: what follows is another request.
CERTAIN = {"no Host", "two Host"}
# RFC 9112 §6.1 lets a server use Transfer-Encoding, if it closes the connection after its response.
CLOSED_BEHIND = {"CL and TE", "TE and CL"}


@row("server", quick=True)
def http1_heads_of_two_meanings(t):
    """22 ambiguous HTTP/1.1 requests: 400 or 501, and no hidden request is answered."""
    codes: dict[str, int] = {}
    for what, request in heads(t.port):
        answer = t.ask(request, 0.5)
        code = status(answer)
        codes[code] = codes.get(code, 0) + 1
        if what not in BY_BODY | CLOSED_BEHIND:
            t.want(code in ("400", "501", "413", "431", "closed"), f"{what}: {code}")
        t.want(answer.count(b"HTTP/1.1 ") <= 1 + (what in CERTAIN), f"{what}: {answer.count(b'HTTP/1.1 ')} answers")
    t.got(", ".join(f"{count} x {code}" for code, count in sorted(codes.items())))


@row("server", quick=True)
def requests_behind_a_refused_upgrade(t):
    """RFC 9931: a request after a rejected Upgrade is not answered."""
    hidden = f"GET /smuggled HTTP/1.1\r\nHost: localhost:{t.port}\r\n\r\n".encode()
    wrong = upgrade(t.port, "/", behind=hidden).replace(b"Version: 13", b"Version: 7")
    answer = t.ask(wrong, 2)
    t.got(f"{status(answer)}, {answer.count(b'HTTP/1.1 ')} answer")
    t.want(answer.count(b"HTTP/1.1 ") == 1, "the request after the Upgrade was answered")


def odd_h2(authority: str, method: str = "CONNECT") -> list[tuple[str, object]]:
    """Field sections that are malformed by RFC 9113 §8."""
    good = f.connect_fields(authority) if method == "CONNECT" else f.request_fields(authority, method)

    def without(name):
        return [pair for pair in good if pair[0] != name]

    def instead(name, value):
        return [(known, value if known == name else old) for known, old in good]

    return [
        ("blank before a value", good + [("x", " y")]), ("blank behind a value", good + [("x", "y ")]),
        ("tab behind a value", good + [("x", "y\t")]),
        ("CR LF in a value", good + [("x", "y\r\nZ: z")]), ("LF in a value", good + [("x", "y\nZ: z")]),
        ("CR in a value", good + [("x", "y\rz")]), ("NUL in a value", good + [("x", "y\0z")]),
        ("upper case in a name", good + [("X-Y", "z")]), ("blank in a name", good + [("x y", "z")]),
        ("colon in a name", good + [("x:y", "z")]), ("LF in a name", good + [("x\ny", "z")]), ("an empty name", good + [("", "z")]),
        ("connection", good + [("connection", "close")]), ("transfer-encoding", good + [("transfer-encoding", "chunked")]),
        ("upgrade", good + [("upgrade", "websocket")]), ("keep-alive", good + [("keep-alive", "9")]),
        ("proxy-connection", good + [("proxy-connection", "x")]), ("te: gzip", good + [("te", "gzip")]),
        ("an unknown pseudo-header", [(":x", "y"), *good]), ("a pseudo-header behind a field", [*good, (":path", "/")]),
        (":path twice", [(":path", "/"), *good]), (":method twice", [(":method", "GET"), *good]),
        (":status in a request", [(":status", "200"), *good]),
        ("no :path", without(":path")), ("no :scheme", without(":scheme")), ("an empty :path", instead(":path", "")),
        ("CR LF in :path", instead(":path", "/ HTTP/1.1\r\nX: y\r\n\r\n")), ("blank in :path", instead(":path", "/x y")),
        (":path without a slash", instead(":path", "x")), (":path of a URL", instead(":path", "http://elsewhere/")),
        ("CR LF in :authority", instead(":authority", "localhost\r\nX: y")), ("userinfo in :authority", instead(":authority", "a@b")),
        ("a slash in :authority", instead(":authority", "localhost/x")), (":scheme ws", instead(":scheme", "ws")),
        ("CR LF in :scheme", instead(":scheme", "http\r\nX: y")),
        ("another host field", good + [("host", "elsewhere")]),
        ("CR LF in :method", [(":method", "GET / HTTP/1.1\r\nX: y"), *good[1:]]),
        ("blank in :method", [(":method", "GET /"), *good[1:]]), ("two content-lengths", good + [("content-length", "0"), ("content-length", "9")]),
        ("content-length with a sign", good + [("content-length", "+1")]),
    ]


def malformed(t, fields_of) -> None:
    """Each request is rejected by RST_STREAM, 4xx or 501, or ends the connection (RFC 9113 §5.4.1 allows either)."""
    c = t.connect()
    seen: dict[str, int] = {}
    for what, fields in fields_of:
        stream = c.ask(fields, end=("GET" in (fields[0][1], fields[1][1])))
        c.until(lambda: c[stream].status or c[stream].over or c.goaway, 2)
        said = str(c[stream].status) if c[stream].status else str(c[stream]) if c[stream].over else c.end()
        seen[said] = seen.get(said, 0) + 1
        code = c[stream].status or 0
        t.want(400 <= code < 500 or code == 501 or c[stream].reset is not None or c.goaway, f"{what}: {said}")
        if c.goaway or c.closed:
            c.close()
            c = t.connect()
    t.got(", ".join(f"{count} x {said}" for said, count in sorted(seen.items(), key=lambda each: -each[1])))


@row("server", quick=True)
def malformed_connect(t):
    """H13: 40 malformed extended CONNECT requests; a stream error each."""
    malformed(t, odd_h2(f"localhost:{t.port}"))


@row("server")
def malformed_get(t):
    """H13: the malformed requests of `malformed-connect`, as GET."""
    malformed(t, [each for each in odd_h2(f"localhost:{t.port}", "GET") if each[0] != ":method twice"])


@row("server")
def connects_of_all_kinds(t):
    """CONNECT without :protocol, with other protocols, to other targets: never a tunnel."""
    a = f"localhost:{t.port}"
    wrong = [
        ("no :protocol", [(":method", "CONNECT"), (":authority", "127.0.0.1:22")]),
        ("connect-udp", [(k, "connect-udp" if k == ":protocol" else v) for k, v in f.connect_fields(a)]),
        ("websocket2", [(k, "websocket2" if k == ":protocol" else v) for k, v in f.connect_fields(a)]),
        ("empty", [(k, "" if k == ":protocol" else v) for k, v in f.connect_fields(a)]),
        (":protocol with GET", [(k, "GET" if k == ":method" else v) for k, v in f.connect_fields(a)]),
        ("version 12", [(k, "12" if k == "sec-websocket-version" else v) for k, v in f.connect_fields(a)]),
    ]
    malformed(t, wrong)


# -- through the bridge, to HTTP/1.1

def behind(t) -> list[str]:
    time.sleep(0.1)
    return t.up.report()["heads"]


def clean(t, said: list[str], what: str = "") -> None:
    """Checks that nothing hidden reached the upstream."""
    for head in said:
        first = head.split("\r\n")[0]
        t.want("smuggled" not in first, f"{what}a request was smuggled to the upstream: {first!r}")
        t.want("\r\nz:" not in head.lower() and "\r\nx: y\r" not in head.lower().replace("x: y\r\n transfer", ""),
               f"{what}split into fields: {head!r:.200}")


@row("bridge", upstream="h1", quick=True)
def bridge_heads_of_two_meanings(t):
    """The 23 ambiguous requests, through the bridge: no hidden request reaches the upstream."""
    codes: dict[str, int] = {}
    for what, request in heads(t.port):
        before = len(behind(t))
        code = status(t.ask(request, 0.3))
        codes[code] = codes.get(code, 0) + 1
        if what not in BY_BODY | CLOSED_BEHIND:
            t.want(code in ("400", "501", "413", "431", "closed"), f"{what}: {code}")
        for head in behind(t)[before:]:
            t.want(what in CERTAIN or "smuggled" not in head.split("\r\n")[0], f"{what}: the hidden request reached the upstream")
    t.got(", ".join(f"{count} x {code}" for code, count in sorted(codes.items())) + f"; {len(behind(t))} requests at the upstream")


@row("bridge", upstream="h1", quick=True)
def bridge_malformed_connect(t):
    """Malformed extended CONNECT through the bridge: no field or request is split."""
    malformed(t, odd_h2(f"localhost:{t.port}"))
    clean(t, behind(t))


@row("bridge", upstream="h1")
def bridge_malformed_get(t):
    """Malformed GET through the bridge."""
    malformed(t, [each for each in odd_h2(f"localhost:{t.port}", "GET") if each[0] != ":method twice"])
    clean(t, behind(t))


@row("bridge", upstream="h1", quick=True)
def bridge_data_before_the_answer(t):
    """RFC 9931: a request in DATA after a CONNECT that the upstream rejects, and after an Upgrade: it does not reach the upstream."""
    hidden = f"GET /smuggled HTTP/1.1\r\nHost: localhost:{t.port}\r\n\r\n".encode()
    c = t.connect()
    t.beside(c)
    for _ in range(10):
        stream = c.ask(f.connect_fields(c.authority, "/refuse"))
        c.send(f.data(stream, hidden))
        c.until(lambda: c[stream].status or c[stream].over, 3)
    answers = [status(t.ask(upgrade(t.port, "/refuse", behind=hidden), 1)) for _ in range(3)]
    said = behind(t)
    t.got(f"{c[stream]}; {', '.join(answers)}; {len(said)} requests at the upstream")
    for head in said:
        t.want("smuggled" not in head, f"smuggled: {head!r:.100}")


@row("bridge", upstream="h1")
def bridge_content_length_over_http2(t):
    """Bodies longer and shorter than their content-length that contain a request."""
    hidden = f"GET /smuggled HTTP/1.1\r\nHost: localhost:{t.port}\r\n\r\n".encode()
    c = t.connect()
    t.beside(c)
    for length in ("0", "1", "9999", "18446744073709551616", "-1"):
        stream = c.ask(f.request_fields(c.authority, "POST", "/front", [("content-length", length)]))
        c.send(f.data(stream, hidden, end=True))
        c.until(lambda: c[stream].over, 3)
    said = behind(t)
    t.got(f"{c[stream]}; {len(said)} requests at the upstream; {c.end()}")
    for head in said:
        t.want("smuggled" not in head.split("\r\n")[0], f"smuggled: {head!r:.100}")


@row("bridge", upstream="h1", quick=True)
def bridge_forged_fields(t):
    """H9: forwarding fields forged by the client, in all spellings that CGI treats as the same name."""
    names = ["x-forwarded-for", "x_forwarded_for", "x-forwarded_for", "forwarded", "x-real-ip", "x_real_ip", "true-client-ip", "true_client_ip",
             "cf-connecting-ip", "x-client-ip", "x-forwarded-proto", "x_forwarded_proto", "x-forwarded-host", "x_forwarded_host"]
    c = t.connect()
    forged = [(name, "6.6.6.6") for name in names]
    for fields in (f.connect_fields(c.authority, "/refuse", forged), f.request_fields(c.authority, extra=forged)):
        stream = c.ask(fields, end=fields[0][1] == "GET")
        c.until(lambda: c[stream].status, 3)
    t.ask(upgrade(t.port, "/refuse", "".join(f"{name}: 6.6.6.6\r\n" for name in names)), 1)
    passed = {line.split(":")[0].lower() for head in behind(t) for line in head.split("\r\n") if "6.6.6.6" in line}
    t.got(f"{len(names)} forged, forwarded: {', '.join(sorted(passed)) or 'none'}")
    t.want(not passed, f"forwarded: {', '.join(sorted(passed))}")


@row("bridge", upstream="h1", quick=True, memory=96)
def bridge_hpack_bombs(t):
    """H11: header lists of 60 KB from 200 bytes on the wire, to an HTTP/1.1 upstream."""
    c = t.connect()
    c.until(lambda: c.settings is not None)
    before = t.up.report()["head_bytes"]
    first = f.block(f.connect_fields(c.authority, "/refuse")) + f.stored("x-bomb", "y" * 3900)
    sent, seen = 0, {}
    for n in range(400):
        block = (first if n == 0 else f.block(f.connect_fields(c.authority, "/refuse"))) + f.indexed(62) * 15
        try:
            stream = c.ask(block)
        except Gone:
            break
        sent += len(block) + 9
        c.until(lambda: c[stream].status or c[stream].over, 3)
        said = str(c[stream].status or c[stream])
        seen[said] = seen.get(said, 0) + 1
    came = t.up.report()["head_bytes"] - before
    t.got(f"{', '.join(f'{count} x {said}' for said, count in seen.items())}; {sent >> 10} KiB became {came >> 10} KiB; {c.end()}")
    t.want(came < 100 * sent, f"the upstream received {came // max(1, sent)} times as many bytes")


GUARDED = """
cleartext = true
[[route]]
path = "/*"
to = "ws://127.0.0.1:UPSTREAM"
version = "http1"
[[route]]
path = "/admin/*"
to = "ws://127.0.0.1:UPSTREAM"
version = "http1"
allowed_origins = ["https://admin.example"]
websockets_only = true
"""


@row("bridge", upstream="h1", quick=True, config=GUARDED)
def bridge_odd_paths(t):
    """B10: two dozen spellings of /admin that servers may normalize to it; none bypasses the route that restricts it."""
    odd = ["/admin", "/admin/", "//admin", "/./admin", "/x/../admin", "/%61dmin", "/admin%2f", "/%2fadmin", "/x/..%2fadmin", "/x/%2e%2e/admin",
           "/admin;x/", "/admin;x", "/x/..;/admin", "/\\admin", "/x\\..\\admin", "/admin/..;/x", "/admin//x", "/..//admin", "/%252fadmin",
           "/admin%00", "/admin%0a", "/ad%7fmin", "/admin%3fx", "/%c0%afadmin"]
    c = t.connect()
    before = len(behind(t))
    passed = []
    for path in odd:
        for fields in (f.connect_fields(c.authority, path, [("origin", "https://evil.example")]), f.request_fields(c.authority, path=path)):
            stream = c.ask(fields, end=fields[0][1] == "GET")
            c.until(lambda: c[stream].status or c[stream].over, 3)
            if c[stream].status == 200:
                passed.append(path)
    said = behind(t)[before:]
    t.got(f"{len(set(passed))} of {len(odd)} forwarded; {len(said)} requests at the upstream")
    t.want(not passed, f"bypassed the restricted route: {' '.join(sorted(set(passed)))}")
