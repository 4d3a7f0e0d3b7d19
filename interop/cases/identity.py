"""Who asks, and who may, at `h2ws bridge`: certificates, request IDs, traces, forward authentication, affinity
and lifetimes, by foreign programs at both ends."""

import asyncio
import base64
import json
import re
import ssl
import sys

import websockets

from lib import install, program, rfc6455
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint, PeerError, tls_context
from lib.rfc8441 import Connection
from lib.sandbox import run

from .bridge import named
from .listeners import logged
from .tls import authority, openssl

# An Authelia-like check: lets pass whoever has the session, and sends others to the login.
CHECK = """\
import http.server, sys
class Check(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        allowed = "session=good" in self.headers.get("Cookie", "")
        self.send_response(200 if allowed else 302)
        self.send_header("Remote-User", "ann")
        self.send_header("Location", "https://login.test/?rd=" + self.headers["X-Forwarded-Uri"])
        self.send_header("Content-Length", "0")
        self.end_headers()
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Check).serve_forever()
"""

# Answers with its own name.
NAMED = """\
import http.server, sys
class Named(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sys.argv[1].encode())
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Named).serve_forever()
"""


# Checks its host, and knows nothing of the prefix under which it is published.
DJANGO = """\
import sys
from wsgiref.simple_server import make_server
from django.conf import settings
settings.configure(SECRET_KEY="x", ALLOWED_HOSTS=["app.example.com"], ROOT_URLCONF=__name__,
                   MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import path
def home(request):
    response = HttpResponseRedirect("/login")
    response.set_cookie("session", "1", path="/")
    return response
def login(request):
    return HttpResponse("|".join([request.get_host(), request.META["HTTP_X_FORWARDED_PREFIX"], request.META["PATH_INFO"]]))
urlpatterns = [path("", home), path("login", login)]
make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application()).serve_forever()
"""


async def python(ctx: Context, name: str, script: str) -> int:
    """Starts a server of Python's standard library. Returns its port."""
    port = ctx.sandbox.port()
    child = await ctx.sandbox.spawn(sys.executable, ctx.sandbox.write(f"{name}.py", script), port, name=name)
    await ctx.sandbox.ready(child, port)
    return port


async def received(endpoint: Endpoint, http2: bool, fields: dict[str, str], client=None) -> dict[str, str]:
    """The header fields of a socket's request, as received by the server behind the bridge."""
    context = tls_context(["h2" if http2 else "http/1.1"]) if endpoint.tls else None
    if client:
        context.load_cert_chain(client.cert, client.key)
    if http2:
        async with Connection.to(endpoint, context=context) as connection:
            socket = await connection.socket("/asks", headers=list(fields.items()))
            await socket.send("?request")
            return json.loads(await socket.recv())["headers"]
    options = {"ssl": context} if context else {}
    async with rfc6455.connect(endpoint, "/asks", additional_headers=fields, **options) as socket:
        await socket.send("?request")
        return json.loads(await socket.recv())["headers"]


@case("bridge", wants=named("websockets"))
async def client_certificates_reach_the_upstream(ctx: Context):
    """RFC 9440 §2: the upstream decodes the certificate that OpenSSL presented, and never gets one that a client only claims."""
    ca, me, _ = await authority(ctx)
    der = ssl.PEM_cert_to_DER_cert(me.cert.read_text())
    forged = {"Client-Cert": ":AQID:", "Client-Cert-Chain": ":AQID:"}
    options = ["--client-ca", ca.cert, "--client-cert-optional", "--to", ctx.endpoints.clear.ws_url("/")]
    for reports in (True, False):
        endpoint, _ = await program.bridge(ctx.sandbox, *options, *["--client-cert"][:reports])
        for http2 in (False, True):
            headers = await received(endpoint, http2, forged, me)
            what = f"HTTP/2 {http2}, --client-cert {reports}"
            if reports:
                field = headers["client-cert"]
                check(field[0] == field[-1] == ":", f"a byte sequence, {what}: {field}")
                equal(base64.b64decode(field[1:-1], validate=True), der, f"the certificate, {what}")
                decoded = ctx.sandbox.dir / "decoded.der"
                decoded.write_bytes(base64.b64decode(field[1:-1]))
                subject = await openssl("x509", "-inform", "DER", "-in", decoded, "-noout", "-subject")
                check("me" in subject, f"the subject, {what}: {subject}")
            else:
                check("client-cert" not in headers, f"{what}: {headers}")
            check("client-cert-chain" not in headers, f"{what}: {headers}")
            headers = await received(endpoint, http2, forged)
            check("client-cert" not in headers, f"without a certificate, {what}: {headers}")


