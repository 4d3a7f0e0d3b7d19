"""Runs the peers one after the other, and the cases on each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from . import install, program, report
from .cases import CASES, Case, Context
from .endpoint import Endpoint
from .peer import Peer, Endpoints, every
from .report import FAIL, NOT_RUN, PASS, PEER, SKIP, Row
from .sandbox import NotRun, Sandbox


# The roles of each kind of peer. The kinds not listed here have those of clients.
KINDS = {"server": ("reference", "client", "bridge"), "proxy": ("reference", "client"), "tcp": ("bridge",), "framework": ("bridge",), "interceptor": ("client",),
         "application": ("application",)}


class Runner:
    """One run. Rows are printed as they complete."""

    def __init__(self, *, h2ws: Path | None, roles: set[str], only: str | None, quick: bool = False, exhaustive: bool = False):
        self.quick, self.exhaustive, self.h2ws, self.roles, self.only = quick, exhaustive, h2ws, roles, only
        self.rows: list[Row] = []

    def _row(self, *args, **kwargs) -> None:
        row = Row(*args, **kwargs)
        self.rows.append(row)
        print(report.line(row.cells()), flush=True)

    async def run(self, peers: list[Peer]) -> None:
        print(report.line(report.HEAD), flush=True)
        for peer in peers:
            for role in KINDS.get(peer.kind, ("reference", "server", "bridge")):
                if role in self.roles and self._cases(peer, role):
                    await self._run_peer(peer, role)

    def _cases(self, peer: Peer, role: str) -> list[Case]:
        return [c for c in CASES if c.role == role and c.wants(peer) and self.only in (None, c.name)]

    async def _run_peer(self, peer: Peer, role: str) -> None:
        """Runs one peer in one role. A missing peer is reported as one row, which does not pass."""
        version = "?"
        if self.quick and not peer.quick:
            self._row(peer.name, version, role, "*", SKIP, 0.0, "not in a quick run")
            return
        async with Sandbox(f"{peer.name}-{role}", self.h2ws) as sandbox:
            try:
                install.debian(*peer.apt)
                version = await peer.read_version()
                if role != "reference" and not self.h2ws:
                    raise NotRun("h2ws is not available")
                endpoints = await self._serve(peer, role, sandbox)
            except (NotRun, OSError, AssertionError) as error:
                ours = isinstance(error, program.DoesNotServe)
                self._row(peer.name, version, role, "*", FAIL if ours else NOT_RUN, 0.0, str(error))
                return
            for case in self._cases(peer, role):
                await self._case(case, peer, version, endpoints, sandbox)

    async def _serve(self, peer: Peer, role: str, sandbox: Sandbox) -> Endpoints:
        """Starts the listening side for this peer and role (see `Context.endpoints`)."""
        if peer.kind in KINDS:
            return await peer.start(sandbox)
        if role == "bridge":
            return Endpoints(clear=Endpoint(await sandbox.backend(), tls=False))
        if role == "server":
            endpoints = await program.serve(sandbox)
        else:
            endpoints = await next(p for p in every() if p.name == "node").start(sandbox)
        return await peer.start(sandbox, endpoints.tls) if peer.kind == "bridge" else endpoints

    async def _case(self, case: Case, peer: Peer, version: str, endpoints: Endpoints, sandbox: Sandbox) -> None:
        started = time.monotonic()
        ctx = Context(peer, case.role, endpoints, sandbox, self.quick, self.exhaustive, self.h2ws)
        result = PASS
        if self.quick and not case.quick:
            result = SKIP
            ctx.note("not in a quick run")
        else:
            try:
                await asyncio.wait_for(case.run(ctx), case.timeout)
            except asyncio.TimeoutError:
                result = FAIL
                ctx.note(f"hung: stopped after {case.timeout:g} s")
            except NotRun as error:
                result = NOT_RUN
                ctx.note(str(error))
            except Exception as error:  # any failure of a case becomes a row
                result = FAIL
                ctx.note(f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error))
            if result == FAIL and case.name in peer.excused:
                result = PEER
                ctx.note(peer.excused[case.name])
            if result == FAIL and endpoints.child is not None and not endpoints.child.running:
                ctx.note(f"{endpoints.child.name} exited with {endpoints.child.process.returncode}: {endpoints.child.tail()}")
        detail = "; ".join(ctx.notes).replace("\n", " ")
        self._row(peer.name, version, case.role, case.name, result, time.monotonic() - started, detail, case.clause,
                  ctx.cells)
        if endpoints.child is not None and not endpoints.child.running:
            with contextlib.suppress(NotRun):
                replaced = await self._serve(peer, case.role, sandbox)
                endpoints.__dict__.update(replaced.__dict__)
