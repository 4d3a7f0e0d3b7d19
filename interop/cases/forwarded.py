"""Web frameworks behind a proxy that ends TLS and `h2ws bridge`: they see the client's scheme and address.

Their page redirects to HTTPS unless the request arrived by HTTPS, as the
framework sees it; a wrong scheme therefore redirects without end.
"""

import asyncio

from lib import install, program
from lib.cases import Context, case, equal
from lib.endpoint import Endpoint, tls_context

# Neither the proxy's address nor the bridge's.
CLIENT = "127.0.0.9"
NGINX = """\
daemon off;
pid {dir}/front.pid;
error_log {dir}/front-error.log;
worker_processes 1;
events {{ worker_connections 100; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
{servers}
}}
"""
SERVER = """\
    server {{
        listen 127.0.0.1:{port} ssl;
        location / {{ proxy_pass http://{bridge}; {fields} }}
    }}
"""
# How proxies describe the client; `$scheme` is https.
FRONTS = {
    "X-Forwarded-*": "proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-For $remote_addr;",
    "Forwarded": 'proxy_set_header Forwarded "for=$remote_addr;proto=$scheme";',
}
FRONTS["both"] = FRONTS["X-Forwarded-*"] + FRONTS["Forwarded"]


def is_framework(peer) -> bool:
    return peer.kind == "framework"


async def fronts(ctx: Context, bridge: Endpoint) -> dict[str, Endpoint]:
    """Starts nginx with one TLS port for each kind of proxy."""
    install.debian("nginx-light")
    sandbox, endpoints = ctx.sandbox, {name: Endpoint(ctx.sandbox.port()) for name in FRONTS}
    servers = "".join(SERVER.format(port=endpoints[name].port, bridge=bridge.authority, fields=fields)
                      for name, fields in FRONTS.items())
    config = sandbox.write("front.conf", NGINX.format(dir=sandbox.dir, cert=sandbox.cert, key=sandbox.key, servers=servers))
    child = await sandbox.spawn("nginx", "-p", sandbox.dir, "-e", "stderr", "-c", config, name=f"front-{bridge.port}")
    await sandbox.ready(child, *(each.port for each in endpoints.values()))
    return endpoints


async def page(endpoint: Endpoint) -> tuple[int, str]:
    """The status and body of the framework's page, from `CLIENT`."""
    reader, writer = await asyncio.open_connection(
        endpoint.host, endpoint.port, ssl=tls_context(["http/1.1"]), local_addr=(CLIENT, 0))
    writer.write(f"GET /page HTTP/1.1\r\nHost: {endpoint.authority}\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(60):
        with_head = (await reader.read(-1)).decode("latin-1")
    writer.close()
    head, _, body = with_head.partition("\r\n\r\n")
    chunked = "transfer-encoding: chunked" in head.lower()
    return int(head.split()[1]), body.split("\r\n")[1] if chunked else body


@case("bridge", wants=is_framework)
async def framework_sees_https_and_the_client(ctx: Context):
    """RFC 7239 §5: behind a TLS-ending proxy and `--trust-forwarded`, a framework sees HTTPS and the client, whichever fields it prefers."""
    upstream = ctx.endpoints.clear.ws_url("/")
    trusting, _ = await program.serve_one(ctx.sandbox, "--cleartext", "--to", upstream, "--trust-forwarded", command="bridge")
    for name, endpoint in (await fronts(ctx, trusting)).items():
        equal(await page(endpoint), (200, f"https {CLIENT}"), f"page behind a proxy that sends {name}")
    # Without trust in the proxy the page redirects to itself, so the case would notice.
    other, _ = await program.serve_one(ctx.sandbox, "--cleartext", "--to", upstream, command="bridge")
    for name, endpoint in (await fronts(ctx, other)).items():
        status, _ = await page(endpoint)
        equal(status, 308, f"status without --trust-forwarded behind a proxy that sends {name}")
    ctx.note(f"https {CLIENT} behind proxies that send {', '.join(FRONTS)}")