@case("bridge", wants=named("websockets"))
async def request_ids_and_traces_are_logged_and_forwarded(ctx: Context):
    """W3C Trace Context §3.2: what the upstream receives is in the access line; invalid and oversized values are replaced."""
    trace, state = "4bf92f3577b34da6a3ce929d0e0e4736", "congo=t61rcWkgMzE"
    valid = f"00-{trace}-00f067aa0ba902b7-01"
    options = ["--trace-context", "continue", "--trust-forwarded", "--to", ctx.endpoints.clear.ws_url("/")]
    endpoint, child = await program.bridge(ctx.sandbox, *options)
    for http2 in (False, True):
        for id, parent, kept in [
            (f"from-a-proxy-{http2}", valid, True),
            ("x" * 10_000, "00-nonsense", False),
            (None, None, False),
        ]:
            fields = {"X-Request-Id": id, "Traceparent": parent, "Tracestate": state}
            headers = await received(endpoint, http2, {name.lower(): value for name, value in fields.items() if value})
            what = f"HTTP/2 {http2}, request ID {id and id[:20]}"
            matched = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-01", headers["traceparent"])
            check(matched, f"{what}: {headers}")
            equal(matched[1] == trace, kept, f"the trace is continued, {what}")
            check(matched[2] != "00f067aa0ba902b7", f"the parent is still the client's, {what}")
            equal(headers.get("tracestate"), state if kept else None, f"tracestate, {what}")
            equal(headers["x-request-id"] == id, kept, f"the request ID is the client's, {what}")
            line = await logged(child, f"trace_id={matched[1]} span_id={matched[2]}")
            check(f"request_id={headers['x-request-id']} " in line, f"{what}: {line}")


@case("bridge", wants=named("websockets"))
async def a_check_in_python_authorizes_sockets_and_pages(ctx: Context):
    """DESIGN, forward authentication: only what the server answers 2xx for passes, and nothing once it is gone."""
    port = ctx.sandbox.port()
    script = ctx.sandbox.write("check.py", CHECK)
    server = await ctx.sandbox.spawn(sys.executable, script, port, name="check")
    await ctx.sandbox.ready(server, port)
    options = ["--forward-auth", f"http://127.0.0.1:{port}/verify", "--copy-header", "Remote-User"]
    endpoint, _ = await program.bridge(ctx.sandbox, *options, "--to", ctx.endpoints.clear.ws_url("/"))
    good = {"cookie": "a=b; session=good", "remote-user": "forged"}
    for http2 in (False, True):
        headers = await received(endpoint, http2, good)
        equal(headers.get("remote-user"), "ann", f"Remote-User at the upstream, HTTP/2 {http2}")
        equal(headers.get("cookie"), good["cookie"], f"Cookie at the upstream, HTTP/2 {http2}")

    async def curl(http2: bool) -> str:
        status, out, err = await run("curl", "-sk", "--http2" if http2 else "--http1.1", "-o", "/dev/null",
                                     "-w", "%{http_code} %{redirect_url}", endpoint.http_url("/chat?x=1"))
        equal(status, 0, f"exit status of curl: {err}")
        return out.strip()

    async def status(http2: bool) -> int:
        """Of the response to a socket without the session."""
        if http2:
            async with Connection.to(endpoint) as connection:
                stream = await connection.request(
                    connection.connect_headers(path="/asks") + [("sec-websocket-version", "13")])
                return await connection.answer(stream)
        opening = (f"GET /asks HTTP/1.1\nHost: {endpoint.authority}\nConnection: Upgrade\nUpgrade: websocket\n"
                   "Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n\n")
        return (await rfc6455.bare(endpoint, opening))[0]

    for http2 in (False, True):
        equal(await status(http2), 302, f"a socket without the session, HTTP/2 {http2}")
        equal(await curl(http2), "302 https://login.test/?rd=/chat?x=1", f"a page without the session, HTTP/2 {http2}")
    await server.stop()
    for http2 in (False, True):
        equal(await status(http2), 502, f"a socket without the server, HTTP/2 {http2}")
        equal(await curl(http2), "502", f"a page without the server, HTTP/2 {http2}")
        try:
            await received(endpoint, http2, good)
        except (PeerError, websockets.InvalidStatus):
            continue
        check(False, f"a socket was opened without the server, HTTP/2 {http2}")


