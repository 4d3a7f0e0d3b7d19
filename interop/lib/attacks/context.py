"""Runs rows of the table: starts the target and its siblings, attacks, and judges the effect."""

from __future__ import annotations

import math
import shutil
import socket
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from . import frames as f
from .raw import H1, H2, Gone, Tcp
from .siblings import Beside, Neighbour, Trips, by_ping, fault, over_h2
from .target import Target, scratch, wait_for
from .upstream import Upstream

ROWS: list[Row] = []
QUIET, AFTER = 0.5, 0.25
# Memory has recovered when it exceeds the initial value by at most BACK MiB plus SHARE of the growth.
BACK, SHARE, BACK_WITHIN = 32, 0.1, 12


@dataclass
class Row:
    """An attack, its target, and what it may cost the target."""

    name: str
    part: str
    run: object
    about: str
    options: tuple = ()
    upstream: str | None = None
    # MiB by which the target may grow.
    memory: float = 64
    quick: bool = False
    # Rows that mostly wait; they run together.
    slow: bool = False
    limit: float = 20
    config: str | None = None
    # Whether the well-behaved sockets may be lost, because the row kills their endpoint.
    mortal: bool = False
    times: float = 10


def row(part: str, *options: str, **more):
    def add(run):
        ROWS.append(Row(run.__name__.replace("_", "-"), part, run, (run.__doc__ or "").strip().split("\n")[0], options, **more))
        return run
    return add


@dataclass
class Result:
    name: str
    part: str
    about: str
    got: str = ""
    faults: list[str] = field(default_factory=list)
    # MiB: before, at the peak, after.
    before: float = 0
    peak: float = 0
    after: float = 0
    cpu: float = 0
    seconds: float = 0
    siblings: list[dict] = field(default_factory=list)
    # Run a second time, because only round trips were red.
    again: bool = False

    @property
    def red(self) -> bool:
        return bool(self.faults)

    @property
    def only_slow(self) -> bool:
        return self.red and all("slowed down" in text for text in self.faults)


