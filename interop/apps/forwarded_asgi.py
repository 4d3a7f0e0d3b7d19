"""A page behind Hypercorn's `ProxyFixMiddleware`, which reads `Forwarded` in its mode "modern"."""

from hypercorn.middleware import ProxyFixMiddleware


async def page(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = dict(scope["headers"])
    if scope["scheme"] == "https":
        status, headers, body = 200, [], f"https {scope['client'][0]}".encode()
    else:
        host = headers[b"host"]
        status, headers, body = 308, [(b"location", b"https://" + host + scope["path"].encode())], b""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# The proxies in front: one that ends TLS, and h2ws.
app = ProxyFixMiddleware(page, mode="modern", trusted_hops=2)
