"""The loads, the peers, and which peers run under which load."""

from dataclasses import dataclass, replace

RAW, AXUM, FAST = "raw-tuned", "axum+frames", "fastws"

UNITS = {
    "rate": "messages/s",
    "core": "messages/s per busy core",
    "open": "opened/s",
    "memory": "server bytes/socket",
    "grow": "µs/message, both ends",
    "paced": "µs, p99 at a fixed rate",
    "million": "s to open",
}


@dataclass
class Row:
    """One load, what it measures, and the peers that run under it by default."""

    name: str
    what: str
    sockets: int
    in_flight: int = 1
    size: int = 64
    kind: str = "rate"
    peers: tuple = ("h2ws", RAW, FAST)
    extra: tuple = ()
    """Further arguments of `h2ws bench`, which other clients do not support."""
    rate: int = 0
    """Messages per second of a `paced` row; 0 is half of what its weakest peer answers in a closed loop."""
    beside: tuple = ()
    """Arguments of a second `h2ws bench` that loads the same server at the same time."""

    @property
    def unit(self):
        return UNITS[self.kind]

    @property
    def less_is_better(self):
        return self.kind in ("memory", "grow", "paced", "million")

    def closed(self):
        """Returns the closed loop with the sockets of a paced row."""
        return replace(self, kind="rate")

    def paced(self, rate):
        return replace(self, rate=rate)

    def shrunk(self):
        """Returns a small version of the load, which only checks that it works."""
        sockets = min(self.sockets, 2_000 if self.kind == "million" else 200)
        if self.kind == "million":
            return replace(self, sockets=sockets, rate=1000, extra=MILLION_SMALL)
        return replace(self, sockets=sockets)


ONE, LARGE = 1, ("h2ws", "h2ws-http1", "h2ws+frames", "axum-windows+frames", AXUM)
PACED = ("h2ws", "axum-windows+bench", "fastws+bench")
MILLION = ("--connections", "10", "--talkers", "10000", "--ping")
MILLION_SMALL = ("--connections", "2", "--talkers", "20", "--ping")

ROWS = [
    Row("1000x1", "1,000 sockets, 1 in flight", 1000,
        peers=("h2ws", RAW, "h2ws+frames", "raw-tuned+frames", AXUM, FAST)),
    Row("1000x16", "1,000 sockets, 16 in flight", 1000, 16,
        peers=("h2ws", RAW, "h2ws+frames", "raw-tuned+frames", "axum-windows+frames", FAST)),
    Row("100x1", "100 sockets, 1 in flight", 100,
        peers=("h2ws", RAW, "h2ws+frames", "raw-tuned+frames", AXUM, FAST)),
    Row("100x16", "100 sockets, 16 in flight", 100, 16,
        peers=("h2ws", RAW, "h2ws+frames", "raw-tuned+frames", FAST)),
    Row("1x1", "1 socket, 1 in flight", ONE, peers=("h2ws", RAW, "raw-naive", FAST)),
    Row("1x16", "1 socket, 16 in flight", ONE, 16),
    Row("100x4-512B", "100 sockets, 4 in flight, 512 B", 100, 4, 512, peers=("h2ws", RAW, AXUM, FAST)),
    Row("100x4-4KiB", "100 sockets, 4 in flight, 4 KiB", 100, 4, 4096, peers=("h2ws", RAW, AXUM, FAST)),
    Row("tls-140B", "1 socket over TLS, 256 in flight, 140 B", ONE, 256, 140, kind="core",
        peers=("h2ws-tls", "fastws-tls", "tungstenite-tls")),
    Row("1x4-64KiB", "1 socket, 4 in flight, 64 KiB", ONE, 4, 64 << 10, peers=LARGE),
    Row("1x2-1MiB", "1 socket, 2 in flight, 1 MiB", ONE, 2, 1 << 20, peers=LARGE),
    Row("open", "opening on a warm connection", 10_000, kind="open"),
    Row("memory", "10,000 sockets, memory", 10_000, kind="memory", peers=("h2ws", RAW, FAST, "axum-windows+frames")),
    *[Row(f"grow-{n}", f"{n:,} sockets on one connection", n, kind="grow", peers=("h2ws", RAW))
      for n in (10, 100, 1_000, 10_000, 100_000)],
    Row("paced-100", "100 sockets at a fixed rate", 100, kind="paced", peers=PACED),
    Row("paced-1000", "1,000 sockets at a fixed rate", 1000, kind="paced", peers=PACED),
    Row("quiet-alone", "a quiet socket, 1,000 messages/s", ONE, kind="paced", peers=("h2ws",), rate=1000),
    Row("quiet-beside", "the same beside 10 sockets that move 1 MiB messages", ONE, kind="paced",
        peers=("h2ws",), rate=1000, extra=("--bulk", "10")),
    Row("quiet-apart", "the same beside them, on a connection and in a process of its own", ONE, kind="paced",
        peers=("h2ws",), rate=1000, beside=("--sockets", "10", "--size", str(1 << 20))),
    Row("million", "1,000,000 sockets, 1 % talk at 10,000 messages/s", 1_000_000, kind="million",
        peers=("h2ws",), rate=10_000, extra=MILLION),
]


