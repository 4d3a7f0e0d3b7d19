"""Runs the program under test, using only its command-line interface."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from . import install
from .endpoint import Endpoint
from .peer import Endpoints
from .sandbox import NotRun, Sandbox, _die_with_parent


class DoesNotServe(NotRun):
    """`h2ws serve` does not start. Unlike a missing peer, this is a failure."""


async def serve_one(sandbox: Sandbox, *options, env: dict | None = None, command: str = "serve",
                    listen: str = "127.0.0.1:0", stderr: int | None = None) -> tuple[Endpoint, object]:
    """Starts `h2ws serve` (or another listening command) on a free port, and waits until it reports its URL."""
    name = f"h2ws-{command}{len(sandbox._children)}"
    try:
        child = await sandbox.spawn(sandbox.h2ws, command, "--listen", listen, "-v", *options, name=name, stdout_pipe=True, env=env, stderr=stderr)
        return await _listening(child), child
    except DoesNotServe:
        raise
    except NotRun as error:
        raise DoesNotServe(f"h2ws {command}: {error}") from error


async def _listening(child) -> Endpoint:
    """The endpoint in the first line that the program prints."""
    line = await child.first_line()
    if line.startswith("{"):
        line = f"listening on {json.loads(line)['url']}"
    prefix = "listening on "
    if not line.startswith(prefix):
        raise DoesNotServe(f"{child.name}: first line is {line!r}, not `listening on URL`")
    url = urlsplit(line[len(prefix):].strip())
    return Endpoint(url.port, url.scheme in ("wss", "https"), url.hostname)


async def echo_server(sandbox: Sandbox) -> Endpoints:
    """Our library as an echo server that accepts the same commands as `apps/echo.mjs`."""
    programs = await asyncio.to_thread(install.driver)
    listening = []
    for options in ([sandbox.cert, sandbox.key], ["--cleartext"]):
        child = await sandbox.spawn(programs / "interop-server", *options,
                                    name=f"interop-server{len(sandbox._children)}", stdout_pipe=True)
        listening.append(await _listening(child))
    return Endpoints(*listening, child)


async def bridge(sandbox: Sandbox, *options) -> tuple[Endpoint, object]:
    """Starts `h2ws bridge` with TLS."""
    return await serve_one(sandbox, "--cert", sandbox.cert, "--key", sandbox.key, *options, command="bridge")


async def serve(sandbox: Sandbox) -> Endpoints:
    """Starts two servers: one with TLS, one in cleartext."""
    tls, child = await serve_one(sandbox, "--cert", sandbox.cert, "--key", sandbox.key)
    clear, _ = await serve_one(sandbox, "--cleartext")
    if not tls.tls or clear.tls:
        raise DoesNotServe(f"h2ws serve: wrong URL schemes: {tls.ws_url()} {clear.ws_url()}")
    return Endpoints(tls, clear, child)


@dataclass
class ProgramResult:
    """Exit status and output of `h2ws connect`."""

    status: int
    out: list[str]
    err: str

    def __str__(self) -> str:
        return f"exit {self.status}, stdout {self.out[-3:]!r:.200}, stderr {self.err[-300:]!r}"


async def _started(h2ws: Path, url: str, *options: str, env: dict | None = None):
    return await asyncio.create_subprocess_exec(
        str(h2ws), "connect", url, "--insecure", *options,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=_die_with_parent, limit=1 << 26, env=os.environ | (env or {}),
    )


async def _to_its_end(process, work, what: str, timeout: float):
    """Waits for `work`, and kills the program if it is still running afterwards."""
    try:
        return await asyncio.wait_for(work, timeout)
    except asyncio.TimeoutError:
        raise AssertionError(f"{what} hung for {timeout:g} s") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def connect(h2ws: Path, url: str, lines: list[str], *options: str, timeout: float = 60,
                  env: dict | None = None) -> ProgramResult:
    """Runs `h2ws connect` with these lines on stdin until it exits."""
    process = await _started(h2ws, url, *options, env=env)
    stdin = "".join(f"{line}\n" for line in lines).encode()
    out, err = await _to_its_end(process, process.communicate(stdin), " ".join(options), timeout)
    return ProgramResult(process.returncode, out.decode(errors="replace").splitlines(), err.decode(errors="replace"))


async def converse(h2ws: Path, url: str, line: str, then, *options: str, timeout: float = 60) -> ProgramResult:
    """Sends one line and awaits the echo; then calls `then` while stdin is still open."""
    process = await _started(h2ws, url, *options)

    async def talk() -> tuple[bytes, bytes]:
        process.stdin.write(f"{line}\n".encode())
        await process.stdin.drain()
        first = await process.stdout.readline()
        then()
        rest, err, _ = await asyncio.gather(process.stdout.read(), process.stderr.read(), process.wait())
        return first + rest, err

    out, err = await _to_its_end(process, talk(), "with open stdin", timeout)
    return ProgramResult(process.returncode, out.decode(errors="replace").splitlines(), err.decode(errors="replace"))


@dataclass
class CommandResult:
    """The answer to a command; see `driver/src/bin/client/main.rs`."""

    done: int
    asked: int
    connections: int
    said: str

    def times(self, beginning: str) -> int:
        """How often an outcome with this prefix was reported."""
        parts = [part.split(" x ", 1) for part in self.said.split(" | ") if " x " in part]
        return sum(int(times) for times, what in parts if what.startswith(beginning))


class Driver:
    """A program that opens and closes many sockets of one `h2ws::Client` on command."""

    def __init__(self, process, child):
        self._process, self._child = process, child

    @classmethod
    async def start(cls, ctx, endpoint: Endpoint, *options: str, name: str = "interop-client") -> Driver:
        """Starts the program for this endpoint, over HTTP/2 unless an option says otherwise. The sandbox stops it."""
        sandbox, programs = ctx.sandbox, await asyncio.to_thread(install.driver)
        if ctx.peer.subprotocol:
            options = ("--subprotocol", ctx.peer.subprotocol, *options)
        child = await sandbox.spawn(programs / "interop-client", *options, sandbox.cert, endpoint.ws_url(),
                                    name=name, stdout_pipe=True, stdin_pipe=True)
        return cls(child.process, child)

    async def order(self, line: str, timeout: float = 90) -> CommandResult:
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()
        try:
            answer = (await asyncio.wait_for(self._process.stdout.readline(), timeout)).decode().strip()
        except asyncio.TimeoutError:
            raise AssertionError(f"the client hung at `{line}` for {timeout:g} s") from None
        if not answer:
            raise AssertionError(f"the client ended at `{line}`: {self._child.tail()}")
        done, _, rest = answer.partition("/")
        asked, connections, said = (rest + " ").split(" ", 2)
        return CommandResult(int(done), int(asked), int(connections), said.strip())

    async def all(self, line: str, count: int, timeout: float = 90) -> CommandResult:
        """A command that has to succeed on `count` sockets."""
        result = await self.order(line, timeout)
        if result.done != count or result.asked != count:
            raise AssertionError(f"`{line}` succeeded on {result.done} of {count} sockets: {result.said[:300]}")
        return result

    async def stop(self) -> None:
        await self._child.stop()


@dataclass
class Probed:
    """Exit status of `h2ws probe --json`, and its report on the one URL."""

    status: int
    said: dict
    err: str

    def clauses(self) -> list[str]:
        """`PARTY CLAUSE` of every fault."""
        return [f"{f['party']} {f['clause']}" for f in self.said["findings"] if f["fault"]]


async def probe(h2ws: Path, url: str, *options: str, timeout: float = 60) -> Probed:
    """Runs `h2ws probe --json` for one URL."""
    process = await asyncio.create_subprocess_exec(
        str(h2ws), "probe", url, "--json", "--insecure", *options,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=_die_with_parent, limit=1 << 26,
    )
    out, err = await _to_its_end(process, process.communicate(), f"of {url}", timeout)
    try:
        said = json.loads(out)
    except ValueError:
        raise AssertionError(f"h2ws probe: exit {process.returncode}, not JSON: {out[-200:]!r}, stderr {err[-300:]!r}") from None
    return Probed(process.returncode, said["results"][0], err.decode(errors="replace"))
