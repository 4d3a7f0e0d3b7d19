"""axum (hyper) and the `h2` crate as servers, with their default settings."""

import asyncio
import re

from lib import install
from lib.endpoint import Endpoint
from lib.peer import FULL, Peer, Endpoints
from lib.sandbox import INTEROP, Sandbox

LOCK = (INTEROP / "rust-peers/Cargo.lock").read_text()


def version(crate: str) -> str:
    return re.search(rf'name = "{crate}"\nversion = "([^"]+)"', LOCK)[1]


async def run(sandbox: Sandbox, program: str) -> Endpoints:
    built = await asyncio.to_thread(install.rust_peers)
    tls, clear = sandbox.port(), sandbox.port()
    child = await sandbox.spawn(built / program, tls, clear, sandbox.cert, sandbox.key)
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def axum(sandbox: Sandbox) -> Endpoints:
    return await run(sandbox, "axum_echo")


async def h2_crate(sandbox: Sandbox) -> Endpoints:
    return await run(sandbox, "h2_echo")


PEERS = [
    Peer("axum", "server", axum, version=f"{version('axum')}, hyper {version('hyper')}", capable=True, clear_h2=True,
         can=FULL - {"abort", "fragments"}, streams=200, quick=False),
    Peer("h2-crate", "server", h2_crate, version=version("h2"), capable=True, clear_h2=True, http1=False, quick=False),
]