@case("bridge", wants=named("websockets"), quick=False)
async def django_checks_its_host_behind_a_prefix(ctx: Context):
    """DESIGN, names: Django refuses unknown hosts, gets its own, and its redirect and cookie lead back through the prefix."""
    install.debian("python3-django")
    port = ctx.sandbox.port()
    child = await ctx.sandbox.spawn("/usr/bin/python3", ctx.sandbox.write("site.py", DJANGO), port, name="django")
    await ctx.sandbox.ready(child, port)
    text = f'[[route]]\npath = "/app/*"\nto = "http://127.0.0.1:{port}"\nstrip_prefix = true\n'
    for host in ('upstream_host = "app.example.com"\n', ""):
        config = ctx.sandbox.write("bridge.toml", text + host)
        endpoint, bridge = await program.serve_one(ctx.sandbox, "--cleartext", "--config", config, command="bridge")
        for version in ("--http1.1", "--http2-prior-knowledge"):
            jar = ctx.sandbox.dir / "cookies"
            jar.unlink(missing_ok=True)
            # One request for each curl: 7.88 fails when it reuses a connection with prior knowledge.
            asked = ["curl", "-s", version, "-c", jar, "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"]
            status, out, err = await run(*asked, endpoint.http_url("/app/"))
            equal(status, 0, f"exit status of curl: {err}")
            if not host:
                equal(out.strip(), "400", f"status for an unknown host, {version}")
                continue
            login = endpoint.http_url("/app/login")
            equal(out, f"302 {login}", f"where the redirect leads, {version}")
            check("\t/app\t" in jar.read_text(), f"the path of the cookie, {version}: {jar.read_text()}")
            status, out, err = await run("curl", "-s", version, login)
            equal((status, out), (0, "app.example.com|/app|/login"), f"the page, {version}: {err}")
        await bridge.stop()


@case("bridge", wants=named("websockets"))
async def the_query_or_the_path_chooses_the_upstream(ctx: Context):
    """DESIGN, affinity: curl gets a room from the same server of Python every time, and not all rooms from one."""
    ports = [await python(ctx, f"named{number}", NAMED) for number in range(3)]
    upstreams = ", ".join(f'"http://127.0.0.1:{port}"' for port in ports)
    for key, path in (('query = "room"', "/chat?room={}"), ("path_segment = 2", "/chat/{}/x")):
        config = ctx.sandbox.write("bridge.toml", f"[[route]]\nto = [{upstreams}]\n[route.affinity]\n{key}\n")
        endpoint, child = await program.serve_one(ctx.sandbox, "--cleartext", "--config", config, command="bridge")
        of_rooms = {}
        for room in range(8):
            answers = set()
            for version in ("--http1.1", "--http2-prior-knowledge") * 2:
                status, out, err = await run("curl", "-s", version, endpoint.http_url(path.format(room)))
                equal(status, 0, f"exit status of curl: {err}")
                answers.add(out)
            equal(len(answers), 1, f"answers for room {room} ({key}): {answers}")
            of_rooms[room] = answers.pop()
        check(len(set(of_rooms.values())) > 1, f"all rooms are at one server ({key}): {of_rooms}")
        await child.stop()


@case("bridge", wants=named("websockets"))
async def a_lifetime_ends_with_1001(ctx: Context):
    """DESIGN, lifetime: sockets that never pause are closed with 1001, and lose no message before it."""
    endpoint, _ = await program.bridge(ctx.sandbox, "--max-lifetime", "1", "--to", ctx.endpoints.clear.ws_url("/"))

    async def talk(send, recv) -> None:
        """Echoes until the socket is closed."""
        number = 0
        while True:
            await send(f"message {number}")
            equal(await recv(), f"message {number}", "the echo")
            number += 1

    async with asyncio.timeout(60):
        socket = await rfc6455.connect(endpoint, "/echo")
        try:
            await talk(socket.send, socket.recv)
        except websockets.ConnectionClosed:
            equal(socket.close_code, 1001, "close code over HTTP/1.1")
        async with Connection.to(endpoint) as connection:
            socket = await connection.socket("/echo")
            try:
                await talk(socket.send, socket.recv)
            except AssertionError:
                raise
            except Exception as error:  # of wsproto, if the Close came before a message was sent
                check(socket.close_frame, f"no Close frame over HTTP/2: {error!r}")
            equal(socket.close_frame.code, 1001, "close code over HTTP/2")
