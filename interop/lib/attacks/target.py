"""Starts the program under attack, measures it through /proc, and stops it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from ..sandbox import _die_with_parent

TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20


class NotStarted(Exception):
    """The program did not print `listening on URL`."""


class Target:
    """A process, with its memory, CPU time and log."""

    def __init__(self, argv: list, log: Path, stderr=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                 tied: bool = True):
        self.log = log
        self._sink = log.open("wb")
        self.process = subprocess.Popen(
            [str(part) for part in argv], stdin=stdin, stdout=stdout, stderr=stderr or self._sink,
            start_new_session=True,
            # Not for processes started by a row: Linux ties this to the starting thread.
            preexec_fn=_die_with_parent if tied else None)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def port(self, patience: float = 30) -> int:
        """The port in its first line, `listening on URL`."""
        if not select.select([self.process.stdout], [], [], patience)[0]:
            raise NotStarted(f"printed nothing within {patience:g} s: {self.tail()}")
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on "):
            raise NotStarted(f"printed {line!r}: {self.tail()}")
        return int(line.rsplit(":", 1)[1].strip().strip("/"))

    def tail(self) -> str:
        return self.said()[-300:].strip()

    def said(self) -> str:
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")
        return ""

    def cpu(self) -> float:
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / TICKS
        return 0.0

    def _status(self, name: str) -> float:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith(name):
                    return int(line.split()[1]) / 1024
        return 0.0

    def memory(self) -> float:
        """Resident MiB."""
        return self._status("VmRSS:")

    def peak(self) -> float:
        return self._status("VmHWM:")

    def forget_peak(self) -> None:
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        with contextlib.suppress(OSError):
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        return 0

    def kill(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def ended(self, patience: float) -> int | None:
        """The exit status, or None if it still runs after `patience` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(patience)
        return None

    def stop(self) -> None:
        self.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._sink.close()


def wait_for(condition, patience: float, pause: float = 0.05) -> bool:
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            return bool(condition())
        time.sleep(pause)
    return True


def scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="h2ws-attacks-"))
