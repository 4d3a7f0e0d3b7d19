"""Bun and workerd: servers of RFC 6455 alone, without `h2` in ALPN."""

import asyncio

from lib import install
from lib.peer import FULL, Peer, Served
from lib.rfc8441 import Endpoint
from lib.stage import INTEROP, Stage

WORKERD = """\
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "echo", worker = (
    modules = [(name = "echo.js", esModule = embed "echo.js")],
    compatibilityDate = "2025-01-01",
  ))],
  sockets = [
    (name = "clear", address = "127.0.0.1:{clear}", http = (), service = "echo"),
    (name = "tls", address = "127.0.0.1:{tls}", service = "echo", https = (options = (), tlsOptions = (
      keypair = (privateKey = embed "key.pem", certificateChain = embed "cert.pem")))),
  ],
);
"""


async def start_bun(stage: Stage) -> Served:
    program = await asyncio.to_thread(install.bun)
    tls, clear = stage.port(), stage.port()
    child = await stage.spawn(program, INTEROP / "apps/bun-echo.mjs", tls, clear, stage.cert, stage.key, name="bun")
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


async def start_workerd(stage: Stage) -> Served:
    program = await asyncio.to_thread(install.workerd)
    tls, clear = stage.port(), stage.port()
    # It embeds files from beside its configuration alone.
    for name, file in (("echo.js", INTEROP / "apps/workerd-echo.js"), ("key.pem", stage.key), ("cert.pem", stage.cert)):
        stage.write(name, file.read_text())
    config = stage.write("workerd.capnp", WORKERD.format(tls=tls, clear=clear))
    child = await stage.spawn(program, "serve", config, name="workerd")
    await stage.ready(child, tls, clear)
    return Served(Endpoint(tls), Endpoint(clear, tls=False), child)


def version(name: str):
    return lambda: install.version_of_npm(name, "runtimes")


PEERS = [
    Peer("bun", "server", start_bun, version=version("bun"), can=FULL - {"fragments"}, quick=False),
    Peer("workerd", "server", start_workerd, version=version("workerd"), can=FULL - {"abort", "ping", "fragments"}, quick=False),
    Peer("bun-client", "client", version=version("bun"), quick=False),
]
