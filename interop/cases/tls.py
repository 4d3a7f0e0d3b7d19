"""Certificates of `h2ws serve` and of its clients, tested with OpenSSL: Python's
`ssl`, `openssl s_client` and curl.
"""

import asyncio
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from lib import program
from lib.cases import Context, case, check, equal
from lib.endpoint import PeerError, tls_context
from lib.rfc8441 import Connection
from lib.sandbox import run


def by_h2(peer) -> bool:
    return peer.name == "python-h2"


def by_curl(peer) -> bool:
    return peer.name == "curl"


@dataclass
class Pair:
    cert: Path
    key: Path

    def options(self) -> tuple:
        return "--cert", self.cert, "--key", self.key


async def openssl(*arguments) -> str:
    status, out, err = await run("openssl", *arguments)
    equal(status, 0, f"exit status of openssl {arguments[0]} ({err[-200:]})")
    return out


async def pair(ctx: Context, name: str, *names: str, issuer: Pair | None = None, ca: bool = False) -> Pair:
    """Creates a certificate with the common name `name`, self-signed or signed by `issuer`."""
    made = Pair(ctx.sandbox.dir / f"{name}.pem", ctx.sandbox.dir / f"{name}.key")
    by = ("-CA", issuer.cert, "-CAkey", issuer.key) if issuer else ()
    alternatives = ",".join(f"DNS:{n}" for n in names or (name,))
    await openssl(
        "req", "-x509", *by, "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-days", "30", "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternatives}",
        "-addext", f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}",
        "-keyout", made.key, "-out", made.cert,
    )
    return made


async def shown(endpoint, name: str | None) -> str:
    """The common name of the certificate that OpenSSL gets for this SNI name."""
    sni = ("-servername", name) if name else ("-noservername",)
    _, out, err = await run("openssl", "s_client", "-connect", endpoint.authority, *sni, stdin=b"")
    found = re.search(r"subject=.*CN ?= ?([\w.-]+)", out)
    check(found, f"no certificate in the output of s_client: {err[-200:]}")
    return found[1]


@case("server", wants=by_h2)
async def certificates_by_name(ctx: Context):
    """RFC 6066 §3: certificates are selected by SNI; the first is used for unknown names and without SNI."""
    first, second = await pair(ctx, "first.test"), await pair(ctx, "second.test", "second.test", "*.second.test")
    endpoint, _ = await program.serve_one(ctx.sandbox, *first.options(), *second.options())
    for name, subject in [
        ("first.test", "first.test"), ("second.test", "second.test"), ("a.second.test", "second.test"),
        ("SECOND.test", "second.test"), ("a.b.second.test", "first.test"), ("other.test", "first.test"),
        (None, "first.test"),
    ]:
        equal(await shown(endpoint, name), subject, f"certificate for {name}")


@case("server", wants=by_h2)
async def certificates_are_reloaded(ctx: Context):
    """SIGHUP: new handshakes get the new certificate, invalid files change nothing, and open sockets still work."""
    old, new = await pair(ctx, "old.test"), await pair(ctx, "new.test")
    used = Pair(ctx.sandbox.dir / "used.pem", ctx.sandbox.dir / "used.key")

    def put(files: Pair) -> None:
        shutil.copy(files.cert, used.cert)
        shutil.copy(files.key, used.key)

    put(old)
    endpoint, child = await program.serve_one(ctx.sandbox, *used.options())
    async with Connection.to(endpoint) as connection:
        socket = await connection.socket()
        equal(await shown(endpoint, None), "old.test", "certificate")
        put(new)
        child.signal(signal.SIGHUP)
        while await shown(endpoint, None) != "new.test":
            await asyncio.sleep(0.05)
        used.cert.write_text("no certificate\n")
        child.signal(signal.SIGHUP)
        while "not reloaded" not in child.log.read_text():
            await asyncio.sleep(0.05)
        equal(await shown(endpoint, None), "new.test", "certificate after a failed reload")
        await socket.echo("still open")
        await socket.close(1000, "")


async def authority(ctx: Context) -> tuple[Pair, Pair, Pair]:
    """A CA, a certificate signed by it, and one signed by another CA."""
    ca = await pair(ctx, "ca", ca=True)
    other = await pair(ctx, "other-ca", ca=True)
    return ca, await pair(ctx, "me", issuer=ca), await pair(ctx, "stranger", issuer=other)


@case("server", wants=by_h2)
async def client_certificates(ctx: Context):
    """RFC 8446 §4.3.2: only clients with a certificate of the CA can open sockets."""
    ca, me, stranger = await authority(ctx)
    for optional in (False, True):
        options = ("--client-cert-optional",) if optional else ()
        endpoint, _ = await program.serve_one(ctx.sandbox, "--client-ca", ca.cert, *options)
        for client, accepted in [(me, True), (None, optional), (stranger, False)]:
            context = tls_context(["h2"])
            if client:
                context.load_cert_chain(client.cert, client.key)
            try:
                async with Connection.to(endpoint, context=context) as connection:
                    await (await connection.socket()).echo("hello")
                    opened = True
            except (PeerError, OSError):
                opened = False
            equal(opened, accepted, f"{client and client.cert.name} accepted ({options})")


@case("server", wants=by_curl)
async def curl_shows_its_certificate(ctx: Context):
    """RFC 8446 §4.3.2: curl gets pages only with a certificate of the CA."""
    ca, me, stranger = await authority(ctx)
    server = await pair(ctx, "server", "localhost")
    endpoint, _ = await program.serve_one(ctx.sandbox, *server.options(), "--client-ca", ca.cert, "--allow-host", "localhost")
    url = f"https://localhost:{endpoint.port}/"
    connect = f"localhost:{endpoint.port}:127.0.0.1"
    for version in ("--http2", "--http1.1"):
        async def status(*options) -> tuple[int, str]:
            ended, out, _ = await run(
                "curl", "-sS", version, "--cacert", server.cert, "--resolve", connect,
                "-o", "/dev/null", "-w", "%{http_code}", *options, url,
            )
            return ended, out

        equal(await status(*me.options()), (0, "200"), "exit status and answer")
        equal(await status(*me.options(), "-H", "Host: evil.test"), (0, "421"), "exit status and answer")
        for options in ((), stranger.options()):
            ended, out = await status(*options)
            check(ended != 0 and out == "000", f"{options}: exit {ended}, status {out}")
