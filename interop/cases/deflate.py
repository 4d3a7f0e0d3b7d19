"""permessage-deflate with PyPI `websockets` (HTTP/1.1) and `wsproto` (HTTP/2), in both roles.

Their decompressor is zlib with the negotiated window. It cannot read data that
was compressed with a larger window, or across messages without context takeover.
"""

import asyncio
import itertools
import json
import random
from dataclasses import astuple, dataclass

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from wsproto.extensions import PerMessageDeflate

from lib import program, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.program import Driver
from lib.rfc8441 import Connection

from .foreign import named

# zlib, which both use, compresses with at least 9 bits.
BITS = [None, *range(9, 16)]


@dataclass(frozen=True)
class Parameters:
    """The parameters of RFC 7692 §7.1; None stands for a window parameter that is absent."""

    server_forgets: bool = False
    client_forgets: bool = False
    server_bits: int | None = None
    client_bits: int | None = None

    def __str__(self) -> str:
        """The form in which our programs and the `websockets` echo accept them in a query."""
        parts = ["server_no_context_takeover"] * self.server_forgets + ["client_no_context_takeover"] * self.client_forgets
        parts += [f"server_max_window_bits={self.server_bits}"] * bool(self.server_bits)
        parts += [f"client_max_window_bits={self.client_bits}"] * bool(self.client_bits)
        return "&".join(parts)

    def facts(self) -> tuple:
        """The expected outcome if one side requests this, and the other nothing."""
        return self.server_forgets, self.client_forgets, self.server_bits or 15, self.client_bits or 15


def pairs(parameters: Parameters) -> set:
    """All pairs of its values, with their positions."""
    return set(itertools.combinations(enumerate(astuple(parameters)), 2))


def cover(combinations: list[Parameters]) -> list[Parameters]:
    """A subset that contains every pair of values (a covering set)."""
    missing, chosen = set().union(*map(pairs, combinations)), []
    while missing:
        chosen.append(max(combinations, key=lambda each: len(pairs(each) & missing)))
        missing -= pairs(chosen[-1])
    return chosen


ALL = [Parameters(*each) for each in itertools.product((False, True), (False, True), BITS, BITS)]
# Every value of every parameter at least once.
SOME = [Parameters(n % 2 > 0, n % 3 > 0, a, b) for n, (a, b) in enumerate(zip(BITS, BITS[3:] + BITS[:3]))]
# Messages each way.
MANY = 10_000

WORDS = ["window", "stream", "frame", "message", "ü€😀", "0123456789", '{"id":', "}, ", "\n", " " * 16, "z" * 28]


