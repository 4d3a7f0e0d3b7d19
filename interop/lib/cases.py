"""Registration of cases, and the assertions that they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .peer import Peer, Endpoints
from .sandbox import Sandbox

ROLES = ("reference", "server", "client", "bridge", "application")


@dataclass
class Context:
    """The argument of a case: a peer, its sandbox, and the program under test.

    `endpoints` is the listening side: the peer if it is a server; `h2ws serve`
    (or, as a reference, a foreign server) if the peer is a client; the foreign
    bridge if the peer is one, which forwards to either of them. In the roles
    "bridge" and "application" it is the upstream of the `h2ws bridge` that the
    case starts.
    """

    peer: Peer
    role: str
    endpoints: Endpoints
    sandbox: Sandbox
    quick: bool
    exhaustive: bool = False
    h2ws: Path | None = None
    notes: list[str] = field(default_factory=list)
    # A row of one of the tables in RESULTS.md (see `record.TABLES`).
    cells: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Adds a remark to the last column of the table."""
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
    """Registers the function under each role; its docstring names the clause.

    `timeout`, in seconds, only catches hangs; it is generous for slow machines.
    """
    def register(function):
        assert function.__doc__, f"{function.__name__} has no docstring that names its clause"
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
    """Fails the case with `what` unless the condition holds."""
    if not condition:
        raise AssertionError(what)


def equal(got, want, what: str) -> None:
    check(got == want, f"{what}: expected {_short(want)}, got {_short(got)}")


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}… ({len(value)} long)"
