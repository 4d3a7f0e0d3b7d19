"""Bun and workerd: RFC 6455 only, without `h2` in ALPN."""

import asyncio

from lib import install
from lib.endpoint import Endpoint
from lib.peer import FULL, Peer, Endpoints
from lib.sandbox import INTEROP, Sandbox

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


async def start_bun(sandbox: Sandbox) -> Endpoints:
    program = await asyncio.to_thread(install.bun)
    tls, clear = sandbox.port(), sandbox.port()
    child = await sandbox.spawn(program, INTEROP / "apps/bun-echo.mjs", tls, clear, sandbox.cert, sandbox.key, name="bun")
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


async def start_workerd(sandbox: Sandbox) -> Endpoints:
    program = await asyncio.to_thread(install.workerd)
    tls, clear = sandbox.port(), sandbox.port()
    # It embeds only files from the directory of its configuration.
    for name, file in (("echo.js", INTEROP / "apps/workerd-echo.js"), ("key.pem", sandbox.key), ("cert.pem", sandbox.cert)):
        sandbox.write(name, file.read_text())
    config = sandbox.write("workerd.capnp", WORKERD.format(tls=tls, clear=clear))
    child = await sandbox.spawn(program, "serve", config, name="workerd")
    await sandbox.ready(child, tls, clear)
    return Endpoints(Endpoint(tls), Endpoint(clear, tls=False), child)


def version(name: str):
    return lambda: install.version_of_npm(name, "runtimes")


PEERS = [
    Peer("bun", "server", start_bun, version=version("bun"), can=FULL - {"fragments"}, quick=False),
    Peer("workerd", "server", start_workerd, version=version("workerd"), can=FULL - {"abort", "ping", "fragments"}, quick=False),
    Peer("bun-client", "client", version=version("bun"), quick=False),
]
