"""The listeners and upstreams of `h2ws bridge` by foreign programs: HAProxy, nginx, socat, curl and systemd."""

import asyncio
import json
import signal

from lib import install, program, rfc6455, sandbox
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.rfc8441 import Connection

from .bridge import named

BEHIND_HAPROXY = """\
global
    nbthread 1
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{port}
    {more}
    default_backend back
backend back
    server s 127.0.0.1:{upstream} {send}
"""

# Answers each line with the address in the PROXY header, which it requires.
ACCEPTS_PROXY = """\
global
    nbthread 1
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind {bind} accept-proxy
    http-request return status 200 content-type text/plain lf-string "from %[src] port %[src_port]"
"""

NGINX = """\
user root;
worker_processes 1;
daemon off;
pid {dir}/{name}.pid;
error_log {dir}/{name}.error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {dir}/{name}-body;
    proxy_temp_path {dir}/{name}-proxy;
    fastcgi_temp_path {dir}/{name}-fastcgi;
    uwsgi_temp_path {dir}/{name}-uwsgi;
    scgi_temp_path {dir}/{name}-scgi;
    server {{
        listen {listen};
        location / {{
            proxy_pass {upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_set_header X-Forwarded-For {client};
            proxy_set_header X-Passed {name};
        }}
    }}
}}
"""


async def opened(endpoint: Endpoint, http2: bool, path: str = "/asks"):
    """A socket on a connection of its own, and what closes both."""
    if not http2:
        socket = await rfc6455.connect(endpoint, path)
        return socket, socket.close
    opening = Connection.to(endpoint)
    connection = await opening.__aenter__()
    socket = await connection.socket(path)
    return socket, lambda: opening.__aexit__(None, None, None)


async def headers_through(endpoint: Endpoint, http2: bool) -> dict[str, str]:
    """The header fields of a socket's request, as received by the server behind the bridge; the socket also echoes."""
    socket, leave = await opened(endpoint, http2)
    await socket.send("?request")
    headers = json.loads(await socket.recv())["headers"]
    await socket.send("hello")
    equal(await socket.recv(), "hello", "the echo")
    await leave()
    return headers


async def logged(child, text: str) -> str:
    """The first line of the program's log with this text."""
    async with asyncio.timeout(60):
        while True:
            for line in child.log.read_text(errors="replace").splitlines():
                if text in line:
                    return line
            await asyncio.sleep(0.05)


async def haproxy(ctx: Context, name: str, config: str, port: int | None = None):
    install.debian("haproxy")
    child = await ctx.sandbox.spawn("haproxy", "-db", "-f", ctx.sandbox.write(f"{name}.cfg", config), name=name)
    if port:
        await ctx.sandbox.ready(child, port)
    return child


async def appears(path) -> None:
    """Waits for the file of a Unix socket."""
    async with asyncio.timeout(60):
        while not path.exists():
            await asyncio.sleep(0.05)


async def nginx(ctx: Context, name: str, listen: str, upstream: str, client: str = "$remote_addr") -> None:
    install.debian("nginx-light")
    text = NGINX.format(dir=ctx.sandbox.dir, name=name, listen=listen, upstream=upstream, client=client)
    config = ctx.sandbox.write(f"{name}.conf", text)
    await ctx.sandbox.spawn("nginx", "-p", ctx.sandbox.dir, "-e", "stderr", "-c", config, name=name)


