"""The speed of `h2ws tunnel` and `h2ws bridge`, and their processor time, beside socat and websocat over TLS."""

import csv
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from lib import install, program
from lib.cases import Context, case, check
from lib.sandbox import BIN, INTEROP, PYTHON, run

from .bridge_tcp import is_redis
from .tunnel import ROUTES, command

BULK = INTEROP / "apps/tcp_bulk.py"
BYTES, REQUESTS, CLIENTS, ROUNDS = 1_000_000_000, 20_000, 50, 3
# The least share of what the fastest other one does, which leaves room for a busy machine. The aim is
# 0.8 on a quiet one, and is reached in both directions.
SHARES = {"MB/s down": 0.5, "MB/s up": 0.5, "requests/s": 0.5}


@dataclass
class Way:
    """A way for TCP connections: where they are accepted, and the processes that carry them."""

    name: str
    bulk: int
    redis: int
    processes: list
    rates: dict[str, list[float]] = field(default_factory=dict)
    costs: dict[str, list[float]] = field(default_factory=dict)

    def cpu(self) -> float:
        """Seconds of processor time that its processes and their ended children have used."""
        ticks = 0
        for child in self.processes:
            fields = Path(f"/proc/{child.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def keep(self, what: str, rate: float, cost: float) -> None:
        self.rates.setdefault(what, []).append(rate)
        self.costs.setdefault(what, []).append(cost)


async def ours(ctx: Context, targets: dict[str, int]) -> Way:
    routes = ROUTES.format(port=targets["bulk"], dead=targets["redis"])
    endpoint, bridge = await program.bridge(ctx.sandbox, "--config", ctx.sandbox.write("speed.toml", routes))
    locals = ["--local", "0=/service", "--local", "0=/dead"]
    child = await ctx.sandbox.spawn(*command(ctx, endpoint.port, *locals), name="tunnel-speed", stdout_pipe=True)
    ports = [int((await child.first_line()).rsplit(":", 1)[1]) for _ in locals[::2]]
    return Way("h2ws", *ports, [bridge, child])


async def socat(ctx: Context, targets: dict[str, int]) -> Way:
    """TLS alone, with a process per connection at each end."""
    ports, processes = [], []
    for name, target in targets.items():
        far, near = ctx.sandbox.port(), ctx.sandbox.port()
        for listen, to in (
            (f"OPENSSL-LISTEN:{far},fork,reuseaddr,bind=127.0.0.1,nodelay,cert={ctx.sandbox.both},verify=0", f"TCP:127.0.0.1:{target},nodelay"),
            (f"TCP-LISTEN:{near},fork,reuseaddr,bind=127.0.0.1,nodelay", f"OPENSSL:127.0.0.1:{far},nodelay,cafile={ctx.sandbox.cert},commonname=localhost"),
        ):
            processes.append(await ctx.sandbox.spawn("socat", "-b", "65536", listen, to, name=f"socat-{name}-{len(processes)}"))
        await ctx.sandbox.ready(processes[-1], near)
        ports.append(near)
    return Way("socat", *ports, processes)


async def websocat(ctx: Context, targets: dict[str, int]) -> Way:
    """A WebSocket by HTTP/1.1 and TLS for each connection."""
    archive = ctx.sandbox.dir / "identity.p12"
    status, _, err = await run("openssl", "pkcs12", "-export", "-passout", "pass:", "-inkey", ctx.sandbox.key,
                               "-in", ctx.sandbox.cert, "-out", archive)
    check(status == 0, err)
    ports, processes = [], []
    for name, target in targets.items():
        far, near = ctx.sandbox.port(), ctx.sandbox.port()
        for options in (
            ["--pkcs12-der", archive, f"wss-l:127.0.0.1:{far}", f"tcp:127.0.0.1:{target}"],
            ["-k", f"tcp-l:127.0.0.1:{near}", f"wss://127.0.0.1:{far}/"],
        ):
            processes.append(await ctx.sandbox.spawn(BIN / "websocat", "-b", "-E", *options, name=f"websocat-{name}-{len(processes)}"))
        await ctx.sandbox.ready(processes[-1], near)
        ports.append(near)
    return Way("websocat", *ports, processes)


async def bulk(way: Way, direction: str) -> float:
    """Megabytes per second on one connection."""
    status, out, err = await run(PYTHON, BULK, way.bulk, direction, BYTES, timeout=120)
    check(status == 0, f"{way.name}, {direction}: {err[-300:]}")
    return BYTES / 1e6 / float(out)


async def requests(way: Way) -> float:
    """Requests per second on 50 connections."""
    status, out, err = await run("redis-benchmark", "-p", way.redis, "-t", "ping_mbulk", "-c", CLIENTS, "-n", REQUESTS, "--csv", timeout=300)
    check(status == 0, f"{way.name}, redis-benchmark: {err[-300:]}")
    return float(list(csv.reader(out.splitlines()))[-1][1])


@case("bridge", wants=is_redis, timeout=1800, quick=False)
async def tunnel_beside_socat_and_websocat(ctx: Context):
    """DESIGN, tunnel: 1 GB each way on a connection, and redis-benchmark on 50, as a ratio to the faster of socat and websocat over TLS."""
    install.debian("socat")
    port = ctx.sandbox.port()
    server = await ctx.sandbox.spawn(PYTHON, BULK, port, name="tcp-bulk")
    await ctx.sandbox.ready(server, port)
    targets = {"bulk": port, "redis": ctx.endpoints.clear.port}
    ways = [await start(ctx, targets) for start in (ours, socat, websocat)]
    kinds = {
        "MB/s down": (lambda way: bulk(way, "down"), BYTES / 1e9),
        "MB/s up": (lambda way: bulk(way, "up"), BYTES / 1e9),
        "requests/s": (requests, REQUESTS / 1e5),
    }
    for _ in range(ROUNDS):
        for what, (measure, amount) in kinds.items():
            for way in ways:
                before = way.cpu()
                rate = await measure(way)
                way.keep(what, rate, (way.cpu() - before) / amount)
    slow = []
    for what in kinds:
        rates = {way.name: statistics.median(way.rates[what]) for way in ways}
        costs = {way.name: statistics.median(way.costs[what]) for way in ways}
        best = max(("socat", "websocat"), key=rates.get)
        ratio = rates["h2ws"] / rates[best]
        each = ", ".join(f"{name} {rate:,.0f} ({costs[name]:.2f} s CPU)" for name, rate in rates.items())
        ctx.note(f"{what}: {ratio:.2f} x {best}: {each}")
        if ratio < SHARES[what]:
            slow.append(f"{what} under {SHARES[what]}")
    check(not slow, f"{', '.join(slow)}: {'; '.join(ctx.notes)}")
