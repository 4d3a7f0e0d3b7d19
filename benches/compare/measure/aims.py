"""The goals, and whether they were reached."""

from dataclasses import dataclass

from .matrix import AXUM, FAST, RAW

GROWN = ("grow-1000", "grow-10000", "grow-100000")


@dataclass
class Aim:
    """Compares a `value` of the report, which is None if it was not measured, with a bound."""

    what: str
    text: str
    value: object
    bound: float
    at_least: bool = True

    def line(self, results):
        value = self.value(results)
        if value is None:
            return [self.what, self.text, "–", "not measured"]
        reached = value >= self.bound if self.at_least else value <= self.bound
        return [self.what, self.text, number(value), "reached" if reached else "**missed**"]


def by_cell(cells):
    return {(row, peer): cell for row, peers in cells.items() for peer, cell in peers.items()}


def unmeasured(cells):
    return [aim for aim in AIMS if aim.value(by_cell(cells)) is None]


def number(value):
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def median(results, row, peer, key="figure"):
    return results.get((row, peer), {}).get(key)


def ratio(row, theirs, bound, ours="h2ws", at_least=True, label=None):
    """A bound on the ratio of our median to theirs in the same run."""

    def value(results):
        mine, other = median(results, row, ours), median(results, row, theirs)
        return mine / other if mine is not None and other else None

    sign = "≥" if at_least else "≤"
    return Aim(ROW_NAMES.get(row, row), f"{sign} {bound:g} × {label or theirs}", value, bound, at_least)


def figure(row, peer, key, bound, text, at_least=False):
    return Aim(ROW_NAMES.get(row, row), text, lambda results: median(results, row, peer, key), bound, at_least)


def growth(peer):
    """The highest cost with at least 1,000 sockets, divided by the lowest cost of all."""

    def value(results):
        costs = {row: cell["figure"] for (row, name), cell in results.items()
                 if row.startswith("grow-") and name == peer}
        if not set(GROWN) <= set(costs):
            return None
        return max(costs[row] for row in GROWN) / min(costs.values())

    return value


def beside(results):
    apart, beside = median(results, "quiet-apart", "h2ws"), median(results, "quiet-beside", "h2ws")
    return beside / apart if apart and beside else None


def million_failures(results):
    cell = results.get(("million", "h2ws"))
    return None if cell is None else cell["failed"] + cell["unclosed"]


ROW_NAMES = {
    "1000x1": "1,000 sockets × 1 in flight", "1000x16": "1,000 × 16", "100x16": "100 × 16",
    "100x1": "100 × 1", "1x1": "1 × 1 (round trip)", "1x16": "1 × 16",
    "100x4-512B": "100 × 4, 512 B", "100x4-4KiB": "100 × 4, 4 KiB",
    "tls-140B": "one socket, 140 B, TLS", "1x4-64KiB": "one socket, 64 KiB",
    "1x2-1MiB": "one socket, 1 MiB", "open": "opening sockets", "memory": "memory per idle socket",
    "paced-100": "p99 at a fixed rate, 100 sockets", "paced-1000": "p99 at a fixed rate, 1,000 sockets",
    "million": "1,000,000 sockets",
}


def cpu(row):
    """Bounds on the server's CPU time per message, with the neutral client but for the peer on TCP."""
    def bound(theirs, limit, label):
        def value(results):
            mine = median(results, row, "h2ws+frames", "server_us_per_message")
            other = median(results, row, theirs, "server_us_per_message")
            return mine / other if mine and other else None
        return Aim("server's CPU per message, " + ROW_NAMES[row], f"≤ {limit:g} × {label}", value, limit, False)
    return [bound("raw-tuned+frames", 1.2, "h2 alone"), bound(AXUM, 0.25, "axum"), bound(FAST, 0.35, "fastwebsockets")]


def neutral(row):
    aim = ratio(row, "raw-tuned+frames", 1, ours="h2ws+frames", label="h2 alone")
    aim.what += ", the neutral client"
    return aim


AIMS = [
    *cpu("100x1"), *cpu("1000x1"), neutral("100x16"), neutral("1000x16"),
    ratio("100x1", FAST, 2.2), ratio("1000x1", AXUM, 6, label="axum"), ratio("1000x1", FAST, 6),
    ratio("1000x16", FAST, 10), ratio("1x1", RAW, 1), ratio("1x1", FAST, 1), ratio("1x16", FAST, 1.2),
    ratio("100x4-4KiB", AXUM, 2, label="axum"), ratio("100x4-4KiB", FAST, 1.3),
    figure("tls-140B", "h2ws-tls", "figure", 1e6, "≥ 1 M messages/s per busy core, both ends counted", True),
    ratio("1x2-1MiB", "axum-windows+frames", 1.25, ours="h2ws+frames", label="axum, equal settings"),
    ratio("1x2-1MiB", "h2ws-http1", 1, label="our own HTTP/1.1"),
    *[ratio(row, peer, 0.8, at_least=False, label=label) for row in ("paced-100", "paced-1000")
      for peer, label in (("axum-windows+bench", "axum"), ("fastws+bench", "fastwebsockets"))],
    Aim("p99 of a quiet socket", "beside 10 that move 1 MiB ≤ 1.5 × with these on another connection", beside, 1.5, False),
    ratio("open", RAW, 0.75), ratio("open", FAST, 5, label="TCP and Upgrade"),
    Aim("10 to 100,000 sockets on one connection", "CPU/message from 1,000 on ≤ 1.5 × the best",
        growth("h2ws"), 1.5, False),
    figure("memory", "h2ws", "server_bytes_per_idle_socket", 1200, "server ≤ 1,200 B before the first message"),
    figure("memory", "h2ws", "server_bytes_per_socket_after", 1200, "server ≤ 1,200 B after traffic"),
    figure("memory", "h2ws", "client_bytes_per_idle_socket", 2000, "client ≤ 2,000 B before the first message"),
    figure("memory", "h2ws", "client_bytes_per_socket_after", 2000, "client ≤ 2,000 B after traffic"),
    figure("million", "h2ws", "server_memory", 1.15e9, "server ≤ 1.15 GB"),
    figure("million", "h2ws", "messages_per_second", 9_900, "1 % talk: ≥ 9,900 of 10,000 messages/s", True),
    Aim("1,000,000 sockets", "each answers a ping, none fails, all close: 0 that do not",
        million_failures, 0, False),
]
