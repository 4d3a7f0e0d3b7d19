"""Processes, ports and files of a run, and their cleanup.

Every child has its own session, so that its whole process group can be
killed. It is killed with the harness, even if the harness gets SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

INTEROP = Path(__file__).resolve().parent.parent
WORK = INTEROP / ".work"
NODE_MODULES = WORK / "node_modules"
# The programs of the installed PyPI packages.
BIN = WORK / "venv/bin"
# Browsers block some ports, the highest of which is 10080.
_LOWEST_PORT = 20_000
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class NotRun(Exception):
    """The peer is unavailable: it is not installed, or does not start."""


def _first_outgoing_port() -> int:
    """The start of the ephemeral range, in which an outgoing connection could take a port before the peer listens."""
    return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A child process and its log."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path):
        self.name, self.process, self.log = name, process, log

    @property
    def running(self) -> bool:
        return self.process.returncode is None

    def tail(self, lines: int = 6) -> str:
        with contextlib.suppress(OSError):
            return " | ".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        return ""

    async def first_line(self, timeout: float = 60) -> str:
        """The first line of a child started with `stdout_pipe=True`."""
        try:
            line = await asyncio.wait_for(self.process.stdout.readline(), timeout)
        except asyncio.TimeoutError:
            raise NotRun(f"{self.name} printed nothing within {timeout:g} s: {self.tail()}") from None
        if not line:
            await self.process.wait()
            raise NotRun(f"{self.name} exited with {self.process.returncode}: {self.tail()}")
        return line.decode().strip()

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    async def stop(self, patience: float = 2) -> None:
        if self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.process.wait(), patience)
        # Workers may still run after their leader has exited.
        self.signal(signal.SIGKILL)
        await self.process.wait()


class Sandbox:
    """The environment of one peer: a directory, free ports, and child processes to stop."""

    def __init__(self, name: str, h2ws: Path | None = None):
        self.name = name
        self.h2ws = h2ws
        self.dir = WORK / "sandboxes" / name
        self.dir.mkdir(parents=True, exist_ok=True)
        self._children: list[Child] = []
        self._backend: int | None = None
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Sandbox:
        return self

    async def __aexit__(self, *_) -> None:
        await self._exits.aclose()
        for child in reversed(self._children):
            await child.stop()

    async def enter(self, context):
        """Keeps an async context manager open until the sandbox is closed."""
        return await self._exits.enter_async_context(context)

    @property
    def cert(self) -> Path:
        return WORK / "cert.pem"

    @property
    def key(self) -> Path:
        return WORK / "key.pem"

    @property
    def both(self) -> Path:
        return WORK / "both.pem"

    def port(self) -> int:
        """A port that is free on loopback."""
        reserved = range(_LOWEST_PORT, _first_outgoing_port())
        while True:
            port = random.choice(reserved) if reserved else 0
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return probe.getsockname()[1]

    def write(self, name: str, text: str) -> Path:
        path = self.dir / name
        path.write_text(text)
        return path

    async def spawn(self, *argv, name: str | None = None, stdout_pipe: bool = False, stdin_pipe: bool = False, env: dict | None = None, cwd=None,
                    stderr: int | None = None, fds: tuple[int, ...] = ()) -> Child:
        """Starts a child. Its output goes to a log file in the sandbox, unless a descriptor for its stderr is given."""
        name = name or Path(str(argv[0])).name
        log = self.dir / f"{name}.log"
        try:
            with log.open("wb") as sink:
                process = await asyncio.create_subprocess_exec(
                    *map(str, argv),
                    stdin=asyncio.subprocess.PIPE if stdin_pipe else subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE if stdout_pipe else sink,
                    stderr=sink if stderr is None else stderr,
                    env=os.environ | (env or {}),
                    pass_fds=fds,
                    cwd=cwd,
                    start_new_session=True,
                    preexec_fn=_die_with_parent,
                )
        except OSError as error:
            raise NotRun(f"{name} does not start: {error}") from error
        child = Child(name, process, log)
        self._children.append(child)
        return child

    async def ready(self, child: Child, *ports: int, timeout: float = 60, path: str | None = None) -> None:
        """Waits until the child accepts connections on these ports. With `path`, for a child that accepts them before
        it can serve: until a GET of it succeeds."""
        deadline = asyncio.get_running_loop().time() + timeout
        for port in ports:
            while True:
                if not child.running:
                    raise NotRun(f"{child.name} exited with {child.process.returncode}: {child.tail()}")
                with contextlib.suppress(OSError):
                    if path:
                        await asyncio.to_thread(get, f"http://127.0.0.1:{port}{path}")
                    else:
                        _, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.close()
                    break
                if asyncio.get_running_loop().time() > deadline:
                    raise NotRun(f"{child.name} does not {'serve' if path else 'listen'}: {child.tail()}")
                await asyncio.sleep(0.05)

    async def backend(self) -> int:
        """The port of the RFC 6455 echo backend for proxies (Node `ws`), started on first use."""
        if self._backend is None:
            port = self.port()
            child = await self.spawn("node", INTEROP / "apps/backend.mjs", port, name="backend", env=node_env())
            await self.ready(child, port)
            self._backend = port
        return self._backend


def get(url: str) -> None:
    """Raises an OSError unless the answer is a success."""
    urllib.request.urlopen(url, timeout=20).close()


def node_env() -> dict[str, str]:
    """The environment through which our Node programs find the run's npm packages."""
    return {"INTEROP_NODE_MODULES": str(NODE_MODULES)}


async def run(*argv, stdin: bytes | None = None, timeout: float = 60, env: dict | None = None) -> tuple[int, str, str]:
    """Runs a program until it exits. Returns the status, stdout and stderr. Kills it after `timeout` seconds."""
    process = await asyncio.create_subprocess_exec(
        *map(str, argv),
        stdin=subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | (env or {}),
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), timeout)
    except asyncio.TimeoutError:
        raise AssertionError(f"{Path(str(argv[0])).name} still ran after {timeout:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


def has_ipv6() -> bool:
    """Whether this machine has IPv6 on its loopback interface."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as one:
        one.bind(("::1", 0))
        return True
    return False


def certificate() -> None:
    """A self-signed certificate for localhost and 127.0.0.1."""
    cert, key, both, version = (WORK / f"{name}.pem" for name in ("cert", "key", "both", "not-a-ca"))
    if not version.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             # Clients that verify reject a CA certificate as a server certificate.
             "-addext", "basicConstraints=critical,CA:FALSE",
             "-keyout", key, "-out", cert],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        both.write_bytes(cert.read_bytes() + key.read_bytes())
        version.touch()
    # Peers that drop privileges read these as another user.
    for path in (cert, key, both):
        path.chmod(0o644)


PYTHON = sys.executable