class Context:
    """The argument of a row's function."""

    def __init__(self, row: Row, program: Path, directory: Path):
        self.row, self.program, self.dir = row, program, directory
        self.target: Target | None = None
        self.up: Upstream | None = None
        self.port = 0
        self.result = Result(row.name, row.part, row.about)
        self.besides: list[tuple[str, Beside, Trips, bool, float]] = []
        self._open: list = []
        self._children: list[Target] = []
        self._before_cpu = 0.0
        # Sockets on other connections. A row may measure them itself, and what to compare with.
        self.neighbours: list[Neighbour] = []
        self.baseline: list[Trips] | None = None
        self.during: list[Trips] | None = None

    # -- for rows

    def connect(self, port: int | None = None, **options) -> H2:
        connection = H2(port or self.port, **options)
        self._open.append(connection)
        return connection

    def tcp(self, port: int | None = None, **options) -> Tcp:
        connection = Tcp(port or self.port, **options)
        self._open.append(connection)
        return connection

    def h1(self, path: str = "/", port: int | None = None) -> H1:
        connection = H1(port or self.port, path)
        self._open.append(connection)
        return connection

    def ask(self, request: bytes, patience: float = 5, port: int | None = None) -> bytes:
        """Sends bytes on a new connection. Returns everything that comes back."""
        connection = self.tcp(port)
        try:
            connection.send(request)
            return connection.read_all(patience)
        except Gone:
            return b""
        finally:
            connection.close()

    def beside(self, connection: H2, stream: int | None = None, name: str = "same connection", must_live: bool = True,
               queues: bool = False, **options):
        """A well-behaved socket on this connection, measured before the attack and until its end. If it `queues` behind
        what the attacker itself sends on this connection, only a stall counts."""
        if stream is None:
            stream = connection.open()
        return self.watch(over_h2(connection, stream), name, must_live, queues, **options)

    def watch(self, exchange, name: str, must_live: bool = True, queues: bool = False, **options) -> Beside:
        talk = Beside(exchange, **options)
        time.sleep(QUIET)
        self.besides.append((name, talk, talk.phase(), must_live, math.inf if queues else self.row.times))
        return talk

    def phases(self) -> list[Trips]:
        """The neighbours' round trips since the last call."""
        return [each.phase() for each in self.neighbours]

    def got(self, text) -> None:
        self.result.got = str(text)

    def want(self, true, what: str) -> bool:
        """Makes the row red unless the condition is true."""
        if not true:
            self.result.faults.append(what)
        return bool(true)

    def flood(self, connection, chunks, seconds: float = 3, most: int = 1 << 27) -> int:
        """Sends `chunks` until the peer ends the connection, the time is up, or `most` bytes are sent. Returns the bytes sent."""
        until, sent = time.monotonic() + seconds, 0
        try:
            for chunk in chunks:
                connection.send(chunk, max(0.05, until - time.monotonic()))
                sent += len(chunk)
                if time.monotonic() > until or sent > most or getattr(connection, "goaway", None):
                    break
        except Gone:
            pass
        return sent

    def ended(self, connection: H2, patience: float = 3) -> str:
        """Waits for GOAWAY or the end of the connection. Returns its state."""
        connection.until(lambda: connection.goaway, patience)
        return connection.end()

    def forbidden(self, connection: H2, code: str | None = f.CALM, patience: float = 5) -> None:
        """Checks that the flood ended its connection with this code."""
        said = self.ended(connection, patience)
        self.got(said)
        self.want("open" not in said, f"the connection is still open after {patience:g} s")
        if code and "GOAWAY" in said:
            self.want(code in said, f"not {code}")

    def newcomer(self, patience: float = 5) -> str | None:
        """Opens a socket as a new client. Returns the reason if that fails."""
        try:
            connection = self.connect()
            over_h2(connection, connection.open(patience=patience))()
            connection.close()
        except (Gone, OSError) as error:
            return str(error) or type(error).__name__
        return None

    # -- clients under attack

    def listen(self) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)
        self._open.append(listener)
        return listener

    def accept(self, listener: socket.socket, **options) -> H2:
        connection = H2(sock=listener.accept()[0], settings={f.CONNECT: 1, f.MAX_STREAMS: 1000}, **options)
        self._open.append(connection)
        return connection

    def accept_tcp(self, listener: socket.socket) -> Tcp:
        connection = Tcp(0, sock=listener.accept()[0])
        self._open.append(connection)
        return connection

    def start(self, *argv, **options) -> Target:
        """Starts another process of the program. If there is no target yet, this one is measured."""
        child = Target([self.program, *argv], self.dir / f"child{len(self._children)}.log", tied=False, **options)
        self._children.append(child)
        if self.target is None:
            self.measure(child)
        return child

    def measure(self, target: Target) -> None:
        self.target = target
        target.forget_peak()
        self._before_cpu = target.cpu()
        self.result.before = target.memory()

    def requested(self, connection: H2, stream: int, patience: float = 10) -> None:
        if not connection.until(lambda: connection[stream].fields, patience):
            raise Gone(f"no request on stream {stream}: {connection.end()}")

    def victims(self, *options: str, seconds: float = 8, answer=((":status", "200"),)) -> tuple[H2, int]:
        """Starts a client with two sockets on each of two connections. The first socket is attacked; its sibling and one
        on the other connection answer our Pings."""
        listener = self.listen()
        port = listener.getsockname()[1]
        self.start("bench", "--http2", "--sockets", "4", "--connections", "2", "--rate", "4", "--duration", str(seconds),
                   *options, f"ws://127.0.0.1:{port}/", stdout=-3)
        first, second = self.accept(listener), self.accept(listener)
        for connection in (first, second):
            for stream in (1, 3):
                self.requested(connection, stream)
                connection.send(f.headers(stream, list(answer)))
        for connection, stream in ((first, 1), (second, 3)):
            by_ping(connection, stream)
        self.other = second
        self.watch(by_ping(first, 3), "same connection")
        self.watch(by_ping(second, 1), "other connection")
        self.measure(self.target)
        return first, 1

    # -- for the runner

    def mark(self) -> None:
        """Records the measurements at the end of the attack."""
        if self.target:
            self.result.peak = max(self.result.peak, self.target.peak())
            self.result.cpu = max(self.result.cpu, self.target.cpu() - self._before_cpu)

    def attack(self) -> None:
        began = time.monotonic()
        try:
            self.row.run(self)
        except Gone as error:
            self.result.faults.append(f"the attack ended early: {error}")
        except Exception:
            self.result.faults.append("the row raised an exception: " + " ".join(traceback.format_exc().splitlines()[-3:]))
        self.result.seconds = time.monotonic() - began

    def settle(self) -> None:
        """Stops the siblings on the attacker's connections, and judges them."""
        for name, talk, quiet, must_live, times in self.besides:
            during = talk.phase()
            talk.stop()
            self.judge(name, quiet, during, must_live, times)

    def judge(self, name: str, quiet: Trips, during: Trips, must_live: bool, times: float) -> None:
        self.result.siblings.append({
            "name": name, "quiet": quiet.median, "during": during.median, "worst": during.worst,
            "trips": len(during.seconds), "lost": quiet.lost or during.lost})
        why = fault(quiet, during, times)
        if why and must_live:
            self.result.faults.append(f"{name}: {why}")

    def close(self) -> None:
        for each in self._open:
            try:
                each.close()
            except OSError:
                pass
        self._open.clear()

    def stop(self) -> None:
        self.close()
        for child in self._children:
            child.stop()