@dataclass
class Peer:
    """A server and its load client."""

    name: str
    server: list
    client: list
    note: str

    @property
    def tcp(self):
        return self.client[0] == "tcp-load"

    @property
    def bench(self):
        return self.client[0] == "h2ws"

    @property
    def ours(self):
        return self.bench or self.server[0] == "h2ws"

    @property
    def tls(self):
        return self.name.endswith("-tls")

    def fits(self, row):
        if self.tls != (row.kind == "core"):
            return False
        if row.extra or row.beside or row.kind == "paced":
            return self.bench
        return not (row.kind == "grow" and self.tcp)


SERVE = ["h2ws", "serve", "--cleartext"]
BENCH = ["h2ws", "bench", "--http2"]
FRAMES = ["raw-load", "--frames"]
# The stream window of the tuned peers.
WIDE = ["--stream-window", str(1 << 20)]
PEERS = [
    Peer("h2ws", SERVE + WIDE, BENCH, "both ends ours"),
    Peer("raw-tuned", ["raw-echo", "--mode", "tuned"], ["raw-load", "--mode", "tuned"],
         "h2 alone, no WebSocket frames: packed, yielding driver, gathered writes, reads in portions"),
    Peer("raw-inline", ["raw-echo", "--mode", "inline"], ["raw-load", "--mode", "tuned"],
         "as raw-tuned; the server's sockets are polled by their connection's task"),
    Peer("raw-driver", ["raw-echo", "--mode", "driver"], ["raw-load", "--mode", "driver"],
         "as raw-tuned; at both ends the connection's task alone talks to h2"),
    Peer("raw-naive", ["raw-echo", "--mode", "naive"], ["raw-load", "--mode", "naive"],
         "h2 alone as one would write it first: a DATA frame per message"),
    Peer("h2ws+frames", SERVE + WIDE, FRAMES, "our server, the neutral RFC 8441 client"),
    Peer("raw-tuned+frames", ["raw-echo", "--mode", "tuned"], FRAMES,
         "tuned h2 server, the neutral client (its frames are echoed unread)"),
    Peer("axum+frames", ["axum-echo"], FRAMES, "axum 0.8 over h2, its settings, the neutral client"),
    Peer("axum-windows+frames", ["axum-echo", "--windows"], FRAMES,
         "axum with the tuned peer's HTTP/2 settings"),
    Peer("axum-small+frames", ["axum-echo", "--windows", "--read-buffer", "4096"], FRAMES,
         "those settings, and a 4 KiB read buffer instead of 128 KiB"),
    Peer("axum-windows+bench", ["axum-echo", "--windows"], BENCH,
         "the same server, and our client, which can send at a fixed rate"),
    Peer("h2ws-http1", SERVE, ["h2ws", "bench", "--http1"], "both ends ours over HTTP/1.1, a TCP connection per socket"),
    Peer("h2ws-h1", SERVE, ["tcp-load"], "our server over HTTP/1.1, fastwebsockets' client"),
    Peer("fastws", ["fastws-echo"], ["tcp-load"],
         "fastwebsockets 0.10, both ends, a TCP connection per socket"),
    Peer("fastws+bench", ["fastws-echo"], ["h2ws", "bench", "--http1"],
         "fastwebsockets' server, and our client over HTTP/1.1"),
    Peer("tungstenite", ["tungstenite-echo"], ["tcp-load"],
         "tokio-tungstenite 0.30, a TCP connection per socket, fastwebsockets' client"),
    Peer("tungstenite-small", ["tungstenite-echo", "--read-buffer", "4096"], ["tcp-load"],
         "with a 4 KiB read buffer instead of 128 KiB"),
    Peer("h2ws-tls", ["h2ws", "serve"] + WIDE, BENCH + ["--insecure"], "both ends ours, TLS"),
    Peer("fastws-tls", ["fastws-echo", "--tls"], ["tcp-load", "--tls"], "fastwebsockets, both ends, TLS"),
    Peer("tungstenite-tls", ["tungstenite-echo", "--tls"], ["tcp-load", "--tls"],
         "tokio-tungstenite, fastwebsockets' client, TLS"),
]


def participants(row, only):
    """Returns the peers of a row: the row's own, or those of `only` that support it."""
    return [p for p in PEERS if p.fits(row) and p.name in (only if only else row.peers)]