def message(number: int) -> str | bytes:
    """A message: mostly short, some of thousands of bytes, a few of up to 200,000. The same in every run."""
    chance = random.Random(number)
    at = chance.random()
    size = 0 if at < 0.02 else int(chance.random() * (200_000 if at > 0.998 else 70_000 if at > 0.988 else 5_000 if at > 0.888 else 300))
    text = ""
    while len(text) < size:
        text += "".join(chance.choices(WORDS, k=1 + size // 8))
    if number % 2:
        return text
    data = bytearray(text.encode())
    data[::7] = chance.randbytes(len(data[::7]))  # incompressible bytes among compressible ones
    return bytes(data)


async def talk(send, recv, messages) -> None:
    """Sends all messages without waiting, and checks their echoes."""
    async def sending():
        for each in messages:
            await send(each)

    async def receiving():
        for number, each in enumerate(messages):
            got = await recv()
            check(got == each, f"message {number} of {len(each)} came back as {len(got)} others")

    await asyncio.gather(sending(), receiving())


async def sweep(ctx: Context, one, combinations: list[Parameters] = ALL) -> None:
    """Runs `one` with every combination or a sample, and reports all failures."""
    if ctx.quick:
        combinations, least, many = [each for each in SOME if each in combinations], 500, []
    elif ctx.exhaustive:
        least, many = MANY, []
    else:
        least, many = 1_000, cover(combinations)
    messages, wrong = [message(number) for number in range(MANY)], []
    for parameters in combinations:
        try:
            await one(parameters, messages if parameters in many else messages[:least])
        except Exception as error:  # the other combinations are tried too
            wrong.append(f"{parameters}: {error!r}")
    check(not wrong, f"{len(wrong)} of {len(combinations)}: {'; '.join(wrong[:3])}")
    ctx.note(f"{len(combinations)} combinations, {least} messages each way with each")
    if many:
        ctx.note(f"{MANY} with {len(many)} of them, in which every pair of two parameters' values is")


def in_websockets(extension) -> tuple:
    """The parameters negotiated by its client."""
    return (extension.remote_no_context_takeover, extension.local_no_context_takeover,
            extension.remote_max_window_bits, extension.local_max_window_bits)


async def by_websockets(endpoint: Endpoint, path: str, offer: ClientPerMessageDeflateFactory, want: tuple, messages) -> None:
    async with rfc6455.connect(endpoint, path, extensions=[offer]) as ws:
        check(ws.protocol.extensions, "declined")
        equal(in_websockets(ws.protocol.extensions[0]), want, "agreed")
        await talk(ws.send, ws.recv, messages)
        await ws.close()
    equal(ws.close_code, 1000, "close code")


@case("server", wants=named("python-websockets"), timeout=3600)
async def deflate_as_websockets_offers(ctx: Context):
    """RFC 7692 §7.1: every combination that a client may request, up to 10,000 messages each way."""
    endpoints = await program.echo_server(ctx.sandbox)

    async def one(wanted: Parameters, messages) -> None:
        offer = ClientPerMessageDeflateFactory(
            server_no_context_takeover=wanted.server_forgets, client_no_context_takeover=wanted.client_forgets,
            server_max_window_bits=wanted.server_bits, client_max_window_bits=wanted.client_bits or True)
        await by_websockets(endpoints.clear, "/echo?deflate", offer, wanted.facts(), messages)

    await sweep(ctx, one)


@case("server", wants=named("python-websockets"), timeout=3600)
async def deflate_as_our_server_wishes(ctx: Context):
    """RFC 7692 §7.1: every combination that a server may answer the same offer with."""
    endpoints = await program.echo_server(ctx.sandbox)

    async def one(wanted: Parameters, messages) -> None:
        offer = ClientPerMessageDeflateFactory(client_max_window_bits=True)
        await by_websockets(endpoints.clear, f"/echo?deflate&{wanted}", offer, wanted.facts(), messages)

    await sweep(ctx, one)


@case("server", wants=named("python-h2"), timeout=3600)
async def deflate_as_wsproto_offers(ctx: Context):
    """RFC 7692 §7.1 over HTTP/2: every combination that wsproto requests, up to 10,000 messages each way."""
    endpoints = await program.echo_server(ctx.sandbox)

    async with Connection.to(endpoints.clear) as connection:
        async def one(wanted: Parameters, messages) -> None:
            deflate = PerMessageDeflate(wanted.client_forgets, wanted.client_bits, wanted.server_forgets, wanted.server_bits)
            socket = await connection.socket("/echo?deflate", extensions=[deflate])
            check(deflate.enabled(), "declined")
            agreed = (deflate.server_no_context_takeover, deflate.client_no_context_takeover,
                      deflate.server_max_window_bits, deflate.client_max_window_bits)
            equal(agreed, wanted.facts(), "agreed")
            await talk(socket.send, socket.recv, messages)
            equal((await socket.close()).code, 1000, "close code")

        # wsproto always sends both window parameters.
        await sweep(ctx, one, [each for each in ALL if each.server_bits and each.client_bits])


async def by_driver(ctx: Context, endpoint: Endpoint, path: str, wanted: Parameters, count: int, *options: str):
    """Our client exchanges `count` messages with these parameters. Returns those that the peer reports."""
    endpoint = Endpoint(endpoint.port, endpoint.tls, endpoint.host, path)
    driver = await Driver.start(ctx, endpoint, "--deflate", str(wanted), *options, name="interop-client-deflate")
    try:
        await driver.all("open 1", 1)
        asked = (await driver.order("ask ?request")).said
        await driver.all(f"talk {count}", 1, timeout=120)
        await driver.all("close", 1)
    finally:
        await driver.stop()
    return asked


@case("client", wants=named("websockets"), timeout=3600)
async def deflate_as_we_offer(ctx: Context):
    """RFC 7692 §7.1: every combination that our client requests, up to 10,000 messages each way, as the peer reports it."""
    async def one(wanted: Parameters, messages) -> None:
        asked = await by_driver(ctx, ctx.endpoints.clear, "/echo?deflate", wanted, len(messages), "--http1")
        check(f'"deflate": {json.dumps(wanted.facts())}' in asked, f"agreed: {asked[:300]}")

    await sweep(ctx, one)


@case("client", wants=named("websockets"), timeout=3600)
async def deflate_as_the_peer_wishes(ctx: Context):
    """RFC 7692 §7.1: every combination that a server may answer our default offer with."""
    async def one(wanted: Parameters, messages) -> None:
        asked = await by_driver(ctx, ctx.endpoints.clear, f"/echo?deflate&{wanted}", Parameters(), len(messages), "--http1")
        check(f'"deflate": {json.dumps(wanted.facts())}' in asked, f"agreed: {asked[:300]}")

    await sweep(ctx, one)


@case("client", wants=named("hypercorn"), timeout=3600)
async def deflate_as_we_offer_over_h2(ctx: Context):
    """RFC 7692 §7.1 over HTTP/2: every combination that our client requests from wsproto (in Hypercorn)."""
    async def one(wanted: Parameters, messages) -> None:
        asked = await by_driver(ctx, ctx.endpoints.clear, "/echo", wanted, len(messages))
        # 15 bits are the default; our client then omits the parameter.
        for name in filter(None, str(wanted).split("&")):
            check(name in asked or name.endswith("=15"), f"no {name} in the offer: {asked[:300]}")

    await sweep(ctx, one)