@case("bridge", wants=named("websockets"))
async def haproxy_sends_proxy_headers(ctx: Context):
    """PROXY protocol, sections 2.1 and 2.2: the client's address is in the access line and reaches the upstream, over both versions of HTTP."""
    options = ["--proxy-protocol", "127.0.0.0/8", "--to", ctx.endpoints.clear.ws_url("/")]
    behind, child = await program.bridge(ctx.sandbox, *options)
    clients = (("192.0.2.7", "for=192.0.2.7", "peer=192.0.2.7:"), ("2001:db8::7", 'for="[2001:db8::7]"', "peer=[2001:db8::7]:"))
    for send in ("send-proxy", "send-proxy-v2"):
        for client, expected, _ in clients:
            port = ctx.sandbox.port()
            more = f"tcp-request connection set-src str({client})"
            await haproxy(ctx, f"{send}-{port}", BEHIND_HAPROXY.format(port=port, upstream=behind.port, send=send, more=more), port)
            for http2 in (False, True):
                headers = await headers_through(Endpoint(port), http2)
                check(expected in headers["forwarded"], f"{send}, {client}, HTTP/2 {http2}: {headers}")
    for client, _, peer in clients:
        for version in ("HTTP/1.1", "HTTP/2"):
            line = await logged(child, f"client={client} version={version}")
            check(peer in line and "status=" in line, line)
    if sandbox.has_ipv6():
        # An IPv6 connection from end to end: HAProxy writes what it saw.
        for send in ("send-proxy", "send-proxy-v2"):
            port = ctx.sandbox.port()
            text = BEHIND_HAPROXY.format(port=port, upstream=behind.port, send=send, more=f"bind [::1]:{port}")
            await haproxy(ctx, f"{send}-ipv6", text, port)
            status, out, err = await sandbox.run("curl", "-skg", "-o", "/dev/null", "-w", "%{http_code}", f"https://[::1]:{port}/{send}")
            check(status == 0 and out != "000", f"curl over IPv6, {send}: {status} {out} {err}")
            line = await logged(child, f"path=/{send} ")
            check("client=::1 " in line and "peer=[::1]:" in line, line)
    try:
        await rfc6455.connect(behind, "/asks")
    except Exception as error:  # whatever the client calls a connection that is closed at once
        ctx.note(f"without a header: {type(error).__name__}")
    else:
        check(False, "a connection without a PROXY header was served")


@case("bridge", wants=named("websockets"))
async def haproxy_takes_our_proxy_headers(ctx: Context):
    """PROXY protocol, section 2.2: HAProxy behind a `tcp://` and a `unix:` upstream sees the address of the client, also one that a trusted proxy reported."""
    path, port = ctx.sandbox.dir / "accepts.sock", ctx.sandbox.port()
    path.unlink(missing_ok=True)
    await haproxy(ctx, "accepts-tcp", ACCEPTS_PROXY.format(bind=f"127.0.0.1:{port}"))
    await haproxy(ctx, "accepts-unix", ACCEPTS_PROXY.format(bind=path))
    await appears(path)
    for to in (f"tcp://127.0.0.1:{port}", f"unix:{path}"):
        options = ["--to", to, "--allow-any-origin", "--send-proxy-protocol", "--trust-forwarded", "--cleartext"]
        endpoint, _ = await program.serve_one(ctx.sandbox, *options, command="bridge")
        for reported, expected in ((None, "from 127.0.0.1 port "), ("192.0.2.7", "from 192.0.2.7 port")):
            fields = {"X-Forwarded-For": reported} if reported else {}
            socket = await rfc6455.connect(endpoint, "/", additional_headers=fields)
            await socket.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            async with asyncio.timeout(60):
                while expected.encode() not in answer:
                    answer += await socket.recv()
            check(answer.startswith(b"HTTP/1.1 200"), f"{to}: {answer}")
            await socket.close()


