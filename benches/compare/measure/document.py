"""The report as Markdown."""

from .aims import AIMS, by_cell
from .matrix import PEERS, ROWS

NOTES = {peer.name: peer.note for peer in PEERS}
KINDS = {row.name: row for row in ROWS}


def human(value):
    if value is None:
        return "–"
    for limit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {suffix}" if value < 1e3 * limit else f"{value / limit:.0f} {suffix}"
    return f"{value:.3g}"


def table(head, lines):
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def machine(report):
    env = report["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    where = "one for each side" if report["pinned"] else "shared by both sides"
    busy = report["disturbed"]
    disturbed = f" Something else used the processors during {busy} runs, which were not repeated more often." if busy else ""
    return (f"`{report['command']}` on {env['date']}, commit {env['commit']}: {env['cpu']}, {env['cores']} cores, "
            f"{where}, {env['memory_gib']} GiB, Linux {env['kernel']}, {env['rustc']}; {versions}. "
            f"Medians of {report['runs']} alternating runs of {report['seconds']} s, taken in "
            f"{report['took'] / 60:.0f} minutes; load average before {env['load_average']:.1f}.{disturbed}")


def markdown(report):
    parts = ["# h2ws beside its peers", "", machine(report), ""]
    if report["quick"]:
        parts += ["**A quick run, to see that everything works: no figure here means anything.**", ""]
    cells = by_cell(report["cells"])
    lines = [line for line in (aim.line(cells) for aim in AIMS) if line[3] != "not measured"]
    reached = sum(line[3] == "reached" for line in lines)
    if lines and not report["quick"]:
        parts += ["## Aims", "", f"{reached} of {len(lines)} reached. Ratios are of medians.", "",
                  table(["what", "aim", "measured", ""], lines), ""]
    parts += ["## Figures", "",
              "The median of each, its span in parentheses, and how many times better ours is: h2ws at both ends, "
              "or our server under the peer's client where there is one (`+frames`).", "",
              table(["row", "peer", "median (span)", "ours better by", "CPU/message, µs: server, client"],
                    [line for name, row in report["cells"].items() for line in figures(name, row)]), ""]
    parts += paced(report) + memory(report) + million(report)
    seen = {peer for row in report["cells"].values() for peer in row}
    parts += ["## Peers", "", *[f"- `{name}`: {note}" for name, note in NOTES.items() if name in seen]]
    failures = [f"not measured: {what}" for what in report["missing"]] + report["failures"]
    if failures:
        parts += ["", "## Failures", "", *[f"- {failure}" for failure in failures]]
    return "\n".join(parts) + "\n"


def ours(row, peer):
    """Returns the cell of h2ws that a peer is compared with: with the same client, if there is one."""
    if peer.endswith("+frames") and "h2ws+frames" in row:
        return row["h2ws+frames"]
    return row.get("h2ws") or row.get("h2ws-tls") or row.get("h2ws+frames")


def figures(name, row):
    for peer, cell in row.items():
        mine = ours(row, peer)
        better = None
        if mine and mine is not cell and cell["figure"]:
            better = mine["figure"] / cell["figure"]
            better = 1 / better if KINDS[name].less_is_better and better else better
        micros = [cell.get(f"{end}_us_per_message") for end in ("server", "client")]
        yield [f"{name} ({KINDS[name].unit})", f"`{peer}`",
               f"{human(cell['figure'])} ({human(cell['min'])} … {human(cell['max'])})",
               "" if better is None else f"{better:.2f}",
               ", ".join(human(value) for value in micros)]


def paced(report):
    lines = [[KINDS[name].what, f"`{peer}`", human(cell["messages_per_second"]),
              *[human(cell["latency"][f"{part}_us"]) for part in ("p50", "p99", "p999")]]
             for name, row in report["cells"].items() if KINDS[name].kind == "paced" for peer, cell in row.items()]
    if not lines:
        return []
    return ["## Latency at a fixed rate", "",
            "In µs, from when each message was due, whether others had returned or not. Where the row names no rate, it is "
            "half of what the weakest of its peers answers in a closed loop.", "",
            table(["row", "peer", "messages/s", "p50", "p99", "p99.9"], lines), ""]


def memory(report):
    cells = report["cells"].get("memory")
    if not cells:
        return []
    keys = [(f"{end}_bytes_{state}_socket", f"{end}_bytes_per_socket_after") for end, state in
            (("server", "per_idle"), ("client", "per_idle"))]
    lines = [[f"`{peer}`"] + [human(cell.get(key)) for pair in keys for key in pair] for peer, cell in cells.items()]
    return ["## Bytes per socket, 10,000 at rest", "",
            "Of a TCP socket the kernel's share comes on top.", "",
            table(["peer", "server, before the first message", "server, after traffic",
                   "client, before", "client, after"], lines), ""]


def million(report):
    cell = report["cells"].get("million", {}).get("h2ws")
    if not cell:
        return []
    latency = cell["latency"]
    return ["## Very many sockets", "",
            f"{cell['sockets']:,.0f} sockets on {cell['connections']:.0f} connections: opened in "
            f"{cell['open_seconds']:.1f} s ({human(cell['opened_per_second'])}/s), each answered a ping within "
            f"{cell['ping_seconds']:.1f} s, {cell['talkers']:,.0f} of them moved "
            f"{cell['messages_per_second']:,.0f} messages/s for {cell['seconds']:.1f} s, round trip "
            f"p50 {latency['p50_us']:,.0f} µs, p99 {latency['p99_us']:,.0f} µs, at most {latency['max_us']:,.0f} µs "
            f"from when each was due; closed in {cell['close_seconds']:.1f} s, {cell['failed'] + cell['unclosed']:.0f} "
            f"failed. Resident: server {cell['server_memory'] / 1e9:.2f} GB "
            f"({cell['server_bytes_per_idle_socket']:,.0f} bytes/socket), client {cell['client_memory'] / 1e9:.2f} GB "
            f"({cell['client_bytes_per_idle_socket']:,.0f}).", ""]
