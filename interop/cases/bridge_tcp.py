"""`h2ws bridge` in front of redis-server: TCP bytes in binary messages, and no access to other TCP servers."""

import asyncio
import contextlib

from lib import program, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint, PeerError
from lib.rfc8441 import Connection

HOST, PATH, ORIGIN = "redis.example", "/redis", "https://app.example"
CONFIG = """\
[[route]]
host = "{host}"
path = "{path}"
to = "tcp://127.0.0.1:{port}"
allowed_origins = "{origin}"
"""


def is_redis(peer) -> bool:
    return peer.name == "redis"


def command(*words: bytes) -> bytes:
    """A request of the Redis protocol: an array of bulk strings."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


async def ask(socket, request: bytes, answer: bytes, step: int | None = None) -> None:
    """Sends in messages of `step` bytes while receiving the answer, however it is split into messages."""
    step = step or len(request)

    async def send() -> None:
        for at in range(0, len(request), step):
            await socket.send(request[at:at + step])

    sending, got = asyncio.create_task(send()), b""
    async with asyncio.timeout(60):
        while len(got) < len(answer):
            message = await socket.recv()
            check(isinstance(message, bytes), f"a text message: {message[:40]!r}")
            got += message
        await sending
    check(got == answer, f"redis answered {got[:60]!r} ({len(got)} bytes), not {answer[:60]!r} ({len(answer)} bytes)")


async def used(socket, name: bytes) -> None:
    """PING; writing and reading 1 MB; a pipeline of 1,000; requests cut at every byte."""
    big = bytes(range(256)) * 4000
    await ask(socket, command(b"PING"), b"+PONG\r\n")
    await ask(socket, b"PING\r\n", b"+PONG\r\n", step=1)
    await ask(socket, command(b"SET", name, big), b"+OK\r\n")
    await ask(socket, command(b"GET", name), b"$%d\r\n%s\r\n" % (len(big), big))
    await ask(socket, command(b"SET", name, big), b"+OK\r\n", step=10_000)
    pipeline = b"".join(command(b"INCR", name + b"-count") for _ in range(1000))
    await ask(socket, pipeline, b"".join(b":%d\r\n" % number for number in range(1, 1001)), step=997)


async def started(ctx: Context) -> Endpoint:
    config = ctx.sandbox.write("redis.toml", CONFIG.format(
        host=HOST, path=PATH, port=ctx.endpoints.clear.port, origin=ORIGIN))
    endpoint, _ = await program.bridge(ctx.sandbox, "--config", config)
    return Endpoint(endpoint.port, endpoint.tls, endpoint.host, PATH)


def fields(connection: Connection, origin: str = ORIGIN, **pseudo) -> list[tuple[str, str]]:
    """A request that matches the route, except for the overrides in `pseudo`."""
    head = connection.connect_headers(**{"authority": HOST} | pseudo)
    return head + [("sec-websocket-version", "13"), ("origin", origin)]


@contextlib.asynccontextmanager
async def by_h2(endpoint: Endpoint):
    """A connection whose requests have the route's host."""
    async with Connection.to(endpoint) as connection:
        named = connection.connect_headers
        connection.connect_headers = lambda **pseudo: named(**{"authority": HOST} | pseudo)
        yield connection


def by_http1(endpoint: Endpoint):
    named = Endpoint(endpoint.port, endpoint.tls, HOST, endpoint.path)
    return rfc6455.connect(named, origin=ORIGIN, host=endpoint.host, port=endpoint.port)


@case("bridge", wants=is_redis)
async def redis_from_websocket_clients(ctx: Context):
    """DESIGN, tcp://: PING, 1 MB, pipelines and requests cut at every byte, over HTTP/2 and HTTP/1.1 at once."""
    endpoint = await started(ctx)
    async with by_h2(endpoint) as connection:
        sockets = await asyncio.gather(*(
            connection.socket(headers=[("origin", ORIGIN)]) for _ in range(10)))
        async with by_http1(endpoint) as ws:
            await asyncio.gather(used(ws, b"http1"), *(used(s, b"h2-%d" % n) for n, s in enumerate(sockets)))
            await ws.close()
        equal(ws.close_code, 1000, "close code over HTTP/1.1")
        await sockets[0].send(command(b"QUIT"))
        equal(await sockets[0].recv(), b"+OK\r\n", "answer to QUIT")
        equal(int((await sockets[0].answer_close()).code), 1000, "code when redis ends the connection")
        await sockets[1].send("PING\r\n")
        equal(int((await sockets[1].answer_close()).code), 1003, "code for a text message")
        for socket in sockets[2:]:
            equal((await socket.close()).code, 1000, "code when the client closes")
        await connection.ping()
    await _clients_left(ctx, 1)


async def _clients_left(ctx: Context, count: int) -> None:
    """Waits until redis counts this many clients, including the one that queries it: no socket is left."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ctx.endpoints.clear.port)
    async with asyncio.timeout(60):
        while True:
            writer.write(command(b"CLIENT", b"LIST"))
            size = int((await reader.readline())[1:])
            clients = (await reader.readexactly(size + 2)).split(b"\n")
            if sum(line.startswith(b"id=") for line in clients) == count:
                break
            await asyncio.sleep(0.05)
    writer.close()


class Decoy:
    """A listening port outside the configuration that counts its connections."""

    async def __aenter__(self) -> "Decoy":
        self.came = 0
        self._server = await asyncio.start_server(self._count, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_) -> None:
        self._server.close()

    async def _count(self, _, writer) -> None:
        self.came += 1
        writer.close()


UPGRADE = """Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==
Origin: https://app.example

