"""Prints the table of a run on the terminal, and writes it as Markdown and JSON."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

PASS, FAIL, SKIP, NOT_RUN, PEER = "pass", "FAIL", "skip", "not run", "peer's fault"


@dataclass
class Row:
    peer: str
    version: str
    role: str
    case: str
    result: str
    seconds: float
    detail: str = ""
    clause: str = ""
    # A row of one of the tables in RESULTS.md (see `record.TABLES`).
    recorded: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        return [self.peer, self.version, self.role, self.case, self.result, f"{self.seconds:.1f}", self.detail]


HEAD = ["peer", "version", "role", "case", "result", "s", "detail"]
WIDTHS = [16, 10, 9, 30, 12, 5]


def line(cells: list[str]) -> str:
    """Formats a row for the terminal."""
    fixed = "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS))
    return f"{fixed}  {cells[-1][:400]}".rstrip()


def summary(rows: list[Row]) -> str:
    passed = sum(row.result == PASS for row in rows)
    failed = sum(row.result == FAIL for row in rows)
    return f"{passed} passed, {failed} failed, {len(rows) - passed - failed} skipped"


def markdown(rows: list[Row], command: str) -> str:
    """The table as Markdown, with the command, machine and date."""
    escape = lambda text: text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
    system = f"{platform.system()} {platform.machine()}"
    lines = [
        "# Interoperability results",
        "",
        f"`{command}` on {time.strftime('%Y-%m-%d', time.gmtime())} ({system}). {summary(rows)}.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
    ]
    lines += ["| " + " | ".join(map(escape, row.cells())) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def write(rows: list[Row], command: str, path: Path) -> None:
    path.write_text(markdown(rows, command))


def write_json(rows: list[Row], path: Path) -> None:
    path.write_text(json.dumps({"summary": summary(rows), "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
