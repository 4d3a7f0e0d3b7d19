"""Conformance clauses of RFC 6455, 7692 and 8441 for an echo endpoint.

Each clause runs on its own socket against any URL, over HTTP/1.1 or HTTP/2.
Verdicts: `ok`; `lax`, if the endpoint does not do what the RFC recommends
(SHOULD) or takes the weaker of two options; `FAIL`, if it violates a MUST; `n/a`.
"""

from __future__ import annotations

import asyncio

from ..channel import Ended
from ..endpoint import PeerError
# In the order in which they are run.
from . import messages, failures, closing, upgrade, extended_connect, deflate
from .clause import CLAUSES, FAIL, LAX, NA, OK, Broken, Clause, Lesser, NotApplicable, Target, Verdict

__all__ = ["CLAUSES", "FAIL", "LAX", "NA", "OK", "Target", "Verdict", "judge"]


async def judge(target: Target, only: str | None = None) -> list[Verdict]:
    """Runs every clause that applies to the transport, one after the other."""
    verdicts = []
    for number in CLAUSES:
        if number.transport not in ("any", "http2" if target.http2 else "http1") or (only and only not in number.name):
            continue
        verdicts.append(await _verdict(number, target))
    return verdicts


async def _verdict(what: Clause, target: Target) -> Verdict:
    result, detail = OK, ""
    try:
        await asyncio.wait_for(what.run(target), 6 * target.patience)
    except Lesser as lesser:
        result, detail = LAX, str(lesser)
    except NotApplicable as reason:
        result, detail = NA, str(reason)
    except asyncio.TimeoutError:
        result, detail = FAIL, "timed out"
    except (Broken, Ended, PeerError, OSError, asyncio.IncompleteReadError) as error:
        result, detail = FAIL, str(error) or repr(error)
    return Verdict(what.name, what.section, result, detail)