@case("bridge", wants=named("websockets"))
async def nginx_and_socat_on_unix_sockets(ctx: Context):
    """DESIGN, Unix sockets: nginx and socat in front of our listener, and behind our bridge as upstreams."""
    install.debian("socat")
    directory, upstream = ctx.sandbox.dir, ctx.endpoints.clear
    ours, of_nginx, of_socat = (directory / f"{name}.sock" for name in ("ours", "of-nginx", "of-socat"))
    for path in (ours, of_nginx, of_socat):
        path.unlink(missing_ok=True)
    await nginx(ctx, "behind", f"unix:{of_nginx}", f"http://{upstream.authority}")
    await ctx.sandbox.spawn("socat", f"UNIX-LISTEN:{of_socat},fork", f"TCP:{upstream.authority}", name="socat-behind")
    for path in (of_nginx, of_socat):
        await appears(path)
        options = ["--listen", f"unix:{ours}", "--to", f"ws+unix:{path}", "--trust-forwarded", "--cleartext"]
        endpoint, child = await program.serve_one(ctx.sandbox, *options, command="bridge")
        await appears(ours)
        front, through = ctx.sandbox.port(), ctx.sandbox.port()
        await nginx(ctx, f"front-{path.stem}", f"127.0.0.1:{front}", f"http://unix:{ours}:", client="192.0.2.7")
        in_front = await ctx.sandbox.spawn("socat", f"TCP-LISTEN:{through},fork,reuseaddr,bind=127.0.0.1", f"UNIX-CONNECT:{ours}",
                                           name=f"socat-front-{path.stem}")
        await ctx.sandbox.ready(in_front, front, through)
        headers = await headers_through(Endpoint(front, tls=False), False)
        check("192.0.2.7" in headers["forwarded"], f"nginx, {path.name}: {headers}")
        equal(headers.get("x-passed"), "behind" if path == of_nginx else f"front-{path.stem}", f"who passed it, {path.name}")
        equal(headers["host"], f"127.0.0.1:{front}", f"Host, {path.name}")
        for http2 in (False, True):
            headers = await headers_through(Endpoint(through, tls=False), http2)
            equal(headers["host"], f"127.0.0.1:{through}", f"Host through socat, HTTP/2 {http2}, {path.name}")
        for version in ("--http1.1", "--http2-prior-knowledge"):
            asked = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", version, "--unix-socket", ours, "http://a.test/"]
            status, out, err = await sandbox.run(*asked)
            check(status == 0 and out not in ("000", "502"), f"curl {version}: {status} {out} {err}")
        child.signal(signal.SIGTERM)
        await child.process.wait()
        check(not ours.exists(), "the file of the Unix socket is left")


@case("bridge", wants=named("websockets"))
async def curl_reaches_every_kind_of_listener(ctx: Context):
    """DESIGN, listeners: a Unix socket, a redirect to https, and a PROXY header, as curl knows them."""
    path = ctx.sandbox.dir / "bridge.sock"
    plain = ctx.sandbox.port()
    options = ["--proxy-protocol", "127.0.0.0/8", "--to", ctx.endpoints.clear.ws_url("/"), "--listen", f"unix:{path}",
               "--redirect-https", f"127.0.0.1:{plain}"]
    endpoint, child = await program.bridge(ctx.sandbox, *options)
    asked = ["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "--haproxy-protocol"]
    status, out, err = await sandbox.run(*asked, f"http://127.0.0.1:{plain}/a?b")
    equal((status, out), (0, f"308 https://127.0.0.1:{endpoint.port}/a?b"), f"the redirect {err}")
    for more in ([], ["--unix-socket", path]):
        status, out, err = await sandbox.run(*asked, *more, f"https://localhost:{endpoint.port}/")
        check(status == 0 and out.split()[0] != "000", f"curl {more}: {status} {out} {err}")
    status, _, _ = await sandbox.run("curl", "-sk", f"https://localhost:{endpoint.port}/")
    check(status != 0, "a connection without a PROXY header was served")
    child.signal(signal.SIGTERM)
    await child.process.wait()
    check(not path.exists(), "the file of the Unix socket is left")


@case("bridge", wants=named("websockets"))
async def a_socket_by_systemd_is_served(ctx: Context):
    """sd_listen_fds(3): sockets that `systemd-socket-activate` passed are served, TCP and Unix."""
    port, path = ctx.sandbox.port(), ctx.sandbox.dir / "activated.sock"
    path.unlink(missing_ok=True)
    child = await ctx.sandbox.spawn(
        "systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-l", path, "--fdname=web:unix", ctx.sandbox.h2ws, "bridge",
        "--cleartext", "--listen", "systemd:web", "--listen", "systemd:unix", "--to", ctx.endpoints.clear.ws_url("/"),
        name="activated")
    # The first connection starts the program, and is served.
    await ctx.sandbox.ready(child, port)
    for http2 in (False, True):
        headers = await headers_through(Endpoint(port, tls=False), http2)
        check("for=127.0.0.1" in headers["forwarded"], f"HTTP/2 {http2}: {headers}")
    status, out, err = await sandbox.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path, "http://a.test/")
    check(status == 0 and out not in ("000", "502"), f"curl: {status} {out} {err}")
