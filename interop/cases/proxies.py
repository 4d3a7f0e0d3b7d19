"""`h2ws connect` through third-party forward proxies to servers behind them.

A relay in front of the proxy records what the program sends to it; what
arrives behind the proxy is reported by nghttpx and Hypercorn.
"""

import json

from lib import program
from lib.cases import Context, case, check, equal
from lib.program import Driver
from lib.relay import Relay
from lib.sandbox import run

# A TLS handshake record, if the connection to the proxy uses TLS.
FIRST = {"http": b"CONNECT ", "https": b"\x16\x03", "socks5": b"\x05"}
VARIABLES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
NOBODY = dict.fromkeys(VARIABLES, "")


def is_proxy(peer) -> bool:
    return peer.kind == "proxy"


def has_password(peer) -> bool:
    return is_proxy(peer) and peer.name != "dante"


def through(ctx: Context, relay: Relay) -> None:
    """Checks that the program connected once to the proxy, with the proxy's protocol."""
    check(relay.accepted == 1, f"{relay.accepted} connections to the proxy")
    check(relay.first_bytes[0].startswith(FIRST[ctx.endpoints.scheme]), f"first bytes: {relay.first_bytes[0]!r}")


async def connect(ctx: Context, url: str, lines: list[str], *options: str, env: dict | None = None):
    """Runs `h2ws connect` in an environment without other proxy variables."""
    return await program.connect(ctx.h2ws, url, lines, *options, env=NOBODY | (env or {}))


@case("reference", wants=is_proxy)
async def curl_gets_through(ctx: Context):
    """RFC 9110 §9.3.6, RFC 1928: curl reaches nghttpx over HTTP/2 through the tunnel, but not with a wrong password."""
    page = ctx.endpoints.origin.tls.http_url("/")
    what = ["curl", "-sk", "--proxy-insecure", "--http2", "--noproxy", "", "-o", "/dev/null",
            "-w", "%{http_version} %{http_code} %{http_connect}"]
    status, out, err = await run(*what, "--proxy", ctx.endpoints.url(ctx.endpoints.proxy), page)
    check(status == 0 and out.startswith("2 "), f"curl: exit {status}: {out} {err}")
    if ctx.endpoints.closed:
        status, out, err = await run(*what, "--proxy", ctx.endpoints.url(ctx.endpoints.proxy, "wrong"), page)
        check(status != 0, f"curl gets through with a wrong password: {out}")
    ctx.note(f"over HTTP/2 through {ctx.peer.name}")


@case("client", wants=is_proxy)
async def h2_inside_the_tunnel(ctx: Context):
    """RFC 8441, RFC 7301: with `--proxy` ALPN selects HTTP/2, as reported by nghttpx and Hypercorn."""
    for endpoints, mark in ((ctx.endpoints, "via"), (ctx.endpoints.origin, "version")):
        async with Relay(ctx.endpoints.proxy) as relay:
            lines = ["?request", "x" * 100_000]
            result = await connect(ctx, endpoints.tls.ws_url(), lines, "--proxy", ctx.endpoints.url(relay.port))
            check(result.status == 0 and result.out[1:] == lines[1:], f"expected exit 0 and an echo: {result}")
            facts = json.loads(result.out[0])
            seen = facts["headers"].get("via", "") if mark == "via" else facts["version"]
            check(seen.startswith("2"), f"not carried by h2: {mark} is {seen!r}")
            ctx.note(f"{mark}: {seen}")
            through(ctx, relay)


@case("client", wants=is_proxy)
async def http1_inside_the_tunnel(ctx: Context):
    """RFC 6455 §4.1: the Upgrade through a tunnel, with and without TLS."""
    for endpoint in ctx.endpoints.all():
        async with Relay(ctx.endpoints.proxy) as relay:
            result = await connect(ctx, endpoint.ws_url(), ["hello"], "--http1", "--proxy", ctx.endpoints.url(relay.port))
            check(result.status == 0 and result.out == ["hello"], f"expected exit 0 and an echo: {result}")
            through(ctx, relay)


@case("client", wants=is_proxy)
async def sockets_150_through_the_proxy(ctx: Context):
    """RFC 9113 §5.1.2: 150 sockets of one client share two tunnels to a server that allows 100 streams."""
    async with Relay(ctx.endpoints.proxy) as relay:
        driver = await Driver.start(ctx, ctx.endpoints.tls, "--proxy", ctx.endpoints.url(relay.port))
        await driver.all("open 150", 150)
        await driver.all("echo", 150)
        await driver.all("close", 150)
        equal(relay.accepted, 2, "tunnels")


@case("client", wants=has_password)
async def wrong_password_is_an_error(ctx: Context):
    """RFC 9110 §15.5.8, RFC 1929 §2: a 407 or SOCKS5 rejection means exit 1 with that reason."""
    for password in ("wrong", None):
        result = await connect(ctx, ctx.endpoints.tls.ws_url(), ["hi"], "--proxy", ctx.endpoints.url(ctx.endpoints.proxy, password))
        equal((result.status, result.out), (1, []), "exit status, stdout")
        if ctx.peer.name == "tinyproxy" and password:
            words = ["proxy", "401"]  # it sends 407 only if there are no credentials
        else:
            words = ["proxy", "user name and password"] + ["407"] * ctx.endpoints.scheme.startswith("http")
        check(all(word in result.err for word in words), f"expected {words} on stderr: {result}")
        ctx.note(result.err.strip().splitlines()[-1][:80])
        check("wrong" not in result.err, f"the password is on stderr: {result}")


