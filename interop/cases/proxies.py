"""`h2ws connect` through other people's forward proxies, to servers behind them.

A relay stands before the proxy, so that what the program says to it is seen;
what arrives behind it, nghttpx and Hypercorn tell.
"""

import json

from lib import program
from lib.cases import Turn, case, check, equal
from lib.program import Driver
from lib.relay import Relay
from lib.stage import run

# A TLS record with a handshake, where the proxy speaks TLS itself.
FIRST = {"http": b"CONNECT ", "https": b"\x16\x03", "socks5": b"\x05"}
VARIABLES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
NOBODY = dict.fromkeys(VARIABLES, "")


def is_proxy(peer) -> bool:
    return peer.kind == "proxy"


def has_password(peer) -> bool:
    return is_proxy(peer) and peer.name != "dante"


def through(turn: Turn, relay: Relay) -> None:
    """The program spoke to the proxy, in its language."""
    check(relay.accepted == 1, f"{relay.accepted} connections to the proxy")
    check(relay.first_bytes[0].startswith(FIRST[turn.served.scheme]), f"first bytes: {relay.first_bytes[0]!r}")


async def connect(turn: Turn, url: str, lines: list[str], *options: str, env: dict | None = None):
    """`h2ws connect` in an environment with these proxies alone."""
    return await program.connect(turn.h2ws, url, lines, *options, env=NOBODY | (env or {}))


@case("reference", wants=is_proxy)
async def curl_gets_through(turn: Turn):
    """RFC 9110 §9.3.6, RFC 1928: curl reaches nghttpx over h2 inside the tunnel, and not with a wrong password."""
    page = turn.served.origin.tls.http_url("/")
    what = ["curl", "-sk", "--proxy-insecure", "--http2", "--noproxy", "", "-o", "/dev/null",
            "-w", "%{http_version} %{http_code} %{http_connect}"]
    status, out, err = await run(*what, "--proxy", turn.served.url(turn.served.proxy), page)
    check(status == 0 and out.startswith("2 "), f"curl: exit {status}: {out} {err}")
    if turn.served.closed:
        status, out, err = await run(*what, "--proxy", turn.served.url(turn.served.proxy, "wrong"), page)
        check(status != 0, f"curl gets through with a wrong password: {out}")
    turn.note(f"over HTTP/2 through {turn.peer.name}")


@case("client", wants=is_proxy)
async def h2_inside_the_tunnel(turn: Turn):
    """RFC 8441, RFC 7301: `--proxy`: a socket over h2, chosen by ALPN, as nghttpx and Hypercorn see it."""
    for served, mark in ((turn.served, "via"), (turn.served.origin, "version")):
        async with Relay(turn.served.proxy) as relay:
            lines = ["?request", "x" * 100_000]
            spoken = await connect(turn, served.tls.ws_url(), lines, "--proxy", turn.served.url(relay.port))
            check(spoken.status == 0 and spoken.out[1:] == lines[1:], f"wanted exit 0 and an echo: {spoken}")
            facts = json.loads(spoken.out[0])
            seen = facts["headers"].get("via", "") if mark == "via" else facts["version"]
            check(seen.startswith("2"), f"not carried by h2: {mark} is {seen!r}")
            turn.note(f"{mark}: {seen}")
            through(turn, relay)


@case("client", wants=is_proxy)
async def http1_inside_the_tunnel(turn: Turn):
    """RFC 6455 §4.1: a tunnel for the Upgrade, with TLS and without."""
    for endpoint in turn.served.endpoints():
        async with Relay(turn.served.proxy) as relay:
            spoken = await connect(turn, endpoint.ws_url(), ["hello"], "--http1", "--proxy", turn.served.url(relay.port))
            check(spoken.status == 0 and spoken.out == ["hello"], f"wanted exit 0 and an echo: {spoken}")
            through(turn, relay)


@case("client", wants=is_proxy)
async def sockets_150_through_the_proxy(turn: Turn):
    """RFC 9113 §5.1.2: sockets of one client share two tunnels to a server of 100 streams."""
    async with Relay(turn.served.proxy) as relay:
        driver = await Driver.start(turn, turn.served.tls, "--proxy", turn.served.url(relay.port))
        await driver.all("open 150", 150)
        await driver.all("echo", 150)
        await driver.all("close", 150)
        equal(relay.accepted, 2, "tunnels")


@case("client", wants=has_password)
async def wrong_password_is_an_error(turn: Turn):
    """RFC 9110 §15.5.8, RFC 1929 §2: 407, or SOCKS5's refusal: exit 1, and a reason that says so."""
    for password in ("wrong", None):
        spoken = await connect(turn, turn.served.tls.ws_url(), ["hi"], "--proxy", turn.served.url(turn.served.proxy, password))
        equal((spoken.status, spoken.out), (1, []), "exit status, stdout")
        if turn.peer.name == "tinyproxy" and password:
            words = ["proxy", "401"]  # for 407, which it says if there are none at all
        else:
            words = ["proxy", "credentials"] + ["407"] * turn.served.scheme.startswith("http")
        check(all(word in spoken.err for word in words), f"wanted {words} on stderr: {spoken}")
        turn.note(spoken.err.strip().splitlines()[-1][:80])
        check("wrong" not in spoken.err, f"the password is on stderr: {spoken}")


