"""axum (hyper) and the `h2` crate as servers, with their default settings."""

import asyncio
import re

from lib import install
from lib.peer import FULL, Peer, Served
from lib.rfc8441 import Endpoint
from lib.stage import INTEROP, Stage

LOCK = (INTEROP / "rust-peers/Cargo.lock").read_text()


def version(crate: str) -> str:
    return re.search(rf'name = "{crate}"\nversion = "([^"]+)"', LOCK)[1]


async def run(stage: Stage, program: str) -> Served:
    built = await asyncio.to_thread(install.rust_peers)
    tls, clear = stage.port(), stage.port()
    child = await stage.spawn(built / program, tls, clear, stage.cert, stage.key)
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


async def axum(stage: Stage) -> Served:
    return await run(stage, "axum_echo")


async def h2_crate(stage: Stage) -> Served:
    return await run(stage, "h2_echo")


PEERS = [
    Peer("axum", "server", axum, version=f"{version('axum')}, hyper {version('hyper')}", capable=True, clear_h2=True,
         can=FULL - {"abort", "fragments"}, streams=200, quick=False),
    Peer("h2-crate", "server", h2_crate, version=version("h2"), capable=True, clear_h2=True, http1=False, quick=False),
]
