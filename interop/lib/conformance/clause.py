"""A clause, its target, and its verdicts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..channel import Http1, Http2
from ..endpoint import Endpoint

OK, LAX, FAIL, NA = "ok", "lax", "FAIL", "n/a"


@dataclass
class Verdict:
    name: str
    section: str
    result: str
    detail: str = ""


@dataclass
class Target:
    """The endpoint under test, and how long to wait for its answers."""

    endpoint: Endpoint
    http2: bool
    subprotocol: str | None = None
    patience: float = 5

    def open(self, fields=(), **how):
        fields = [*fields, *([("sec-websocket-protocol", self.subprotocol)] if self.subprotocol else [])]
        return (Http2 if self.http2 else Http1).open(self.endpoint, fields, **how)


class Broken(Exception):
    """A MUST is violated."""


class Lesser(Exception):
    """A SHOULD is not followed."""


class NotApplicable(Exception):
    """The clause does not apply to this endpoint."""


@dataclass
class Clause:
    name: str
    section: str
    run: Callable
    transport: str = "any"


CLAUSES: list[Clause] = []


def clause(section: str, name: str, transport: str = "any"):
    def register(function):
        CLAUSES.append(Clause(name, section, function, transport))
        return function
    return register
