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
    alone, beside = median(results, "quiet-alone", "h2ws"), median(results, "quiet-beside", "h2ws")
    return beside / alone if alone and beside else None


def million_failures(results):
    cell = results.get(("million", "h2ws"))
    return None if cell is None else cell["failed"] + cell["unclosed"]


NEUTRAL = "1,000 × 16, a client that packs and does not gather"
ROW_NAMES = {
    "1000x1": "1,000 sockets × 1 in flight", "1000x16": "1,000 × 16", "100x16": "100 × 16",
    "100x1": "100 × 1", "1x1": "1 × 1 (round trip)", "1x16": "1 × 16",
    "100x4-512B": "100 × 4, 512 B", "100x4-4KiB": "100 × 4, 4 KiB",
    "tls-140B": "one socket, 140 B, TLS", "1x4-64KiB": "one socket, 64 KiB",
    "1x2-1MiB": "one socket, 1 MiB", "cpu-100x1": "server CPU, 100 sockets",
    "cpu-1000x1": "server CPU, 1,000 sockets", "open": "opening sockets", "memory": "memory per idle socket",
    "million": "1,000,000 sockets",
}


def neutral(theirs, bound, label):
    aim = ratio("1000x16", theirs, bound, ours="h2ws+frames", label=label)
    aim.what = NEUTRAL
    return aim


def large(row):
    return [
        ratio(row, "axum-windows+frames", 1.25, ours="h2ws+frames", label="axum, equal settings"),
        ratio(row, AXUM, 2, ours="h2ws+frames", label="axum, its defaults"),
        ratio(row, "h2ws-http1", 0.7, label="our own HTTP/1.1"),
    ]


def cpu(row, axum):
    return [
        ratio(row, "raw-tuned+frames", 1.15, ours="h2ws+frames", at_least=False, label="raw h2"),
        ratio(row, AXUM, axum, ours="h2ws+frames", at_least=False, label="axum"),
    ]


AIMS = [
    ratio("1000x1", RAW, 0.85), ratio("1000x1", AXUM, 6, label="axum"), ratio("1000x1", FAST, 6),
    ratio("1000x16", RAW, 0.7), ratio("1000x16", FAST, 10),
    ratio("100x16", RAW, 0.7), ratio("100x16", FAST, 10),
    neutral("raw-tuned+frames", 0.8, "raw h2"), neutral("axum-windows+frames", 6, "axum (its defaults end such connections)"), neutral(FAST, 5, FAST),
    ratio("100x1", RAW, 0.85), ratio("100x1", FAST, 2.2),
    ratio("1x1", RAW, 1), ratio("1x1", FAST, 1),
    ratio("1x16", FAST, 1.2),
    ratio("100x4-512B", RAW, 0.8), ratio("100x4-512B", AXUM, 5, label="axum"), ratio("100x4-512B", FAST, 4),
    ratio("100x4-4KiB", RAW, 0.8), ratio("100x4-4KiB", AXUM, 2, label="axum"), ratio("100x4-4KiB", FAST, 1.3),
    figure("tls-140B", "h2ws-tls", "figure", 1e6, "≥ 1 M messages/s per busy core, both ends counted", True),
    *large("1x4-64KiB"), *large("1x2-1MiB"),
    *cpu("cpu-100x1", 0.4), *cpu("cpu-1000x1", 0.2),
    ratio("open", RAW, 0.7), ratio("open", FAST, 5, label="TCP and Upgrade"),
    figure("memory", "h2ws", "server_bytes_per_idle_socket", 1200, "server ≤ 1,200 B before the first message"),
    figure("memory", "h2ws", "client_bytes_per_idle_socket", 2000, "client ≤ 2,000 B before the first message"),
    figure("memory", "h2ws", "server_bytes_per_socket_after", 2000, "server ≤ 2,000 B after traffic"),
    figure("memory", "h2ws", "client_bytes_per_socket_after", 2000, "client ≤ 2,000 B after traffic"),
    Aim("10 to 100,000 sockets on one connection", "CPU/message from 1,000 on ≤ 1.5 × the best",
        growth("h2ws"), 1.5, False),
    Aim("p99 of a quiet socket", "beside 10 that move 1 MiB ≤ 5 × alone", beside, 5, False),
    figure("million", "h2ws", "figure", 120, "open within 120 s"),
    figure("million", "h2ws", "messages_per_second", 9_900, "1 % talk: ≥ 9,900 of 10,000 messages/s", True),
    Aim("1,000,000 sockets", "each answers a ping, none fails, all close: 0 that do not",
        million_failures, 0, False),
]
