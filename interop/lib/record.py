"""Writes RESULTS.md: the record of a full run, with a table per role."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from .report import FAIL, PASS, SKIP, Row, summary
from .sandbox import INTEROP, WORK

ROLES = {
    "reference": "Without h2ws: a foreign client against the peer, or the peer against a foreign server.",
    "server": "The peer against a server of ours: `h2ws serve`, or a program on the library.",
    "client": "`h2ws connect` and `probe`, or a program on the library, against the peer or through it.",
    "bridge": "The peer behind `h2ws bridge`, or before it.",
    "application": "A whole application behind `h2ws bridge`, used by Chromium and Firefox.",
}
# Tables from the cells that cases leave in `Context.cells`: title, explanation, cases, head.
TABLES = [
    ("With and without `Sec-WebSocket-Key`",
     "The answer to an extended CONNECT of python's `h2` without the field and with it, and what carries the socket of "
     "`h2ws connect`, by default and with `--websocket-key`. In the case `with-and-without-a-key`.",
     ("with-and-without-a-key",),
     ["server", "without a key", "with a key", "h2ws by default", "h2ws with `--websocket-key`"]),
    ("What `h2ws probe` says",
     "With TLS, in the cases `probe-tells-what-the-peer-does` and `probe-finds-nothing-wrong-with-serve`.",
     ("probe-tells-what-the-peer-does", "probe-finds-nothing-wrong-with-serve"),
     ["server", "exit", "SETTINGS", "sockets over HTTP/2; their streams after the Close frames", "over HTTP/1.1",
      "permessage-deflate", "faults"]),
]
ENDINGS = {"end_stream": "END_STREAM", "end_stream_with_data": "END_STREAM with its Close", "nothing": "left open"}
# Remarks are shown only for cases that at most this many peers passed.
FEW = 2


# Pictures of the page for the documentation, and the screenshots that they are.
PICTURES = {f"page-{name}": f"page-chromium-{name}" for name in ("1280-light", "1280-dark")}


def pictures() -> None:
    """Replaces the pictures in `docs/` by the screenshots of this run."""
    for name, screenshot in PICTURES.items():
        shutil.copy(WORK / f"screenshots/{screenshot}.png", INTEROP.parent / f"docs/{name}.png")


def write(rows: list[Row], command: str, seconds: float, tested: str) -> None:
    """Writes the file. `tested` is the result of `tested()`, taken before the run."""
    (INTEROP / "RESULTS.md").write_text(text(rows, command, seconds, tested))


def text(rows: list[Row], command: str, seconds: float, tested: str) -> str:
    lines = [
        "# Interoperability results", "",
        f"`{command}` on {time.strftime('%Y-%m-%d', time.gmtime())}: **{summary(rows)}**, in {seconds / 60:.0f} minutes. "
        f"{tested}, {_machine()}.", "",
        "Again: `interop/run --record`, as root on Debian, for it installs the peers; [README.md](README.md) says what "
        "each case proves, and how peers are added. Rows are a case with a peer; all of them, with their times and "
        "remarks, are in `.work/results.md` after a run.", "",
    ]
    odd = [row for row in rows if row.result not in (PASS, SKIP)]
    if odd:
        lines += ["## Not passed", "", *_table(
            ["peer", "role", "case", "result", "why"],
            [[row.peer, row.role, row.case, row.result, row.detail] for row in odd])]
    lines += ["## Peers", "", *_table(["peer", "version", "roles", "passed", "failed", "else"], _peers(rows))]
    for role, meaning in ROLES.items():
        of_role = [row for row in rows if row.role == role]
        if of_role:
            lines += [f"## Role: {role}", "", meaning, "",
                      *_table(["case", "passed with", "s, at most", "remarks"], _cases(of_role))]
    for title, about, cases, head in TABLES:
        found = [row for row in rows if row.case in cases and row.recorded]
        if found:
            lines += [f"## {title}", "", about, "", *_table(head, [[_server(row), *row.recorded] for row in found])]
    return "\n".join(lines).rstrip() + "\n"


def tested(h2ws: Path | None) -> str:
    """The program's version, and the commit that it was built from."""
    version = subprocess.run([h2ws, "--version"], capture_output=True, text=True).stdout.strip() if h2ws else "no h2ws"
    git = lambda *words: subprocess.run(["git", *words], cwd=INTEROP, capture_output=True, text=True).stdout.strip()
    commit = git("rev-parse", "--short=10", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", ":/", ":!RESULTS.md")
    return version + (f" at commit {commit}{' with changes' if changed else ''}" if commit else "")


def _machine() -> str:
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return f"{system} on {platform.machine()}, {os.cpu_count()} cores"


def _peers(rows: list[Row]) -> list[list[str]]:
    found = []
    for peer in dict.fromkeys(row.peer for row in rows):
        own = [row for row in rows if row.peer == peer]
        counts = [sum(row.result == result for row in own) for result in (PASS, FAIL)]
        versions = dict.fromkeys(row.version for row in own if row.version != "?")
        found.append([peer, ", ".join(versions) or "?", ", ".join(dict.fromkeys(row.role for row in own)),
                      *map(str, counts), str(len(own) - sum(counts) or "")])
    return found


def _cases(rows: list[Row]) -> list[list[str]]:
    found = []
    for case in dict.fromkeys(row.case for row in rows if row.result == PASS):
        passed = [row for row in rows if row.case == case and row.result == PASS]
        remarks = dict.fromkeys(row.detail for row in passed if row.detail) if len(passed) <= FEW else ()
        found.append([f"`{case}`", ", ".join(row.peer for row in passed), f"{max(row.seconds for row in passed):.1f}",
                      "; ".join(remarks)])
    return found


def _server(row: Row) -> str:
    return f"{row.peer} {row.version}" if row.role == "client" else "`h2ws serve`"


def probed(said: dict) -> list[str]:
    """The report of `h2ws probe --json` on one URL, as table cells."""
    http2, http1 = said["http2"], said["http1"]
    if http2:
        settings = ", ".join(f"{s['name'] or s['id']} {s['value']}" for f in http2["settings_frames"] for s in f["settings"])
        works = sum(socket["works"] for socket in http2["sockets"])
        hows = [socket["ending"]["how"] for socket in http2["sockets"] if socket["ending"]]
        ends = ", ".join(dict.fromkeys(ENDINGS.get(how, how) for how in hows))
        over2 = f"{works} of {len(http2['sockets'])}; {ends}" if http2["sockets"] else "no capability"
    else:
        settings, over2 = "", "no HTTP/2"
    over1 = ("works" if http1["socket"]["works"] else "does not work") if http1 else "not spoken"
    sockets = [*(http2 or {"sockets": []})["sockets"][:1], *([http1["socket"]] if http1 else [])]
    deflate = ["yes" if (socket["opening"] or {}).get("extensions") else "no" for socket in sockets]
    faults = dict.fromkeys(f"{f['party']}: {f['text']} ({f['clause']})" for f in said["findings"] if f["fault"])
    return [str(said["exit_status"]), settings, over2, over1, ", ".join(dict.fromkeys(deflate)), "; ".join(faults) or "none"]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    escape = lambda cell: " ".join(cell.replace("|", "\\|").replace("<", "&lt;").split())[:400]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *("| " + " | ".join(map(escape, row)) + " |" for row in rows), ""]