"""
HTTP1 = [
    "GET /redis HTTP/1.1\nHost: {decoy}\n" + UPGRADE,
    "GET http://{decoy}/redis HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET http://{decoy}/redis HTTP/1.1\nHost: {decoy}\n" + UPGRADE,
    "GET ws://{decoy}/ HTTP/1.1\nHost: {decoy}\n" + UPGRADE,
    "GET tcp://{decoy} HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET /tcp://{decoy} HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET /{decoy} HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET //{decoy}/redis HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET /redis/{decoy} HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET /redis@{decoy} HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET /redis HTTP/1.1\nHost: redis.example@{decoy}\n" + UPGRADE,
    "GET /redis HTTP/1.1\nHost: redis.example\nHost: {decoy}\n" + UPGRADE,
    "CONNECT {decoy} HTTP/1.1\nHost: {decoy}\n\n",
    "CONNECT {decoy} HTTP/1.1\nHost: redis.example\n" + UPGRADE,
    "GET http://{decoy}/ HTTP/1.1\nHost: {decoy}\n\n",
    "GET /redis HTTP/1.1\nHost: {decoy}\n\n",
]
HTTP2 = [
    {"authority": "{decoy}"},
    {"authority": "redis.example@{decoy}"},
    {"authority": "{decoy}", "path": "/"},
    {"path": "/{decoy}"},
    {"path": "//{decoy}/redis"},
    {"path": "/tcp://{decoy}"},
    {"path": "tcp://{decoy}"},
    {"path": "/redis/{decoy}"},
    {"scheme": "tcp", "authority": "{decoy}"},
    {"protocol": "tcp", "authority": "{decoy}"},
    {"protocol": "connect-udp", "path": "/.well-known/masque/udp/127.0.0.1/{port}/"},
    {"protocol": "connect-tcp", "path": "/.well-known/masque/tcp/127.0.0.1/{port}/"},
    # The plain CONNECT of RFC 9113 §8.5.
    {"protocol": None, "scheme": None, "path": None, "authority": "{decoy}"},
    {"method": "GET", "protocol": None, "authority": "{decoy}"},
]
# Fields that proxies send to proxies, on a request that matches the route.
LIES = [
    ("forwarded", "host={decoy}"), ("x-forwarded-host", "{decoy}"), ("x-forwarded-server", "{decoy}"),
    ("x-original-url", "http://{decoy}/"), ("x-rewrite-url", "http://{decoy}/"), ("x-host", "{decoy}"),
    ("x-real-ip", "127.0.0.1"), ("referer", "http://{decoy}/"), ("proxy", "http://{decoy}"),
]


@case("bridge", wants=is_redis)
async def only_configured_targets_are_reached(ctx: Context):
    """DESIGN, tcp://: no part of a request selects the target; a listening decoy gets no connection."""
    endpoint = await started(ctx)
    async with Decoy() as decoy:
        names = {"decoy": f"127.0.0.1:{decoy.port}", "port": decoy.port}
        for request in HTTP1:
            text = request.format(**names)
            status, _, _ = await rfc6455.bare(endpoint, text)
            check(400 <= status < 500, f"{text.splitlines()[0]}: status {status}")
        for asked in HTTP2:
            pseudo = {name: value and value.format(**names) for name, value in asked.items()}
            async with Connection.to(endpoint, strict=False) as connection:
                stream = await connection.request(fields(connection, **pseudo))
                with contextlib.suppress(PeerError):  # the connection may end too
                    await connection.answer(stream, 10)
                # 501 is for a `:protocol` that the server does not support (RFC 9220 §3).
                rejected = stream.reset is not None or connection.closed or (stream.status or 0) in (*range(400, 500), 501)
                check(rejected, f"{pseudo}: {stream}")
        async with by_h2(endpoint) as connection:
            for name, value in LIES:
                socket = await connection.socket(
                    f"{PATH}?to=tcp://{names['decoy']}", headers=[("origin", ORIGIN), (name, value.format(**names))])
                await ask(socket, b"PING\r\n", b"+PONG\r\n")
        equal(decoy.came, 0, "connections to the decoy")
        _, writer = await asyncio.open_connection("127.0.0.1", decoy.port)
        async with asyncio.timeout(60):
            while not decoy.came:
                await asyncio.sleep(0.01)
        writer.close()
    ctx.note(f"{len(HTTP1) + len(HTTP2)} requests rejected, {len(LIES)} answered by redis")


@case("bridge", wants=is_redis)
async def foreign_origins_are_refused(ctx: Context):
    """RFC 6455 §10.2: pages of other origins cannot open the TCP route."""
    endpoint = await started(ctx)
    async with by_h2(endpoint) as connection:
        for origin in ("https://evil.example", "https://app.example.evil.example", "http://app.example", "null"):
            stream = await connection.request(fields(connection, origin))
            await connection.answer(stream)
            equal(stream.status, 403, f"status for origin {origin}")
        socket = await connection.socket(headers=[("origin", ORIGIN)])
        await ask(socket, b"PING\r\n", b"+PONG\r\n")