@case("client", wants=lambda peer: is_proxy(peer) and peer.name == "squid-https")
async def the_certificate_of_a_proxy_is_checked(turn: Turn):
    """RFC 9110 §4.3.4: a proxy that speaks TLS is trusted by `--cacert` alone, and told nothing before."""
    url = turn.served.tls.ws_url()
    for trust, want in ([], (1, [])), (["--cacert", turn.stage.cert], (0, ["hello"])):
        async with Relay(turn.served.proxy) as relay:
            status, out, err = await run(turn.h2ws, "connect", url, "--proxy", turn.served.url(relay.port), *trust,
                                         stdin=b"hello\n", env=NOBODY)
            equal((status, out.splitlines()), want, f"exit status and stdout, stderr {err[-200:]!r}")
            through(turn, relay)
        if status:
            check("proxy" in err and "certificate" in err, f"wanted a word of the proxy's certificate: {err}")
            turn.note(err.strip().splitlines()[-1][:150])


@case("client", wants=is_proxy)
async def server_that_is_not_there(turn: Turn):
    """RFC 9110 §9.3.6, RFC 1928 §6: nobody behind the proxy: exit 1, and the proxy's answer."""
    url = turn.served.tls.on(turn.stage.port()).ws_url()
    spoken = await connect(turn, url, ["hi"], "--proxy", turn.served.url(turn.served.proxy))
    check(spoken.status == 1 and "proxy" in spoken.err, f"wanted exit 1 and a word of the proxy: {spoken}")
    turn.note(spoken.err.strip().splitlines()[-1][:150])


# Dante takes no 0.0.0.0.
@case("client", wants=has_password)
async def proxy_from_the_environment(turn: Turn):
    """DESIGN, contract: HTTPS_PROXY and ALL_PROXY lead through the proxy, NO_PROXY and --no-proxy do not."""
    # This machine by an address that is not loopback: that is never sent to a proxy of the environment.
    url = turn.served.tls.ws_url().replace("127.0.0.1", "0.0.0.0")
    for variables, options, tunnels in (
        (["HTTPS_PROXY"], [], 1), (["https_proxy"], [], 1), (["ALL_PROXY"], [], 1), (["http_proxy"], [], 0),
        (["HTTPS_PROXY", "NO_PROXY=0.0.0.0"], [], 0), (["ALL_PROXY", "no_proxy=.example,*"], [], 0),
        (["ALL_PROXY", "NO_PROXY=example.org,10.0.0.0/8"], [], 1), (["HTTPS_PROXY"], ["--no-proxy"], 0),
    ):
        async with Relay(turn.served.proxy) as relay:
            env = {}
            for variable in variables:
                name, _, value = variable.partition("=")
                env[name] = value or turn.served.url(relay.port)
            spoken = await connect(turn, url, ["hello"], *options, env=env)
            check(spoken.status == 0 and spoken.out == ["hello"], f"{variables}: wanted exit 0 and an echo: {spoken}")
            equal(relay.accepted, tunnels, f"connections to the proxy with {' '.join([*variables, *options])}")


@case("client", wants=is_proxy)
async def loopback_goes_directly(turn: Turn):
    """DESIGN, contract: a proxy of the environment is not asked for this machine."""
    async with Relay(turn.served.proxy) as relay:
        env = {"ALL_PROXY": turn.served.url(relay.port)}
        spoken = await connect(turn, turn.served.tls.ws_url(), ["hello"], env=env)
        check(spoken.status == 0 and spoken.out == ["hello"], f"wanted exit 0 and an echo: {spoken}")
        equal(relay.accepted, 0, "connections to the proxy")


@case("client", wants=lambda peer: peer.kind == "interceptor")
async def through_an_intercepting_proxy(turn: Turn):
    """RFC 9110 §9.3.6: a proxy that ends TLS is trusted by its authority's certificate alone; what it speaks is used."""
    url = turn.served.tls.ws_url()
    for trust, want in ([], 1), (["--cacert", turn.stage.cert], 1), (["--cacert", turn.served.authority], 0):
        async with Relay(turn.served.proxy) as relay:
            status, out, err = await run(turn.h2ws, "connect", url, "--proxy", turn.served.url(relay.port), *trust,
                                         stdin=b"?request\n" + b"x" * 100_000 + b"\n", env=NOBODY)
            equal(status, want, f"exit status with {trust}, stderr {err[-200:]!r}")
            equal(relay.first_bytes[0][:8], b"CONNECT ", "first bytes")
        if want:
            check("certificate" in err, f"wanted a word of the certificate: {err}")
    asked, echoed = out.splitlines()
    equal(echoed, "x" * 100_000, "echo")
    turn.note(f"behind it nghttpx saw {json.loads(asked)['headers'].get('via')}")
    async with Relay(turn.served.proxy) as relay:
        status, out, err = await run(turn.h2ws, "bench", url, "--proxy", turn.served.url(relay.port), *trust, "--json",
                                     "--sockets", 50, "--messages", 4, env=NOBODY)
        check(status == 0, f"exit {status}: {(err or out).strip()[-300:]}")
        seen = json.loads(out)
        equal((seen["failed"], seen["messages"]), (0, 200), "failed sockets, messages echoed")
        turn.note(f"50 sockets in {relay.accepted} tunnel(s), {seen['over_http2']} of them over HTTP/2")
