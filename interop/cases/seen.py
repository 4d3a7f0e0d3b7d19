"""What operators see of `h2ws bridge`: access lines by Python's JSON and shell parsers, metrics by a real Prometheus."""

import asyncio
import contextlib
import json
import shlex
import shutil
import urllib.parse
import urllib.request

from lib import install, program, rfc6455
from lib.cases import Context, case, check, equal
from lib.rfc8441 import Connection

from .bridge import named

# What a log must not take for its own: quotes, a backslash, a tab, a terminal's escape sequence by U+009B, a key.
HOSTILE = 'a" status=200 \\"{client}\\\tb \u009b31m'

SCRAPE = """\
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: h2ws
    static_configs:
      - targets: ["127.0.0.1:{port}"]
"""


async def access_lines(ctx: Context, *options) -> list[str]:
    """The lines of a bridge after a socket over each version of HTTP, and a refusal."""
    options = ["--cleartext", "--to", ctx.endpoints.clear.ws_url("/"), "--allow-origin", "https://a.test", *options]
    endpoint, child = await program.serve_one(ctx.sandbox, *options, command="bridge")
    # This client encodes header fields as Latin-1; they are to be UTF-8.
    agent = HOSTILE.encode().decode("latin-1")
    socket = await rfc6455.connect(endpoint, "/one?deflate", user_agent_header=agent, subprotocols=["echo.v1"], compression="deflate")
    for message in ("one", "two", "x" * 100_000):
        await socket.send(message)
        equal(await socket.recv(), message, "the echo")
    await socket.close(3001)
    async with Connection.to(endpoint) as connection:
        socket = await connection.socket("/two", headers=[("user-agent", HOSTILE)])
        await socket.send("one")
        equal(await socket.recv(), "one", "the echo")
        await socket.close(3002)
    with contextlib.suppress(Exception):
        await rfc6455.connect(endpoint, "/three", origin="https://b.test", user_agent_header=agent)
    child.signal(2)
    await child.process.wait()
    return child.log.read_text().split("\n")[:-1]


@case("bridge", wants=named("websockets"))
async def access_lines_are_json(ctx: Context):
    """RFC 8259: each line of a JSON log is an object for Python, with what a hostile client sent as its value."""
    lines = [json.loads(line) for line in await access_lines(ctx, "--log-format", "json")]
    seen = {line["path"]: line for line in lines if line["target"] == "h2ws::access"}
    one, two, three = (seen[path] for path in ("/one", "/two", "/three"))
    for line in (one, two, three):
        equal(line["user_agent"], HOSTILE, "the user agent")
    for line, messages, version, code in ((one, 3, "HTTP/1.1", 3001), (two, 1, "HTTP/2", 3002)):
        for key, value in (("version", version), ("upstream_version", "HTTP/1.1"), ("code", code), ("closed_by", "client"), ("closed", "close"),
                           ("messages_up", messages), ("messages_down", messages), ("client", "127.0.0.1")):
            equal(line[key], value, key)
        times = [line[key] for key in ("answer_ms", "first_byte_ms", "duration_ms")]
        equal(times, sorted(times), "the order of times")
    check(one["extensions"].startswith("permessage-deflate"), f"extensions {one}")
    equal(one["subprotocol"], "echo.v1", "the subprotocol")
    for key, value in (("status", 403), ("closed", "rejected"), ("closed_by", "bridge"), ("origin", "https://b.test")):
        equal(three[key], value, key)


@case("bridge", wants=named("websockets"))
async def access_lines_by_a_template(ctx: Context):
    """POSIX shell, 2.2.3: what a template puts in double quotes is one word for `shlex`, whatever the client sent."""
    lines = await access_lines(ctx, "--access-log", 'access {client} "{user_agent}" {status} "{closed_by} {closed}" {code}')
    seen = [shlex.split(line) for line in lines if line.startswith("access ")]
    # What is not printable is written as JSON writes it.
    agent = HOSTILE.replace("\t", "\\t").replace("\u009b", "\\u009b")
    expected = [["access", "127.0.0.1", agent, status, how, code] for status, how, code in (
        ("101", "client close", "3001"), ("200", "client close", "3002"), ("403", "bridge rejected", "-"))]
    equal(sorted(seen), sorted(expected), "the lines")


@case("bridge", wants=named("websockets"), timeout=200)
async def prometheus_sees_limits(ctx: Context):
    """OpenMetrics 1.0: Prometheus scrapes the bridge, and divides what is used by its limit."""
    install.debian("prometheus")
    metrics, port = ctx.sandbox.port(), ctx.sandbox.port()
    options = ["--cleartext", "--to", ctx.endpoints.clear.ws_url("/"), "--max-sockets", "8", "--metrics", f"127.0.0.1:{metrics}"]
    endpoint, child = await program.serve_one(ctx.sandbox, *options, command="bridge")
    config = ctx.sandbox.write("prometheus.yml", SCRAPE.format(port=metrics))
    # It answers with what it has seen within the last five minutes, also of a bridge of an earlier run.
    shutil.rmtree(f"{ctx.sandbox.dir}/tsdb", ignore_errors=True)
    prometheus = await ctx.sandbox.spawn(
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={ctx.sandbox.dir}/tsdb", f"--web.listen-address=127.0.0.1:{port}", name="prometheus")
    await ctx.sandbox.ready(prometheus, port, path="/-/ready")

    def asked(query: str) -> dict[str, float]:
        url = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            result = json.load(answer)["data"]["result"]
        return {each["metric"].get("limit", ""): float(each["value"][1]) for each in result}

    async def becomes(query: str, limit: str, value: float) -> None:
        async with asyncio.timeout(60):
            while (seen := await asyncio.to_thread(asked, query)).get(limit) != value:
                await asyncio.sleep(0.5)
        ctx.note(f"{query}: {seen}")

    async with Connection.to(endpoint) as connection:
        for number in range(2):
            await connection.socket(f"/{number}")
        others = [await rfc6455.connect(endpoint, "/") for _ in range(2)]
        await becomes("h2ws_bridge_limit_used / h2ws_bridge_limit_max", "max_sockets", 0.5)
        # A listener of a bridge without a file has as many connections as sockets.
        await becomes("h2ws_bridge_limit_used", "max_connections", 3)
        for socket in others:
            await socket.close()
        await becomes("h2ws_bridge_limit_used", "max_sockets", 2)
    await child.stop()