def run_rows(rows: list[Row], program: Path) -> list[Result]:
    """Runs rows that share a target, at the same time."""
    directory = scratch()
    first = rows[0]
    upstreams: list = []
    neighbours: list[Neighbour] = []
    target = None
    # For rows whose upstream is the attacker: the hostile upstream has its own route.
    hostile = socket.create_server(("127.0.0.1", 0))
    hostile.settimeout(10)
    contexts = [Context(row, program, directory) for row in rows]
    try:
        up = None
        if first.upstream in ("h1", "h2", "busy"):
            up = Upstream(first.upstream)
            upstreams.append(up)
            up_port = up.port
        elif first.upstream in ("serve", "serve1"):
            behind = Target([program, "serve", "--cleartext", "--listen", "127.0.0.1:0"], directory / "upstream.log")
            upstreams.append(behind)
            up_port = behind.port()
        if first.part in ("server", "bridge"):
            argv = [program, "serve" if first.part == "server" else "bridge", "--listen", "127.0.0.1:0"]
            if "--tls" not in first.options:
                argv.append("--cleartext")
            argv += [option for option in first.options if option != "--tls"]
            if first.config is not None:
                file = directory / "bridge.toml"
                file.write_text(first.config.replace("UPSTREAM", str(up_port)).replace("HOSTILE", str(hostile.getsockname()[1])))
                argv += ["--config", file]
            elif first.part == "bridge":
                argv += ["--to", f"ws://127.0.0.1:{up_port}", "--upstream-http1" if first.upstream in ("h1", "serve1") else "--upstream-http2"]
            target = Target(argv, directory / "target.log")
            port = target.port()
            if "--tls" not in first.options:
                neighbours.append(Neighbour("other connection" if first.part == "server" else "other client", port))
                if first.part == "bridge":
                    neighbours.append(Neighbour("other client, HTTP/1.1", port, http1=True))
            time.sleep(QUIET)
            for ctx in contexts:
                ctx.target, ctx.port, ctx.up = target, port, up
                ctx.upstreams, ctx.hostile = upstreams, hostile
        quiet = [each.phase() for each in neighbours]
        for ctx in contexts:
            ctx.neighbours = neighbours
            if ctx.target:
                ctx.measure(ctx.target)
        threads = [threading.Thread(target=ctx.attack, daemon=True) for ctx in contexts]
        for thread in threads:
            thread.start()
        until = time.monotonic() + max(row.limit for row in rows)
        for thread, ctx in zip(threads, contexts):
            thread.join(max(0, until - time.monotonic()))
            ctx.want(not thread.is_alive(), f"the attack did not end within {ctx.row.limit:g} s")
        # Long enough for some round trips even during the shortest attack.
        time.sleep(AFTER)
        for ctx in contexts:
            ctx.mark()
            ctx.settle()
        for at, each in enumerate(neighbours):
            during = each.phase()
            for ctx in contexts:
                before, meanwhile = ctx.baseline or quiet, ctx.during[at] if ctx.during else during
                ctx.judge(each.name, before[at], meanwhile, not ctx.row.mortal, ctx.row.times)
        for ctx in contexts:
            ctx.close()
        if target:
            _aftermath(target, contexts, neighbours)
        for ctx in contexts:
            grown = ctx.result.peak - ctx.result.before
            ctx.want(grown <= ctx.row.memory, f"{grown:.0f} MiB more memory, limit {ctx.row.memory:.0f}")
            for child in [target, *ctx._children]:
                if child:
                    ctx.want("panicked" not in child.said(), f"panicked: {child.tail()}")
        return [ctx.result for ctx in contexts]
    finally:
        for each in neighbours:
            each.stop()
        for ctx in contexts:
            ctx.stop()
        if target:
            target.stop()
        hostile.close()
        for each in upstreams:
            each.stop()
        shutil.rmtree(directory, ignore_errors=True)


def _aftermath(target: Target, contexts: list[Context], neighbours: list[Neighbour]) -> None:
    """Checks that the target still runs, and that its memory and the neighbours have recovered."""
    mortal = any(ctx.row.mortal for ctx in contexts)
    if not target.alive:
        for ctx in contexts:
            ctx.want(mortal, f"the target ended: {target.process.returncode}, {target.tail()}")
        return
    before, peak = contexts[0].result.before, contexts[0].result.peak
    enough = before + BACK + SHARE * max(0, peak - before)
    back = wait_for(lambda: target.memory() <= enough, BACK_WITHIN, 0.1)
    time.sleep(AFTER)
    after = target.memory()
    for ctx in contexts:
        ctx.result.after = after
        ctx.want(back, f"{after - before:.0f} MiB of {peak - before:.0f} not released after {BACK_WITHIN} s")
    for each in neighbours:
        lost = each.phase().lost
        for ctx in contexts:
            if lost and not mortal and not any(each.name in text for text in ctx.result.faults):
                ctx.result.faults.append(f"{each.name}: lost after the attack: {lost}")
