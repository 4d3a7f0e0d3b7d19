"""The conformance clauses against `h2ws serve`, and against peers with known deviations.

Known deviations of a peer are listed, by clause, in `deviations.json`. A
deviation that is not listed fails the case. So does a listed one that is no
longer detected, because it may show that the suite has lost that ability.
"""

import json

from lib.cases import Context, case, check
from lib.conformance import FAIL, LAX, NA, OK, Target, judge
from lib.endpoint import Endpoint
from lib.sandbox import INTEROP

# "PEER over VERSION" to clause to verdict and reason.
DEVIATIONS = json.loads((INTEROP / "deviations.json").read_text())


async def conforms(ctx: Context, endpoint: Endpoint, http2: bool) -> None:
    # The silences of foreign servers are listed; with ours, a short wait could be mistaken for silence.
    patience = 2 if ctx.role == "reference" else 20
    verdicts = await judge(Target(endpoint, http2, ctx.peer.subprotocol, patience))
    known = DEVIATIONS[f"{ctx.peer.name} over {'HTTP/2' if http2 else 'HTTP/1.1'}"] if ctx.role == "reference" else {}
    seen = {v.name: v for v in verdicts if v.result in (LAX, FAIL)}
    new = [f"{v.section} {v.name}: {v.result} {v.detail}" for v in seen.values()
           if v.result != known.get(v.name, [""])[0]]
    blind = [name for name in known if name not in seen]
    ctx.note(", ".join(f"{sum(v.result == kind for v in verdicts)} {kind}" for kind in (OK, LAX, FAIL, NA)))
    check(not new, f"{len(new)} not listed: " + "; ".join(new[:8]))
    check(not blind, f"no longer detected: {blind}")


@case("server", wants=lambda peer: peer.name == "python-h2", timeout=400)
async def conforms_over_http2(ctx: Context):
    """RFC 6455, 7692, 8441: every clause of `interop/conformance` over HTTP/2; no failure, none lax."""
    await conforms(ctx, ctx.endpoints.tls, True)


@case("server", wants=lambda peer: peer.name == "python-websockets", timeout=400)
async def conforms_over_http1(ctx: Context):
    """RFC 6455, 7692: every clause of `interop/conformance` over HTTP/1.1; no failure, none lax."""
    await conforms(ctx, ctx.endpoints.tls, False)


@case("reference", wants=lambda peer: peer.name in ("hypercorn", "node"), timeout=400, quick=False)
async def deviates_over_http2_as_known(ctx: Context):
    """RFC 6455, 8441: the suite finds this peer's deviations over HTTP/2, and no others."""
    await conforms(ctx, ctx.endpoints.tls, True)


@case("reference", wants=lambda peer: peer.name in ("websockets", "ws"), timeout=400, quick=False)
async def deviates_over_http1_as_known(ctx: Context):
    """RFC 6455, 7692: the suite finds this peer's deviations over HTTP/1.1, and no others."""
    await conforms(ctx, ctx.endpoints.tls, False)