@case("client", wants=lambda peer: is_proxy(peer) and peer.name == "squid-https")
async def the_certificate_of_a_proxy_is_checked(ctx: Context):
    """RFC 9110 §4.3.4: a TLS proxy is trusted only through `--cacert`, and gets no request before."""
    url = ctx.endpoints.tls.ws_url()
    for trust, want in ([], (1, [])), (["--cacert", ctx.sandbox.cert], (0, ["hello"])):
        async with Relay(ctx.endpoints.proxy) as relay:
            status, out, err = await run(ctx.h2ws, "connect", url, "--proxy", ctx.endpoints.url(relay.port), *trust,
                                         stdin=b"hello\n", env=NOBODY)
            equal((status, out.splitlines()), want, f"exit status and stdout, stderr {err[-200:]!r}")
            through(ctx, relay)
        if status:
            check("proxy" in err and "certificate" in err, f"expected the proxy's certificate in the error: {err}")
            ctx.note(err.strip().splitlines()[-1][:150])


@case("client", wants=is_proxy)
async def server_that_is_not_there(ctx: Context):
    """RFC 9110 §9.3.6, RFC 1928 §6: if the server does not listen, exit 1 with the proxy's answer."""
    url = ctx.endpoints.tls.on(ctx.sandbox.port()).ws_url()
    result = await connect(ctx, url, ["hi"], "--proxy", ctx.endpoints.url(ctx.endpoints.proxy))
    check(result.status == 1 and "proxy" in result.err, f"expected exit 1 and the proxy in the error: {result}")
    ctx.note(result.err.strip().splitlines()[-1][:150])


# Dante does not accept 0.0.0.0.
@case("client", wants=has_password)
async def proxy_from_the_environment(ctx: Context):
    """DESIGN, contract: HTTPS_PROXY and ALL_PROXY select the proxy, NO_PROXY and --no-proxy bypass it."""
    # A non-loopback address of this machine: loopback never uses a proxy from the environment.
    url = ctx.endpoints.tls.ws_url().replace("127.0.0.1", "0.0.0.0")
    for variables, options, tunnels in (
        (["HTTPS_PROXY"], [], 1), (["https_proxy"], [], 1), (["ALL_PROXY"], [], 1), (["http_proxy"], [], 0),
        (["HTTPS_PROXY", "NO_PROXY=0.0.0.0"], [], 0), (["ALL_PROXY", "no_proxy=.example,*"], [], 0),
        (["ALL_PROXY", "NO_PROXY=example.org,10.0.0.0/8"], [], 1), (["HTTPS_PROXY"], ["--no-proxy"], 0),
    ):
        async with Relay(ctx.endpoints.proxy) as relay:
            env = {}
            for variable in variables:
                name, _, value = variable.partition("=")
                env[name] = value or ctx.endpoints.url(relay.port)
            result = await connect(ctx, url, ["hello"], *options, env=env)
            check(result.status == 0 and result.out == ["hello"], f"{variables}: expected exit 0 and an echo: {result}")
            equal(relay.accepted, tunnels, f"connections to the proxy with {' '.join([*variables, *options])}")


@case("client", wants=is_proxy)
async def loopback_goes_directly(ctx: Context):
    """DESIGN, contract: loopback does not use a proxy from the environment."""
    async with Relay(ctx.endpoints.proxy) as relay:
        env = {"ALL_PROXY": ctx.endpoints.url(relay.port)}
        result = await connect(ctx, ctx.endpoints.tls.ws_url(), ["hello"], env=env)
        check(result.status == 0 and result.out == ["hello"], f"expected exit 0 and an echo: {result}")
        equal(relay.accepted, 0, "connections to the proxy")


@case("client", wants=lambda peer: peer.kind == "interceptor")
async def through_an_intercepting_proxy(ctx: Context):
    """RFC 9110 §9.3.6: a proxy that intercepts TLS is trusted only through its CA; its version of HTTP is used."""
    url = ctx.endpoints.tls.ws_url()
    for trust, want in ([], 1), (["--cacert", ctx.sandbox.cert], 1), (["--cacert", ctx.endpoints.authority], 0):
        async with Relay(ctx.endpoints.proxy) as relay:
            status, out, err = await run(ctx.h2ws, "connect", url, "--proxy", ctx.endpoints.url(relay.port), *trust,
                                         stdin=b"?request\n" + b"x" * 100_000 + b"\n", env=NOBODY)
            equal(status, want, f"exit status with {trust}, stderr {err[-200:]!r}")
            equal(relay.first_bytes[0][:8], b"CONNECT ", "first bytes")
        if want:
            check("certificate" in err, f"expected the certificate in the error: {err}")
    asked, echoed = out.splitlines()
    equal(echoed, "x" * 100_000, "echo")
    ctx.note(f"nghttpx behind it received via {json.loads(asked)['headers'].get('via')}")
    async with Relay(ctx.endpoints.proxy) as relay:
        status, out, err = await run(ctx.h2ws, "bench", url, "--proxy", ctx.endpoints.url(relay.port), *trust, "--json",
                                     "--sockets", 50, "--messages", 4, env=NOBODY)
        check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
        seen = json.loads(out)
        equal((seen["failed"], seen["messages"]), (0, 200), "failed sockets, messages echoed")
        ctx.note(f"50 sockets in {relay.accepted} tunnel(s), {seen['over_http2']} of them over HTTP/2")
