"""Registering cases: a function, who it runs with, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .peer import Peer, Endpoints
from .sandbox import Sandbox

ROLES = ("reference", "server", "client", "bridge", "application")


@dataclass
class Context:
    """What a case gets: a peer on its sandbox, and the program under test.

    `endpoints` is the side that listens: the peer when it is a server, `h2ws
    serve` (or, as a reference, a foreign server) when it is a client, and the
    bridge when it stands before one of them. In the role "bridge" it is what
    `h2ws bridge`, which the case starts, is to stand before; in the role
    "application", likewise.
    """

    peer: Peer
    role: str
    endpoints: Endpoints
    sandbox: Sandbox
    quick: bool
    exhaustive: bool = False
    h2ws: Path | None = None
    notes: list[str] = field(default_factory=list)
    # For the record's table of probes (see `record.probed`).
    probed: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Something for the table's last column."""
        self.notes.append(text)


@dataclass
class Case:
    name: str
    role: str
    run: Callable
    clause: str
    timeout: float
    quick: bool
    wants: Callable[[Peer], bool]


CASES: list[Case] = []


def case(*roles: str, wants: Callable[[Peer], bool] = lambda peer: True, timeout: float = 120, quick: bool = True):
    """Register the function under each role; its docstring names the clause.

    `timeout`, in seconds, is for what hangs: slow machines need some.
    """
    def register(function):
        assert function.__doc__, f"{function.__name__} names no clause"
        for role in roles:
            assert role in ROLES, role
            CASES.append(Case(
                name=function.__name__.replace("_", "-"),
                role=role,
                run=function,
                clause=function.__doc__.strip().splitlines()[0],
                timeout=timeout,
                quick=quick,
                wants=wants,
            ))
        return function
    return register


def check(condition, what: str) -> None:
    """An assertion that says what was expected and seen."""
    if not condition:
        raise AssertionError(what)


def equal(got, want, what: str) -> None:
    check(got == want, f"{what}: expected {_short(want)}, got {_short(got)}")


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(value)} long)"
