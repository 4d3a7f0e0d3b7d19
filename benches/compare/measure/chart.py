"""The report as a chart of horizontal bars, with a group per row, for light and dark pages."""

from html import escape

from .document import KINDS, human, ours

# The label and colour of each peer.
PEERS = {
    "h2ws": ("h2ws", "ours"), "h2ws+frames": ("h2ws server, same client", "ours"),
    "raw-tuned": ("h2 alone, no frames", "raw"), "raw-tuned+frames": ("h2 alone, no frames", "raw"),
    "axum+frames": ("axum over HTTP/2", "axum"), "axum-windows+frames": ("axum, wide windows", "axum"),
    "axum-windows+bench": ("axum, wide windows", "axum"),
    "fastws": ("fastwebsockets, TCP each", "tcp"), "fastws+bench": ("fastwebsockets, TCP each", "tcp"),
}
ROWS = {
    "1x1": ("h2ws", "raw-tuned", "fastws"),
    "100x1": ("h2ws", "raw-tuned", "fastws"),
    "1000x1": ("h2ws", "raw-tuned", "axum+frames", "fastws"),
    "1000x16": ("h2ws", "raw-tuned", "axum-windows+frames", "fastws"),
    "100x4-4KiB": ("h2ws", "raw-tuned", "axum+frames", "fastws"),
    "paced-1000": ("h2ws", "axum-windows+bench", "fastws+bench"),
    "open": ("h2ws", "raw-tuned", "fastws"),
    "memory": ("h2ws", "raw-tuned", "axum-windows+frames", "fastws"),
}
STYLE = """
text{font:11px system-ui,-apple-system,"Segoe UI",sans-serif;fill:#1f2937}
.title{font-size:16px;font-weight:600}.row{font-size:12px;font-weight:600;paint-order:stroke;stroke:#fff;stroke-width:4px}.peer{text-anchor:end}
.axis{text-anchor:middle;fill:#6b7280}.note{fill:#6b7280}.grid{stroke:#d1d5db}
.page{fill:#fff}.ours{fill:#c2410c}.raw{fill:#64748b}.axum{fill:#6366f1}.tcp{fill:#0f766e}
@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.axis,.note{fill:#9ca3af}.grid{stroke:#374151}
.page{fill:#0d1117}.row{stroke:#0d1117}.ours{fill:#fb923c}.raw{fill:#94a3b8}.axum{fill:#a5b4fc}.tcp{fill:#5eead4}}
"""
WIDTH, LEFT, BARS, BAR = 820, 190, 430, 15


def chart(report):
    parts, y = [], 74
    for name, peers in ROWS.items():
        cells = {peer: report["cells"].get(name, {}).get(peer) for peer in peers}
        cells = {peer: cell for peer, cell in cells.items() if cell}
        if cells:
            y = group(parts, y, name, cells)
    axis = "".join(
        f'<line class="grid" x1="{x}" x2="{x}" y1="58" y2="{y - 14}"/><text class="axis" x="{x}" y="52">{share} %</text>'
        for share in (0, 25, 50, 75, 100) for x in [LEFT + BARS * share / 100])
    env = report["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    notes = [
        f'{env["cpu"]}, {env["cores"]} cores, {"one for each side" if report["pinned"] else "shared by both sides"}, {env["memory_gib"]} GiB, Linux {env["kernel"]}, {env["rustc"]}',
        versions,
        f'{report["command"]}: medians of {report["runs"]} alternating runs; cleartext; {env["date"]}, commit {env["commit"]}',
        "h2 alone echoes bytes on the h2 crate with every trick that we know and without WebSocket frames: the ceiling",
    ]
    for note in notes:
        y += 14
        parts.append(f'<text class="note" x="12" y="{y}">{escape(note)}</text>')
    height = y + 14
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            f'role="img" aria-label="h2ws beside its peers"><style>{STYLE}</style>'
            f'<rect class="page" width="{WIDTH}" height="{height}" rx="6"/>'
            '<text class="title" x="12" y="26">h2ws beside its peers</text>'
            '<text class="axis" x="405" y="40">share of the longest bar of the group; behind each bar its median, and by '
            f'how much ours is better</text>{axis}{"".join(parts)}</svg>\n')


def group(parts, y, name, cells):
    row = KINDS[name]
    wanted = "less is better" if row.less_is_better else "more is better"
    size = "" if row.kind in ("open", "memory") or row.size != 64 else ", 64 B"
    parts.append(f'<text class="row" x="12" y="{y}">{escape(row.what + size)}: {row.unit}, {wanted}</text>')
    y += 5
    longest = max(cell["figure"] for cell in cells.values())
    for peer, cell in cells.items():
        label, colour = PEERS[peer]
        length = max(1, BARS * cell["figure"] / longest) if longest else 1
        parts.append(
            f'<text class="peer" x="{LEFT - 6}" y="{y + 11}">{escape(label)}</text>'
            f'<rect class="{colour}" x="{LEFT}" y="{y + 1}" width="{length:.1f}" height="{BAR - 3}" rx="1"/>'
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 11}">{human(cell["figure"])}{better(row, cells, peer)}</text>')
        y += BAR
    return y + 24


def better(row, cells, peer):
    mine, other = ours(cells, peer), cells[peer]["figure"]
    if mine is None or mine is cells[peer] or not mine["figure"] or not other:
        return ""
    ratio = other / mine["figure"] if row.less_is_better else mine["figure"] / other
    return f" · ours {ratio:.2g} ×" if ratio < 100 else f" · ours {ratio:.0f} ×"
